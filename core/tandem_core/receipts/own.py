"""Between a person's own devices: each tells which messages of the person's it has, and passes on what it heard.

Own devices always confirm to each other, and per device. They do so over the encrypted way, whatever the server can,
and only where the message asks; nobody else learns of it. What another person's device has proven to the one that
asked, that one passes on with its proof, so that every device shows the same picture.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from tandem_core.clock import Chance, Clock
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import encrypted_body, marker, proof
from tandem_core.receipts.encrypted import Letters, own_others, put_letters
from tandem_core.receipts.encrypted_body import Confirmed, Passed
from tandem_core.store import confirmations, events
from tandem_core.store import session as sessions
from tandem_core.store.confirmations import Forward, OwnConfirm
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, Me, Topic
from tandem_core.worker import Worker

PASS_ON_MS = 60_000
"""At most one message a minute passes on what was heard."""
_PASSED_ON = "receipts.passed_on_at"
_MOST_AT_ONCE = 128
_LONGEST_HOLD_MS = 600_000


class OwnDevices(Worker):
    """Works through what our other devices are to be told; either program does, in turns."""

    name: ClassVar[str] = "own_devices"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.OWED, Topic.SESSION, Topic.DEVICES})

    def __init__(
        self, paths: ProfilePaths, db: Database, me: Me, letters: Letters, *, clock: Clock, chance: Chance
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._me = me
        self._letters = letters
        self._clock = clock

    async def step(self) -> float | None:
        """Tell what is due; returns seconds until more is."""
        if await self._db.read(_is_due, self._clock.now_ms()):
            async with netlock(self._paths, "own_devices"):
                await self._letters.ready()
                await self._letters.meet(await self._db.read(own_others, self._me))
                now_ms = self._clock.now_ms()
                await self._db.write(tell, self._me, self._letters, now_ms)
            await self._letters.flush()
        return await self._db.read(_pause_s, self._clock.now_ms())


def tell(txn: Transaction, me: Me, letters: Letters, now_ms: int) -> None:
    """Encrypt what is due to our other devices and queue it; ends it in the same transaction."""
    others = own_others(txn.conn, me)
    _confirm(txn, me, letters, others, now_ms)
    _pass_on(txn, letters, others, now_ms)


def _confirm(txn: Transaction, me: Me, letters: Letters, others: Sequence[Device], now_ms: int) -> None:
    due = confirmations.own_due(txn.conn, now_ms, _LONGEST_HOLD_MS)[:_MOST_AT_ONCE]
    alive = {device.device_id: device for device in others}
    by_device: dict[DeviceId, list[OwnConfirm]] = {}
    for each in due:
        by_device.setdefault(each.asked_by, []).append(each)
    for device_id, entries in by_device.items():
        ok = [one for each in entries if (one := _proven(txn.conn, me, each)) is not None]
        device = alive.get(device_id)
        if device is not None and ok:
            bodies = encrypted_body.build(ok, shares_device=True, now_ms=now_ms)
            put_letters(txn, letters, device, encrypted_body.RECEIPT, bodies, now_ms)
    # A device without a session, or gone, is not told: it is nothing that anybody waits for.
    confirmations.own_done(txn, [each.event_id for each in due])


def _proven(conn: sqlite3.Connection, me: Me, each: OwnConfirm) -> Confirmed | None:
    event = events.get(conn, each.event_id)
    asked = None if event is None else marker.read(event.opened_content)
    if asked is None:
        return None
    said = proof.prove(asked.token, each.event_id, me.user_id, me.device_id)
    return Confirmed(each.room_id, each.event_id, said)


def _pass_on(txn: Transaction, letters: Letters, others: Sequence[Device], now_ms: int) -> None:
    at = _pass_on_at(txn.conn, now_ms)
    if at is None or at > now_ms:
        return
    waiting = confirmations.forwards(txn.conn, _MOST_AT_ONCE)
    bodies = encrypted_body.build_sync([_passed(forward) for _, forward in waiting])
    for device in others:
        put_letters(txn, letters, device, encrypted_body.SYNC, bodies, now_ms)
    confirmations.forwarded(txn, [number for number, _ in waiting])
    sessions.set_fact(txn, _PASSED_ON, now_ms)


def _passed(forward: Forward) -> Passed:
    return Passed(
        forward.room_id, forward.event_id, forward.user_id, forward.device_id, forward.ts, forward.proof
    )


def _pass_on_at(conn: sqlite3.Connection, now_ms: int) -> int | None:
    """When what was heard is passed on next; None if nothing waits."""
    if not confirmations.forwards(conn, 1):
        return None
    last = sessions.fact(conn, _PASSED_ON)
    if not isinstance(last, int) or last > now_ms:
        return now_ms
    return max(now_ms, last + PASS_ON_MS)


def _is_due(conn: sqlite3.Connection, now_ms: int) -> bool:
    at = _pass_on_at(conn, now_ms)
    return bool(confirmations.own_due(conn, now_ms, _LONGEST_HOLD_MS)) or (at is not None and at <= now_ms)


def _pause_s(conn: sqlite3.Connection, now_ms: int) -> float | None:
    times = [confirmations.next_own_at(conn), _pass_on_at(conn, now_ms)]
    return min((max(at - now_ms, 0) / 1000 for at in times if at is not None), default=None)
