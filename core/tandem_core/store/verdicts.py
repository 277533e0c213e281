"""What push rules need to know, and the notification that is due when they say so."""

from __future__ import annotations

import sqlite3

from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, RoomId, Topic, UserId


def push_rules(conn: sqlite3.Connection) -> Json | None:
    """The account's push rule set, or None where the server has not told it (the spec's defaults hold then)."""
    row = conn.execute("SELECT content FROM account_data WHERE type = 'm.push_rules'").fetchone()
    content = None if row is None else loads(row["content"])
    rules = content.get("global") if isinstance(content, dict) else None
    return rules if isinstance(rules, dict) else None


def joined_count(conn: sqlite3.Connection, room_id: RoomId) -> int:
    """How many people are in the room, as the best informed connection says; 0 when none knows."""
    row = conn.execute("SELECT max(joined_count) FROM room WHERE room_id = ?", (room_id,)).fetchone()
    return int(row[0] or 0)


def own_name(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> str | None:
    """The name we go by in this room, if we have one."""
    row = conn.execute(
        "SELECT display_name FROM member WHERE room_id = ? AND user_id = ? AND display_name IS NOT NULL"
        " ORDER BY changed_at DESC LIMIT 1",
        (room_id, user_id),
    ).fetchone()
    return None if row is None else str(row["display_name"])


def is_read(conn: sqlite3.Connection, me: UserId, room_id: RoomId, event_id: EventId) -> bool:
    """Whether our own read marker is at or after the event, in the order of any connection that has both."""
    row = conn.execute(
        "SELECT 1 FROM read_marker r JOIN timeline mark ON mark.event_id = r.event_id"
        " JOIN timeline it ON it.conn = mark.conn AND it.room_id = mark.room_id AND it.event_id = ?"
        " WHERE r.room_id = ? AND r.user_id = ? AND mark.ord >= it.ord LIMIT 1",
        (event_id, room_id, me),
    ).fetchone()
    return row is not None


def notify(txn: Transaction, event_id: EventId, room_id: RoomId, now_ms: int) -> bool:
    """Keep that a notification is due; False if this event was considered before."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO notification (event_id, room_id, state, made_at) VALUES (?, ?, 'due', ?)",
        (event_id, room_id, now_ms),
    ).rowcount
    if fresh:
        txn.changed(Topic.NOTIFICATIONS, room_id)
    return bool(fresh)
