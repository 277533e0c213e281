"""Account data, global and per room, as the server last told it."""

from __future__ import annotations

import sqlite3

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import Json, RoomId, Topic


def put(txn: Transaction, kind: str, content: Json) -> None:
    """Keep one piece of global account data."""
    txn.execute("INSERT OR REPLACE INTO account_data (type, content) VALUES (?, ?)", (kind, dumps(content)))
    txn.changed(Topic.ACCOUNT_DATA)


def put_room(txn: Transaction, room_id: RoomId, kind: str, content: Json) -> None:
    """Keep one piece of a room's account data."""
    txn.execute(
        "INSERT OR REPLACE INTO room_account_data (room_id, type, content) VALUES (?, ?, ?)",
        (room_id, kind, dumps(content)),
    )
    txn.changed(Topic.ACCOUNT_DATA, room_id)


def get(conn: sqlite3.Connection, kind: str) -> Json | None:
    """One piece of global account data, or None."""
    row = conn.execute("SELECT content FROM account_data WHERE type = ?", (kind,)).fetchone()
    return _object(row["content"]) if row else None


def get_room(conn: sqlite3.Connection, room_id: RoomId, kind: str) -> Json | None:
    """One piece of a room's account data, or None."""
    row = conn.execute(
        "SELECT content FROM room_account_data WHERE room_id = ? AND type = ?", (room_id, kind)
    ).fetchone()
    return _object(row["content"]) if row else None


def _object(text: str) -> Json | None:
    value = loads(text)
    return value if isinstance(value, dict) else None
