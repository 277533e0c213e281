"""Rows of the delivery receipts heard for our own messages, also of those that came before their message."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, RoomId, Topic, UserId

VIA_SERVER = "server"
"""Said by the home server, which we trust for this as for read receipts."""
VIA_OLM = "olm"
"""Proven by one of the person's devices: it has decrypted the message."""
VIA_SYNC = "sync"
"""Of early receipts only: passed on by another device of ours; kept as ``olm`` once the proof is checked."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A receipt heard for a message of ours; ``device_id`` is empty for the person.

    ``proof`` and ``sender_key`` (of the device that said it) are there while it waits for its message.
    """

    event_id: EventId
    user_id: UserId
    device_id: str
    ts: int
    heard_at: int
    via: str
    proof: str = ""
    sender_key: str = ""
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """What says that an event is ours: where it is, when it was sent, and under which transaction id.

    ``is_sealed``: it is encrypted, so that it is known which devices got its key.
    """

    event_id: EventId
    room_id: RoomId
    sent_at: int
    txn_id: str | None
    is_sealed: bool = False


def own_message(conn: sqlite3.Connection, me: UserId, event_id: EventId) -> OwnMessage | None:
    """The event, if it is ours: from the timeline, or sent and not yet come back."""
    row = conn.execute(
        "SELECT e.room_id, e.sent_at, coalesce(q.txn_id, e.txn_id) AS txn_id, e.session_id IS NOT NULL AS is_sealed"
        " FROM event e LEFT JOIN send_queue q ON q.event_id = e.event_id WHERE e.event_id = ? AND e.sender = ?",
        (event_id, me),
    ).fetchone()
    if row is None:
        row = conn.execute(
            "SELECT room_id, coalesce(sent_at, made_at) AS sent_at, txn_id,"
            " wire_type IS 'm.room.encrypted' AS is_sealed FROM send_queue WHERE event_id = ?",
            (event_id,),
        ).fetchone()
        # The server's word on who sent an event beats the queue's.
        if row is None or conn.execute("SELECT 1 FROM event WHERE event_id = ?", (event_id,)).fetchone():
            return None
    return OwnMessage(
        event_id, RoomId(row["room_id"]), int(row["sent_at"]), row["txn_id"], bool(row["is_sealed"])
    )


def own_content(conn: sqlite3.Connection, event_id: EventId) -> Json | None:
    """What an encrypted message of ours says, as it was written; None while it is sealed, or is not encrypted."""
    row = conn.execute(
        "SELECT opened_content AS content FROM event WHERE event_id = ?1 AND opened_content IS NOT NULL"
        " UNION ALL SELECT content FROM send_queue WHERE event_id = ?1 AND wire_type = 'm.room.encrypted' LIMIT 1",
        (event_id,),
    ).fetchone()
    content = None if row is None else loads(row["content"])
    return content if isinstance(content, dict) else None


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
    """Keep a receipt; the first word stays, but what a device has proven beats the server's. False if it was known."""
    fresh = txn.execute(
        "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
        " VALUES (?, ?, ?, 'delivered', ?, ?, ?) ON CONFLICT (event_id, user_id, device_id) DO UPDATE"
        " SET ts = excluded.ts, via = excluded.via WHERE delivery.via = 'server' AND excluded.via = 'olm'",
        (event_id, user_id, device_id, ts, heard_at, via),
    ).rowcount
    if fresh:
        txn.changed(Topic.DELIVERY, room_id)
    return bool(fresh)


def deliveries(conn: sqlite3.Connection, event_ids: Sequence[str]) -> dict[str, list[DeliveryRow]]:
    """The receipts heard, by event."""
    found: dict[str, list[DeliveryRow]] = {}
    for row in portions.rows(
        conn, "SELECT * FROM delivery WHERE event_id IN ({0}) ORDER BY user_id, device_id", event_ids
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
    txn: Transaction, room_id: RoomId, rows: Iterable[DeliveryRow], *, most: int, most_of_all: int
) -> bool:
    """Keep receipts of one person for an event we do not know yet; at most ``most`` rows a person.

    False if there is no room for all of them.
    """
    of_all = txn.one("SELECT count(*) FROM delivery_early")
    room = most_of_all - (of_all[0] if of_all else 0)
    held: int | None = None
    for row in rows:
        if held is None:
            of_person = txn.one("SELECT count(*) FROM delivery_early WHERE user_id = ?", (row.user_id,))
            held = of_person[0] if of_person else 0
        if held >= most or room <= 0:
            return False
        kept = txn.execute(
            "INSERT OR IGNORE INTO delivery_early (event_id, user_id, device_id, via, sender_key, room_id, ts,"
            " heard_at, proof, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.event_id,
                row.user_id,
                row.device_id,
                row.via,
                row.sender_key,
                room_id,
                row.ts,
                row.heard_at,
                row.proof,
                row.expires_at,
            ),
        ).rowcount
        held, room = held + kept, room - kept
    return True


def forget_early(txn: Transaction, now_ms: int) -> int:
    """Drop early receipts whose message did not come in their time; returns how many."""
    return txn.execute("DELETE FROM delivery_early WHERE expires_at < ?", (now_ms,)).rowcount


def take_early(txn: Transaction, event_id: EventId) -> list[tuple[RoomId, DeliveryRow]]:
    """Take out what was heard early of an event, person before device."""
    rows = txn.all("SELECT * FROM delivery_early WHERE event_id = ? ORDER BY user_id, device_id", (event_id,))
    if rows:
        txn.execute("DELETE FROM delivery_early WHERE event_id = ?", (event_id,))
    return [
        (
            RoomId(row["room_id"]),
            DeliveryRow(
                row["event_id"],
                row["user_id"],
                row["device_id"],
                row["ts"],
                row["heard_at"],
                row["via"],
                row["proof"],
                row["sender_key"],
                row["expires_at"],
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


def devices_addressed(conn: sqlite3.Connection, txn_id: str, user_id: UserId) -> set[str]:
    """The devices of a person that got the key of a message of ours when it was sent."""
    rows = conn.execute(
        "SELECT device_id FROM audience WHERE txn_id = ? AND user_id = ? AND device_id <> ''",
        (txn_id, user_id),
    )
    return {str(row[0]) for row in rows}


def got_key(
    conn: sqlite3.Connection, event_id: EventId, user_id: UserId, device_id: str, curve25519: str
) -> bool:
    """Whether this very device was dealt with when the key of our message was shared."""
    row = conn.execute(
        "SELECT 1 FROM event AS e JOIN key_share AS k ON k.session_id = e.session_id"
        " WHERE e.event_id = ? AND k.user_id = ? AND k.device_id = ? AND k.curve25519 = ?"
        " AND k.outcome NOT LIKE 'withheld:%'",
        (event_id, user_id, device_id, curve25519),
    ).fetchone()
    return row is not None
