"""Receipts that come in: what the server says of our own messages is validated, then kept (MSC4089).

Whatever does not fit is dropped without an answer, so that nobody can probe us with bogus receipts.
Receipts that overtake their own message wait a while for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tandem_core.receipts import encrypted_inbound, validate
from tandem_core.receipts.checks import is_id, is_ts
from tandem_core.store import deliveries as store
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.deliveries import VIA_SERVER, DeliveryRow
from tandem_core.types import EventId, Json, Me, RoomId, UserId, server_of

log = logging.getLogger("tandem.receipts.inbound")

RECEIPT_TYPES = ("m.delivery", "org.matrix.msc4089.delivery")
DEVICES_KEY = "im.tandem.devices"
DURABLE = "im.tandem.delivery"
"""The to-device type in which the account's own server keeps receipts for an author who is away."""


@dataclass(frozen=True, slots=True)
class _Receipt:
    """One person's word on one event; ``devices`` holds (device, time), the person first as ``''``."""

    event_id: EventId
    user_id: UserId
    devices: tuple[tuple[str, int], ...]


def accept(
    txn: Transaction,
    me: Me,
    room_id: RoomId,
    content: Json,
    now_ms: int,
    *,
    early_ms: int = validate.EARLY_MS,
) -> int:
    """Keep the delivery receipts in the content of an ``m.receipt``; returns how many rows are new.

    Repeats change nothing; a state once reached stays. One whose message is not known waits for ``early_ms``.
    """
    fresh = 0
    swept = False
    for receipt in _receipts(content):
        if receipt.user_id == me.user_id or not validate.is_heard(txn.conn, me, receipt.user_id):
            continue
        own = store.own_message(txn.conn, me.user_id, receipt.event_id)
        if own is None:
            if not swept:
                sweep(txn, now_ms)
                swept = True
            waiting = [
                DeliveryRow(
                    event_id=receipt.event_id,
                    user_id=receipt.user_id,
                    device_id=device_id,
                    ts=ts,
                    heard_at=now_ms,
                    via=VIA_SERVER,
                    expires_at=now_ms + early_ms,
                )
                for device_id, ts in receipt.devices
            ]
            validate.put_early(txn, room_id, waiting)
        elif own.room_id == room_id:
            fresh += _confirm(txn, own, receipt.user_id, receipt.devices, now_ms)
    return fresh


def take_durable(txn: Transaction, me: Me, sender: UserId, content: Json, now_ms: int) -> str | None:
    """Keep what our own server kept for us while we were away; returns why it is ignored, or None.

    Nobody but the server writes under this name (MSC4246); from anybody else it means nothing.
    """
    if sender != f"@:{server_of(me.user_id)}":
        return "receipts from somebody who is not our server"
    rooms = content.get("rooms")
    if not isinstance(rooms, dict):
        return "malformed receipts"
    for room_id, said in rooms.items():
        if is_id(room_id, "!"):
            accept(txn, me, RoomId(room_id), said, now_ms, early_ms=validate.EARLY_KEPT_MS)
    return None


def claim_early(txn: Transaction, event_id: EventId, now_ms: int) -> int:
    """Apply what was heard of a message of ours before we knew its event id; returns how many rows are new.

    Call it when the id of a sent message arrives, in the same transaction and after its row is written.
    """
    early = store.take_early(txn, event_id)
    session = sessions.session(txn.conn) if early else None
    own = None if session is None else store.own_message(txn.conn, session.me.user_id, event_id)
    if session is None or own is None:
        return 0
    fresh = 0
    for room_id, row in early:
        if room_id != own.room_id or row.expires_at < now_ms:
            continue
        if row.via == VIA_SERVER:
            fresh += _confirm(txn, own, row.user_id, [(row.device_id, row.ts)], row.heard_at)
        else:
            fresh += encrypted_inbound.claim(txn, session.me, own, room_id, row)
    return fresh


def sweep(txn: Transaction, now_ms: int) -> None:
    """Drop early receipts whose message did not come."""
    store.forget_early(txn, now_ms)


def _confirm(
    txn: Transaction,
    own: store.OwnMessage,
    user_id: UserId,
    said: tuple[tuple[str, int], ...] | list[tuple[str, int]],
    heard_at: int,
) -> int:
    if not validate.may_confirm(txn.conn, own, user_id):
        return 0
    believed = validate.believable_devices(txn.conn, own, user_id, said)
    return validate.keep(txn, own, user_id, believed, heard_at, VIA_SERVER)


def _receipts(content: Any) -> Iterator[_Receipt]:
    if not isinstance(content, dict):
        return
    for event_id, kinds in content.items():
        if not is_id(event_id, "$") or not isinstance(kinds, dict):
            continue
        for receipt_type in RECEIPT_TYPES:
            users = kinds.get(receipt_type)
            if not isinstance(users, dict):
                continue
            for user_id, word in users.items():
                if is_id(user_id, "@") and isinstance(word, dict) and is_ts(word.get("ts")):
                    devices = (("", word["ts"]), *_devices(word.get(DEVICES_KEY)))
                    yield _Receipt(EventId(event_id), UserId(user_id), devices)


def _devices(said: Any) -> Iterator[tuple[str, int]]:
    if not isinstance(said, dict):
        return
    count = 0
    for device_id, word in said.items():
        if count == validate.MOST_DEVICES:
            log.debug("more than %d devices in one receipt", validate.MOST_DEVICES)
            return
        if is_id(device_id) and device_id.isprintable() and isinstance(word, dict) and is_ts(word.get("ts")):
            count += 1
            yield device_id, word["ts"]
