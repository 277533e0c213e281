"""Rows of when authors are told: flushes that are planned, those that were made, and where the owner showed up."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.store import session
from tandem_core.store.database import Transaction
from tandem_core.types import RoomId, Topic, UserId

_COME_BACK = "receipts.come_back"
_KEPT_OF_EACH = 5
"""So many flushes to an author are remembered for good: as many as may go unanswered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next flush to one author, for both programs; times in ms.

    ``hold_ms``: what was decided later than that before the flush waits for the next one. ``slack_ms``: how long
    after whatever else held it back the flush goes out. Both were drawn at ``drawn_at``.
    """

    flush_at: int
    hold_ms: int
    slack_ms: int
    drawn_at: int
    profile: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Receipts that went to an author; ``attended``: the owner had shown up in a room with them shortly before."""

    at: int
    attended: bool


@dataclass(frozen=True, slots=True)
class ComeBack:
    """After a time without the server nobody is told before ``until``."""

    drawn_at: int
    until: int


@dataclass(frozen=True, slots=True)
class Attendance:
    """When the owner was last seen by others in a room, and since when without a long pause."""

    at: int
    since: int


# ── Plans ──────────────────────────────────────────────────────────────────────────────────────


def plan(conn: sqlite3.Connection, sender: UserId) -> Plan | None:
    """The next flush to this author, if one is planned."""
    row = conn.execute(
        "SELECT flush_at, hold_ms, slack_ms, drawn_at, profile FROM receipt_plan WHERE sender = ?", (sender,)
    ).fetchone()
    return None if row is None else Plan(*row)


def put_plan(txn: Transaction, sender: UserId, made: Plan) -> None:
    """Keep the plan in place of an older one."""
    txn.execute(
        "INSERT OR REPLACE INTO receipt_plan (sender, flush_at, hold_ms, slack_ms, drawn_at, profile)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (sender, made.flush_at, made.hold_ms, made.slack_ms, made.drawn_at, made.profile),
    )


def drop_plan(txn: Transaction, sender: UserId) -> None:
    """Nothing waits for this author."""
    txn.execute("DELETE FROM receipt_plan WHERE sender = ?", (sender,))


# ── Flushes: what the budgets count ────────────────────────────────────────────────────────────


def note_flush(
    txn: Transaction, sender: UserId, now_ms: int, *, attended: bool, forget_before_ms: int
) -> None:
    """Count one flush to this author, and forget those too old to count, but for the last few of each author."""
    txn.execute(
        "INSERT INTO receipt_flush (sender, flushed_at, attended) VALUES (?, ?, ?)",
        (sender, now_ms, int(attended)),
    )
    txn.execute(
        "DELETE FROM receipt_flush WHERE flushed_at < ? AND (SELECT count(*) FROM receipt_flush AS newer"
        " WHERE newer.sender = receipt_flush.sender AND newer.flushed_at > receipt_flush.flushed_at) >= ?",
        (forget_before_ms, _KEPT_OF_EACH),
    )


def flushes(conn: sqlite3.Connection, sender: UserId) -> tuple[Flush, ...]:
    """The flushes to this author that are remembered, oldest first."""
    rows = conn.execute(
        "SELECT flushed_at, attended FROM receipt_flush WHERE sender = ? ORDER BY flushed_at", (sender,)
    )
    return tuple(Flush(int(row[0]), bool(row[1])) for row in rows)


def flush_times(conn: sqlite3.Connection, since_ms: int) -> tuple[int, ...]:
    """When anybody was told anything, from ``since_ms`` on, oldest first."""
    rows = conn.execute(
        "SELECT flushed_at FROM receipt_flush WHERE flushed_at >= ? ORDER BY flushed_at", (since_ms,)
    )
    return tuple(int(row[0]) for row in rows)


