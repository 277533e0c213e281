"""Rows of failed delivery: what this device cannot open and owes its author word of, and what others said of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, EventId, RoomId, Topic, UserId

_LONGEST_WAIT_MS = 86_400_000
"""Nothing is put off for longer: a later time is of a clock that has gone back since, and is over."""
_TO_DO = "(state = 'waiting' OR (state = 'sent' AND mended_at IS NOT NULL))"
_LATER = "due_at BETWEEN ?1 + 1 AND ?1 + ?2"
_COLUMNS = (
    "room_id, session_id, sender, first_event, decided_at, due_at, state, code, n, reason, sent_at, mended_at"
)


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A session of somebody's messages that this device cannot open, or could not."""

    room_id: RoomId
    session_id: str
    sender: UserId
    first_event: EventId
    decided_at: int
    due_at: int
    state: str
    """``waiting``, ``sent``, ``dropped`` or ``taken_back``"""
    code: str | None
    n: int | None
    reason: str | None
    sent_at: int | None
    mended_at: int | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message row that says it cannot be decrypted."""

    event_id: EventId
    sent_at: int
    received_at: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class HeardRow:
    """What a device said of a session of ours, for one of our messages."""

    event_id: EventId
    user_id: UserId
    device_id: DeviceId
    code: str
    heard_at: int
    key_sent_at: int | None


# ── What this device cannot open ───────────────────────────────────────────────────────────────


def put_waiting(
    txn: Transaction,
    room_id: RoomId,
    session_id: str,
    sender: UserId,
    first_event: EventId,
    *,
    now_ms: int,
    due_at: int,
) -> bool:
    """Keep that this session cannot be opened; False if that is known."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO failed_owed (room_id, session_id, sender, first_event, decided_at, due_at, state)"
        " VALUES (?, ?, ?, ?, ?, ?, 'waiting')",
        (room_id, session_id, sender, first_event, now_ms, due_at),
    ).rowcount
    if fresh:
        txn.changed(Topic.OWED, room_id)
    return bool(fresh)


def waiting_count(conn: sqlite3.Connection, sender: UserId) -> int:
    """How many sessions of this author wait to be told."""
    found = conn.execute(
        "SELECT count(*) FROM failed_owed WHERE sender = ? AND state = 'waiting'", (sender,)
    ).fetchone()
    return int(found[0])


def forget_told(txn: Transaction, before_ms: int) -> None:
    """Forget what was settled, or decided, before then."""
    txn.execute("DELETE FROM failed_owed WHERE decided_at < ?", (before_ms,))


def is_noted(conn: sqlite3.Connection, room_id: RoomId, session_id: str, sender: UserId) -> bool:
    return row(conn, room_id, session_id, sender) is not None


def row(conn: sqlite3.Connection, room_id: RoomId, session_id: str, sender: UserId) -> FailedRow | None:
    """What is kept of this session, in whatever state."""
    found = conn.execute(
        f"SELECT {_COLUMNS} FROM failed_owed WHERE room_id = ? AND session_id = ? AND sender = ?",
        (room_id, session_id, sender),
    ).fetchone()
    return None if found is None else FailedRow(*found)


