"""Room keys between our own devices (spec, "Key requests"): m.room_key_request in clear, m.forwarded_room_key over Olm.

Others are asked only for what the backup has not got. A request says nothing about who wrote it, so the answer goes to
the keys of the device it names, and only if that device is ours and verified. A key that comes is believed only if it
was asked for, from a verified device that was asked; and it never takes the place of one from its sender. All of it is
rows: whichever program drains the inbox, either one asks and answers.
"""

from __future__ import annotations

import logging
import secrets as random
import sqlite3
from dataclasses import replace
from typing import Any, ClassVar

from vodozemac import ExportedSessionKey, InboundGroupSession

from tandem_core import trust
from tandem_core.crypto import megolm, olm, outbox, secrets
from tandem_core.crypto.asking import AskingWorker, ask, call_off, is_id
from tandem_core.crypto.state import MEGOLM, CryptoState
from tandem_core.netlock import netlock
from tandem_core.store import backup as backup_rows
from tandem_core.store import crypto as crypto_rows
from tandem_core.store import devices
from tandem_core.store import key_requests as rows
from tandem_core.store.backup import Standing
from tandem_core.store.database import Transaction
from tandem_core.store.key_requests import Asked, Request
from tandem_core.types import DeviceId, Json, Me, RoomId, UserId

log = logging.getLogger("tandem.crypto.key_requests")

REQUEST, FORWARDED = "m.room_key_request", "m.forwarded_room_key"
PATIENCE_MS = 30_000
"""So long an event waits for its sender's key before others are asked."""
REMEMBER_MS = 3_600_000
"""How long a device that asks may wait: it may be verified in the meantime."""
REQUEST_ENDS_MS = 7 * 86_400_000
"""How long an answer to a request of ours is believed, and how long nobody is asked for the same again."""
MOST_OPEN = 50
ANSWERS_PER_HOUR = 100
_ANSWERS_A_STEP = 20
_HOUR_MS = 3_600_000
_MOST_ASKED = 1_000
_LOOK_AGAIN_S = 60.0


def take_request(txn: Transaction, me: Me, sender: UserId, content: Json, now_ms: int) -> str | None:
    """Note what another device asks for, or does not need any more; returns why it is ignored, or None."""
    device_id, request_id = content.get("requesting_device_id"), content.get("request_id")
    if sender != me.user_id:
        return "somebody else asks for a room key"
    if not is_id(device_id) or not is_id(request_id):
        return "malformed request for a room key"
    if device_id == me.device_id:
        return None  # our own, which the server gave to all of our devices
    if content.get("action") == "request_cancellation":
        rows.call_off(txn, device_id, request_id)
        return None
    body = content.get("body")
    wanted = body if isinstance(body, dict) else {}
    room_id, session_id = wanted.get("room_id"), wanted.get("session_id")
    if content.get("action") != "request" or not is_id(room_id) or not is_id(session_id):
        return "malformed request for a room key"
    if (
        wanted.get("algorithm") != MEGOLM
        or crypto_rows.inbound(txn.conn, RoomId(room_id), session_id) is None
    ):
        return None  # we do not have it; perhaps another device has
    if rows.asked_count(txn.conn) >= _MOST_ASKED:
        return "too many requests for room keys"
    rows.put_asked(txn, Asked(DeviceId(device_id), request_id, RoomId(room_id), session_id, now_ms))
    return None


def take_forwarded(txn: Transaction, state: CryptoState, opened: olm.Opened, now_ms: int) -> str | None:
    """Keep a session that another device of ours sent for a request of ours; returns why it is ignored, or None."""
    content = opened.content
    if opened.sender != state.me.user_id:
        return "a forwarded room key from somebody else"
    device = devices.device_with_key(txn.conn, opened.sender, opened.sender_key)
    if device is None or not trust.is_verified(txn.conn, state.me, device.device_id):
        return "a forwarded room key from a device that is not verified"
    room_id, session_id = content.get("room_id"), content.get("session_id")
    if content.get("algorithm") != MEGOLM or not is_id(room_id) or not is_id(session_id):
        return "malformed forwarded room key"
    asked = rows.request_for(txn.conn, room_id, session_id)
    if asked is None or not 0 <= now_ms - asked.made_at < REQUEST_ENDS_MS:
        return "a forwarded room key that was not asked for"
    if device.device_id not in asked.devices:
        return "a forwarded room key from a device that was not asked"
    session = _imported(content.get("session_key"))
    sender_key, claimed = content.get("sender_key"), content.get("sender_claimed_ed25519_key")
    if session is None or not is_id(sender_key):
        return "malformed forwarded room key"
    if session.session_id != session_id:
        return "a forwarded room key under a wrong id"
    megolm.keep_copy(
        txn,
        state.pickle_key,
        asked.room_id,
        session,
        sender_key,
        claimed if is_id(claimed) else None,
        "forward",
        now_ms,
    )
    return None


class KeyRequests(AskingWorker):
    """Asks our other devices for what neither its sender nor the backup gives, and answers them."""

    name: ClassVar[str] = "key_requests"

    async def step(self) -> float | None:
        now_ms = self._clock.now_ms()
        if not await self._db.read(_has_work, self._me, now_ms):
            return _LOOK_AGAIN_S
        state = await self._opener.state()
        async with netlock(self._paths, "key_requests"):
            await self._db.write(_tidy, self._me, now_ms)
            await self._db.write(_ask, self._me, now_ms)
            while due := await self._db.read(_due, self._me, now_ms):
                await self._open_sessions({asked.device_id for asked in due})
                if not await self._db.write(_answer, state, due, now_ms):
                    break  # no session with any of them: they are asked for keys again in a while
        await outbox.flush(self._paths, self._db, self._http)
        return _LOOK_AGAIN_S


