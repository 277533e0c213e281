"""Whether a confirmation of our own message may be believed, whichever way it came; and keeping it.

The person is who the transport says, never who the content says. Nothing that is refused is answered, or told of
above the log's debug level, so that nobody can probe us with bogus receipts.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

from tandem_core.receipts import marker, proof
from tandem_core.store import deliveries as store
from tandem_core.store import devices, receipts
from tandem_core.store.database import Transaction
from tandem_core.store.deliveries import DeliveryRow, OwnMessage
from tandem_core.store.devices import Device
from tandem_core.types import EventId, Me, RoomId, UserId

log = logging.getLogger("tandem.receipts.validate")

MOST_DEVICES = 20
"""Of one person, for one message."""
MOST_EARLY = 256
"""Receipts of one person that wait for their messages."""
MOST_EARLY_OF_ALL = 4096
EARLY_MS = 15 * 60 * 1000
EARLY_KEPT_MS = 30 * 86_400_000
"""Of early receipts that our own server or device kept for us: the message may come when its room is opened."""


def is_heard(conn: sqlite3.Connection, me: Me, user_id: UserId) -> bool:
    """Whether this person may say anything at all."""
    return user_id == me.user_id or not receipts.is_ignored(conn, user_id)


def may_confirm(conn: sqlite3.Connection, own: OwnMessage, user_id: UserId) -> bool:
    """Whether we are in the room, and this person could have received the message, at our best knowledge."""
    standing = receipts.room_standing(conn, own.room_id)
    if not any(membership == "join" for membership, _, _ in standing):
        return False
    addressed = None if own.txn_id is None else store.was_addressed(conn, own.txn_id, user_id)
    if addressed:
        return True
    said = {membership for membership, _ in receipts.memberships(conn, own.room_id, user_id)}
    if said:
        return "join" in said
    # Members load lazily: a stranger is refused only where the list is complete or the audience was kept.
    return addressed is None and not any(complete for _, _, complete in standing)


def has_proven(
    conn: sqlite3.Connection, own: OwnMessage, user_id: UserId, device_id: str, said: object
) -> bool:
    """Whether the proof holds; ``device_id`` as the proof names it (empty for the person)."""
    asked = marker.read(store.own_content(conn, own.event_id))
    return asked is not None and proof.holds(said, asked.token, own.event_id, user_id, device_id)


def was_entitled(conn: sqlite3.Connection, me: Me, own: OwnMessage, device: Device) -> bool:
    """Whether this device got the message's key from us, when the message was sent."""
    if not store.got_key(conn, own.event_id, device.user_id, device.device_id, device.curve25519):
        return False
    if device.user_id == me.user_id:
        return True  # of our own devices only the keys are kept
    if own.txn_id is None:
        return False
    return device.device_id in store.devices_addressed(conn, own.txn_id, device.user_id)


def believable_devices(
    conn: sqlite3.Connection, own: OwnMessage, user_id: UserId, said: Iterable[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Of devices (id, time) that a server names those that can have the message; the person (``''``) stays."""
    known: set[str] | None = None
    if own.is_sealed and own.txn_id is not None:
        known = store.devices_addressed(conn, own.txn_id, user_id)
    elif devices.is_current(conn, user_id):
        known = devices.ids_ever(conn, user_id)
    return [(device_id, ts) for device_id, ts in said if not device_id or known is None or device_id in known]


def keep(
    txn: Transaction,
    own: OwnMessage,
    user_id: UserId,
    said: Iterable[tuple[str, int]],
    heard_at: int,
    via: str,
) -> int:
    """Keep receipts (device or ``''``, time) of one person; returns how many rows are new.

    Times are kept between the sending and now; repeats change nothing.
    """
    known = store.devices_heard(txn.conn, own.event_id, user_id)
    fresh = 0
    for device_id, ts in said:
        if device_id and device_id not in known:
            if len(known) >= MOST_DEVICES:
                break
            known.add(device_id)
        within = min(max(ts, own.sent_at), heard_at)
        fresh += store.put_delivery(
            txn, own.event_id, own.room_id, user_id, device_id, ts=within, heard_at=heard_at, via=via
        )
    return fresh


def put_early(txn: Transaction, room_id: RoomId, rows: list[DeliveryRow]) -> None:
    """Have receipts wait for a message that we do not know yet, if it can still be ours."""
    if not rows or store.is_known(txn.conn, EventId(rows[0].event_id)):
        return
    if not store.put_early(txn, room_id, rows, most=MOST_EARLY, most_of_all=MOST_EARLY_OF_ALL):
        # Some of those that fill it may be over.
        store.forget_early(txn, rows[0].heard_at)
        store.put_early(txn, room_id, rows, most=MOST_EARLY, most_of_all=MOST_EARLY_OF_ALL)
