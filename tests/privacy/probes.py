"""The silent probes: everything that a sender can make a server deliver without a visible message from it.

``sealed`` ones are encrypted as a client would; ``clear`` ones are sent as they stand into an encrypted room; letters
are to-device messages. Whoever confirms one of them tells its sender when his programs run (arXiv 2411.11194).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
UNKNOWN = "$" + "A" * 43


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted event: its inner type and content; ``relates_to`` also stands outside, as clients do it."""

    name: str
    type: Any
    content: Any
    relates_to: Json | None = None


@dataclass(frozen=True, slots=True)
class Clear:
    """An event as it stands; ``state_key`` makes it a state event."""

    name: str
    type: str
    content: Json
    state_key: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A to-device message as it stands; ``inner``: encrypted with Olm, with this inner type."""

    name: str
    type: str
    content: Json
    inner: str | None = None


@dataclass(frozen=True, slots=True)
class Odd:
    """A probe that takes more than one request, or a circumstance; ``where`` names the method that does it."""

    name: str
    where: str
    words: Json = field(default_factory=dict)


Probe = Sealed | Clear | Letter | Odd


def _text(body: Any = "x", **more: Any) -> Json:
    return {"msgtype": "m.text", "body": body, **more}


def _relation(kind: Any, event_id: Any = UNKNOWN, **more: Any) -> Json:
    return {"rel_type": kind, "event_id": event_id, **more}


def _edit(event_id: Any = UNKNOWN, **more: Any) -> Json:
    return {
        **_text("* x"),
        "m.new_content": _text(),
        "m.relates_to": _relation("m.replace", event_id),
        **more,
    }


_REPLACE = _relation("m.replace")
_THUMB = _relation("m.annotation", key="+")

_CHANGES = (
    Sealed("a reaction to an unknown message", "m.reaction", {"m.relates_to": _THUMB}, _THUMB),
    Sealed("a reaction without a key", "m.reaction", {"m.relates_to": _relation("m.annotation")}),
    Sealed("a reaction without a relation", "m.reaction", {}),
    Sealed("an edit of an unknown message", "m.room.message", _edit(), _REPLACE),
    Sealed("an edit whose relation is inside only", "m.room.message", _edit()),
    Sealed("an edit without a new content", "m.room.message", _text(**{"m.relates_to": _REPLACE}), _REPLACE),
    Sealed("a new content without a relation", "m.room.message", _text(**{"m.new_content": _text()})),
    Sealed("an edit of a number", "m.room.message", _edit(7)),
    Sealed("a message that annotates", "m.room.message", _text(**{"m.relates_to": _THUMB})),
    Sealed("a message that refers", "m.room.message", _text(**{"m.relates_to": _relation("m.reference")})),
    Sealed("a message of an unknown relation", "m.room.message", _text(**{"m.relates_to": _relation("m.x")})),
    Sealed("a message whose relation is a number", "m.room.message", _text(**{"m.relates_to": _relation(7)})),
    Sealed("a message whose relation is a list", "m.room.message", _text(**{"m.relates_to": []})),
    Sealed("a sealed redaction", "m.room.redaction", {"redacts": UNKNOWN}),
    Sealed(
        "an answer to a poll",
        "m.poll.response",
        {"m.relates_to": _relation("m.reference"), "m.selections": ["1"]},
    ),
    Sealed("the end of a poll", "m.poll.end", {"m.relates_to": _relation("m.reference"), "m.text": "x"}),
    Sealed(
        "an answer to a poll, unstable",
        "org.matrix.msc3381.poll.response",
        {"m.relates_to": _relation("m.reference")},
    ),
    Sealed(
        "the end of a poll, unstable",
        "org.matrix.msc3381.poll.end",
        {"m.relates_to": _relation("m.reference")},
    ),
)

_EMPTY = (
    Sealed("an empty content", "m.room.message", {}),
    Sealed("an empty body", "m.room.message", _text("")),
    Sealed("a body of spaces", "m.room.message", _text("  \n\t ")),
    Sealed("a body of zero-width characters", "m.room.message", _text("\u200b\u200c\u200d\u2060\ufeff")),
    Sealed("a body of control characters", "m.room.message", _text("\u0000\u0007\u001b")),
    Sealed("a body of Hangul fillers", "m.room.message", _text("\u3164\u115f\u1160\uffa0")),
    Sealed("a body of blank Braille", "m.room.message", _text("\u2800")),
    Sealed("a body of directions", "m.room.message", _text("\u202a\u202c\u2066\u2069")),
    Sealed("no body", "m.room.message", {"msgtype": "m.text"}),
    Sealed("a body that is a number", "m.room.message", _text(7)),
    Sealed("a body that is a list", "m.room.message", _text(["x"])),
    Sealed("a body that is null", "m.room.message", _text(None)),
    Sealed("no message type", "m.room.message", {"body": "x"}),
    Sealed("a message type that is a list", "m.room.message", {"msgtype": ["m.text"], "body": "x"}),
    Sealed("an unknown message type", "m.room.message", {"msgtype": "org.example.x", "body": "x"}),
    Sealed("a notice", "m.room.message", {"msgtype": "m.notice", "body": "x"}),
    Sealed("a server's notice", "m.room.message", {"msgtype": "m.server_notice", "body": "x"}),
    Sealed(
        "a request to verify",
        "m.room.message",
        {
            "msgtype": "m.key.verification.request",
            "body": "x",
            "methods": ["m.sas.v1"],
            "to": "@x:x",
            "from_device": "X",
        },
    ),
    Sealed("a sticker without a name", "m.sticker", {"body": "", "url": "mxc://x/y", "info": {}}),
    Sealed("a content that is a list", "m.room.message", ["x"]),
    Sealed("a content that is a word", "m.room.message", "x"),
)

_KINDS = tuple(
    Sealed(f"a sealed {kind}", kind, {"body": "x", "msgtype": "m.text"})
    for kind in (
        "m.call.invite", "m.call.candidates", "m.call.answer", "m.call.select_answer", "m.call.reject",
        "m.call.negotiate", "m.call.hangup", "m.call.member", "m.call.notify", "m.rtc.notification",
        "m.beacon", "m.beacon_info", "org.matrix.msc3672.beacon", "m.room.name", "m.room.topic",
        "m.room.member", "m.room.encryption", "m.room.power_levels", "m.room.tombstone", "m.room.pinned_events",
        "m.room.create", "m.space.child", "m.typing", "m.receipt", "m.presence", "m.fully_read", "m.tag",
        "m.direct", "m.room.encrypted", "m.room_key", "m.forwarded_room_key", "m.room_key_request", "m.dummy",
        "m.secret.request", "m.secret.send", "m.key.verification.start", "m.key.verification.accept",
        "m.key.verification.key", "m.key.verification.mac", "m.key.verification.done",
        "m.key.verification.cancel", "m.key.verification.ready", "m.delivery", "org.matrix.msc4089.delivery",
        "im.tandem.receipt", "im.tandem.receipt_sync", "im.tandem.delivery", "im.tandem.confirm",
        "com.beeper.message_send_status", "org.example.unknown", "m.unknown", "M.ROOM.MESSAGE", "m.room.message ",
        "m.room.message.", "m.text", "",
    )
)  # fmt: skip

_ODD_TYPES = (
    Sealed("a type that is a number", 7, _text()),
    Sealed("a type that is a list", ["m.room.message"], _text()),
    Sealed("a type of a thousand letters", "x" * 1000, _text()),
)

_MEGOLM = "m.megolm.v1.aes-sha2"
_GARBAGE = "AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVchHyprqTqsg"
_SESSION = "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ"


def _broken(**change: Any) -> Json:
    whole = {
        "algorithm": _MEGOLM,
        "ciphertext": _GARBAGE,
        "session_id": _SESSION,
        "sender_key": "RF3s+E7RkTQTGF2d8Deol0FkQvgII2aJDf3/Jp5mxVU",
        "device_id": "X",
    }
    return {key: value for key, value in (whole | change).items() if value is not ...}


_CLEAR = (
    Clear("a text in clear where all is encrypted", "m.room.message", _text()),
    Clear(
        "an image in clear where all is encrypted",
        "m.room.message",
        {"msgtype": "m.image", "body": "x", "url": "mxc://x/y"},
    ),
    Clear(
        "a sticker in clear where all is encrypted",
        "m.sticker",
        {"body": "x", "url": "mxc://x/y", "info": {}},
    ),
    Clear(
        "a poll in clear where all is encrypted",
        "m.poll.start",
        {"m.poll": {"question": {"m.text": "x"}, "answers": []}},
    ),
    Clear("a reaction in clear", "m.reaction", {"m.relates_to": _THUMB}),
    Clear("an edit in clear", "m.room.message", _edit()),
    Clear("an unknown type in clear", "org.example.unknown", {}),
    Clear("a message that cannot be decrypted", "m.room.encrypted", _broken()),
    Clear("nothing encrypted", "m.room.encrypted", {}),
    Clear("no algorithm", "m.room.encrypted", _broken(algorithm=...)),
    Clear("an unknown algorithm", "m.room.encrypted", _broken(algorithm="org.example.rot13")),
    Clear("no ciphertext", "m.room.encrypted", _broken(ciphertext=...)),
    Clear("a ciphertext that is a list", "m.room.encrypted", _broken(ciphertext=[])),
    Clear("a ciphertext that is no base64", "m.room.encrypted", _broken(ciphertext="#?!")),
    Clear("an empty ciphertext", "m.room.encrypted", _broken(ciphertext="")),
    Clear("a session id that is a number", "m.room.encrypted", _broken(session_id=7)),
    Clear("no session id", "m.room.encrypted", _broken(session_id=...)),
    Clear(
        "an Olm message as a room event",
        "m.room.encrypted",
        {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": {}, "sender_key": "x"},
    ),
    Clear("a new name of the room", "m.room.name", {"name": "x"}, ""),
    Clear("a new topic", "m.room.topic", {"topic": "x"}, ""),
    Clear("pinned events", "m.room.pinned_events", {"pinned": [UNKNOWN]}, ""),
    Clear("an unknown state", "org.example.state", {"x": 1}, ""),
    Clear("a call's state", "m.call.member", {}, "x"),
    Clear("a message as state", "m.room.message", _text(), ""),
)

_LETTERS = (
    Letter(
        "a request for a room key",
        "m.room_key_request",
        {
            "action": "request",
            "request_id": "x",
            "requesting_device_id": "X",
            "body": {"algorithm": _MEGOLM, "room_id": "!x:x", "session_id": _SESSION},
        },
    ),
    Letter(
        "a request for a secret",
        "m.secret.request",
        {"action": "request", "name": "m.megolm_backup.v1", "request_id": "x", "requesting_device_id": "X"},
    ),
    Letter(
        "a room key in clear",
        "m.room_key",
        {"algorithm": _MEGOLM, "room_id": "!x:x", "session_id": "x", "session_key": "x"},
    ),
    Letter(
        "a word that keys are withheld",
        "m.room_key.withheld",
        {"algorithm": _MEGOLM, "room_id": "!x:x", "session_id": "x", "code": "m.blacklisted"},
    ),
    Letter(
        "a verification out of nowhere",
        "m.key.verification.start",
        {"from_device": "X", "method": "m.sas.v1", "transaction_id": "x"},
    ),
    Letter(
        "the end of no verification",
        "m.key.verification.cancel",
        {"transaction_id": "x", "code": "m.user", "reason": ""},
    ),
    Letter(
        "a corrupted Olm message",
        "m.room.encrypted",
        {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": "RF3s+E7RkTQTGF2d8Deol0FkQvgII2aJDf3/Jp5mxVU",
            "ciphertext": {"OURS": {"type": 1, "body": "AwogZ2FyYmFnZQ"}},
        },
    ),
    Letter(
        "a corrupted first Olm message",
        "m.room.encrypted",
        {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": "RF3s+E7RkTQTGF2d8Deol0FkQvgII2aJDf3/Jp5mxVU",
            "ciphertext": {"OURS": {"type": 0, "body": "AwogZ2FyYmFnZQ"}},
        },
    ),
    Letter(
        "an Olm message for nobody",
        "m.room.encrypted",
        {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "x", "ciphertext": {}},
    ),
    Letter("an unknown letter", "org.example.unknown", {"x": 1}),
    Letter("a receipt in clear", "im.tandem.receipt", {"v": 1, "ok": [[UNKNOWN, "x"]]}),
    Letter("a batch of receipts for a person", "im.tandem.delivery.batch", {"rooms": {}}),
    Letter("a server's word from a person", "im.tandem.delivery", {"rooms": {}}),
    Letter("a sealed dummy", "m.room.encrypted", {}, "m.dummy"),
    Letter("a sealed unknown letter", "m.room.encrypted", {"x": 1}, "org.example.unknown"),
    Letter("a sealed message as a letter", "m.room.encrypted", _text(), "m.room.message"),
    Letter(
        "a sealed receipt for nothing",
        "m.room.encrypted",
        {"v": 1, "room_id": "!x:x", "batch": "x", "scope": "user", "ok": [[UNKNOWN, "x"]], "ts": 1},
        "im.tandem.receipt",
    ),
    Letter("a malformed receipt", "m.room.encrypted", {"v": "one", "ok": 7}, "im.tandem.receipt"),
    Letter(
        "a receipt between devices, from a stranger", "m.room.encrypted", {"v": 1}, "im.tandem.receipt_sync"
    ),
)

_ODD = (
    Odd("typing", "typing"),
    Odd("a read receipt", "read_receipt"),
    Odd("a new name of the sender", "rename"),
    Odd("the redaction of a message that was silent", "redaction"),
    Odd("a message encrypted with a key that was never given out", "without_key"),
    Odd("a message sent a second time as another event", "replay"),
    Odd("another author's message, sent again as one's own", "stolen"),
    Odd("a message encrypted for another room", "wrong_room"),
    Odd("a message that is taken back before it is confirmed", "taken_back"),
    Odd("a visible message of a stranger whose invitation is open", "from", {"who": "stranger"}),
    Odd("a visible message of somebody who is never told", "from", {"who": "never"}),
    Odd("a visible message of somebody who is ignored", "from", {"who": "ignored"}),
    Odd("a visible message in a public room", "from", {"who": "public"}),
    Odd("a visible message in a room that anybody can read", "from", {"who": "readable"}),
    Odd("a visible message in a private room without encryption", "from", {"who": "plain"}),
    Odd("a visible message in a room that is never confirmed", "from", {"who": "never_room"}),
    Odd("a visible message from before the victim joined", "from", {"who": "before"}),
)

PROBES: tuple[Probe, ...] = (
    *_CHANGES, *_EMPTY, *_KINDS, *_ODD_TYPES, *_CLEAR, *_LETTERS, *_ODD,
)  # fmt: skip
