"""Send the key of a message again, by hand: to a device that was entitled to it and says, or seems, not to have it.

Never automatic: whoever only claims to have lost a key must not get one. A person at this machine chooses the
device. It must have been entitled to the message when that was sent, be signed by its owner, and its owner must have
been in the room then and be there now. The key goes out as an ordinary ``m.room_key`` from that message on, signed by
the session itself: every client takes it, and it proves its sender. (An exported key is signed by nobody; others
refuse it.) For that the beginning of each session of ours is kept. Nothing is given twice (ADR 0012).
"""

from __future__ import annotations

import sqlite3
from typing import NoReturn

from vodozemac import GroupSession, MegolmMessage

from tandem_core import trust
from tandem_core.clock import Clock
from tandem_core.crypto import olm, outbox, sending_rules
from tandem_core.crypto.keys import Keys
from tandem_core.crypto.state import MEGOLM, CryptoState
from tandem_core.errors import BadInput, Expected
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import facts
from tandem_core.store import crypto as rows
from tandem_core.store import deliveries, devices, events
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, EventId, Me, RoomId, Topic, UserId


class CannotSendKey(Expected):
    """The key of a message may not go to a device, or not from here; the detail says why."""

    title = "The key was not sent"
    advice = "A new message will reach every device that may have it."


async def send(
    paths: ProfilePaths,
    db: Database,
    http: Http,
    keys: Keys,
    state: CryptoState,
    event_id: EventId,
    user_id: UserId,
    device_id: DeviceId,
    *,
    clock: Clock,
) -> None:
    """Send it, with all that the network has to do for it: a fresh device list, and an Olm session where there is none.

    Raises BadInput, CannotSendKey, and what ``Http.request`` raises; the key is stored before it is sent, so that one
    that is under way arrives later.
    """
    await keys.rollback.before_encrypting()
    await db.write(devices.track, [user_id])
    await db.write(devices.mark_outdated, [user_id])
    await keys.query({user_id})
    device = await db.read(devices.device, user_id, device_id)
    if device is not None:
        await db.read(check, state.me, event_id, user_id, device_id)  # before a one-time key is taken
        await keys.claim([device])
    await db.write(send_key_again, state, event_id, user_id, device_id, clock.now_ms())
    await outbox.flush(paths, db, http)


def send_key_again(
    txn: Transaction,
    state: CryptoState,
    event_id: EventId,
    user_id: UserId,
    device_id: DeviceId,
    now_ms: int,
) -> None:
    """Put the key of a message of ours into the outbox for one device, and note that it got it.

    Raises BadInput where there is no such message or device, CannotSendKey where it may not have it, has got it
    again already, or there is no Olm session with it.
    """
    device, room_id, session_id, index = check(txn.conn, state.me, event_id, user_id, device_id)
    pickle = rows.first(txn.conn, room_id, session_id)
    if pickle is None:
        _refuse("another device of yours wrote this message, or it is too old")
    content = {
        "algorithm": MEGOLM,
        "room_id": room_id,
        "session_id": session_id,
        "session_key": _key_at(GroupSession.from_pickle(pickle, state.pickle_key), index),
    }
    if not olm.put(txn, state, device, "m.room_key", content, now_ms):
        _refuse("the device gives no key for an encrypted channel; it may be signed out")
    rows.put_share(txn, session_id, user_id, device_id, device.curve25519, index, "shared")
    rows.note_sent_again(txn, session_id, user_id, device_id, device.curve25519, index, now_ms)
    txn.changed(Topic.DELIVERY, room_id)


def check(
    conn: sqlite3.Connection, me: Me, event_id: EventId, user_id: UserId, device_id: DeviceId
) -> tuple[Device, RoomId, str, int]:
    """The device, and where in which session the message is. Raises as ``send_key_again``."""
    own = deliveries.own_message(conn, me.user_id, event_id)
    event = events.get(conn, event_id)
    if own is None or event is None:
        raise BadInput(
            f"{event_id} is no message that this account sent", advice="See tandemctl messages ROOM."
        )
    if user_id == me.user_id:
        raise BadInput("your own devices ask for keys by themselves", advice="Verify the device.")
    device = devices.device(conn, user_id, device_id)
    if device is None:
        raise BadInput(f"{user_id} has no device {device_id}", advice="See tandemctl receipts EVENT.")
    session_id = event.session_id
    if session_id is None or event.redacted_by is not None:
        _refuse("the message is not encrypted, or was deleted")
    index = _place(conn, event, session_id)
    if own.txn_id is None or not deliveries.was_addressed(conn, own.txn_id, user_id):
        _refuse(f"the message was not for {user_id}, or another device of yours wrote it")
    if not facts.is_joined(conn, own.room_id, user_id):
        _refuse(f"{user_id} is not in the room any more")
    if trust.device(conn, me, user_id, device_id) is DeviceTrust.UNSIGNED:
        _refuse("its owner has not confirmed this device")
    if sending_rules.stopped_by(conn, me, [user_id]):
        _refuse(f"the verified identity of {user_id} has changed")
    if not sending_rules.divide(conn, me, own.room_id, [device]).entitled:
        _refuse("your settings keep keys from this device")
    start = rows.entitled_from(conn, session_id, user_id, device_id, device.curve25519)
    if start is None or start > index:
        _refuse("this device was not to have the message when it was sent")
    again = rows.sent_again_from(conn, session_id, user_id, device_id, device.curve25519)
    if again is not None and again <= index:
        _refuse("this device has been sent the key again already")
    return device, own.room_id, session_id, index


def _place(conn: sqlite3.Connection, event: events.StoredEvent, session_id: str) -> int:
    index = rows.place_of(conn, session_id, event.event_id)
    if index is not None:
        return index
    try:
        return MegolmMessage.from_base64(event.content["ciphertext"]).message_index()
    except (KeyError, ValueError, TypeError):
        _refuse("its place in the encryption is not known")


def _key_at(session: GroupSession, index: int) -> str:
    """The session's key from this place on, signed by the session. What moves it there is thrown away."""
    while session.message_index < index:
        session.encrypt(b"")
    if session.message_index != index:
        _refuse("the beginning of its encryption is not kept")
    return session.session_key.to_base64()


def _refuse(why: str) -> NoReturn:
    raise CannotSendKey(why)
