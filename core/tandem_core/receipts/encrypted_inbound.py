"""Confirmations that come over the encrypted way: believed only with a proof, from a device that got the key.

Called from the drain, inside its transaction. Nothing is ever answered, and nothing holds up the inbox.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from tandem_core.receipts import encrypted_body, failed_heard, validate
from tandem_core.receipts.encrypted_body import MINUTE_MS
from tandem_core.store import confirmations, devices
from tandem_core.store import deliveries as store
from tandem_core.store.confirmations import Forward, Lease, Pace
from tandem_core.store.database import Transaction
from tandem_core.store.deliveries import VIA_OLM, VIA_SYNC, DeliveryRow, OwnMessage
from tandem_core.store.devices import Device
from tandem_core.types import EventId, Json, Me, RoomId, UserId

log = logging.getLogger("tandem.receipts.encrypted_inbound")

PER_MINUTE = 20
"""Batches of one device; beyond that it is not heard for a while."""
OWN_PER_MINUTE = 240
"""The same for a device of our own: twice as many as there may be flushes (``schedule.MOST_AUTHORS``).

Whoever does not hear that it has answered answers, too, and the author sees how many devices are there.
"""
MOST_SAVED = 2000
"""What a device did not use may come together: we were away for so long."""
MUTED_MS = 600_000
QUIET_MS = 60_000
"""For so long after we said that we answer, of two devices that said so at once the first by name goes on."""

KINDS = frozenset({encrypted_body.RECEIPT, encrypted_body.SYNC, encrypted_body.LEASE})
"""The types of what may lie in an Olm message for this module."""


def take(
    txn: Transaction, me: Me, sender: UserId, sender_key: str, kind: str, content: Json, now_ms: int
) -> int:
    """Keep what a device said of receipts; returns how many rows of receipts are new.

    ``sender`` and ``sender_key`` are as Olm proved them. Repetitions change nothing.
    """
    device = devices.device_with_key(txn.conn, sender, sender_key)
    if device is None or (device.user_id, device.device_id) == (me.user_id, me.device_id):
        return 0
    if not validate.is_heard(txn.conn, me, sender):
        return 0
    match kind:
        case encrypted_body.RECEIPT:
            return _take_receipt(txn, me, device, content, now_ms)
        case encrypted_body.SYNC if sender == me.user_id:
            return _take_passed_on(txn, me, device, content, now_ms)
        case encrypted_body.LEASE if sender == me.user_id:
            _take_lease(txn, me, device, content, now_ms)
    return 0


def claim(txn: Transaction, me: Me, own: OwnMessage, room_id: RoomId, row: DeliveryRow) -> int:
    """Look at what came before its message as if it had come now; returns how many rows are new."""
    if room_id != own.room_id:
        return 0
    if row.via == VIA_SYNC:
        return _confirm_passed(txn, me, own, row)
    device = devices.device_with_key(txn.conn, row.user_id, row.sender_key)
    return 0 if device is None else _confirm(txn, me, own, device, row)


def _take_receipt(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> int:
    body = encrypted_body.parse(content)
    if body is None or not _admit(txn, me, device, body.batch, now_ms):
        return 0
    fresh = 0
    if body.failed:
        fresh += failed_heard.accept(txn, me, device.user_id, device, body.failed, now_ms)
    for confirmed in (*body.ok, *body.again):
        row = DeliveryRow(
            event_id=confirmed.event_id,
            user_id=device.user_id,
            device_id=device.device_id if body.shares_device else "",
            ts=body.ts,
            heard_at=now_ms,
            via=VIA_OLM,
            proof=confirmed.proof,
            sender_key=device.curve25519,
            expires_at=now_ms + validate.EARLY_MS,
        )
        fresh += _take_row(txn, me, confirmed.room_id, row)
    return fresh


def _take_row(txn: Transaction, me: Me, room_id: RoomId, row: DeliveryRow) -> int:
    """Keep it if it holds, or until its message comes; returns how many rows are new."""
    own = store.own_message(txn.conn, me.user_id, row.event_id)
    if own is None:
        validate.put_early(txn, room_id, [row])
        return 0
    return claim(txn, me, own, room_id, row)


def _confirm(txn: Transaction, me: Me, own: OwnMessage, device: Device, row: DeliveryRow) -> int:
    user_id, named = device.user_id, device.device_id if row.device_id else ""
    if user_id != me.user_id and not validate.may_confirm(txn.conn, own, user_id):
        return 0
    if not validate.was_entitled(txn.conn, me, own, device):
        return 0
    if not validate.has_proven(txn.conn, own, user_id, named, row.proof):
        return 0
    return _keep_proven(txn, me, own, row, named, pass_on=True)


def _take_passed_on(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> int:
    """What another device of ours heard: its word on who said so, and the proof for all the rest."""
    heard = encrypted_body.parse_sync(content)
    if heard is None or not _admit(txn, me, device, content["batch"], now_ms):
        return 0
    fresh = 0
    for passed in heard:
        row = DeliveryRow(
            event_id=passed.event_id,
            user_id=passed.user_id,
            device_id=passed.device_id,
            ts=passed.ts,
            heard_at=now_ms,
            via=VIA_SYNC,
            proof=passed.proof,
            sender_key=device.curve25519,
            expires_at=now_ms + validate.EARLY_KEPT_MS,
        )
        fresh += _take_row(txn, me, passed.room_id, row)
    return fresh


def _confirm_passed(txn: Transaction, me: Me, own: OwnMessage, row: DeliveryRow) -> int:
    if (row.user_id, row.device_id) == (me.user_id, me.device_id):
        return 0
    if row.user_id != me.user_id and not validate.may_confirm(txn.conn, own, row.user_id):
        return 0
    if not validate.has_proven(txn.conn, own, row.user_id, row.device_id, row.proof):
        return 0
    return _keep_proven(txn, me, own, row, row.device_id, pass_on=False)


def _keep_proven(
    txn: Transaction, me: Me, own: OwnMessage, row: DeliveryRow, named: str, *, pass_on: bool
) -> int:
    # Our own devices stand for themselves alone: we are nobody that a message was for.
    person = [] if row.user_id == me.user_id else [("", row.ts)]
    rows = [*person, *([(named, row.ts)] if named else [])]
    fresh = validate.keep(txn, own, row.user_id, rows, row.heard_at, VIA_OLM)
    if fresh and pass_on:
        forward = Forward(own.event_id, own.room_id, row.user_id, named, row.ts, row.proof)
        confirmations.put_forward(txn, forward)
    return fresh


def _take_lease(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> None:
    """Another device of ours answers: what it has confirmed is done, and it goes on answering.

    If both of us have just said so, one gives way: which one does not depend on whose clock is ahead.
    """
    ids = encrypted_body.parse_lease(content)
    if ids is None or not _admit(txn, me, device, content["batch"], now_ms):
        return
    confirmations.note_by_other(txn, [EventId(event_id) for event_id in ids], now_ms)
    held = confirmations.lease(txn.conn)
    if (
        held is not None
        and held.device_id == me.device_id
        and abs(now_ms - held.told_at) < QUIET_MS
        and me.device_id < device.device_id
    ):
        return
    confirmations.put_lease(txn, Lease(device.device_id, 0))


def _admit(txn: Transaction, me: Me, device: Device, batch: str, now_ms: int) -> bool:
    """Whether this batch is a new one of a device that keeps to its pace; counts it."""
    per_minute = OWN_PER_MINUTE if device.user_id == me.user_id else PER_MINUTE
    pace = confirmations.pace(txn.conn, device.user_id, device.device_id)
    if pace is None:
        since = devices.first_seen(txn.conn, device.user_id, device.device_id) or now_ms
        pace = Pace(since, float(per_minute), 0, ())
    if now_ms < pace.muted_until <= now_ms + MUTED_MS or batch in pace.batches:
        return False
    saved = max(now_ms - pace.counted_at, 0) / MINUTE_MS * per_minute
    pace = replace(pace, counted_at=now_ms, spare=min(pace.spare + saved, float(MOST_SAVED)))
    is_free = pace.spare >= 1
    if is_free:
        pace = replace(pace, spare=pace.spare - 1, batches=(*pace.batches, batch))
    else:
        log.debug("%s: device %s confirms too often", device.user_id, device.device_id)
        pace = replace(pace, muted_until=now_ms + MUTED_MS)
    confirmations.put_pace(txn, device.user_id, device.device_id, pace)
    return is_free
