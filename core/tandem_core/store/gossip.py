"""Secrets asked for between our own devices: what we asked, what we were offered, what others asked us."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Topic


@dataclass(frozen=True, slots=True)
class Request:
    """A secret that this device asked others of ours for, and did not get yet."""

    request_id: str
    name: str
    made_at: int
    devices: tuple[DeviceId, ...]
    """Who was asked."""
    sent_at: int
    times: int
    """How often all of them were asked."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one device answered to a request; the secret lies sealed, and is believed only once it fits."""

    request_id: str
    name: str
    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class Asked:
    """Another device of ours asks for a secret."""

    device_id: DeviceId
    request_id: str
    name: str
    asked_at: int


def put_request(txn: Transaction, request: Request) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO secret_request (request_id, name, made_at, devices, sent_at, times)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            request.request_id,
            request.name,
            request.made_at,
            dumps(list(request.devices)),
            request.sent_at,
            request.times,
        ),
    )
    txn.changed(Topic.KEYS)


def requests(conn: sqlite3.Connection) -> list[Request]:
    """All open ones, oldest first."""
    rows = conn.execute(
        "SELECT request_id, name, made_at, devices, sent_at, times FROM secret_request"
        " ORDER BY made_at, request_id"
    )
    return [
        Request(row[0], row[1], row[2], tuple(map(DeviceId, loads(row[3]))), row[4], row[5]) for row in rows
    ]


def request(conn: sqlite3.Connection, request_id: str) -> Request | None:
    """The open request with this id."""
    return next((row for row in requests(conn) if row.request_id == request_id), None)


def end_request(txn: Transaction, request_id: str) -> None:
    """It is over, and whatever else comes for it means nothing."""
    txn.execute("DELETE FROM secret_request WHERE request_id = ?", (request_id,))
    txn.execute("DELETE FROM secret_offer WHERE request_id = ?", (request_id,))


def put_offer(txn: Transaction, offer: Offer) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO secret_offer (request_id, device_id) VALUES (?, ?)",
        (offer.request_id, offer.device_id),
    )
    txn.changed(Topic.KEYS)


def offers(conn: sqlite3.Connection) -> list[Offer]:
    """What came for open requests and was not looked at yet."""
    rows = conn.execute(
        "SELECT request_id, name, device_id FROM secret_offer JOIN secret_request USING (request_id)"
        " ORDER BY made_at, request_id, device_id"
    )
    return [Offer(row[0], row[1], DeviceId(row[2])) for row in rows]


def drop_offer(txn: Transaction, offer: Offer) -> None:
    """It was looked at."""
    txn.execute(
        "DELETE FROM secret_offer WHERE request_id = ? AND device_id = ?", (offer.request_id, offer.device_id)
    )


def put_asked(txn: Transaction, asked: Asked) -> None:
    """Remember that another device asks; the same request again changes nothing."""
    txn.execute(
        "INSERT OR IGNORE INTO secret_asked (device_id, request_id, name, asked_at) VALUES (?, ?, ?, ?)",
        (asked.device_id, asked.request_id, asked.name, asked.asked_at),
    )
    txn.changed(Topic.KEYS)


def waiting(conn: sqlite3.Connection) -> list[Asked]:
    """What was asked and not answered, oldest first."""
    rows = conn.execute(
        "SELECT device_id, request_id, name, asked_at FROM secret_asked WHERE answered_at IS NULL"
        " ORDER BY asked_at, device_id, request_id"
    )
    return [Asked(DeviceId(row[0]), row[1], row[2], row[3]) for row in rows]


def note_answered(txn: Transaction, asked: Asked, now_ms: int) -> bool:
    """The answer is in the outbox; False if it was given or called off before."""
    return bool(
        txn.execute(
            "UPDATE secret_asked SET answered_at = ? WHERE device_id = ? AND request_id = ? AND answered_at IS NULL",
            (now_ms, asked.device_id, asked.request_id),
        ).rowcount
    )


def answers_since(conn: sqlite3.Connection, device_id: DeviceId, since_ms: int) -> int:
    """How many secrets this device got from us since then."""
    count: int = conn.execute(
        "SELECT count(*) FROM secret_asked WHERE device_id = ? AND answered_at >= ?", (device_id, since_ms)
    ).fetchone()[0]
    return count


def call_off(txn: Transaction, device_id: str, request_id: str) -> None:
    """The other device does not need it any more; an answer that was given still counts."""
    txn.execute(
        "DELETE FROM secret_asked WHERE device_id = ? AND request_id = ? AND answered_at IS NULL",
        (device_id, request_id),
    )


def has_old(conn: sqlite3.Connection, asked_before_ms: int, now_ms: int) -> bool:
    """Whether ``forget_old`` would forget something."""
    found = conn.execute(f"SELECT 1 FROM secret_asked WHERE {_IS_OLD} LIMIT 1", (asked_before_ms, now_ms))
    return found.fetchone() is not None


def forget_old(txn: Transaction, asked_before_ms: int, now_ms: int) -> None:
    """Forget what others asked before this time, and what a clock that has gone back since says of the future."""
    txn.execute(f"DELETE FROM secret_asked WHERE {_IS_OLD}", (asked_before_ms, now_ms))


_IS_OLD = "max(asked_at, coalesce(answered_at, 0)) NOT BETWEEN ? AND ?"