def _ask(txn: Transaction, me: Me, now_ms: int) -> None:
    """Ask our verified devices for what is missing; a device that was asked for a session is not asked again."""
    for request, fresh in _to_ask(txn.conn, me, now_ms):
        rows.put_request(txn, request)
        body = {"algorithm": MEGOLM, "room_id": request.room_id, "session_id": request.session_id}
        ask(txn, me, REQUEST, request.request_id, fresh, {"body": body}, now_ms)


def _tidy(txn: Transaction, me: Me, now_ms: int) -> None:
    """End requests for what came, and those that nobody answered; forget what is long over."""
    for request in _over(txn.conn, now_ms):
        rows.end_request(txn, request.request_id, now_ms)
        call_off(txn, me, REQUEST, request.request_id, request.devices, now_ms)
    rows.forget_old(txn, _times(now_ms))


def _answer(txn: Transaction, state: CryptoState, due: list[Asked], now_ms: int) -> int:
    """Put keys into the outbox where everything that allows it is still so; returns how many."""
    answered = 0
    allowed = _due(txn.conn, state.me, now_ms)
    known = {device.device_id: device for device in devices.devices_of(txn.conn, [state.me.user_id])}
    for asked in due:
        device = known.get(asked.device_id)
        content = _forwarded(txn, state, asked) if asked in allowed and device is not None else None
        if device is None or content is None:
            continue
        if olm.put(txn, state, device, FORWARDED, content, now_ms):
            rows.note_answered(txn, asked, now_ms)
            answered += 1
    return answered


def _forwarded(txn: Transaction, state: CryptoState, asked: Asked) -> Json | None:
    row = crypto_rows.inbound(txn.conn, asked.room_id, asked.session_id)
    if row is None:
        return None
    session = InboundGroupSession.from_pickle(row.pickle, state.pickle_key)
    exported = session.export_at(session.first_known_index)
    if exported is None:
        return None
    return {
        "algorithm": MEGOLM,
        "forwarding_curve25519_key_chain": [],
        "room_id": asked.room_id,
        "sender_claimed_ed25519_key": row.claimed_ed25519 or "",
        "sender_key": row.sender_key,
        "session_id": asked.session_id,
        "session_key": exported.to_base64(),
    }


def _has_work(conn: sqlite3.Connection, me: Me, now_ms: int) -> bool:
    return bool(
        _over(conn, now_ms)
        or _due(conn, me, now_ms)
        or _to_ask(conn, me, now_ms)
        or rows.has_old(conn, _times(now_ms))
    )


def _over(conn: sqlite3.Connection, now_ms: int) -> list[Request]:
    """Open requests whose events can be read by now, or that nobody answered."""
    return [
        request
        for request in rows.requests(conn)
        if not 0 <= now_ms - request.made_at < REQUEST_ENDS_MS
        or not rows.is_sealed(conn, request.room_id, request.session_id)
    ]


def _to_ask(conn: sqlite3.Connection, me: Me, now_ms: int) -> list[tuple[Request, list[DeviceId]]]:
    """Requests as they will be, with the devices to be asked now."""
    verified = trust.verified_others(conn, me)
    if not verified:
        return []
    found: list[tuple[Request, list[DeviceId]]] = []
    known = rows.requests(conn)
    for request in known:
        fresh = [device_id for device_id in verified if device_id not in request.devices]
        if fresh:
            found.append((replace(request, devices=(*request.devices, *fresh)), fresh))
    after_backup = has_backup(conn)
    if after_backup is None or len(known) >= MOST_OPEN:
        return found
    room = MOST_OPEN - len(known)
    for room_id, session_id in rows.missing(conn, now_ms - PATIENCE_MS, room, after_backup=after_backup):
        request_id = f"tandem.{random.token_hex(12)}"
        found.append((Request(request_id, room_id, session_id, now_ms, tuple(verified)), verified))
    return found


def has_backup(conn: sqlite3.Connection) -> bool | None:
    """Whether the backup can be asked first; None while nobody knows."""
    row = backup_rows.current(conn)
    if row is None:
        return None
    return row.standing is Standing.TRUSTED and secrets.has(conn, secrets.BACKUP)


def _due(conn: sqlite3.Connection, me: Me, now_ms: int) -> list[Asked]:
    """What may be answered now: asked lately, by a verified device, within its budget."""
    found: list[Asked] = []
    left: dict[DeviceId, int] = {}
    for asked in rows.waiting(conn):
        if not 0 <= now_ms - asked.asked_at < REMEMBER_MS:
            continue
        if asked.device_id not in left:
            is_verified = trust.is_verified(conn, me, asked.device_id)
            given = rows.answers_since(conn, asked.device_id, now_ms - _HOUR_MS) if is_verified else 0
            left[asked.device_id] = ANSWERS_PER_HOUR - given if is_verified else 0
        if left[asked.device_id] > 0:
            left[asked.device_id] -= 1
            found.append(asked)
    return found[:_ANSWERS_A_STEP]


def _imported(key: Any) -> InboundGroupSession | None:
    try:
        return InboundGroupSession.import_session(ExportedSessionKey(key))
    except (TypeError, ValueError):
        return None


def _times(now_ms: int) -> tuple[int, int, int]:
    return now_ms - _HOUR_MS, now_ms - REQUEST_ENDS_MS, now_ms
