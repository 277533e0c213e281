"""What the two sides of a verification say: foreign JSON becomes records here, and our own words become JSON.

Spec, "Key verification framework" and "Device verification".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tandem_core import unpadded
from tandem_core.types import DeviceId, Json, RoomId

SAS = "m.sas.v1"
QR_SHOW = "m.qr_code.show.v1"
QR_SCAN = "m.qr_code.scan.v1"
RECIPROCATE = "m.reciprocate.v1"
METHODS = (SAS, QR_SHOW, QR_SCAN, RECIPROCATE)

AGREEMENT = "curve25519-hkdf-sha256"
HASH = "sha256"
MAC = "hkdf-hmac-sha256.v2"
DECIMAL, EMOJI = "decimal", "emoji"
_MOST_TEXT = 512
_MOST_ENTRIES = 32


class Kind(StrEnum):
    """The types of the events; in a room a request is a message with this as its ``msgtype``."""

    REQUEST = "m.key.verification.request"
    READY = "m.key.verification.ready"
    START = "m.key.verification.start"
    ACCEPT = "m.key.verification.accept"
    KEY = "m.key.verification.key"
    MAC = "m.key.verification.mac"
    DONE = "m.key.verification.done"
    CANCEL = "m.key.verification.cancel"


class Code(StrEnum):
    """Why a verification was cancelled (spec, ``m.key.verification.cancel``)."""

    USER = "m.user"
    TIMEOUT = "m.timeout"
    UNKNOWN_TRANSACTION = "m.unknown_transaction"
    UNKNOWN_METHOD = "m.unknown_method"
    UNEXPECTED_MESSAGE = "m.unexpected_message"
    KEY_MISMATCH = "m.key_mismatch"
    USER_MISMATCH = "m.user_mismatch"
    INVALID_MESSAGE = "m.invalid_message"
    ACCEPTED = "m.accepted"
    MISMATCHED_COMMITMENT = "m.mismatched_commitment"
    MISMATCHED_SAS = "m.mismatched_sas"


REASONS = {
    Code.USER: "The user cancelled the verification.",
    Code.TIMEOUT: "The verification took too long.",
    Code.UNKNOWN_TRANSACTION: "There is no such verification.",
    Code.UNKNOWN_METHOD: "There is no method of verification that both sides know.",
    Code.UNEXPECTED_MESSAGE: "A message came at the wrong time.",
    Code.KEY_MISMATCH: "The keys are not the expected ones.",
    Code.USER_MISMATCH: "Another user or device answered.",
    Code.INVALID_MESSAGE: "A message was malformed.",
    Code.ACCEPTED: "The verification goes on at another device.",
    Code.MISMATCHED_COMMITMENT: "The key is not the one that was promised.",
    Code.MISMATCHED_SAS: "The emoji or numbers did not match.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verification goes on: in a room, or (``room_id`` None) between devices of one person.

    ``flow`` is the id of the request's event, or the transaction id.
    """

    flow: str
    room_id: RoomId | None = None

    def wrap(self, content: Json) -> Json:
        """The content with what ties it to this verification."""
        if self.room_id is None:
            return {**content, "transaction_id": self.flow}
        return {**content, "m.relates_to": {"rel_type": "m.reference", "event_id": self.flow}}


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks to verify; ``sent_at`` (ms) is their word, or the server's in a room."""

    device: DeviceId
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    device: DeviceId
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartSas:
    """``content`` is the whole of it: the commitment is made of that."""

    device: DeviceId
    agreements: tuple[str, ...]
    hashes: tuple[str, ...]
    macs: tuple[str, ...]
    strings: tuple[str, ...]
    content: Json


@dataclass(frozen=True, slots=True)
class StartReciprocate:
    """They scanned our code: ``secret`` was in it."""

    device: DeviceId
    secret: bytes


@dataclass(frozen=True, slots=True)
class StartOther:
    """A method that we do not know."""

    device: DeviceId
    method: str


@dataclass(frozen=True, slots=True)
class Accept:
    agreement: str
    hash: str
    mac: str
    strings: tuple[str, ...]
    commitment: str


@dataclass(frozen=True, slots=True)
class Key:
    key: str


