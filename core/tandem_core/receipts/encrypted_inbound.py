"""Confirmations that come over the encrypted way: believed only with a proof, from a device that got the key.

Called from the drain, inside its transaction. Nothing is ever answered, and nothing holds up the inbox.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from tandem_core.receipts import encrypted_body, failed, validate
from tandem_core.receipts.encrypted_body import MINUTE_MS, Confirmed, Passed
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
        passed = Passed(room_id, own.event_id, row.user_id, row.device_id, row.ts, row.proof)
        return _confirm_passed(txn, me, own, passed, row.heard_at)
    device = devices.device_with_key(txn.conn, row.user_id, row.sender_key)
    if device is None:
        return 0
    confirmed = Confirmed(room_id, own.event_id, row.proof)
    return _confirm(txn, me, own, device, confirmed, bool(row.device_id), row.ts, row.heard_at)


def _take_receipt(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> int:
    body = encrypted_body.parse(content)
    if body is None or not _admit(txn, device, body.batch, now_ms):
        return 0
    fresh = 0
    if body.failed:
        fresh += failed.accept(txn, me, device.user_id, device, body.failed, now_ms)
    for confirmed in (*body.ok, *body.again):
        own = store.own_message(txn.conn, me.user_id, confirmed.event_id)
        if own is not None:
            if own.room_id == confirmed.room_id:
                fresh += _confirm(txn, me, own, device, confirmed, body.shares_device, body.ts, now_ms)
            continue
        early = DeliveryRow(
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
        validate.put_early(txn, confirmed.room_id, [early])
    return fresh


def _confirm(
    txn: Transaction,
    me: Me,
    own: OwnMessage,
    device: Device,
    confirmed: Confirmed,
    shares_device: bool,
    ts: int,
    heard_at: int,
) -> int:
    user_id, named = device.user_id, device.device_id if shares_device else ""
    if user_id != me.user_id and not validate.may_confirm(txn.conn, own, user_id):
        return 0
    if not validate.was_entitled(txn.conn, me, own, device):
        return 0
    if not validate.has_proven(txn.conn, own, user_id, named, confirmed.proof):
        return 0
    return _keep_proven(txn, me, own, user_id, named, ts, heard_at, confirmed.proof, pass_on=True)


def _take_passed_on(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> int:
    """What another device of ours heard: its word on who said so, and the proof for all the rest."""
    heard = encrypted_body.parse_sync(content)
    if heard is None or not _admit(txn, device, content["batch"], now_ms):
        return 0
    fresh = 0
    for passed in heard:
        own = store.own_message(txn.conn, me.user_id, passed.event_id)
        if own is not None:
            if own.room_id == passed.room_id:
                fresh += _confirm_passed(txn, me, own, passed, now_ms)
            continue
        early = DeliveryRow(
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
        validate.put_early(txn, passed.room_id, [early])
    return fresh


def _confirm_passed(txn: Transaction, me: Me, own: OwnMessage, passed: Passed, heard_at: int) -> int:
    if (passed.user_id, passed.device_id) == (me.user_id, me.device_id):
        return 0
    if passed.user_id != me.user_id and not validate.may_confirm(txn.conn, own, passed.user_id):
        return 0
    if not validate.has_proven(txn.conn, own, passed.user_id, passed.device_id, passed.proof):
        return 0
    return _keep_proven(
        txn, me, own, passed.user_id, passed.device_id, passed.ts, heard_at, passed.proof, pass_on=False
    )


def _keep_proven(
    txn: Transaction,
    me: Me,
    own: OwnMessage,
    user_id: UserId,
    named: str,
    ts: int,
    heard_at: int,
    said: str,
    *,
    pass_on: bool,
) -> int:
    # Our own devices stand for themselves alone: we are nobody that a message was for.
    person = [] if user_id == me.user_id else [("", ts)]
    rows = [*person, *([(named, ts)] if named else [])]
    fresh = validate.keep(txn, own, user_id, rows, heard_at, VIA_OLM)
    if fresh and pass_on:
        forward = Forward(own.event_id, own.room_id, user_id, named, ts, said)
        confirmations.put_forward(txn, forward)
    return fresh


def _take_lease(txn: Transaction, me: Me, device: Device, content: Json, now_ms: int) -> None:
    """Another device of ours answers: what it has confirmed is done, and it goes on answering.

    If both of us have just said so, one gives way: which one does not depend on whose clock is ahead.
    """
    ids = encrypted_body.parse_lease(content)
    if ids is None or not _admit(txn, device, content["batch"], now_ms):
        return
    confirmations.note_by_other(txn, [EventId(event_id) for event_id in ids], now_ms)
    held = confirmations.lease(txn.conn)
    is_ours = held is not None and held.device_id == me.device_id
    if (
        held is not None
        and is_ours
        and abs(now_ms - held.told_at) < QUIET_MS
        and me.device_id < device.device_id
    ):
        return
    confirmations.put_lease(txn, Lease(device.device_id, 0))


def _admit(txn: Transaction, device: Device, batch: str, now_ms: int) -> bool:
    """Whether this batch is a new one of a device that keeps to its pace; counts it."""
    pace = confirmations.pace(txn.conn, device.user_id, device.device_id)
    if pace is None:
        since = devices.first_seen(txn.conn, device.user_id, device.device_id) or now_ms
        pace = Pace(since, float(PER_MINUTE), 0, ())
    if now_ms < pace.muted_until <= now_ms + MUTED_MS or batch in pace.batches:
        return False
    saved = max(now_ms - pace.counted_at, 0) / MINUTE_MS * PER_MINUTE
    pace = replace(pace, counted_at=now_ms, spare=min(pace.spare + saved, float(MOST_SAVED)))
    is_free = pace.spare >= 1
    if is_free:
        pace = replace(pace, spare=pace.spare - 1, batches=(*pace.batches, batch))
    else:
        log.debug("%s: device %s confirms too often", device.user_id, device.device_id)
        pace = replace(pace, muted_until=now_ms + MUTED_MS)
    confirmations.put_pace(txn, device.user_id, device.device_id, pace)
    return is_free
