"""Olm: encrypt to one device, and open what devices encrypted to us. Each call is inside one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vodozemac import AnyOlmMessage, Curve25519PublicKey, PreKeyMessage, Session

from tandem_core import unpadded
from tandem_core.crypto import signed
from tandem_core.crypto.state import OLM, CryptoState
from tandem_core.store import crypto as rows
from tandem_core.store import devices
from tandem_core.store.codec import dumps, parse
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.store.outbox import put_to_device
from tandem_core.types import Json, UserId

SEALED = "m.room.encrypted"
"""The type of what ``encrypt`` makes."""


class CannotOpen(Exception):
    """An Olm event that gives nothing; ``is_wedged``: a new session may mend it. The words hold no content."""

    def __init__(self, why: str, *, is_wedged: bool = False) -> None:
        super().__init__(why)
        self.is_wedged = is_wedged


@dataclass(frozen=True, slots=True)
class Opened:
    """What a device said to us alone."""

    type: str
    content: Json
    sender: UserId
    sender_key: str
    sender_ed25519: str
    is_known: bool
    """Whether the device that wrote it is in its owner's list, as we have it."""
    shown: Json | None = None
    """The device keys that came along (MSC4147), if there are any; they are those of who wrote it."""


def open_event(txn: Transaction, state: CryptoState, sender: UserId, content: Json, now_ms: int) -> Opened:
    """Open an ``m.room.encrypted`` to-device event; raises CannotOpen.

    What could not be decrypted changes nothing. What was decrypted but says something wrong has moved its
    ratchet, and is over.
    """
    sender_key = content.get("sender_key")
    if content.get("algorithm") != OLM or not isinstance(sender_key, str):
        raise CannotOpen("unknown algorithm")
    own_key = state.account(txn).curve25519_key.to_base64()
    ciphertexts = content.get("ciphertext")
    ours = ciphertexts.get(own_key) if isinstance(ciphertexts, dict) else None
    if not isinstance(ours, dict) or not isinstance(ours.get("body"), str):
        raise CannotOpen("not for this device")
    kind = ours.get("type")
    if kind == 0:
        plaintext = _open_pre_key(txn, state, sender_key, ours["body"], now_ms)
    elif kind == 1:
        plaintext = _open_normal(txn, state, sender_key, ours["body"], now_ms)
    else:
        raise CannotOpen("unknown message type")
    return _checked(txn, state, sender, sender_key, plaintext)


def encrypt(
    txn: Transaction, state: CryptoState, device: Device, kind: str, content: Json, now_ms: int
) -> Json | None:
    """The ``m.room.encrypted`` content for one device; None where there is no session with it."""
    session = best_session(txn, state, device.curve25519)
    if session is None:
        return None
    account = state.account(txn)
    payload = {
        "type": kind,
        "content": content,
        "sender": state.me.user_id,
        "recipient": device.user_id,
        "recipient_keys": {"ed25519": device.ed25519},
        "keys": {"ed25519": account.ed25519_key.to_base64()},
        "sender_device_keys": state.shown_keys(txn),  # MSC4147: who reads it need not ask for our list first
    }
    message_type, body = session.encrypt(dumps(payload).encode()).to_parts()
    state.save_session(txn, device.curve25519, session, now_ms)
    return {
        "algorithm": OLM,
        "sender_key": account.curve25519_key.to_base64(),
        "ciphertext": {device.curve25519: {"type": message_type, "body": unpadded.encode(body)}},
    }


def put(txn: Transaction, state: CryptoState, device: Device, kind: str, content: Json, now_ms: int) -> bool:
    """Encrypt it for one device and put it into the outbox; False, with nothing put, where there is no session."""
    sealed = encrypt(txn, state, device, kind, content, now_ms)
    if sealed is not None:
        put_to_device(txn, SEALED, {device.user_id: {device.device_id: sealed}}, now_ms)
    return sealed is not None