@dataclass(frozen=True, slots=True)
class Mac:
    """``macs`` by key id; ``keys`` is the MAC of the ids."""

    macs: tuple[tuple[str, str], ...]
    keys: str


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Cancel:
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something under one of our types that cannot be understood."""


Message = (
    Request
    | Ready
    | StartSas
    | StartReciprocate
    | StartOther
    | Accept
    | Key
    | Mac
    | Done
    | Cancel
    | Malformed
)


def read(kind: Kind, content: Json) -> Message:
    """The record of what was said; ``Malformed`` for all that is not as the specification has it."""
    try:
        return _read(kind, content)
    except _NotSound:
        return Malformed()


def flow_of(content: Json) -> str | None:
    """The transaction id of a to-device event, or the event that an event in a room belongs to."""
    relates = content.get("m.relates_to")
    if isinstance(relates, dict) and relates.get("rel_type") == "m.reference":
        found = relates.get("event_id")
    else:
        found = content.get("transaction_id")
    return found if isinstance(found, str) and 0 < len(found) <= _MOST_TEXT else None


def asks(device: DeviceId, now_ms: int) -> Json:
    """The content of a request, without what ties it."""
    return {"from_device": device, "methods": list(METHODS), "timestamp": now_ms}


def asks_in_room(me: str, device: DeviceId, to: str) -> Json:
    """The content of the message that is a request in a room; the body is for clients that know nothing of it."""
    return {
        "msgtype": Kind.REQUEST,
        "body": f"{me} asks to verify your identity, but your client does not support it.",
        "to": to,
        "from_device": device,
        "methods": list(METHODS),
    }


def starts_sas(device: DeviceId) -> Json:
    return {
        "from_device": device,
        "method": SAS,
        "key_agreement_protocols": [AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": [MAC],
        "short_authentication_string": [DECIMAL, EMOJI],
    }


def starts_reciprocate(device: DeviceId, secret: bytes) -> Json:
    return {
        "from_device": device,
        "method": RECIPROCATE,
        "secret": unpadded.encode(secret),
    }


def cancels(code: Code) -> Json:
    return {"code": code, "reason": REASONS[code]}


class _NotSound(Exception):
    pass


def _read(kind: Kind, content: Json) -> Message:
    match kind:
        case Kind.REQUEST:
            return Request(DeviceId(_text(content, "from_device")), _texts(content, "methods"))
        case Kind.READY:
            return Ready(DeviceId(_text(content, "from_device")), _texts(content, "methods"))
        case Kind.START:
            return _start(content)
        case Kind.ACCEPT:
            return Accept(
                _text(content, "key_agreement_protocol"),
                _text(content, "hash"),
                _text(content, "message_authentication_code"),
                _texts(content, "short_authentication_string"),
                _text(content, "commitment"),
            )
        case Kind.KEY:
            return Key(_text(content, "key"))
        case Kind.MAC:
            macs = content.get("mac")
            if not isinstance(macs, dict) or not 0 < len(macs) <= _MOST_ENTRIES:
                raise _NotSound
            return Mac(tuple((key_id, _short(mac)) for key_id, mac in macs.items()), _text(content, "keys"))
        case Kind.DONE:
            return Done()
        case Kind.CANCEL:
            reason = content.get("reason")
            return Cancel(_text(content, "code"), reason[:_MOST_TEXT] if isinstance(reason, str) else "")


def _start(content: Json) -> Message:
    device, method = DeviceId(_text(content, "from_device")), _text(content, "method")
    if method == SAS:
        return StartSas(
            device,
            _texts(content, "key_agreement_protocols"),
            _texts(content, "hashes"),
            _texts(content, "message_authentication_codes"),
            _texts(content, "short_authentication_string"),
            content,
        )
    if method == RECIPROCATE:
        text = _text(content, "secret")
        try:
            return StartReciprocate(device, unpadded.decode(text))
        except ValueError as error:
            raise _NotSound from error
    return StartOther(device, method)


def _text(content: Json, key: str) -> str:
    return _short(content.get(key))


def _short(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT:
        raise _NotSound
    return value


def _texts(content: Json, key: str) -> tuple[str, ...]:
    """A list of words; those that are no text are left out, as newer kinds of entries may be."""
    value = content.get(key)
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES:
        raise _NotSound
    return tuple(word for word in value if isinstance(word, str) and len(word) <= _MOST_TEXT)
