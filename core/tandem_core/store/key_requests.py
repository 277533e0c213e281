"""Room keys asked for between our own devices: what this one asked for, and what others asked of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, RoomId, Topic


@dataclass(frozen=True, slots=True)
class Request:
    """A session that this device asked others of ours for, and still needs."""

    request_id: str
    room_id: RoomId
    session_id: str
    made_at: int
    devices: tuple[DeviceId, ...]
    """Who was asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Another device of ours asks for a session."""

    device_id: DeviceId
    request_id: str
    room_id: RoomId
    session_id: str
    asked_at: int


def put_request(txn: Transaction, request: Request) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO key_request (request_id, room_id, session_id, made_at, devices)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            request.request_id,
            request.room_id,
            request.session_id,
            request.made_at,
            dumps(list(request.devices)),
        ),
    )


def requests(conn: sqlite3.Connection) -> list[Request]:
    """The open ones, oldest first."""
    rows = conn.execute(
        "SELECT request_id, room_id, session_id, made_at, devices FROM key_request WHERE ended_at IS NULL"
        " ORDER BY made_at, request_id"
    )
    return [_request(row) for row in rows]


def request_for(conn: sqlite3.Connection, room_id: str, session_id: str) -> Request | None:
    """The open request for this session."""
    row = conn.execute(
        "SELECT request_id, room_id, session_id, made_at, devices FROM key_request"
        " WHERE room_id = ? AND session_id = ? AND ended_at IS NULL",
        (room_id, session_id),
    ).fetchone()
    return None if row is None else _request(row)


def asked_at(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> int | None:
    """When our other devices were asked for this session, whatever came of it."""
    row = conn.execute(
        "SELECT made_at FROM key_request WHERE room_id = ? AND session_id = ?", (room_id, session_id)
    ).fetchone()
    return None if row is None else int(row["made_at"])


def end_request(txn: Transaction, request_id: str, now_ms: int) -> None:
    """It is over; that it was made is remembered for a while, so that nobody is asked again and again."""
    txn.execute("UPDATE key_request SET ended_at = ? WHERE request_id = ?", (now_ms, request_id))


def is_sealed(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> bool:
    """Whether an event still waits for this session, or for a better copy of it."""
    row = conn.execute(
        "SELECT 1 FROM event WHERE room_id = ? AND session_id = ? AND seal = 'sealed' LIMIT 1",
        (room_id, session_id),
    ).fetchone()
    return row is not None


def missing(
    conn: sqlite3.Connection, before_ms: int, limit: int, *, after_backup: bool
) -> list[tuple[RoomId, str]]:
    """Sessions that events have waited for since ``before_ms`` and nobody was asked for, the newest events first.

    With ``after_backup`` only those that the backup was asked for already.
    """
    has_not = (
        " AND EXISTS (SELECT 1 FROM backup_missing AS m WHERE m.room_id = e.room_id AND m.session_id = e.session_id)"
        if after_backup
        else ""
    )
    rows = conn.execute(
        "SELECT e.room_id, e.session_id FROM event AS e WHERE e.seal = 'sealed' AND e.seal_reason IS NOT NULL"
        " AND e.session_id IS NOT NULL AND e.received_at <= ? AND NOT EXISTS"
        " (SELECT 1 FROM key_request AS r WHERE r.room_id = e.room_id AND r.session_id = e.session_id)"
        f"{has_not} GROUP BY e.room_id, e.session_id ORDER BY max(e.sent_at) DESC LIMIT ?",
        (before_ms, limit),
    )
    return [(RoomId(row[0]), str(row[1])) for row in rows]


def put_asked(txn: Transaction, asked: Asked) -> None:
    """Remember that another device asks; the same request again changes nothing."""
    txn.execute(
        "INSERT OR IGNORE INTO key_asked (device_id, request_id, room_id, session_id, asked_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (asked.device_id, asked.request_id, asked.room_id, asked.session_id, asked.asked_at),
    )
    txn.changed(Topic.KEYS)


def waiting(conn: sqlite3.Connection) -> list[Asked]:
    """What was asked and not answered, oldest first."""
    rows = conn.execute(
        "SELECT device_id, request_id, room_id, session_id, asked_at FROM key_asked WHERE answered_at IS NULL"
        " ORDER BY asked_at, device_id, request_id"
    )
    return [Asked(DeviceId(row[0]), row[1], RoomId(row[2]), row[3], row[4]) for row in rows]


def asked_count(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM key_asked").fetchone()[0])


def note_answered(txn: Transaction, asked: Asked, now_ms: int) -> None:
    """The answer is in the outbox."""
    txn.execute(
        "UPDATE key_asked SET answered_at = ? WHERE device_id = ? AND request_id = ?",
        (now_ms, asked.device_id, asked.request_id),
    )


def answers_since(conn: sqlite3.Connection, device_id: DeviceId, since_ms: int) -> int:
    """How many keys this device got from us since then."""
    count: int = conn.execute(
        "SELECT count(*) FROM key_asked WHERE device_id = ? AND answered_at >= ?", (device_id, since_ms)
    ).fetchone()[0]
    return count


def call_off(txn: Transaction, device_id: str, request_id: str) -> None:
    """The other device does not need it any more; an answer that was given still counts."""
    txn.execute(
        "DELETE FROM key_asked WHERE device_id = ? AND request_id = ? AND answered_at IS NULL",
        (device_id, request_id),
    )


def has_old(conn: sqlite3.Connection, times: Sequence[int]) -> bool:
    """Whether ``forget_old`` would forget something."""
    asked_before, ended_before, now_ms = times
    found = conn.execute(
        f"SELECT 1 FROM key_asked WHERE {_OLD_ASKED} UNION ALL SELECT 1 FROM key_request WHERE {_OLD_REQUEST} LIMIT 1",
        (asked_before, now_ms, ended_before, now_ms),
    )
    return found.fetchone() is not None


def forget_old(txn: Transaction, times: Sequence[int]) -> None:
    """Forget what was asked before the first of these times, or ended before the second, or lies after the third."""
    asked_before, ended_before, now_ms = times
    txn.execute(f"DELETE FROM key_asked WHERE {_OLD_ASKED}", (asked_before, now_ms))
    txn.execute(f"DELETE FROM key_request WHERE {_OLD_REQUEST}", (ended_before, now_ms))


_OLD_ASKED = "COALESCE(answered_at, asked_at) NOT BETWEEN ? AND ?"
_OLD_REQUEST = "ended_at NOT BETWEEN ? AND ?"


def _request(row: sqlite3.Row) -> Request:
    return Request(row[0], RoomId(row[1]), row[2], row[3], tuple(map(DeviceId, loads(row[4]))))
