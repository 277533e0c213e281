"""Secrets between our own devices (spec, "Sharing secrets"): m.secret.request in clear, m.secret.send over Olm.

A request says nothing about who wrote it, so the answer goes to the keys of the device it names, and only if that
device is ours and verified. An answer counts only for a request of ours that is open, from a verified device that
was asked; and it is kept only if it fits what the account publishes (``adopt``). All of it is rows: whichever program
drains the inbox, either one answers and takes over.
"""

from __future__ import annotations

import logging
import secrets as random
import sqlite3
from dataclasses import replace
from typing import ClassVar

from tandem_core import trust
from tandem_core.clock import elapsed_ms
from tandem_core.crypto import olm, outbox, secrets
from tandem_core.crypto.adoption import adopt
from tandem_core.crypto.asking import AskingWorker, ask, call_off, is_id
from tandem_core.crypto.recovery_state import NAMES
from tandem_core.crypto.state import CryptoState
from tandem_core.netlock import netlock
from tandem_core.store import backup as backup_rows
from tandem_core.store import devices
from tandem_core.store import gossip as rows
from tandem_core.store.database import Transaction
from tandem_core.store.gossip import Asked, Offer, Request
from tandem_core.types import DeviceId, Json, Me, UserId

log = logging.getLogger("tandem.crypto.gossip")

REQUEST, SEND = "m.secret.request", "m.secret.send"
REMEMBER_MS = 3_600_000
"""How long a device that is not verified yet may wait for its answer: as long as people take to compare emoji."""
REQUEST_ENDS_MS = 7 * 86_400_000
"""How long an answer to a request of ours is believed: other devices may be away."""
ASK_AGAIN_MS = (30_000, 300_000, 3_600_000)
"""Other clients drop a request that comes before they know that we are verified, so we ask again, ever later."""
ANSWERS_PER_HOUR = 12
_HOUR_MS = 3_600_000
_MOST_WAITING = 16
_MOST_SECRET = 4096
_LOOK_AGAIN_S = 30.0


def take_request(txn: Transaction, me: Me, sender: UserId, content: Json, now_ms: int) -> str | None:
    """Note what another device asks for, or does not need any more; returns why it is ignored, or None."""
    device_id, request_id = content.get("requesting_device_id"), content.get("request_id")
    if sender != me.user_id:
        return "somebody else asks for a secret"
    if not is_id(device_id) or not is_id(request_id):
        return "malformed request for a secret"
    if device_id == me.device_id:
        return None  # our own, which the server gave to all of our devices
    if content.get("action") == "request_cancellation":
        rows.call_off(txn, device_id, request_id)
        return None
    name = content.get("name")
    if content.get("action") != "request" or name not in NAMES:
        return None  # other clients have secrets of their own
    waiting = rows.waiting(txn.conn)
    if len(waiting) >= _MOST_WAITING:
        return "too many requests for secrets"
    rows.put_asked(txn, Asked(DeviceId(device_id), request_id, name, now_ms))
    if not devices.device(txn.conn, me.user_id, DeviceId(device_id)):
        devices.track(txn, [me.user_id])
        devices.mark_outdated(txn, [me.user_id])
    return None


def take_secret(txn: Transaction, state: CryptoState, opened: olm.Opened, now_ms: int) -> str | None:
    """Note what a device sent for a request of ours; returns why it is ignored, or None.

    It is kept sealed until ``GossipWorker`` has seen that it fits; a repetition finds its request closed.
    """
    if opened.sender != state.me.user_id:
        return "a secret from somebody else"
    device = devices.device_with_key(txn.conn, opened.sender, opened.sender_key)
    if device is None or not trust.is_verified(txn.conn, state.me, device.device_id):
        return "a secret from a device that is not verified"
    request_id, secret = opened.content.get("request_id"), opened.content.get("secret")
    if not is_id(request_id) or not isinstance(secret, str) or not 0 < len(secret) <= _MOST_SECRET:
        return "malformed secret"
    asked = rows.request(txn.conn, request_id)
    if asked is None or elapsed_ms(asked.made_at, now_ms) >= REQUEST_ENDS_MS:
        return "a secret that was not asked for"
    if device.device_id not in asked.devices:
        return "a secret from a device that was not asked"
    offer = Offer(request_id, asked.name, device.device_id)
    secrets.keep(txn, state, _sealed_name(offer), secret, now_ms)
    rows.put_offer(txn, offer)
    return None


def ask_for_missing(txn: Transaction, me: Me, now_ms: int) -> int:
    """Ask our verified devices for every secret that this one lacks; returns how many requests went out.

    Nothing while our own identity is not confirmed here. Who was asked is asked again a few times (``ASK_AGAIN_MS``).
    """
    to_ask = _to_ask(txn.conn, me, now_ms)
    for request, fresh in to_ask:
        rows.put_request(txn, request)
        ask(txn, me, REQUEST, request.request_id, fresh, {"name": request.name}, now_ms)
    return len(to_ask)