def other_authors(conn: sqlite3.Connection, sender: UserId, since_ms: int) -> tuple[int, ...]:
    """The newest flush to each other author who was told something from ``since_ms`` on, oldest first."""
    rows = conn.execute(
        "SELECT max(flushed_at) AS at FROM receipt_flush WHERE flushed_at >= ? AND sender <> ?"
        " GROUP BY sender ORDER BY at",
        (since_ms, sender),
    )
    return tuple(int(row[0]) for row in rows)


# ── Attendance ─────────────────────────────────────────────────────────────────────────────────


def attend(txn: Transaction, room_id: RoomId, at: int, *, pause_ms: int) -> None:
    """Note that others could see the owner in a room; after more than ``pause_ms`` a new presence begins."""
    txn.execute(
        "INSERT INTO attendance (room_id, at, since) VALUES (?1, ?2, ?2) ON CONFLICT (room_id) DO UPDATE"
        " SET at = excluded.at, since = CASE WHEN excluded.at - attendance.at > ?3 THEN excluded.at"
        " ELSE attendance.since END WHERE excluded.at > attendance.at",
        (room_id, at, pause_ms),
    )
    if txn.one("SELECT 1 FROM receipt_owed WHERE state = 'owed' LIMIT 1"):
        txn.changed(Topic.OWED, room_id)


def attendance(conn: sqlite3.Connection, room_id: RoomId) -> Attendance | None:
    """When the owner was last seen in this room, or None."""
    row = conn.execute("SELECT at, since FROM attendance WHERE room_id = ?", (room_id,)).fetchone()
    return None if row is None else Attendance(int(row["at"]), int(row["since"]))


def attendance_with(conn: sqlite3.Connection, sender: UserId) -> Attendance | None:
    """When the owner was last seen in a room that this person has joined, or None."""
    row = conn.execute(
        "SELECT at, since FROM attendance WHERE room_id IN"
        " (SELECT room_id FROM member WHERE user_id = ? AND membership = 'join') ORDER BY at DESC LIMIT 1",
        (sender,),
    ).fetchone()
    return None if row is None else Attendance(int(row["at"]), int(row["since"]))


# ── Coming back, and the clock ─────────────────────────────────────────────────────────────────


def answered_at(conn: sqlite3.Connection) -> int | None:
    """When a sync of either program was last answered; None where none keeps this account up to date."""
    row = conn.execute("SELECT max(synced_at) AS at FROM connection WHERE fed = 0").fetchone()
    return None if row["at"] is None else int(row["at"])


def come_back(conn: sqlite3.Connection) -> ComeBack | None:
    """The last hold that was drawn when the account came back, over or not."""
    said = session.fact(conn, _COME_BACK)
    return ComeBack(int(said["drawn_at"]), int(said["until"])) if isinstance(said, dict) else None


def set_come_back(txn: Transaction, hold: ComeBack) -> None:
    """Keep the hold for both programs, over restarts."""
    session.set_fact(txn, _COME_BACK, {"drawn_at": hold.drawn_at, "until": hold.until})
    txn.changed(Topic.OWED)


def mend_times(txn: Transaction, now_ms: int, slack_ms: int) -> None:
    """The clock has gone back: what it wrote of later times happened just now, and nothing of it is forgotten.

    Plans are drawn anew; a presence of the future is none.
    """
    latest = now_ms + slack_ms
    txn.execute(
        "UPDATE receipt_owed SET decided_at = ?1, due_at = ?1 WHERE state = 'owed' AND decided_at > ?2",
        (now_ms, latest),
    )
    txn.execute("UPDATE receipt_flush SET flushed_at = ? WHERE flushed_at > ?", (now_ms, latest))
    txn.execute("DELETE FROM receipt_plan WHERE drawn_at > ?", (latest,))
    txn.execute("DELETE FROM attendance WHERE at > ?", (latest,))
    hold = come_back(txn.conn)
    if hold is not None and hold.drawn_at > latest:
        set_come_back(txn, ComeBack(now_ms, now_ms + hold.until - hold.drawn_at))
