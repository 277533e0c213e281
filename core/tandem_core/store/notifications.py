"""Notifications: one per notifiable event, for both programs; due until shown, or skipped with a reason."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tandem_core.store import verdicts
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, RoomId, Topic, UserId

MOST_AT_ONCE = 500
_MOST_BODY = 1000
_NO_WORDS = frozenset({"none", "redacted"})


@dataclass(frozen=True, slots=True)
class Due:
    """A notification that is due, with the row that its event makes now."""

    event_id: EventId
    room_id: RoomId
    made_at: int
    sender: UserId
    kind: str
    body: str
    is_gone: bool
    is_read: bool


def due(conn: sqlite3.Connection, me: UserId) -> list[Due]:
    """What is due, oldest first, at most ``MOST_AT_ONCE``."""
    rows = conn.execute(
        "SELECT n.event_id, n.room_id, n.made_at, e.sender, e.kind, e.body"
        " FROM notification AS n LEFT JOIN event AS e ON e.event_id = n.event_id"
        " WHERE n.state = 'due' ORDER BY n.made_at, e.sent_at, n.event_id LIMIT ?",
        (MOST_AT_ONCE,),
    ).fetchall()
    return [
        Due(
            event_id=EventId(row["event_id"]),
            room_id=RoomId(row["room_id"]),
            made_at=row["made_at"],
            sender=UserId(row["sender"] or ""),
            kind=row["kind"] or "none",
            body=(row["body"] or "")[:_MOST_BODY],  # SQLite's substr() would end at a NUL
            is_gone=row["kind"] is None or row["kind"] in _NO_WORDS,
            is_read=verdicts.is_read(conn, me, RoomId(row["room_id"]), EventId(row["event_id"])),
        )
        for row in rows
    ]


def over(conn: sqlite3.Connection, me: UserId, room_id: RoomId, event_ids: Iterable[EventId]) -> bool:
    """Whether nobody needs a popup of these events any more: each of them is read or gone."""
    return all(
        verdicts.is_read(conn, me, room_id, event_id)
        or conn.execute(
            "SELECT 1 FROM event WHERE event_id = ? AND kind NOT IN ('none', 'redacted')", (event_id,)
        ).fetchone()
        is None
        for event_id in event_ids
    )


def mark_shown(txn: Transaction, event_ids: Sequence[EventId], now_ms: int) -> None:
    """Keep that a person was told of these events."""
    _done(txn, event_ids, "shown", None, now_ms)


def skip(txn: Transaction, event_ids: Sequence[EventId], reason: str, now_ms: int) -> None:
    """Keep that no popup is needed, and why."""
    _done(txn, event_ids, "skipped", reason, now_ms)


def _done(
    txn: Transaction, event_ids: Sequence[EventId], state: str, reason: str | None, now_ms: int
) -> None:
    for event_id in event_ids:
        row = txn.one(
            "UPDATE notification SET state = ?, reason = ?, done_at = ? WHERE event_id = ? AND state = 'due'"
            " RETURNING room_id",
            (state, reason, now_ms, event_id),
        )
        if row is not None:
            txn.changed(Topic.NOTIFICATIONS, RoomId(row["room_id"]))
