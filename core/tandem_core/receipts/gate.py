"""Whether a message's author learns that it reached this device: one pure function (MSC4089, DESIGN section 5).

The gate fails closed: any doubt about the event, the room, the sender, the settings or the clock means no
receipt. It is asked when an event is opened; ``still_owed`` asks the changeable half again when the receipt is due.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tandem_core.store.rooms import RoomKind
from tandem_core.types import Json, Origin, Seal, UserId

log = logging.getLogger("tandem.receipts.gate")

MOST_AGE_MS = 7 * 24 * 3600 * 1000
MOST_LATE_MS = 5 * 60 * 1000
"""How long after its arrival a sealed message may be opened and still count as delivered."""
MOST_AHEAD_MS = 10 * 60 * 1000
"""How far a sender's clock may be ahead of ours."""
MOST_UNASKED = 20
"""Above this many other people only a message that asks for confirmations is confirmed."""
MOST_PEOPLE = 100
"""Above this many other people no choice turns receipts on."""

_MESSAGE_KINDS = frozenset({"m.text", "m.image", "m.file", "m.audio", "m.video", "m.location", "m.emote"})
_ROW_KINDS = frozenset({"text", "emote", "image", "file", "audio", "video", "location", "sticker", "poll"})
_TYPES = frozenset({"m.room.message", "m.sticker", "m.poll.start"})
# Letters by category that draw nothing (Hangul fillers, the blank Braille cell).
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


class Reason(StrEnum):
    """Why no receipt is owed, or was dropped before it was sent."""

    NOT_A_MESSAGE = "not_a_message"
    AN_EDIT = "an_edit"
    EMPTY = "empty"
    OWN_EVENT = "own_event"
    SEALED = "sealed"
    UNPROVEN = "unproven"
    """Opened with a key that did not come from the sender itself."""
    PLAIN_IN_ENCRYPTED_ROOM = "plain_in_encrypted_room"
    REDACTED = "redacted"
    NOT_LIVE = "not_live"
    BEFORE_JOIN = "before_join"
    TOO_OLD = "too_old"
    OPENED_LATE = "opened_late"
    CLOCK = "clock"
    PAUSED = "paused"
    NOT_JOINED = "not_joined"
    NOT_ACCEPTED = "not_accepted"
    IGNORED = "ignored"
    PERSON_NEVER = "person_never"
    ROOM_NEVER = "room_never"
    SWITCHED_OFF = "switched_off"
    KIND_OFF = "kind_off"
    TOO_MANY_PEOPLE = "too_many_people"
    NOT_ASKED = "not_asked"
    PUBLIC_ROOM = "public_room"
    UNKNOWN_ROOM = "unknown_room"
    SETTINGS_UNSOUND = "settings_unsound"
    TOO_MANY_WAITING = "too_many_waiting"
    NO_WAY = "no_way"
    OTHER_DEVICE = "other_device"
    DOUBT = "doubt"


class Share(StrEnum):
    """What the author learns: that it reached me, or also which device it reached."""

    USER = "user"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Facts:
    """The event as the reader sees it: type and content in clear, and how it came here."""

    sender: UserId
    type: str
    content: Json
    is_state: bool
    row_kind: str
    """The row it makes in the timeline; only message rows count."""
    seal: Seal
    origin: Origin | None
    sent_at: int
    received_at: int
    opened_at: int | None
    redacted: bool
    is_proven: bool = True
    """An opened event: its key came from the sender's own device."""
    is_asking: bool = False
    """Its author asks for confirmations of it (``tandem_core.receipts.marker``)."""


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """The room at best knowledge; ``None`` means not known, and not known means no."""

    kind: RoomKind
    encrypted: bool
    joined: bool
    joined_at: int | None
    accepted: bool
    others: int | None
    """Joined people but me."""

    @property
    def is_large(self) -> bool:
        """So many people are there that only a message that asks for confirmations is confirmed."""
        return self.others is None or self.others > MOST_UNASKED


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """The author, seen from here."""

    is_me: bool
    ignored: bool
    joined: bool
    verified: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptSettings:
    """The settings that decide, for this room and this sender."""

    direct: bool = True
    groups: bool = True
    groups_max: int = 20
    plain: bool = False
    device_detail: str = "verified"
    room: str = "default"
    person: str = "default"
    enabled: bool = True
    """The account's own switch for all confirmations, in its account data."""
    paused_until: int = 0
    """What arrives before this time (ms) is never confirmed."""
    is_sound: bool = True


@dataclass(frozen=True, slots=True)
class Owe:
    """A receipt is owed; when it goes out is the schedule's business."""

    share: Share


@dataclass(frozen=True, slots=True)
class Refuse:
    """No receipt, and why."""

    reason: Reason


def decide(
    event: Facts,
    room: RoomFacts,
    sender: SenderFacts,
    settings: ReceiptSettings,
    now_ms: int,
) -> Owe | Refuse:
    """Owe a receipt, or refuse with the first reason found; never raises."""
    try:
        reason = (
            _refused_event(event, sender, room, settings, now_ms)
            or _refused_content(event)
            or still_owed(room, sender, settings)
            or _unasked(event, room)
        )
        if reason is not None:
            return Refuse(reason)
        return Owe(share(room, sender, settings))
    except Exception:
        log.exception("the gate failed on an event of type %r: no receipt", event.type)
        return Refuse(Reason.DOUBT)


