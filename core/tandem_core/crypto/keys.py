"""The network half of keys: upload ours, ask for others', claim one-time keys. One owner at a time (law 14).

Every function takes what it needs from the store, asks, and commits the answer; no crypto state is held
while waiting.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

from tandem_core.clock import Clock
from tandem_core.crypto import account, olm, published, signed
from tandem_core.crypto.rollback import RollbackCheck
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import Expected, ServerRefused
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import crypto as rows
from tandem_core.store import devices
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, Json, Me, UserId, server_of

log = logging.getLogger("tandem.crypto.keys")

_CLIENT = "/_matrix/client/v3"
_USERS_PER_QUERY = 250
_RETRY_MS = 60_000
_KEYS_TIMEOUT_MS = 10_000


class StoreForked(Expected):
    """The server holds other keys under our ids."""

    title = "This device's encryption store is an old copy"
    advice = "Sign out and sign in again as a new device; your messages stay."


class Keys:
    """Uploads, queries and claims for one program."""

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        state: CryptoState,
        *,
        clock: Clock,
        synced: asyncio.Event | None = None,
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._state = state
        self._clock = clock
        self._unclaimed: dict[tuple[UserId, DeviceId], float] = {}
        self.rollback = RollbackCheck(db, http, state, clock=clock, synced=synced)

    async def upload(self) -> None:
        """Give the server the keys it lacks.

        If it has others under our ids, this store is an older copy: nothing of it encrypts any more, and the ids
        are moved on until they are free. Raises StoreForked, from then on, if they never are.
        """
        device_id = self._state.me.device_id
        if await self._db.read(sessions.fact, account.FORKED_FACT) == device_id:
            raise StoreForked
        if not await self._db.read(_needs_upload, self._clock.now_ms()):
            return
        async with netlock(self._paths, "keys"):
            skipped = 0
            while await self._is_taken():
                if skipped == 0:
                    await self.rollback.keys_went_back()
                count = skipped or account.ONE_TIME_KEYS
                if skipped + count > account.MOST_SKIPPED:
                    log.error("the server has other keys under our ids, however far they are moved on")
                    await self._db.write(sessions.set_fact, account.FORKED_FACT, device_id)
                    raise StoreForked
                await self._db.write(account.skip_ids, self._state, count)
                skipped += count

    async def _is_taken(self) -> bool:
        """Upload once; returns whether the server refused because it has other keys under these ids."""
        if not await self._db.write(account.prepare_upload, self._state, self._clock.now_ms()):
            return False
        waiting = await self._db.read(rows.waiting_upload)
        if waiting is None:
            return False
        upload_id, body = waiting
        try:
            answer = await self._http.request("POST", f"{_CLIENT}/keys/upload", body)
        except ServerRefused as refused:
            if "already exists" not in refused.message:
                raise
            return True
        counts = answer.get("one_time_key_counts")
        await self._db.write(
            account.note_uploaded,
            upload_id,
            body,
            counts if isinstance(counts, dict) else {},
            self._clock.now_ms(),
        )
        return False

    async def query(self, only: Collection[UserId] | None = None) -> None:
        """Fetch the device lists that are out of date (of these people, or all).

        People whose server does not answer stay out of date and are asked for again in a minute.
        """
        if not await self._db.read(devices.outdated, self._clock.now_ms(), only):
            return
        async with netlock(self._paths, "devices"):
            wanted = await self._db.read(devices.outdated, self._clock.now_ms(), only)
            people = list(wanted)
            for start in range(0, len(people), _USERS_PER_QUERY):
                await self._query({user: wanted[user] for user in people[start : start + _USERS_PER_QUERY]})

    async def _query(self, wanted: dict[UserId, int]) -> None:
        """Ask for these lists; if the server does not like somebody's name, the others are asked for without it."""
        people = list(wanted)
        body = {"device_keys": {user: [] for user in people}, "timeout": _KEYS_TIMEOUT_MS}
        try:
            answer = await self._http.request("POST", f"{_CLIENT}/keys/query", body)
        except ServerRefused as refused:
            if len(people) == 1:
                log.warning("%s: the list of devices is refused: %s", people[0], refused.errcode)
                await self._db.write(devices.note_failed, people, self._clock.now_ms() + _RETRY_MS)
                return
            for half in (people[: len(people) // 2], people[len(people) // 2 :]):
                await self._query({user: wanted[user] for user in half})
            return
        await self._db.write(put_answer, self._state.me, wanted, answer, self._clock.now_ms())

    async def claim(self, wanted: Iterable[Device]) -> None:
        """Open Olm sessions with these devices where there is none; those that give no key are let be for a minute."""
        now_s = self._clock.monotonic_s()
        missing = [
            device
            for device in wanted
            if self._unclaimed.get((device.user_id, device.device_id), now_s) <= now_s
        ]
        missing = await self._db.read(_without_session, missing)
        if missing:
            async with netlock(self._paths, "claim"):
                missing = await self._db.read(_without_session, missing)
                await self._claim(missing)

    async def mend(self) -> None:
        """Open a new Olm session beside each broken one, and say ``m.dummy`` over it so that the other side has it."""
        if not await self._db.read(rows.wedged):
            return
        async with netlock(self._paths, "claim"):
            wedged = await self._db.read(rows.wedged)
            known = await self._db.read(devices.devices_of, {user for _, user, _ in wedged})
            due = {key for key, _, _ in wedged}
            broken = [device for device in known if device.curve25519 in due]
            answer = await self._ask(broken)
            await self._db.write(_mend, self._state, broken, due, answer, self._clock.now_ms())

    async def _claim(self, missing: list[Device]) -> None:
        if not missing:
            return
        answer = await self._ask(missing)
        now_ms = self._clock.now_ms()
        got = await self._db.write(_make_sessions, self._state, missing, answer, now_ms)
        for device in missing:
            who = (device.user_id, device.device_id)
            if who in got:
                self._unclaimed.pop(who, None)
            else:
                self._unclaimed[who] = self._clock.monotonic_s() + _RETRY_MS / 1000

    async def _ask(self, wanted: list[Device]) -> Json:
        """A one-time key of each; a refusal is an answer without keys, since messages are sent all the same."""
        if not wanted:
            return {}
        request: dict[str, dict[str, str]] = {}
        for device in wanted:
            request.setdefault(device.user_id, {})[device.device_id] = "signed_curve25519"
        body: Json = {"one_time_keys": request, "timeout": _KEYS_TIMEOUT_MS}
        try:
            return await self._http.request("POST", f"{_CLIENT}/keys/claim", body)
        except ServerRefused as refused:
            log.warning("one-time keys are refused: %s", refused.errcode)
            return {}


def _needs_upload(conn: sqlite3.Connection, now_ms: int) -> bool:
    """Whether ``prepare_upload`` would have anything to do: a look that costs no write."""
    return rows.waiting_upload(conn) is not None or bool(account.lack(conn, now_ms))


def put_answer(txn: Transaction, me: Me, wanted: dict[UserId, int], answer: Json, now_ms: int) -> None:
    """Keep what a ``/keys/query`` answer says of these people; ``wanted``: as ``devices.outdated`` gave it."""
    by_user = answer.get("device_keys")
    by_user = by_user if isinstance(by_user, dict) else {}
    failures = answer.get("failures")
    failed = set(failures) if isinstance(failures, dict) else set()
    # Ourselves first: what others' keys are worth hangs on our own.
    for user, generation in sorted(wanted.items(), key=lambda entry: entry[0] != me.user_id):
        listed = by_user.get(user)
        if server_of(user) in failed or not isinstance(listed, dict):
            devices.note_failed(txn, [user], now_ms + _RETRY_MS)
            continue
        identity = published.put_identity(txn, me, user, answer, now_ms)
        checked = []
        for device_id, keys in listed.items():
            device = signed.device_from_keys(user, device_id, keys)
            if device is None:
                log.warning("%s: the keys of device %s are not properly signed", user, device_id)
            elif published.is_mistakable(device[0], identity):
                log.warning("%s: device %s could be taken for its owner's identity; refused", user, device_id)
            else:
                checked.append(device)
        for device_id in devices.put_list(txn, user, checked, generation, now_ms):
            log.warning("%s: device %s shows other keys than before; refused", user, device_id)
        published.put_signatures(txn, identity, [device for device, _ in checked], listed)
        if user == me.user_id:
            published.note_own_signature(txn, me, identity, listed.get(me.device_id))


def _without_session(conn: sqlite3.Connection, wanted: list[Device]) -> list[Device]:
    return [device for device in wanted if not rows.has_olm_session(conn, device.curve25519)]


def _make_sessions(
    txn: Transaction, state: CryptoState, wanted: list[Device], answer: Json, now_ms: int
) -> set[tuple[UserId, DeviceId]]:
    """Make sessions from claimed keys, unless one appeared meanwhile. Returns with whom there is one now."""
    return {
        (device.user_id, device.device_id)
        for device in wanted
        if rows.has_olm_session(txn.conn, device.curve25519)
        or _make_session(txn, state, device, answer, now_ms)
    }


def _mend(
    txn: Transaction, state: CryptoState, broken: list[Device], due: set[str], answer: Json, now_ms: int
) -> None:
    for device in broken:
        if _make_session(txn, state, device, answer, now_ms):
            olm.put(txn, state, device, "m.dummy", {}, now_ms)
    rows.unwedged(txn, due)


def _make_session(txn: Transaction, state: CryptoState, device: Device, answer: Json, now_ms: int) -> bool:
    key = _claimed_key(answer.get("one_time_keys"), device)
    if key is None:
        log.info("%s: device %s has no one-time key to give", device.user_id, device.device_id)
        return False
    try:
        state.new_session(txn, device.curve25519, key, now_ms)
    except ValueError:
        log.warning("%s: device %s gave a bad one-time key", device.user_id, device.device_id)
        return False
    return True


def _claimed_key(by_user: Any, device: Device) -> str | None:
    """The device's one-time key from a ``/keys/claim`` answer, if the device signed it."""
    try:
        keys = by_user[device.user_id][device.device_id]
        key_id, value = next(iter(keys.items()))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return None
    if not str(key_id).startswith("signed_curve25519:"):
        return None
    if not signed.is_signed_by(value, device.user_id, device.device_id, device.ed25519):
        return None
    key = value.get("key")
    return key if isinstance(key, str) else None
