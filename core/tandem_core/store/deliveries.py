"""Rows of the delivery receipts heard for our own messages, also of those that came before their message."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tandem_core.store.database import Transaction
from tandem_core.types import EventId, RoomId, Topic, UserId


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A receipt heard for a message of ours; ``device_id`` is empty for the person."""

    event_id: EventId
    user_id: UserId
    device_id: str
    ts: int
    heard_at: int
    via: str


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """What says that an event is ours: where it is, when it was sent, and under which transaction id."""

    event_id: EventId
    room_id: RoomId
    sent_at: int
    txn_id: str | None


def own_message(conn: sqlite3.Connection, me: UserId, event_id: EventId) -> OwnMessage | None:
    """The event, if it is ours: from the timeline, or sent and not yet come back."""
    row = conn.execute(
        "SELECT e.room_id, e.sent_at, coalesce(q.txn_id, e.txn_id) AS txn_id FROM event e"
        " LEFT JOIN send_queue q ON q.event_id = e.event_id WHERE e.event_id = ? AND e.sender = ?",
        (event_id, me),
    ).fetchone()
    if row is None:
        row = conn.execute(
            "SELECT room_id, coalesce(sent_at, made_at) AS sent_at, txn_id FROM send_queue WHERE event_id = ?",
            (event_id,),
        ).fetchone()
        # The server's word on who sent an event beats the queue's.
        if row is None or conn.execute("SELECT 1 FROM event WHERE event_id = ?", (event_id,)).fetchone():
            return None
    return OwnMessage(event_id, RoomId(row["room_id"]), int(row["sent_at"]), row["txn_id"])


def is_known(conn: sqlite3.Connection, event_id: EventId) -> bool:
    """Whether the event is in the store at all."""
    return conn.execute("SELECT 1 FROM event WHERE event_id = ?", (event_id,)).fetchone() is not None


def devices_heard(conn: sqlite3.Connection, event_id: EventId, user_id: UserId) -> set[str]:
    """The devices of a person that confirmed an event."""
    rows = conn.execute(
        "SELECT device_id FROM delivery WHERE event_id = ? AND user_id = ? AND device_id <> ''",
        (event_id, user_id),
    )
    return {str(row[0]) for row in rows}


def put_delivery(
    txn: Transaction,
    event_id: EventId,
    room_id: RoomId,
    user_id: UserId,
    device_id: str,
    *,
    ts: int,
    heard_at: int,
    via: str,
) -> bool:
    """Keep a receipt; the first word stays. False if it was known."""
    fresh = txn.execute(
        "INSERT OR IGNORE INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
        " VALUES (?, ?, ?, 'delivered', ?, ?, ?)",
        (event_id, user_id, device_id, ts, heard_at, via),
    ).rowcount
    if fresh:
        txn.changed(Topic.DELIVERY, room_id)
    return bool(fresh)


def deliveries(conn: sqlite3.Connection, event_ids: Sequence[str]) -> dict[str, list[DeliveryRow]]:
    """The receipts heard, by event."""
    found: dict[str, list[DeliveryRow]] = {}
    for row in _each(
        conn, "SELECT * FROM delivery WHERE event_id IN ({}) ORDER BY user_id, device_id", event_ids
    ):
        heard = DeliveryRow(
            row["event_id"], row["user_id"], row["device_id"], row["ts"], row["heard_at"], row["via"]
        )
        found.setdefault(heard.event_id, []).append(heard)
    return found


def last_heard(conn: sqlite3.Connection, user_id: UserId) -> int | None:
    """When a person last confirmed any message of ours."""
    row = conn.execute("SELECT max(heard_at) FROM delivery WHERE user_id = ?", (user_id,)).fetchone()
    return None if row[0] is None else int(row[0])


def put_early(
    txn: Transaction,
    event_id: EventId,
    room_id: RoomId,
    user_id: UserId,
    devices: Iterable[tuple[str, int]],
    *,
    heard_at: int,
    via: str,
    most: int,
) -> bool:
    """Keep receipts (device or ``''``, time) for an event we do not know yet; at most ``most`` rows a person."""
    for device_id, ts in devices:
        held = txn.one("SELECT count(*) FROM delivery_early WHERE user_id = ?", (user_id,))
        if held is not None and held[0] >= most:
            return False
        txn.execute(
            "INSERT OR IGNORE INTO delivery_early (event_id, user_id, device_id, room_id, ts, heard_at, via)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event_id, user_id, device_id, room_id, ts, heard_at, via),
        )
    return True


def forget_early(txn: Transaction, before_ms: int) -> int:
    """Drop early receipts heard before then; returns how many."""
    return txn.execute("DELETE FROM delivery_early WHERE heard_at < ?", (before_ms,)).rowcount


def take_early(txn: Transaction, event_id: EventId) -> list[tuple[RoomId, DeliveryRow]]:
    """Take out what was heard early of an event, person before device."""
    rows = txn.all("SELECT * FROM delivery_early WHERE event_id = ? ORDER BY user_id, device_id", (event_id,))
    if rows:
        txn.execute("DELETE FROM delivery_early WHERE event_id = ?", (event_id,))
    return [
        (
            RoomId(row["room_id"]),
            DeliveryRow(
                row["event_id"], row["user_id"], row["device_id"], row["ts"], row["heard_at"], row["via"]
            ),
        )
        for row in rows
    ]


def was_addressed(conn: sqlite3.Connection, txn_id: str, user_id: UserId) -> bool | None:
    """Whether a message of ours was for this person; None if its audience was not kept."""
    people = {
        str(row[0])
        for row in conn.execute("SELECT user_id FROM audience WHERE txn_id = ? AND device_id = ''", (txn_id,))
    }
    return (user_id in people) if people else None


def _each(conn: sqlite3.Connection, sql: str, ids: Sequence[str]) -> Iterable[sqlite3.Row]:
    """Run a query with an ``IN ({})`` in portions that every SQLite takes."""
    for start in range(0, len(ids), 500):
        portion = ids[start : start + 500]
        yield from conn.execute(sql.format(",".join("?" * len(portion))), tuple(portion))
