"""A look into the module's table, and hands on it, while the server runs or not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def rows(folder: Path, sql: str, *values: object) -> list[Any]:
    """What a query gives, of a homeserver's database (SQLite) in ``folder``."""
    with closing(sqlite3.connect(folder / "homeserver.db", timeout=20)) as conn:
        return conn.execute(sql, values).fetchall()


def edit(folder: Path, sql: str, *values: object) -> None:
    """Change rows; at least one must change."""
    with closing(sqlite3.connect(folder / "homeserver.db", timeout=20)) as conn:
        conn.execute(sql, values)
        assert conn.total_changes > 0
        conn.commit()


def confirmed(folder: Path, event_id: str) -> set[str]:
    """Who has a receipt for the event in the table, released or not."""
    found = rows(folder, "SELECT user_id FROM im_tandem_delivery WHERE event_id = ?", event_id)
    return {str(user_id) for (user_id,) in found}
