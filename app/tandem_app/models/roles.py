"""Numbers that Qt fixes for item models, as numbers: importing the name ``Qt`` makes all of its hundreds of
enums and costs 30 ms before the first frame (measured with PySide6 6.11)."""

from __future__ import annotations

DISPLAY_ROLE = 0
"""Qt.ItemDataRole.DisplayRole"""
USER_ROLE = 0x0100
"""Qt.ItemDataRole.UserRole; roles of our own come after it."""
