"""Receipts that come in: what the server says of our own messages is validated, then kept (MSC4089).

Whatever does not fit is dropped without an answer, so that nobody can probe us with bogus receipts.
Receipts that overtake their own message wait a while for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tandem_core.store import deliveries as store
from tandem_core.store import receipts
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, Me, RoomId, UserId

log = logging.getLogger("tandem.receipts.inbound")

RECEIPT_TYPES = ("m.delivery", "org.matrix.msc4089.delivery")
DEVICES_KEY = "im.tandem.devices"
MOST_DEVICES = 20
MOST_EARLY = 256
EARLY_MS = 15 * 60 * 1000
VIA = "server"
"""Said by the home server, which we trust for this as for read receipts."""

_MOST_ID = 255
_MOST_TS = 2**53


@dataclass(frozen=True, slots=True)
class _Receipt:
    """One person's word on one event; ``devices`` holds (device, time), the person first as ``''``."""

    event_id: EventId
    user_id: UserId
    devices: tuple[tuple[str, int], ...]


def accept(txn: Transaction, me: Me, room_id: RoomId, content: Json, now_ms: int) -> int:
    """Keep the delivery receipts in the content of an ``m.receipt``; returns how many rows are new.

    Repeats change nothing; a state once reached stays.
    """
    fresh = 0
    swept = False
    for receipt in _receipts(content):
        if receipt.user_id == me.user_id:
            continue
        own = store.own_message(txn.conn, me.user_id, receipt.event_id)
        if own is None:
            if not store.is_known(txn.conn, receipt.event_id):
                if not swept:
                    sweep(txn, now_ms)
                    swept = True
                store.put_early(
                    txn,
                    receipt.event_id,
                    room_id,
                    receipt.user_id,
                    receipt.devices,
                    heard_at=now_ms,
                    via=VIA,
                    most=MOST_EARLY,
                )
            continue
        if own.room_id == room_id and _may_confirm(txn, own, receipt.user_id):
            fresh += _keep(txn, own, receipt.user_id, receipt.devices, now_ms, VIA)
    return fresh


def claim_early(txn: Transaction, event_id: EventId, now_ms: int | None = None) -> int:
    """Apply what was heard of a message of ours before we knew its event id; returns how many rows are new.

    Call it when the id of a sent message arrives, in the same transaction and after its row is written.
    """
    early = store.take_early(txn, event_id)
    if not early:
        return 0
    session = txn.one("SELECT user_id FROM session")
    own = None if session is None else store.own_message(txn.conn, session["user_id"], event_id)
    if own is None:
        return 0
    fresh = 0
    for room_id, row in early:
        overdue = now_ms is not None and row.heard_at < now_ms - EARLY_MS
        if room_id == own.room_id and not overdue and _may_confirm(txn, own, row.user_id):
            fresh += _keep(txn, own, row.user_id, ((row.device_id, row.ts),), row.heard_at, row.via)
    return fresh


def sweep(txn: Transaction, now_ms: int) -> None:
    """Drop early receipts whose message did not come."""
    store.forget_early(txn, now_ms - EARLY_MS)


def _keep(
    txn: Transaction,
    own: store.OwnMessage,
    user_id: UserId,
    devices: tuple[tuple[str, int], ...],
    heard_at: int,
    via: str,
) -> int:
    known = store.devices_heard(txn.conn, own.event_id, user_id)
    fresh = 0
    for device_id, ts in devices:
        if device_id and device_id not in known:
            if len(known) >= MOST_DEVICES:
                break
            known.add(device_id)
        within = min(max(ts, own.sent_at), heard_at)
        fresh += store.put_delivery(
            txn, own.event_id, own.room_id, user_id, device_id, ts=within, heard_at=heard_at, via=via
        )
    return fresh


def _may_confirm(txn: Transaction, own: store.OwnMessage, user_id: UserId) -> bool:
    """Whether this person could have received the message, at our best knowledge."""
    addressed = None if own.txn_id is None else store.was_addressed(txn.conn, own.txn_id, user_id)
    if addressed:
        return True
    said = {membership for membership, _ in receipts.memberships(txn.conn, own.room_id, user_id)}
    if said:
        return "join" in said
    # Members load lazily: a stranger is refused only where the list is complete or the audience was kept.
    complete = any(complete for _, _, complete in receipts.room_standing(txn.conn, own.room_id))
    return addressed is None and not complete


def _receipts(content: Any) -> Iterator[_Receipt]:
    if not isinstance(content, dict):
        return
    for event_id, kinds in content.items():
        if not _is_id(event_id, "$") or not isinstance(kinds, dict):
            continue
        for receipt_type in RECEIPT_TYPES:
            users = kinds.get(receipt_type)
            if not isinstance(users, dict):
                continue
            for user_id, word in users.items():
                if _is_id(user_id, "@") and isinstance(word, dict) and _is_ts(word.get("ts")):
                    devices = (("", word["ts"]), *_devices(word.get(DEVICES_KEY)))
                    yield _Receipt(EventId(event_id), UserId(user_id), devices)


def _devices(said: Any) -> Iterator[tuple[str, int]]:
    if not isinstance(said, dict):
        return
    count = 0
    for device_id, word in said.items():
        if count == MOST_DEVICES:
            log.debug("more than %d devices in one receipt", MOST_DEVICES)
            return
        if (
            isinstance(device_id, str)
            and 0 < len(device_id) <= _MOST_ID
            and device_id.isprintable()
            and isinstance(word, dict)
            and _is_ts(word.get("ts"))
        ):
            count += 1
            yield device_id, word["ts"]


def _is_id(value: Any, sigil: str) -> bool:
    return isinstance(value, str) and value.startswith(sigil) and 1 < len(value) <= _MOST_ID


def _is_ts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TS
