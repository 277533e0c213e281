"""What waits to be sent: room messages and encrypted to-device messages, each with its fixed transaction id (law 6)."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Json, RoomId, Topic, UserId


@dataclass(frozen=True, slots=True)
class Queued:
    """A message of ours; ``wire_content`` is what goes to the server and never changes once it is there."""

    txn_id: str
    room_id: RoomId
    type: str
    content: Json
    body: str
    html: str | None
    wire_type: str | None
    wire_content: Json | None
    attempts: int


@dataclass(frozen=True, slots=True)
class ToDevice:
    """One ``/sendToDevice`` request."""

    id: int
    txn_id: str
    type: str
    messages: Json


def put_message(
    txn: Transaction, room_id: RoomId, kind: str, content: Json, body: str, html: str | None, now_ms: int
) -> str:
    """Queue a message; returns its transaction id, which is its identity from now on."""
    txn_id = f"tandem.{now_ms}.{secrets.token_hex(8)}"
    txn.execute(
        "INSERT INTO send_queue (txn_id, room_id, type, content, body, html, state, made_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
        (txn_id, room_id, kind, dumps(content), body, html, now_ms),
    )
    _changed(txn, room_id)
    return txn_id


def next_messages(conn: sqlite3.Connection) -> list[Queued]:
    """The oldest waiting message of each room: order within a room is kept, rooms do not wait for each other."""
    rows = conn.execute(
        "SELECT txn_id, room_id, type, content, body, html, wire_type, wire_content, attempts FROM send_queue"
        " WHERE id IN (SELECT min(id) FROM send_queue WHERE state IN ('queued', 'sending') GROUP BY room_id)"
        " ORDER BY id"
    )
    return [
        Queued(
            row[0],
            row[1],
            row[2],
            loads(row[3]),
            row[4],
            row[5],
            row[6],
            loads(row[7]) if row[7] else None,
            row[8],
        )
        for row in rows
    ]


def set_content(txn: Transaction, txn_id: str, content: Json) -> None:
    """What a message says changes before it is encrypted: a request for its confirmation is added."""
    txn.execute("UPDATE send_queue SET content = ? WHERE txn_id = ?", (dumps(content), txn_id))


def put_wire(txn: Transaction, txn_id: str, room_id: RoomId, wire_type: str, wire_content: Json) -> None:
    """What will be sent for this message, this time and at every repetition.

    What is encrypted never changes; what was going to be sent in clear gives way to its encrypted form.
    """
    txn.execute(
        "UPDATE send_queue SET wire_type = ?, wire_content = ?, state = 'sending'"
        " WHERE txn_id = ? AND wire_type IS NOT 'm.room.encrypted'",
        (wire_type, dumps(wire_content), txn_id),
    )
    _changed(txn, room_id)


def waiting_txns(conn: sqlite3.Connection) -> set[str]:
    """The transaction ids of all messages that wait to be sent."""
    found = conn.execute("SELECT txn_id FROM send_queue WHERE state IN ('queued', 'sending')")
    return {str(row["txn_id"]) for row in found}


def encrypt_again(txn: Transaction) -> None:
    """Give up every ciphertext that was not sent: its ratchet went back with an old copy of the store.

    The encrypted to-device messages of such a copy were sent by what came after it; messages of rooms keep their
    transaction id, so that the server knows those that it has.
    """
    txn.execute(
        "UPDATE to_device_out SET done = 1, messages = '{}', error = 'of an old copy of the store' WHERE done = 0"
    )
    txn.execute(
        "UPDATE send_queue SET wire_type = NULL, wire_content = NULL,"
        " state = CASE state WHEN 'sending' THEN 'queued' ELSE state END"
        " WHERE wire_type = 'm.room.encrypted' AND state IN ('queued', 'sending', 'failed')"
    )
    txn.changed(Topic.OUTBOX)


def note_attempt(txn: Transaction, txn_id: str) -> bool:
    """Its bytes are about to be sent; False if they were given up meanwhile (``encrypt_again``)."""
    return bool(
        txn.execute(
            "UPDATE send_queue SET attempts = attempts + 1 WHERE txn_id = ? AND wire_type IS NOT NULL",
            (txn_id,),
        ).rowcount
    )


def note_sent(txn: Transaction, txn_id: str, room_id: RoomId, event_id: str, now_ms: int) -> None:
    """The server has it."""
    txn.execute(
        "UPDATE send_queue SET state = 'sent', error = NULL, event_id = ?, sent_at = COALESCE(sent_at, ?)"
        " WHERE txn_id = ?",
        (event_id, now_ms, txn_id),
    )
    _changed(txn, room_id)


def note_failed(txn: Transaction, txn_id: str, room_id: RoomId, error: str) -> None:
    """It will not be sent unless its author says so."""
    txn.execute(
        "UPDATE send_queue SET state = 'failed', error = ? WHERE txn_id = ? AND state != 'sent'",
        (error, txn_id),
    )
    _changed(txn, room_id)


def requeue(txn: Transaction, txn_id: str) -> bool:
    """Try a failed message again, at the end of its room's queue; False if it is not a failed one.

    The same bytes and the same transaction id go out, so that nothing is doubled if the server had it.
    """
    row = txn.one("SELECT room_id FROM send_queue WHERE txn_id = ? AND state = 'failed'", (txn_id,))
    if row is None:
        return False
    txn.execute(
        "UPDATE send_queue SET state = 'queued', error = NULL, attempts = 0,"
        " id = (SELECT max(id) + 1 FROM send_queue) WHERE txn_id = ?",
        (txn_id,),
    )
    _changed(txn, row["room_id"])
    return True


def drop(txn: Transaction, txn_id: str) -> bool:
    """Delete a message that was not sent; False if it was, or is on its way."""
    row = txn.one(
        "SELECT room_id FROM send_queue WHERE txn_id = ? AND state IN ('failed', 'queued')", (txn_id,)
    )
    if row is None:
        return False
    txn.execute("DELETE FROM send_queue WHERE txn_id = ?", (txn_id,))
    txn.execute("DELETE FROM audience WHERE txn_id = ?", (txn_id,))
    _changed(txn, row["room_id"])
    return True


def put_audience(
    txn: Transaction,
    txn_id: str,
    people: Iterable[UserId],
    devices: Iterable[tuple[UserId, DeviceId, str | None]],
) -> None:
    """Whom a message is for: people, and those of their devices that have its key."""
    rows: list[tuple[str, str, str, str | None]] = [(txn_id, user, "", None) for user in people]
    rows += [(txn_id, user, device, name) for user, device, name in devices]
    txn.executemany(
        "INSERT OR REPLACE INTO audience (txn_id, user_id, device_id, device_name) VALUES (?, ?, ?, ?)", rows
    )


def put_to_device(txn: Transaction, kind: str, messages: Json, now_ms: int) -> None:
    """Queue one request of encrypted messages, in ratchet order."""
    txn.execute(
        "INSERT INTO to_device_out (txn_id, type, messages, made_at) VALUES (?, ?, ?, ?)",
        (f"tandem.{secrets.token_hex(12)}", kind, dumps(messages), now_ms),
    )
    txn.changed(Topic.OUTBOX)


def waiting_to_device(conn: sqlite3.Connection) -> ToDevice | None:
    row = conn.execute(
        "SELECT id, txn_id, type, messages FROM to_device_out WHERE done = 0 ORDER BY id LIMIT 1"
    ).fetchone()
    return None if row is None else ToDevice(row["id"], row["txn_id"], row["type"], loads(row["messages"]))


def to_device_done(txn: Transaction, to_device_id: int, error: str | None = None) -> None:
    """The server has it, or refused it for good; the ciphertext goes."""
    txn.execute(
        "UPDATE to_device_out SET done = 1, messages = '{}', error = ? WHERE id = ?", (error, to_device_id)
    )


def _changed(txn: Transaction, room_id: RoomId) -> None:
    txn.changed(Topic.OUTBOX, room_id)
    txn.changed(Topic.TIMELINE, room_id)
