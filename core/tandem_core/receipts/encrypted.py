"""The encrypted way: confirmations in an Olm message to the device that asked, on every homeserver of today.

Only in answer to a request inside the encrypted message (``marker``), and only over a session that is there: no
one-time key is claimed for a receipt. The ciphertext, the word to our own devices and the end of each receipt are
one transaction, so that a crash neither loses a confirmation nor says it twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from tandem_core.clock import Chance, Clock
from tandem_core.errors import Offline, RateLimited
from tandem_core.receipts import election, encrypted_body, marker, proof
from tandem_core.receipts.encrypted_body import Confirmed
from tandem_core.receipts.gate import Reason, Share
from tandem_core.receipts.transports import Answers, Due, Outcome
from tandem_core.store import confirmations, devices, events
from tandem_core.store import receipts as store
from tandem_core.store.confirmations import Lease
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, EventId, Json, Me, RoomId, UserId

NAME = "olm"
AGAIN_MS = 86_400_000
"""For so long what was confirmed is repeated along with the next confirmations."""
_FORGET_WAIT_MS = 8 * 86_400_000


class Letters(Protocol):
    """What encryption does for receipts."""

    async def ready(self) -> None:
        """Be able to encrypt; raises what keys raise."""
        ...

    async def know(self, user_id: UserId) -> None:
        """Have this person's device list, if it was ever or is now to be had."""
        ...

    async def meet(self, others: Iterable[Device]) -> None:
        """Have sessions with these devices of our own, where there are none; claims keys."""
        ...

    def put(self, txn: Transaction, device: Device, kind: str, content: Json, now_ms: int) -> bool:
        """Encrypt to a device over a session that is there, and queue it; False if there is none."""
        ...

    async def flush(self) -> None:
        """Send what waits."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """A receipt that was asked for, with the devices that can be told."""

    due: Due
    token: bytes
    to: tuple[Device, ...]


class EncryptedTransport:
    """As ``Transport``. An event stays owed while its confirmation is left to another device of ours."""

    name = NAME

    def __init__(self, db: Database, me: Me, letters: Letters, *, clock: Clock, chance: Chance) -> None:
        self._db = db
        self._me = me
        self._letters = letters
        self._clock = clock
        self._chance = chance

    async def send(self, sender: UserId, due: Sequence[Due]) -> Answers:
        """Raises what ``Letters.ready`` raises: then nothing was said and all stay owed."""
        no_way: Answers = {each.row.event_id: Outcome.NO_WAY for each in due}
        if not await self._db.read(_is_asked_for, due):
            return no_way
        await self._letters.ready()
        await self._letters.know(sender)
        asked = await self._db.read(_asked, sender, due)
        if not asked:
            return no_way
        await self._letters.meet(await self._db.read(own_others, self._me))
        now_ms = self._clock.now_ms()
        settled = await self._db.write(_confirm, self._me, self._letters, sender, asked, now_ms, self._chance)
        with suppress(Offline, RateLimited):  # it is in the outbox, which every program works through
            await self._letters.flush()
        answers = {**no_way, **settled}
        return {event_id: answer for event_id, answer in answers.items() if answer is not None}


def own_others(conn: sqlite3.Connection, me: Me) -> list[Device]:
    """Our other devices that are there."""
    return [device for device in devices.devices_of(conn, [me.user_id]) if device.device_id != me.device_id]


def _is_asked_for(conn: sqlite3.Connection, due: Sequence[Due]) -> bool:
    return any(_request(conn, each.row.event_id) is not None for each in due)


def _asked(conn: sqlite3.Connection, sender: UserId, due: Sequence[Due]) -> list[_Asked]:
    """Those that the author asked for, from devices of theirs that are still there."""
    alive = {device.device_id: device for device in devices.devices_of(conn, [sender])}
    found = []
    for each in due:
        request = _request(conn, each.row.event_id)
        if request is not None:
            to = tuple(alive[device_id] for device_id in request.devices if device_id in alive)
            if to:
                found.append(_Asked(each, request.token, to))
    return found


def _request(conn: sqlite3.Connection, event_id: EventId) -> marker.Marker | None:
    event = events.get(conn, event_id)
    return None if event is None or event.opened_content is None else marker.read(event.opened_content)


def _confirm(
    txn: Transaction,
    me: Me,
    letters: Letters,
    sender: UserId,
    asked: Sequence[_Asked],
    now_ms: int,
    chance: Chance,
) -> dict[EventId, Outcome | None]:
    """Encrypt and store the confirmations of one flush, and end their receipts; None: left to another, or ended."""
    answers: dict[EventId, Outcome | None] = {}
    ours: list[_Asked] = []
    for each in asked:
        event_id = each.due.row.event_id
        if confirmations.by_other(txn.conn, event_id):
            store.mark_dropped(txn, event_id, Reason.OTHER_DEVICE, now_ms)
            answers[event_id] = None
        elif _is_our_turn(txn, me, event_id, now_ms, chance):
            ours.append(each)
        else:
            answers[event_id] = None
    told: set[EventId] = set()
    for shares_device in (False, True):
        some = [each for each in ours if (each.due.share == Share.DEVICE) is shares_device]
        told |= _put_messages(txn, me, letters, sender, some, shares_device, now_ms)
    for event_id in sorted(told):
        store.mark_sent(txn, event_id, NAME, now_ms)
        answers[event_id] = Outcome.SENT
    for each in ours:  # a session is made by whoever writes next, or by the author's unwedging
        answers.setdefault(each.due.row.event_id, Outcome.LATER)
    if told:
        _tell_own_devices(txn, me, letters, sorted(told), now_ms)
    return answers


def _is_our_turn(txn: Transaction, me: Me, event_id: EventId, now_ms: int, chance: Chance) -> bool:
    others = frozenset(device.device_id for device in own_others(txn.conn, me))
    lease = confirmations.lease(txn.conn)
    until = confirmations.wait_until(txn.conn, event_id)
    if election.turn(lease, me.device_id, others, until, now_ms) is election.Turn.ANSWER:
        return True
    if until is None:
        wait_ms = election.draw_wait_ms(lease, others, chance)
        confirmations.put_wait(txn, event_id, now_ms + wait_ms, now_ms - _FORGET_WAIT_MS)
    return False


def _put_messages(
    txn: Transaction,
    me: Me,
    letters: Letters,
    sender: UserId,
    some: Sequence[_Asked],
    shares_device: bool,
    now_ms: int,
) -> set[EventId]:
    """One or more messages to each device that asked; returns what was told to any of them."""
    by_device: dict[DeviceId, tuple[Device, list[_Asked]]] = {}
    for each in some:
        for device in each.to:
            by_device.setdefault(device.device_id, (device, []))[1].append(each)
    named = me.device_id if shares_device else ""
    told: set[EventId] = set()
    for device, entries in by_device.values():
        ok = [
            Confirmed(
                each.due.row.room_id,
                each.due.row.event_id,
                proof.prove(each.token, each.due.row.event_id, me.user_id, named),
            )
            for each in entries
        ]
        again = _again(txn.conn, me, sender, device, {one.room_id for one in ok}, shares_device, now_ms)
        bodies = encrypted_body.build(ok, shares_device=shares_device, now_ms=now_ms, again=again)
        if put_letters(txn, letters, device, encrypted_body.RECEIPT, bodies, now_ms):
            told |= {one.event_id for one in ok}
    return told


def _again(
    conn: sqlite3.Connection,
    me: Me,
    sender: UserId,
    device: Device,
    rooms: set[RoomId],
    shares_device: bool,
    now_ms: int,
) -> list[Confirmed]:
    """What this device was told lately in rooms that are allowed now, newest first; no more than was told then."""
    named = me.device_id if shares_device else ""
    found = []
    since_ms = now_ms - AGAIN_MS
    for row in confirmations.said_lately(conn, sender, NAME, since_ms, encrypted_body.MOST_AGAIN):
        request = _request(conn, row.event_id) if row.room_id in rooms else None
        if request is None or device.device_id not in request.devices:
            continue
        if shares_device and row.share != Share.DEVICE:
            continue
        found.append(
            Confirmed(
                row.room_id,
                row.event_id,
                proof.prove(request.token, row.event_id, me.user_id, named),
            )
        )
    return found


def put_letters(
    txn: Transaction, letters: Letters, device: Device, kind: str, bodies: Sequence[Json], now_ms: int
) -> bool:
    """Encrypt these to a device and queue them; False, with nothing queued, where there is no session."""
    return all(letters.put(txn, device, kind, body, now_ms) for body in bodies)


def _tell_own_devices(
    txn: Transaction, me: Me, letters: Letters, event_ids: Sequence[EventId], now_ms: int
) -> None:
    """Say to our other devices what is confirmed, and that this one answers from now on."""
    others = own_others(txn.conn, me)
    for device in others:
        bodies = encrypted_body.build_lease(event_ids)
        put_letters(txn, letters, device, encrypted_body.LEASE, bodies, now_ms)
    if others:
        confirmations.put_lease(txn, Lease(me.device_id, now_ms))
