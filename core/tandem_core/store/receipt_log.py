"""What confirmations went out lately, and who there is to be told: for the person whose confirmations they are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.types import EventId, Role, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One message whose author was told; ``done_at`` in ms, ``share`` is ``user`` or ``device``."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    done_at: int
    share: str
    transport: str


def confirmed_since(conn: sqlite3.Connection, since_ms: int) -> list[Confirmed]:
    """What was confirmed from then on, newest first."""
    rows = conn.execute(
        "SELECT event_id, room_id, sender, done_at, share, COALESCE(transport, '') AS transport FROM receipt_owed"
        " WHERE state = 'sent' AND done_at >= ? ORDER BY done_at DESC, event_id",
        (since_ms,),
    )
    return [Confirmed(*row) for row in rows]


def people(conn: sqlite3.Connection, link: Role, me: UserId, most: int) -> list[UserId]:
    """The people of accepted rooms, those of direct chats and of the newest rooms first."""
    rows = conn.execute(
        "SELECT m.user_id FROM member m JOIN room r ON r.conn = m.conn AND r.room_id = m.room_id"
        " JOIN room_fact f ON f.room_id = r.room_id"
        " WHERE m.conn = ? AND m.membership = 'join' AND m.user_id <> ? AND r.membership = 'join'"
        " AND f.accepted IS NOT NULL GROUP BY m.user_id"
        " ORDER BY max(r.is_dm) DESC, max(COALESCE(r.last_at, 0)) DESC, m.user_id LIMIT ?",
        (link, me, most),
    )
    return [UserId(row["user_id"]) for row in rows]


def rooms_with(conn: sqlite3.Connection, link: Role, user_id: UserId, most: int) -> list[RoomId]:
    """The rooms where we and this person are, direct chats and the newest first."""
    rows = conn.execute(
        "SELECT r.room_id FROM member m JOIN room r ON r.conn = m.conn AND r.room_id = m.room_id"
        " WHERE m.conn = ? AND m.user_id = ? AND m.membership = 'join' AND r.membership = 'join'"
        " ORDER BY r.is_dm DESC, COALESCE(r.last_at, 0) DESC, r.room_id LIMIT ?",
        (link, user_id, most),
    )
    return [RoomId(row["room_id"]) for row in rows]
