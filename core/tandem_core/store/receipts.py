"""Rows of the delivery receipts that this device owes, and what decides about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_core.store import audience
from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import current_links
from tandem_core.types import EventId, Role, RoomId, Topic, UserId

KEPT_MS = 30 * 24 * 3_600_000
"""How long it is remembered what became of a receipt, for as long as a server keeps receipts itself."""
MOST_WAITING = 500
"""So many receipts wait for one author; of more, the oldest are dropped."""
_SWEPT = 4


@dataclass(frozen=True, slots=True)
class OwedRow:
    """What was decided about one event, for both programs.

    ``state``: ``owed``; ``sent``, ``dropped`` (it was owed) and ``refused`` (it never was) have a ``done_at``.
    ``due_at`` is when the author was to be told as it was planned at the decision.
    """

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


def is_open(conn: sqlite3.Connection, event_id: EventId) -> bool:
    """Whether nothing was decided about this event yet, or only that its room was not known well enough."""
    row = conn.execute("SELECT state, reason FROM receipt_owed WHERE event_id = ?", (event_id,)).fetchone()
    return row is None or (row["state"] == "refused" and row["reason"] == "unknown_room")


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
    """Keep that a receipt is owed; False if this event was decided before (by either program).

    Where too many wait for this author, the oldest one is dropped.
    """
    if not is_open(txn.conn, event_id):
        return False
    txn.execute(
        "INSERT OR REPLACE INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'owed')",
        (event_id, room_id, sender, opened_by, now_ms, due_at, share),
    )
    if waiting_count(txn.conn, sender) > MOST_WAITING:
        oldest = oldest_waiting(txn.conn, sender)
        if oldest is not None:
            mark_dropped(txn, oldest.event_id, "too_many_waiting", now_ms)
    _forget_some(txn, now_ms)
    txn.changed(Topic.OWED, room_id)
    return True


def refuse(
    txn: Transaction,
    event_id: EventId,
    room_id: RoomId,
    sender: UserId,
    *,
    opened_by: Role,
    now_ms: int,
    reason: str,
) -> bool:
    """Keep why a message is not confirmed; False if this event was decided before."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state,"
        " reason, done_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'user', 'refused', ?6, ?5)",
        (event_id, room_id, sender, opened_by, now_ms, reason),
    ).rowcount
    if fresh:
        _forget_some(txn, now_ms)
    return bool(fresh)


def waiting_senders(conn: sqlite3.Connection) -> list[UserId]:
    """The authors to whom something is owed, the one who waits longest first."""
    rows = conn.execute(
        "SELECT sender FROM receipt_owed WHERE state = 'owed' GROUP BY sender ORDER BY min(decided_at), sender"
    )
    return [UserId(row[0]) for row in rows]


def waiting(conn: sqlite3.Connection, sender: UserId, decided_by_ms: int) -> list[OwedRow]:
    """What is owed to an author and was decided by then, oldest first."""
    return _owed_rows(
        conn.execute(
            "SELECT * FROM receipt_owed WHERE state = 'owed' AND sender = ? AND decided_at <= ?"
            " ORDER BY decided_at, event_id",
            (sender, decided_by_ms),
        )
    )


def oldest_waiting(
    conn: sqlite3.Connection, sender: UserId, *, untried_first: bool = False
) -> OwedRow | None:
    """What this author has waited for the longest; ``untried_first``: of what was never tried, if there is such."""
    rows = _owed_rows(
        conn.execute(
            "SELECT * FROM receipt_owed WHERE state = 'owed' AND sender = ?"
            " ORDER BY ? AND attempts > 0, decided_at, event_id LIMIT 1",
            (sender, untried_first),
        )
    )
    return rows[0] if rows else None


def newest_decided_at(conn: sqlite3.Connection, sender: UserId) -> int | None:
    """When the newest receipt that waits for this author was decided."""
    row = conn.execute(
        "SELECT max(decided_at) AS at FROM receipt_owed WHERE state = 'owed' AND sender = ?", (sender,)
    ).fetchone()
    return None if row["at"] is None else int(row["at"])


def waiting_count(conn: sqlite3.Connection, sender: UserId) -> int:
    """How many receipts wait for this author."""
    row = conn.execute(
        "SELECT count(*) FROM receipt_owed WHERE state = 'owed' AND sender = ?", (sender,)
    ).fetchone()
    return int(row[0])


def owed(conn: sqlite3.Connection, event_id: EventId) -> OwedRow | None:
    """What was decided for an event, in whatever state it is."""
    rows = _owed_rows(conn.execute("SELECT * FROM receipt_owed WHERE event_id = ?", (event_id,)))
    return rows[0] if rows else None


def mark_sent(txn: Transaction, event_id: EventId, transport: str, now_ms: int) -> None:
    """The server has it for good."""
    txn.execute(
        "UPDATE receipt_owed SET state = 'sent', transport = ?, reason = NULL, done_at = ?, attempts = attempts + 1"
        " WHERE event_id = ? AND state = 'owed'",
        (transport, now_ms, event_id),
    )
    txn.changed(Topic.OWED)


def put_off(txn: Transaction, event_id: EventId) -> None:
    """It was tried in vain, and stays owed."""
    txn.execute(
        "UPDATE receipt_owed SET attempts = attempts + 1 WHERE event_id = ? AND state = 'owed'", (event_id,)
    )
    txn.changed(Topic.OWED)


def mark_dropped(txn: Transaction, event_id: EventId, reason: str, now_ms: int) -> None:
    """It will never be sent, and why."""
    txn.execute(
        "UPDATE receipt_owed SET state = 'dropped', reason = ?, done_at = ? WHERE event_id = ? AND state = 'owed'",
        (reason, now_ms, event_id),
    )
    txn.changed(Topic.OWED)


# ── Who is there, as far as the connections know ───────────────────────────────────────────────


def memberships(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> list[tuple[str, int]]:
    """A person's membership and its time (0: not known) as each connection says that is up to date."""
    found = [audience.standing(conn, link, room_id, user_id) for link in current_links(conn, room_id)]
    return [said for said in found if said is not None]


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


def _forget_some(txn: Transaction, now_ms: int) -> None:
    """Forget what was settled long ago: more rows than a decision adds, so that they cannot pile up."""
    txn.execute(
        "DELETE FROM receipt_owed WHERE event_id IN"
        " (SELECT event_id FROM receipt_owed WHERE done_at < ? ORDER BY done_at LIMIT ?)",
        (now_ms - KEPT_MS, _SWEPT),
    )