class GossipWorker(AskingWorker):
    """Asks for what this device lacks, takes over what fits, and answers our other devices."""

    name: ClassVar[str] = "gossip"

    async def step(self) -> float | None:
        now_ms = self._clock.now_ms()
        if not await self._db.read(_has_work, self._me, now_ms):
            return _LOOK_AGAIN_S
        state = await self._opener.state()
        async with netlock(self._paths, "gossip"):
            for offer in await self._db.read(rows.offers):
                await self._look_at(state, offer)
            await self._db.write(_tidy, self._me, now_ms)
            await self._db.write(ask_for_missing, self._me, now_ms)
            due = await self._db.read(_due, self._me, now_ms)
            await self._open_sessions({asked.device_id for asked in due})
            for asked in due:
                await self._db.write(_answer, state, asked, now_ms)
        await outbox.flush(self._paths, self._db, self._http)
        return _LOOK_AGAIN_S

    async def _look_at(self, state: CryptoState, offer: Offer) -> None:
        """Take over what was offered if it fits; otherwise the request stays open for the other devices."""
        secret = await self._db.read(lambda conn: secrets.read(conn, state, _sealed_name(offer)))
        fits = False
        if secret is not None:
            cross_signing, backup = await self._crypto.cross_signing(), await self._crypto.backup()
            fits = offer.name in await adopt(cross_signing, backup, {offer.name: secret})
        if not fits:
            log.warning("device %s sent a %s that does not fit the account", offer.device_id, offer.name)
        await self._db.write(_settle, self._me, offer, fits, self._clock.now_ms())


def _settle(txn: Transaction, me: Me, offer: Offer, fits: bool, now_ms: int) -> None:
    request = rows.request(txn.conn, offer.request_id)
    secrets.forget(txn, _sealed_name(offer))
    rows.drop_offer(txn, offer)
    if fits and request is not None:
        _end(txn, me, request, [id_ for id_ in request.devices if id_ != offer.device_id], now_ms)


def _tidy(txn: Transaction, me: Me, now_ms: int) -> None:
    """End requests for what came another way, and those that nobody answered; forget what others asked long ago."""
    for request in _over(txn.conn, now_ms):
        _end(txn, me, request, list(request.devices), now_ms)
    rows.forget_old(txn, now_ms - REMEMBER_MS, now_ms)


def _over(conn: sqlite3.Connection, now_ms: int) -> list[Request]:
    """Requests of ours whose secret came another way, or that nobody answered."""
    return [
        request
        for request in rows.requests(conn)
        if elapsed_ms(request.made_at, now_ms) >= REQUEST_ENDS_MS or secrets.has(conn, request.name)
    ]


def _to_ask(conn: sqlite3.Connection, me: Me, now_ms: int) -> list[tuple[Request, list[DeviceId]]]:
    """Requests for what this device lacks, as they will be, with the devices to be asked now."""
    missing = [name for name in NAMES if not secrets.has(conn, name)]
    found_backup = backup_rows.current(conn)
    if secrets.BACKUP in missing and (found_backup is None or found_backup.version is None):
        missing.remove(secrets.BACKUP)  # there is none to have the key of
    verified = trust.verified_others(conn, me) if missing else []
    known = {request.name: request for request in rows.requests(conn)} if verified else {}
    found: list[tuple[Request, list[DeviceId]]] = []
    for name in missing:
        request = known.get(name) or Request(f"tandem.{random.token_hex(12)}", name, now_ms, (), now_ms, 0)
        if request.times == 0 or _is_to_repeat(request, now_ms):
            found.append(
                (
                    replace(request, devices=tuple(verified), sent_at=now_ms, times=request.times + 1),
                    verified,
                )
            )
            continue
        fresh = [device_id for device_id in verified if device_id not in request.devices]
        if fresh:
            found.append((replace(request, devices=(*request.devices, *fresh)), fresh))
    return [entry for entry in found if entry[1]]


def _is_to_repeat(request: Request, now_ms: int) -> bool:
    return request.times <= len(ASK_AGAIN_MS) and (
        elapsed_ms(request.sent_at, now_ms) >= ASK_AGAIN_MS[request.times - 1]
    )


def _end(txn: Transaction, me: Me, request: Request, tell: list[DeviceId], now_ms: int) -> None:
    """Close a request of ours, with what was offered for it, and tell those who need not answer any more."""
    for offer in rows.offers(txn.conn):
        if offer.request_id == request.request_id:
            secrets.forget(txn, _sealed_name(offer))
    rows.end_request(txn, request.request_id)
    if tell:
        call_off(txn, me, REQUEST, request.request_id, tell, now_ms)


def _answer(txn: Transaction, state: CryptoState, asked: Asked, now_ms: int) -> bool:
    """Put the secret into the outbox, if everything that allows it is still so."""
    if asked not in _due(txn.conn, state.me, now_ms):
        return False
    device = devices.device(txn.conn, state.me.user_id, asked.device_id)
    secret = secrets.read(txn.conn, state, asked.name)
    if device is None or secret is None:
        return False
    content = {"request_id": asked.request_id, "secret": secret}
    if not olm.put(txn, state, device, SEND, content, now_ms):
        return False  # no session yet: it stays waiting
    log.info("device %s gets the %s", asked.device_id, asked.name)
    return rows.note_answered(txn, asked, now_ms)


def _due(conn: sqlite3.Connection, me: Me, now_ms: int) -> list[Asked]:
    """What may be answered now: asked lately, by a verified device, for what we have, within its budget."""
    return [
        asked
        for asked in rows.waiting(conn)
        if elapsed_ms(asked.asked_at, now_ms) <= REMEMBER_MS
        and secrets.has(conn, asked.name)
        and trust.is_verified(conn, me, asked.device_id)
        and rows.answers_since(conn, asked.device_id, now_ms - _HOUR_MS) < ANSWERS_PER_HOUR
    ]


def _has_work(conn: sqlite3.Connection, me: Me, now_ms: int) -> bool:
    return bool(
        rows.offers(conn)
        or _over(conn, now_ms)
        or _due(conn, me, now_ms)
        or _to_ask(conn, me, now_ms)
        or rows.has_old(conn, now_ms - REMEMBER_MS, now_ms)
    )


def _sealed_name(offer: Offer) -> str:
    """Under which name an offered secret lies sealed: never one that counts as a secret of ours."""
    return f"tandem.offered {offer.request_id} {offer.device_id}"