def due(conn: sqlite3.Connection, now_ms: int) -> list[FailedRow]:
    """Those to be looked at now, to be told or taken back, the longest due first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM failed_owed WHERE {_TO_DO} AND NOT {_LATER} ORDER BY due_at, session_id",
        (now_ms, _LONGEST_WAIT_MS),
    )
    return [FailedRow(*found) for found in rows]


def next_due_at(conn: sqlite3.Connection, after_ms: int) -> int | None:
    """When the next one falls due that is not due at ``after_ms`` yet."""
    found = conn.execute(
        f"SELECT min(due_at) FROM failed_owed WHERE {_TO_DO} AND {_LATER}", (after_ms, _LONGEST_WAIT_MS)
    ).fetchone()
    return None if found[0] is None else int(found[0])


def sealed_rows(conn: sqlite3.Connection, failed: FailedRow) -> list[Sealed]:
    """The visible rows of this session that cannot be read, live ones only, in the order they were sent."""
    rows = conn.execute(
        "SELECT e.event_id, e.sent_at, e.received_at, e.seal_reason FROM event AS e"
        " WHERE e.room_id = ? AND e.session_id = ? AND e.sender = ? AND e.seal IN ('sealed', 'refused')"
        " AND e.kind = 'sealed' AND e.state_key IS NULL AND e.redacted_by IS NULL AND EXISTS"
        " (SELECT 1 FROM timeline AS t WHERE t.conn IN ('app', 'notifier') AND t.event_id = e.event_id"
        " AND t.origin IN ('live', 'gap') AND t.shown = 1)"
        " ORDER BY e.sent_at, e.event_id LIMIT 1000",
        (failed.room_id, failed.session_id, failed.sender),
    )
    return [Sealed(EventId(found[0]), found[1], found[2], found[3]) for found in rows]


def put_off(txn: Transaction, failed: FailedRow, until_ms: int) -> None:
    """Look again then."""
    _set(txn, failed, "due_at = ?", until_ms)


def mark_sent(
    txn: Transaction, failed: FailedRow, first_event: EventId, code: str, n: int, now_ms: int
) -> None:
    """Its author is told, and is not told again."""
    _set(
        txn,
        failed,
        "state = 'sent', first_event = ?, code = ?, n = ?, sent_at = ?",
        first_event,
        code,
        n,
        now_ms,
    )


def mark_dropped(txn: Transaction, failed: FailedRow, reason: str) -> None:
    """Its author will not be told, and why."""
    _set(txn, failed, "state = 'dropped', reason = ?", reason)


def mark_taken_back(txn: Transaction, failed: FailedRow) -> None:
    """Its author is told that it can be read now."""
    _set(txn, failed, "state = 'taken_back'")


def note_still_sealed(txn: Transaction, failed: FailedRow) -> None:
    """The key that came did not open it all; a better one may."""
    _set(txn, failed, "mended_at = NULL")


def forget(txn: Transaction, failed: FailedRow) -> None:
    """It opened before its author was told: nothing happened."""
    txn.execute(
        "DELETE FROM failed_owed WHERE room_id = ? AND session_id = ? AND sender = ?",
        (failed.room_id, failed.session_id, failed.sender),
    )


def note_mended(txn: Transaction, room_id: RoomId, session_id: str, sender: UserId, now_ms: int) -> bool:
    """The key came from its sender after they were told that it is missing; False if they were not told."""
    done = txn.execute(
        "UPDATE failed_owed SET mended_at = ?1, due_at = ?1 WHERE room_id = ?2 AND session_id = ?3 AND sender = ?4"
        " AND state = 'sent' AND mended_at IS NULL",
        (now_ms, room_id, session_id, sender),
    ).rowcount
    if done:
        txn.changed(Topic.OWED, room_id)
    return bool(done)


def mended_at(
    conn: sqlite3.Connection, room_id: RoomId, session_id: str | None, sender: UserId
) -> int | None:
    """When the author of a session sent its key because this device had told them; None if they did not."""
    known = None if session_id is None else row(conn, room_id, session_id, sender)
    return None if known is None else known.mended_at


def told_since(conn: sqlite3.Connection, sender: UserId, since_ms: int, now_ms: int) -> list[int]:
    """When this author was told of failures between these times, oldest first."""
    rows = conn.execute(
        "SELECT sent_at FROM failed_owed WHERE sender = ? AND sent_at BETWEEN ? AND ? ORDER BY sent_at",
        (sender, since_ms, now_ms),
    )
    return [int(found[0]) for found in rows]


def signed_in_at(conn: sqlite3.Connection) -> int | None:
    """Since when this device is signed in."""
    found = conn.execute("SELECT signed_in_at FROM session").fetchone()
    return None if found is None else int(found[0])


def _set(txn: Transaction, failed: FailedRow, what: str, *values: object) -> None:
    txn.execute(
        f"UPDATE failed_owed SET {what} WHERE room_id = ? AND session_id = ? AND sender = ?",
        (*values, failed.room_id, failed.session_id, failed.sender),
    )


# ── What others said of ours ───────────────────────────────────────────────────────────────────


def put_heard(
    txn: Transaction,
    session_id: str,
    user_id: UserId,
    device_id: DeviceId,
    room_id: RoomId,
    *,
    first_event: EventId,
    first_index: int,
    n: int,
    code: str,
    now_ms: int,
) -> bool:
    """Keep a device's word on a session of ours; the first one stays. False if there was one."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO receipt_failed (session_id, user_id, device_id, room_id, first_event, first_index,"
        " n, code, heard_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (session_id, user_id, device_id, room_id, first_event, first_index, n, code, now_ms),
    ).rowcount
    if fresh:
        txn.changed(Topic.DELIVERY, room_id)
    return bool(fresh)


