"""How far everybody has read, and our own read receipts that are still to be sent."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.store import rooms
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, RoomId, Topic, UserId


@dataclass(frozen=True, slots=True)
class ReadMarker:
    """How far one person has read."""

    user_id: UserId
    event_id: EventId
    read_at: int
    is_private: bool


@dataclass(frozen=True, slots=True)
class ReadOwed:
    """Our own read receipt for the newest event read in a room; ``kind`` as in setting ``reads.mode``."""

    room_id: RoomId
    event_id: EventId
    kind: str
    made_at: int


def put_marker(
    txn: Transaction,
    room_id: RoomId,
    user_id: UserId,
    event_id: EventId,
    read_at: int,
    *,
    is_private: bool = False,
    is_me: bool = False,
) -> bool:
    """Move a person's marker, forwards only; returns whether it moved."""
    old = marker(txn.conn, room_id, user_id)
    if old is not None:
        if old.event_id == event_id:
            return False
        ahead = _is_later(txn.conn, event_id, old.event_id)
        if ahead is False or (ahead is None and read_at <= old.read_at):
            return False
    txn.execute(
        "INSERT OR REPLACE INTO read_marker (room_id, user_id, event_id, read_at, is_private)"
        " VALUES (?, ?, ?, ?, ?)",
        (room_id, user_id, event_id, read_at, int(is_private)),
    )
    txn.changed(Topic.READS, room_id)
    if is_me:
        rooms.refresh_at_commit(txn, room_id)
    return True


def marker(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> ReadMarker | None:
    """How far a person has read in a room, or None."""
    row = conn.execute(
        "SELECT user_id, event_id, read_at, is_private FROM read_marker WHERE room_id = ? AND user_id = ?",
        (room_id, user_id),
    ).fetchone()
    return (
        ReadMarker(row["user_id"], row["event_id"], row["read_at"], bool(row["is_private"])) if row else None
    )


def markers(conn: sqlite3.Connection, room_id: RoomId) -> list[ReadMarker]:
    """How far everybody has read in a room."""
    rows = conn.execute(
        "SELECT user_id, event_id, read_at, is_private FROM read_marker WHERE room_id = ?", (room_id,)
    )
    return [ReadMarker(row[0], row[1], row[2], bool(row[3])) for row in rows]


def owe(txn: Transaction, room_id: RoomId, event_id: EventId, kind: str, now_ms: int) -> None:
    """Keep that the server is to be told; only the newest event of a room matters."""
    txn.execute(
        "INSERT OR REPLACE INTO read_owed (room_id, event_id, kind, made_at) VALUES (?, ?, ?, ?)",
        (room_id, event_id, kind, now_ms),
    )
    txn.changed(Topic.READS, room_id)


def owed(conn: sqlite3.Connection) -> list[ReadOwed]:
    """Our own read receipts that are still to be sent, oldest first."""
    rows = conn.execute(
        "SELECT room_id, event_id, kind, made_at FROM read_owed WHERE error IS NULL ORDER BY made_at"
    )
    return [ReadOwed(*row) for row in rows]


def settle(txn: Transaction, sent: ReadOwed) -> None:
    """The server has answered for good; a newer one that came meanwhile stays owed."""
    txn.execute(
        "DELETE FROM read_owed WHERE room_id = ? AND event_id = ? AND kind = ?",
        (sent.room_id, sent.event_id, sent.kind),
    )


def _is_later(conn: sqlite3.Connection, event_id: str, than: str) -> bool | None:
    """Whether one event comes later than another in a connection that knows both; None if none does."""
    row = conn.execute(
        "SELECT a.ord > b.ord FROM timeline AS a JOIN timeline AS b ON b.conn = a.conn AND b.room_id = a.room_id"
        " WHERE a.conn IN ('app', 'notifier') AND a.event_id = ? AND b.event_id = ? LIMIT 1",
        (event_id, than),
    ).fetchone()
    return None if row is None else bool(row[0])