def best_session(txn: Transaction, state: CryptoState, curve25519: str) -> Session | None:
    """The session used last with this peer, which is the one that surely works."""
    pickle = rows.newest_olm_session(txn.conn, curve25519)
    return None if pickle is None else state.load_session(pickle)


def _open_pre_key(txn: Transaction, state: CryptoState, sender_key: str, body: str, now_ms: int) -> bytes:
    try:
        message = PreKeyMessage.from_base64(body)
        session_id = message.session_id()
        identity_key = Curve25519PublicKey.from_base64(sender_key)
    except ValueError as error:
        raise CannotOpen("malformed pre-key message") from error
    for known_id, pickle in rows.olm_sessions(txn.conn, sender_key):
        if known_id == session_id:
            session = state.load_session(pickle)
            try:
                plaintext = session.decrypt(message.to_any())
            except ValueError as error:
                raise CannotOpen("not to be opened by its session", is_wedged=True) from error
            state.save_session(txn, sender_key, session, now_ms)
            return plaintext
    try:
        # The one-time key goes only with success, and for good only with this transaction.
        session, plaintext = state.account(txn).create_inbound_session(identity_key, message)
    except ValueError as error:
        raise CannotOpen("no session can be made from it", is_wedged=True) from error
    state.changed_account(txn)
    state.save_session(txn, sender_key, session, now_ms)
    # Who begins anew may have lost the session that our room keys went out with.
    rows.share_again(txn, sender_key)
    return plaintext


def _open_normal(txn: Transaction, state: CryptoState, sender_key: str, body: str, now_ms: int) -> bytes:
    try:
        message = AnyOlmMessage.from_parts(1, unpadded.decode(body))
    except ValueError as error:
        raise CannotOpen("malformed message") from error
    for _, pickle in rows.olm_sessions(txn.conn, sender_key):
        session = state.load_session(pickle)
        try:
            plaintext = session.decrypt(message)
        except ValueError:
            continue
        state.save_session(txn, sender_key, session, now_ms)
        return plaintext
    raise CannotOpen("no session opens it", is_wedged=True)


def _checked(
    txn: Transaction, state: CryptoState, sender: UserId, sender_key: str, plaintext: bytes
) -> Opened:
    """The payload, if it names us as its reader and its claimed sender as its writer (spec, "m.olm.v1…")."""
    try:
        payload: Any = parse(plaintext)
        kind, content = payload["type"], payload["content"]
        said = (payload["sender"], payload["recipient"], payload["recipient_keys"]["ed25519"])
        sender_ed25519 = payload["keys"]["ed25519"]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotOpen("malformed payload") from error
    if said != (sender, state.me.user_id, state.account(txn).ed25519_key.to_base64()):
        raise CannotOpen("written for somebody else, or by somebody else")
    if not isinstance(kind, str) or not isinstance(content, dict) or not isinstance(sender_ed25519, str):
        raise CannotOpen("malformed payload")
    known = devices.device_with_key(txn.conn, sender, sender_key)
    if known is not None and known.ed25519 != sender_ed25519:
        raise CannotOpen("the sender's keys do not belong together")
    if not _shows_its_device(payload, sender, sender_key, sender_ed25519):
        raise CannotOpen("the sender shows another device's keys")
    return Opened(
        kind,
        content,
        sender,
        sender_key,
        sender_ed25519,
        known is not None,
        payload.get("sender_device_keys"),
    )


def _shows_its_device(payload: Json, sender: UserId, sender_key: str, sender_ed25519: str) -> bool:
    """Whether the device keys that may lie in the payload (MSC4147) are those of who wrote it."""
    shown = payload.get("sender_device_keys")
    if shown is None:
        return True
    device_id = shown.get("device_id") if isinstance(shown, dict) else None
    found = signed.device_from_keys(sender, device_id, shown) if isinstance(device_id, str) else None
    return found is not None and (found[0].curve25519, found[0].ed25519) == (sender_key, sender_ed25519)
