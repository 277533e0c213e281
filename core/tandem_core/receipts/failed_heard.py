"""Failed delivery at the author: which devices said that they cannot decrypt a message of ours.

Only a device is believed that was to have the key, and little of it; what it says is taken back by itself, or by a
confirmation in its own encrypted words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tandem_core import trust
from tandem_core.receipts import facts
from tandem_core.receipts.checks import is_id
from tandem_core.receipts.failed import DAY_MS, MOST_N, PER_DAY, Code, Entry
from tandem_core.store import crypto as keys
from tandem_core.store import deliveries, receipts
from tandem_core.store import failed as store
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, EventId, Me, RoomId, UserId

PROVISIONAL_MS = 10 * 60 * 1000
"""So long a report that was heard may be a passing trouble."""
MOST_ENTRIES = 16
MOST_HEARD_A_DAY = 2 * PER_DAY
"""Reports that are believed of one device in a day."""
KEEP_HEARD_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class FailedDevice:
    """A device that said it cannot decrypt a message of ours.

    Until ``settles_at`` it may be a passing trouble. ``key_sent_at``: when its key was sent again, since the device
    said so.
    """

    user_id: UserId
    device_id: DeviceId
    code: Code
    heard_at: int
    settles_at: int
    key_sent_at: int | None


def parse(entries: Any) -> list[Entry]:
    """The reports in the ``failed`` field of a receipt, those that are malformed left out; at most MOST_ENTRIES."""
    found: list[Entry] = []
    for said in entries[:MOST_ENTRIES] if isinstance(entries, list) else ():
        entry = _entry(said)
        if entry is not None and entry.session not in {known.session for known in found}:
            found.append(entry)
    return found


def accept(
    txn: Transaction, me: Me, sender: UserId, device: Device, entries: Sequence[Any], now_ms: int
) -> int:
    """Keep what this device says it cannot open of ours; returns how many rows changed.

    ``device`` is the one that encrypted the message, in its owner's list, and its owner is ``sender``. What does not
    fit is dropped without a word: not our message, another room or session, a device that was not to have the key, or
    is not signed by its owner, a person who was not there or is ignored, too many.
    """
    if sender == me.user_id or device.user_id != sender or receipts.is_ignored(txn.conn, sender):
        return 0
    if trust.device(txn.conn, me, sender, device.device_id) is DeviceTrust.UNSIGNED:
        return 0
    store.forget_heard(txn, now_ms - KEEP_HEARD_MS, now_ms + DAY_MS)
    changed = 0
    for entry in parse(list(entries)):
        place = _place(txn.conn, me, device, entry)
        if place is None:
            continue
        room_id, index = place
        if entry.n == 0:
            changed += store.clear_heard(txn, entry.session, sender, device.device_id, room_id, now_ms)
        elif store.heard_count(txn.conn, sender, device.device_id, now_ms - DAY_MS) < MOST_HEARD_A_DAY:
            changed += store.put_heard(
                txn,
                entry.session,
                sender,
                device.device_id,
                room_id,
                first_event=entry.first,
                first_index=index,
                n=entry.n,
                code=entry.code,
                now_ms=now_ms,
            )
    return changed


def heard(conn: sqlite3.Connection, event_ids: Sequence[str]) -> dict[EventId, list[FailedDevice]]:
    """The devices that cannot decrypt these messages of ours, as they say, by message.

    One that took it back, or confirmed the message (or an earlier one of its session) in its own encrypted words
    since, is not among them.
    """
    found: dict[EventId, list[FailedDevice]] = {}
    for row in store.heard(conn, event_ids):
        found.setdefault(row.event_id, []).append(
            FailedDevice(
                row.user_id,
                row.device_id,
                Code(row.code),
                row.heard_at,
                row.heard_at + PROVISIONAL_MS,
                row.key_sent_at,
            )
        )
    return found


def _place(conn: sqlite3.Connection, me: Me, device: Device, entry: Entry) -> tuple[RoomId, int] | None:
    """The room and place of the message that an entry is about, if this device was to have its key."""
    own = deliveries.own_message(conn, me.user_id, entry.first)
    if own is None or store.session_of(conn, entry.first) != entry.session:
        return None
    index = keys.place_of(conn, entry.session, entry.first)
    origin = store.written_by(conn, own.room_id, entry.session)
    if index is None or origin is None:
        return None
    if own.txn_id is not None and deliveries.was_addressed(conn, own.txn_id, device.user_id) is False:
        return None
    if not facts.is_joined(conn, own.room_id, device.user_id):
        return None
    source, writer = origin
    if source == "own":
        start = keys.entitled_from(conn, entry.session, device.user_id, device.device_id, device.curve25519)
        if start is None or index < start:
            return None
    elif writer != me.user_id:
        return None
    return own.room_id, index


def _entry(said: Any) -> Entry | None:
    if not isinstance(said, dict):
        return None
    session, first, n, code = said.get("session"), said.get("first"), said.get("n"), said.get("code")
    if not is_id(session) or not is_id(first, "$"):
        return None
    if type(n) is not int or not 0 <= n <= MOST_N or not isinstance(code, str) or code not in set(Code):
        return None
    return Entry(session, EventId(first), n, Code(code))
