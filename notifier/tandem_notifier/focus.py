"""Does a person look at this room right now? Known from the window's doorbell connection, and lost with it."""

from __future__ import annotations

from collections.abc import Callable

from tandem_core.doorbell import Focus
from tandem_core.types import RoomId


class WindowFocus:
    """What the window shows, asked anew each time, so a dead window is forgotten at once (law 11)."""

    def __init__(self, look: Callable[[], Focus | None]) -> None:
        self._look = look

    def shows(self, room_id: RoomId) -> bool:
        """Whether the window has the keyboard and stands at the end of this room."""
        focus = self._look()
        return focus is not None and focus.active and focus.room == room_id

    @property
    def is_looked_at(self) -> bool:
        """Whether a window has the keyboard, whatever it shows."""
        focus = self._look()
        return focus is not None and focus.active
