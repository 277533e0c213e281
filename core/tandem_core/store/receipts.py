"""Rows of the delivery receipts that this device owes, and what decides about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import current_links
from tandem_core.types import EventId, Role, RoomId, Topic, UserId

_LONGEST_HOLD_MS = 600_000
"""No receipt is held back for longer: a later time is of a clock that has gone back since, and is over."""


@dataclass(frozen=True, slots=True)
class OwedRow:
    """A receipt this device owes, or owed; one per event, for both programs."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    opened_by: Role
    decided_at: int
    due_at: int
    share: str
    state: str
    transport: str | None
    reason: str | None
    attempts: int
    done_at: int | None


# ── Owed ───────────────────────────────────────────────────────────────────────────────────────


def owe(
    txn: Transaction,
    event_id: EventId,
    room_id: RoomId,
    sender: UserId,
    *,
    opened_by: Role,
    now_ms: int,
    due_at: int,
    share: str,
) -> bool:
    """Keep that a receipt is owed; False if this event was decided before (by either program)."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'owed')",
        (event_id, room_id, sender, opened_by, now_ms, due_at, share),
    ).rowcount
    if fresh:
        txn.changed(Topic.OWED, room_id)
    return bool(fresh)


def due(conn: sqlite3.Connection, now_ms: int) -> list[OwedRow]:
    """What is owed and due, oldest first."""
    return _owed_rows(
        conn.execute(
            "SELECT * FROM receipt_owed WHERE state = 'owed' AND due_at NOT BETWEEN ? AND ?"
            " ORDER BY due_at, event_id",
            (now_ms + 1, now_ms + _LONGEST_HOLD_MS),
        )
    )


def next_due_at(conn: sqlite3.Connection, after_ms: int) -> int | None:
    """When the next receipt falls due that is not due at ``after_ms`` yet."""
    row = conn.execute(
        "SELECT min(due_at) FROM receipt_owed WHERE state = 'owed' AND due_at BETWEEN ? AND ?",
        (after_ms + 1, after_ms + _LONGEST_HOLD_MS),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def owed(conn: sqlite3.Connection, event_id: EventId) -> OwedRow | None:
    """What was decided for an event, in whatever state it is."""
    rows = _owed_rows(conn.execute("SELECT * FROM receipt_owed WHERE event_id = ?", (event_id,)))
    return rows[0] if rows else None


def owed_count(conn: sqlite3.Connection) -> int:
    """How many receipts wait to be sent."""
    return int(conn.execute("SELECT count(*) FROM receipt_owed WHERE state = 'owed'").fetchone()[0])


def mark_sent(txn: Transaction, event_id: EventId, transport: str, now_ms: int) -> None:
    """The server has it for good."""
    txn.execute(
        "UPDATE receipt_owed SET state = 'sent', transport = ?, reason = NULL, done_at = ?, attempts = attempts + 1"
        " WHERE event_id = ? AND state = 'owed'",
        (transport, now_ms, event_id),
    )
    txn.changed(Topic.OWED)


def mark_dropped(txn: Transaction, event_id: EventId, reason: str, now_ms: int) -> None:
    """It will never be sent, and why."""
    txn.execute(
        "UPDATE receipt_owed SET state = 'dropped', reason = ?, done_at = ? WHERE event_id = ? AND state = 'owed'",
        (reason, now_ms, event_id),
    )
    txn.changed(Topic.OWED)


def note_attempt(txn: Transaction, event_id: EventId, reason: str) -> None:
    """A try failed in a way that may pass."""
    txn.execute(
        "UPDATE receipt_owed SET attempts = attempts + 1, reason = ? WHERE event_id = ? AND state = 'owed'",
        (reason, event_id),
    )


# ── Flushes: what the budget counts ────────────────────────────────────────────────────────────


def note_flush(txn: Transaction, sender: UserId, now_ms: int, *, forget_before_ms: int) -> None:
    """Count one flush of receipts to this sender, and forget those too old to count."""
    txn.execute("DELETE FROM receipt_flush WHERE flushed_at < ?", (forget_before_ms,))
    txn.execute("INSERT INTO receipt_flush (sender, flushed_at) VALUES (?, ?)", (sender, now_ms))


def flushes(conn: sqlite3.Connection, sender: UserId, since_ms: int) -> list[int]:
    """When receipts were flushed to this sender from ``since_ms`` on, oldest first."""
    rows = conn.execute(
        "SELECT flushed_at FROM receipt_flush WHERE sender = ? AND flushed_at >= ? ORDER BY flushed_at",
        (sender, since_ms),
    )
    return [int(row[0]) for row in rows]


# ── Who is there, as far as the connections know ───────────────────────────────────────────────


def memberships(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> list[tuple[str, int]]:
    """A person's membership and its time (0: not known) as each connection says that is up to date."""
    return [
        (str(row["membership"]), int(row["changed_at"]))
        for link in current_links(conn, room_id)
        for row in conn.execute(
            "SELECT membership, changed_at FROM member WHERE conn = ? AND room_id = ? AND user_id = ?",
            (link, room_id, user_id),
        )
    ]


def room_standing(conn: sqlite3.Connection, room_id: RoomId) -> list[tuple[str, int | None, bool]]:
    """Our membership, the joined count, and whether all members are known, as each such connection says."""
    return [
        (str(row["membership"]), row["joined_count"], bool(row["members_complete"]))
        for link in current_links(conn, room_id)
        for row in conn.execute(
            "SELECT membership, joined_count, members_complete FROM room WHERE conn = ? AND room_id = ?",
            (link, room_id),
        )
    ]


def is_ignored(conn: sqlite3.Connection, user_id: UserId) -> bool:
    """Whether the account ignores this person; a list that cannot be read ignores everybody."""
    row = conn.execute("SELECT content FROM account_data WHERE type = 'm.ignored_user_list'").fetchone()
    if row is None:
        return False
    try:
        content = loads(row["content"])
    except ValueError:
        return True
    people = content.get("ignored_users", {}) if isinstance(content, dict) else None
    return not isinstance(people, dict) or user_id in people


def is_redacted(conn: sqlite3.Connection, event_id: EventId) -> bool:
    """Whether the event is gone or was redacted."""
    row = conn.execute("SELECT redacted_by, kind FROM event WHERE event_id = ?", (event_id,)).fetchone()
    return row is None or row["redacted_by"] is not None or row["kind"] == "redacted"


def was_accepted(conn: sqlite3.Connection, room_id: RoomId) -> bool:
    """Whether the account's owner wrote here, invited them, or accepted their invitation."""
    row = conn.execute("SELECT accepted FROM room_fact WHERE room_id = ?", (room_id,)).fetchone()
    return row is not None and bool(row["accepted"])


def _owed_rows(found: Iterable[sqlite3.Row]) -> list[OwedRow]:
    return [
        OwedRow(
            row["event_id"],
            row["room_id"],
            row["sender"],
            Role(row["opened_by"]),
            row["decided_at"],
            row["due_at"],
            row["share"],
            row["state"],
            row["transport"],
            row["reason"],
            row["attempts"],
            row["done_at"],
        )
        for row in found
    ]