def clear_heard(
    txn: Transaction, session_id: str, user_id: UserId, device_id: DeviceId, room_id: RoomId, now_ms: int
) -> bool:
    """The device can read it by now; False if nothing was held against it."""
    done = txn.execute(
        "UPDATE receipt_failed SET cleared_at = ? WHERE session_id = ? AND user_id = ? AND device_id = ?"
        " AND room_id = ? AND cleared_at IS NULL",
        (now_ms, session_id, user_id, device_id, room_id),
    ).rowcount
    if done:
        txn.changed(Topic.DELIVERY, room_id)
    return bool(done)


def heard_count(conn: sqlite3.Connection, user_id: UserId, device_id: DeviceId, since_ms: int) -> int:
    """How many sessions this device said this of since then."""
    found = conn.execute(
        "SELECT count(*) FROM receipt_failed WHERE user_id = ? AND device_id = ? AND heard_at >= ?",
        (user_id, device_id, since_ms),
    ).fetchone()
    return int(found[0])


def newest_heard(conn: sqlite3.Connection) -> int | None:
    """When any device last said that it cannot read something of ours, and has not taken it back."""
    found = conn.execute("SELECT max(heard_at) FROM receipt_failed WHERE cleared_at IS NULL").fetchone()
    return None if found[0] is None else int(found[0])


def forget_heard(txn: Transaction, before_ms: int, after_ms: int) -> None:
    """Forget what was said before the first of these times, or after the second one."""
    txn.execute("DELETE FROM receipt_failed WHERE heard_at NOT BETWEEN ? AND ?", (before_ms, after_ms))


def written_by(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> tuple[str, UserId] | None:
    """Where a session came from, and whose it is said to be."""
    found = conn.execute(
        "SELECT source, sender FROM megolm_inbound WHERE room_id = ? AND session_id = ?",
        (room_id, session_id),
    ).fetchone()
    return None if found is None else (str(found["source"]), UserId(found["sender"]))


def session_of(conn: sqlite3.Connection, event_id: str) -> str | None:
    """The Megolm session of an event."""
    found = conn.execute("SELECT session_id FROM event WHERE event_id = ?", (event_id,)).fetchone()
    return None if found is None else found["session_id"]


def heard(conn: sqlite3.Connection, event_ids: Sequence[str]) -> list[HeardRow]:
    """What devices said they cannot read of these messages, and have neither taken back nor confirmed since.

    Who read a message of the session can read all later ones. Only a confirmation that its device encrypted
    counts here: the server's word takes nothing back that a device has said itself.
    """
    rows = portions.rows(
        conn,
        "SELECT e.event_id, f.user_id, f.device_id, f.code, f.heard_at, a.sent_at FROM event AS e"
        " JOIN megolm_replay AS p ON p.session_id = e.session_id AND p.event_id = e.event_id"
        " JOIN receipt_failed AS f ON f.session_id = e.session_id AND f.room_id = e.room_id"
        " AND f.first_index <= p.message_index AND f.cleared_at IS NULL"
        " LEFT JOIN key_again AS a ON a.session_id = f.session_id AND a.user_id = f.user_id"
        " AND a.device_id = f.device_id AND a.message_index <= p.message_index AND a.sent_at >= f.heard_at"
        " WHERE e.event_id IN ({0}) AND e.redacted_by IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM delivery AS d JOIN megolm_replay AS q ON q.session_id = f.session_id"
        " AND q.event_id = d.event_id WHERE d.user_id = f.user_id AND d.device_id = f.device_id"
        " AND d.via <> 'server' AND d.heard_at >= f.heard_at AND q.message_index <= p.message_index)"
        " ORDER BY f.user_id, f.device_id",
        event_ids,
    )
    return [
        HeardRow(EventId(row[0]), UserId(row[1]), DeviceId(row[2]), row[3], row[4], row[5]) for row in rows
    ]