def silent(event: Facts) -> Reason | None:
    """Why an event makes no message row that could be confirmed; None if it does. Never raises."""
    try:
        return _refused_content(event)
    except Exception:
        log.exception("the gate failed on an event of type %r: no receipt", event.type)
        return Reason.DOUBT


def still_owed(room: RoomFacts, sender: SenderFacts, settings: ReceiptSettings) -> Reason | None:
    """The half of the decision that may change until the receipt is due; None: go on."""
    if not settings.is_sound:
        return Reason.SETTINGS_UNSOUND
    if not settings.enabled:
        return Reason.SWITCHED_OFF
    if sender.is_me:
        return Reason.OWN_EVENT
    if sender.ignored:
        return Reason.IGNORED
    if settings.person != "default":
        return Reason.PERSON_NEVER
    if not (room.joined and sender.joined):
        return Reason.NOT_JOINED
    if not room.accepted:
        return Reason.NOT_ACCEPTED
    return _refused_room(room, settings)


def share(room: RoomFacts, sender: SenderFacts, settings: ReceiptSettings) -> Share:
    """What the author may learn: the device only in a direct chat, and only whom the setting names."""
    if room.kind is not RoomKind.DIRECT:
        return Share.USER
    match settings.device_detail:
        case "accepted":
            return Share.DEVICE
        case "verified" if sender.verified:
            return Share.DEVICE
    return Share.USER


def _refused_room(room: RoomFacts, settings: ReceiptSettings) -> Reason | None:
    """Never beats on; a room's own choice beats its kind's; nothing turns an unknown or huge room on."""
    if settings.room not in ("default", "on"):
        return Reason.ROOM_NEVER
    if room.others is None or room.kind not in _KNOWN_KINDS:
        return Reason.UNKNOWN_ROOM
    if room.others > MOST_PEOPLE:
        return Reason.TOO_MANY_PEOPLE
    if settings.room == "on":
        return None
    if room.kind is RoomKind.PUBLIC:
        return Reason.PUBLIC_ROOM
    if room.kind is RoomKind.PRIVATE_PLAIN or not room.encrypted:
        return None if settings.plain else Reason.KIND_OFF
    if room.kind is RoomKind.DIRECT:
        return None if settings.direct else Reason.KIND_OFF
    if not settings.groups:
        return Reason.KIND_OFF
    return None if room.others <= settings.groups_max else Reason.TOO_MANY_PEOPLE


def _unasked(event: Facts, room: RoomFacts) -> Reason | None:
    """In a large group hundreds of confirmations are worth their cost only to an author who wants them."""
    return Reason.NOT_ASKED if room.is_large and not event.is_asking else None


def _refused_event(
    event: Facts, sender: SenderFacts, room: RoomFacts, settings: ReceiptSettings, now_ms: int
) -> Reason | None:
    if sender.is_me:
        return Reason.OWN_EVENT
    if event.redacted:
        return Reason.REDACTED
    if event.origin not in (Origin.LIVE, Origin.GAP):
        return Reason.NOT_LIVE
    match event.seal:
        case Seal.OPENED:
            if event.opened_at is None:
                return Reason.DOUBT
            if event.opened_at - event.received_at > MOST_LATE_MS:
                return Reason.OPENED_LATE
            if not event.is_proven:
                return Reason.UNPROVEN
        case Seal.PLAIN:
            # Whoever strips the encryption (a server, a bridge) must not learn that it worked.
            if room.encrypted:
                return Reason.PLAIN_IN_ENCRYPTED_ROOM
        case _:
            return Reason.SEALED
    newest = now_ms + MOST_AHEAD_MS
    if max(event.sent_at, event.received_at, event.opened_at or 0) > newest:
        return Reason.CLOCK
    if now_ms - min(event.sent_at, event.received_at) > MOST_AGE_MS:
        return Reason.TOO_OLD
    if room.joined_at is None or event.sent_at < room.joined_at:
        return Reason.BEFORE_JOIN
    if min(event.received_at, now_ms) < settings.paused_until:
        return Reason.PAUSED
    return None


def _refused_content(event: Facts) -> Reason | None:
    """Only what makes a visible message row of its own: an allow-list."""
    content = event.content
    if event.is_state or event.type not in _TYPES or not content:
        return Reason.NOT_A_MESSAGE
    kind = content.get("msgtype")
    if event.type == "m.room.message" and not (isinstance(kind, str) and kind in _MESSAGE_KINDS):
        return Reason.NOT_A_MESSAGE
    if event.row_kind not in _ROW_KINDS:
        return Reason.NOT_A_MESSAGE
    if "m.new_content" in content or not _is_own_row(content.get("m.relates_to", {})):
        return Reason.AN_EDIT
    if event.type != "m.poll.start" and not _has_ink(content.get("body")):
        return Reason.EMPTY
    return None


def _is_own_row(relation: Any) -> bool:
    """Replies and thread messages are rows of their own; other relations change or adorn another row."""
    return isinstance(relation, dict) and relation.get("rel_type") in (None, "m.thread")


def _has_ink(body: Any) -> bool:
    return isinstance(body, str) and any(
        char.isprintable() and not char.isspace() and char not in _BLANK for char in body
    )


_KNOWN_KINDS = frozenset({RoomKind.DIRECT, RoomKind.PRIVATE_GROUP, RoomKind.PRIVATE_PLAIN, RoomKind.PUBLIC})
