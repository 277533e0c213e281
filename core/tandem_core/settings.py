"""Every setting, declared once; panel, command line, storage and docs read it from here.

Inheritance is visible: ``effective`` says where a value comes from: the room or person, the account,
or Tandem's own default. Some settings are shared by all of a user's devices (``store.shared_settings``): what was
chosen here holds until it is written there, then the newest choice of any device. But a refusal that was chosen here
is taken back here only: neither the server nor another device turns on what this device was told to leave off.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.errors import BadInput
from tandem_core.store import settings as store
from tandem_core.store import shared_settings as shared
from tandem_core.store.database import Transaction
from tandem_core.types import Json, RoomId, Topic, UserId

DELIVERY_SETTINGS = shared.DELIVERY_SETTINGS
DELIVERY_EXCEPTIONS = shared.DELIVERY_EXCEPTIONS
Value = bool | int | str


class Scope(StrEnum):
    """What a value can be chosen for."""

    ACCOUNT = "account"
    ROOM = "room"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Setting:
    """One declaration. ``choices`` for words, ``least`` and ``most`` for numbers (both included)."""

    key: str
    default: Value
    title: str
    help: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    scope: Scope = Scope.ACCOUNT
    shared: str = ""
    """Its name among the rules that all devices share; of a room's or person's setting, that it is shared."""
    refusal: Value | None = None
    """The value that beats what other devices chose, once it was chosen on this one."""

    @property
    def kind(self) -> str:
        """``switch``, ``number`` or ``choice``."""
        if isinstance(self.default, bool):
            return "switch"
        return "number" if isinstance(self.default, int) else "choice"

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        match self.kind:
            case "switch":
                return "true or false"
            case "number":
                return f"a whole number from {self.least} to {self.most}"
            case _:
                return "one of " + ", ".join(self.choices)


@dataclass(frozen=True, slots=True)
class Effective:
    """A value and where it comes from: ``room``, ``person``, ``account`` or ``default``.

    ``is_sound`` is false when what is stored cannot be understood; the value is then the default, and whoever
    must be careful (the receipt gate) refuses.
    """

    value: Value
    source: str
    is_sound: bool = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """One line of ``all_values``: a setting, for whom, its value and where that comes from."""

    setting: Setting
    target: str
    effective: Effective


_ON_OFF = ("on", "off")

_RECEIPTS = (
    Setting(
        "receipts.answered",
        False,
        "You were asked whether to confirm deliveries",
        "Nothing is confirmed before you have answered once, on any of your devices.",
        shared="answered",
        refusal=False,
    ),
    Setting(
        "receipts.enabled",
        True,
        "Confirm deliveries",
        "If not, nobody learns that a message reached you, in no room.",
        shared="enabled",
        refusal=False,
    ),
    Setting(
        "receipts.direct",
        "on",
        "Confirm delivery in direct chats",
        "In encrypted direct chats that you accepted, tell the author that a message reached you.",
        _ON_OFF,
        shared="direct",
        refusal="off",
    ),
    Setting(
        "receipts.groups",
        "on",
        "Confirm delivery in groups",
        "In encrypted private groups up to the size below.",
        _ON_OFF,
        shared="groups",
        refusal="off",
    ),
    Setting(
        "receipts.groups_max",
        20,
        "Largest group",
        "How many other people a group may have before confirmations stop. Above 20 only messages that ask get one.",
        least=1,
        most=100,
        shared="groups_max",
    ),
    Setting(
        "receipts.plain",
        "off",
        "Confirm delivery in private rooms without encryption",
        "Your server and everybody in the room can read such messages.",
        _ON_OFF,
        shared="plain",
        refusal="off",
    ),
    Setting(
        "receipts.notifier",
        True,
        "The background notifier may confirm",
        "If not, a delivered mark tells the author that your Tandem window is open.",
    ),
    Setting(
        "receipts.device_detail",
        "verified",
        "Who sees which of your devices has a message",
        "Only in direct chats. Everybody else sees only that it reached you.",
        ("nobody", "verified", "accepted"),
        shared="device_detail",
        refusal="nobody",
    ),
    Setting(
        "receipts.failed",
        True,
        "Tell contacts when a device of yours cannot decrypt",
        "Only verified people in direct chats, so that they can send the key again.",
        shared="failed",
        refusal=False,
    ),
    Setting(
        "receipts.timing",
        "protected",
        "When confirmations go out",
        "The longer the random pause, the less it tells about where you are and what you do.",
        ("protected", "slower", "quick"),
        shared="timing",
    ),
    Setting(
        "receipts.ask_direct",
        True,
        "Ask for confirmations in direct chats",
        "Your messages ask the other person's app, inside the encryption, to confirm them.",
        shared="ask_direct",
    ),
    Setting(
        "receipts.ask_groups",
        True,
        "Ask for confirmations in groups",
        "In encrypted private groups up to the size below.",
        shared="ask_groups",
    ),
    Setting(
        "receipts.ask_groups_max",
        20,
        "Largest group to ask in",
        "How many other people a group may have before only those messages ask for which you say so.",
        least=1,
        most=100,
        shared="ask_groups_max",
    ),
    Setting(
        "receipts.paused_until",
        0,
        "No confirmations until",
        "Milliseconds since 1970; until then this device confirms nothing. 0: not paused.",
        most=(1 << 53) - 1,
    ),
    Setting(
        "receipts.room",
        "default",
        "Confirm delivery in this room",
        "Overrides the rule for this kind of room. In a public room anyone may join and learn when you are here.",
        ("default", "on", "never"),
        scope=Scope.ROOM,
        shared="rooms",
        refusal="never",
    ),
    Setting(
        "receipts.person",
        "default",
        "Confirm delivery to this person",
        "Never beats every other setting, in all rooms.",
        ("default", "never"),
        scope=Scope.PERSON,
        shared="people",
        refusal="never",
    ),
)

SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        *_RECEIPTS,
        Setting(
            "encryption.verified_only",
            False,
            "Send only to verified devices",
            "Who is not verified cannot read what you write in encrypted rooms.",
        ),
        Setting(
            "encryption.room",
            "default",
            "Who can read what you write in this room",
            "Overrides the rule for all rooms.",
            ("default", "verified", "everyone"),
            scope=Scope.ROOM,
        ),
        Setting(
            "encryption.exclude_unsigned",
            True,
            "Leave out devices that their owner has not confirmed",
            "Anybody who controls a homeserver could add such a device.",
        ),
        Setting(
            "reads.mode",
            "public",
            "Who sees what you have read",
            "Private keeps your own devices in step and tells nobody else.",
            ("public", "private", "off"),
        ),
        Setting("typing.send", True, "Show others that you are typing", "Sent only while you type."),
        Setting(
            "notifications.enabled",
            True,
            "Show notifications",
            "For messages that your notification rules select.",
        ),
        Setting(
            "notifications.hide_content",
            False,
            "Hide the text in notifications",
            "Shows that there is a message, not what it says nor who wrote it.",
        ),
        Setting(
            "notifications.room",
            "default",
            "Notifications of this room",
            "Overrides your notification rules here.",
            ("default", "all", "mentions", "mute"),
            scope=Scope.ROOM,
        ),
        Setting(
            "background.notifier",
            True,
            "Keep the notifier running",
            "It goes on receiving messages when the window is closed.",
        ),
        Setting(
            "appearance.theme",
            "system",
            "Colours",
            "Follows your desktop, or not.",
            ("system", "light", "dark"),
        ),
        Setting(
            "appearance.contrast",
            "system",
            "Contrast",
            "Follows your desktop where it says so, or is always high.",
            ("system", "high"),
        ),
        Setting(
            "appearance.marks",
            "icons",
            "Delivery marks",
            "Small pictures beside your messages, or words.",
            ("icons", "words"),
        ),
    )
}


def declared(key: str) -> Setting:
    """The declaration; raises BadInput for a key that does not exist."""
    setting = SETTINGS.get(key)
    if setting is None:
        raise BadInput(f"there is no setting {key!r}", advice="See tandemctl settings list.")
    return setting


def effective(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Effective:
    """The value that holds and its source; a room or person setting needs its room or person."""
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    row = store.row(conn, setting.scope, target, key)
    told = _told(conn, setting, target)
    here = None if row is None else _held(setting, _loaded(row.value))
    if here is not None and (told is None or here.value == setting.refusal or not here.is_sound):
        return here
    there = None if told is None else _held(setting, told.value)
    if here is not None and row is not None and told is not None and there is not None:
        return here if row.changed_at >= told.changed_at or not there.is_sound else there
    return there or Effective(setting.default, "default")


def beaten(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Value | None:
    """What the user's other devices chose later, where a refusal of this one beats it; None: nothing is beaten."""
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    row, told = store.row(conn, setting.scope, target, key), _told(conn, setting, target)
    if row is None or told is None or _loaded(row.value) != setting.refusal:
        return None
    there = _held(setting, told.value)
    is_beaten = there.is_sound and there.value != setting.refusal and told.changed_at > row.changed_at
    return there.value if is_beaten else None


def get(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Value:
    """The value that holds."""
    return effective(conn, key, room_id, user_id).value


def set_value(
    txn: Transaction,
    key: str,
    value: Value,
    *,
    now_ms: int,
    room_id: RoomId | None = None,
    user_id: UserId | None = None,
) -> None:
    """Keep a choice; ``"default"`` for a room or person forgets it. Raises BadInput when it is not allowed.

    A shared one is written to the account data later, by whichever program runs; it is newer than all that this
    device has heard of, whatever the clocks say.
    """
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    checked = _checked(setting, value)
    told = _told(txn.conn, setting, target)
    if checked == "default" and (told is None or told.value == "default"):
        store.clear(txn, setting.scope, target, key)
        return
    at = now_ms if told is None else max(now_ms, told.changed_at + 1)
    store.put(txn, setting.scope, target, key, json.dumps(checked), at)


def parse_text(key: str, text: str) -> Value:
    """A value as a person types it: ``on``, ``off``, ``yes``, ``no``, ``true``, ``false``, a number or a word."""
    setting = declared(key)
    word = text.strip().lower()
    match setting.kind:
        case "switch" if word in ("true", "on", "yes", "1"):
            return True
        case "switch" if word in ("false", "off", "no", "0"):
            return False
        case "number" if word.isascii() and word.isdigit() and len(word) < 17:
            return _checked(setting, int(word))
        case "choice":
            return _checked(setting, word)
    raise _not_allowed(setting, text)


def all_values(conn: sqlite3.Connection) -> list[Chosen]:
    """Every account setting with its source, then each room's and person's own choices."""
    found = [Chosen(s, "", effective(conn, s.key)) for s in SETTINGS.values() if s.scope is Scope.ACCOUNT]
    named = {(row.scope, row.target, row.key) for row in store.rows(conn)}
    named |= {(scope, target, f"receipts.{scope}") for scope, target in shared.exceptions(conn)}
    for scope, target, key in sorted(named):
        setting = SETTINGS.get(key)
        if setting is None or setting.scope is Scope.ACCOUNT or setting.scope != scope:
            continue
        held = effective(conn, key, RoomId(target), UserId(target))
        if held.source != "default" or not held.is_sound:
            found.append(Chosen(setting, target, held))
    return found


def is_allowed(setting: Setting, text: str) -> bool:
    """Whether a stored choice (JSON text) can be understood."""
    try:
        _checked(setting, _loaded(text))
    except BadInput:
        return False
    return True


def note_account_data(txn: Transaction, event_type: str, content: Json) -> None:
    """Say that settings changed when account data that acts as one arrived (whom you ignore, push rules, receipts)."""
    if event_type in ("m.ignored_user_list", "m.push_rules", DELIVERY_SETTINGS, DELIVERY_EXCEPTIONS):
        txn.changed(Topic.SETTINGS)


def confirms(conn: sqlite3.Connection) -> bool | None:
    """Whether this account confirms deliveries at all: asked once, and not switched off; None if that makes no sense.

    It makes none either where there are exceptions that this device cannot read: nobody must be told by mistake.
    """
    enabled, answered = effective(conn, "receipts.enabled"), effective(conn, "receipts.answered")
    if not (enabled.is_sound and answered.is_sound and shared.exceptions_are_known(conn)):
        return None
    return answered.value is True and enabled.value is True


def _told(conn: sqlite3.Connection, setting: Setting, target: str) -> shared.Shared | None:
    """What is shared of a setting, if it is one of those."""
    if not setting.shared:
        return None
    if setting.scope is Scope.ACCOUNT:
        return shared.rule(conn, setting.shared)
    return shared.exception(conn, setting.scope, target)


def _held(setting: Setting, value: object) -> Effective:
    try:
        checked = _checked(setting, value)
    except BadInput:
        return Effective(setting.default, "default", is_sound=False)
    return Effective(checked, "default" if checked == "default" else str(setting.scope))


def _loaded(text: str) -> object:
    """A stored value; what is no JSON is not allowed for any setting."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _target(setting: Setting, room_id: RoomId | None, user_id: UserId | None) -> str:
    match setting.scope:
        case Scope.ACCOUNT:
            return ""
        case Scope.ROOM:
            if not room_id:
                raise BadInput(f"{setting.key} is chosen per room", advice="Name the room with --room.")
            return room_id
        case Scope.PERSON:
            if not user_id:
                raise BadInput(f"{setting.key} is chosen per person", advice="Name the person with --person.")
            return user_id


def _checked(setting: Setting, value: object) -> Value:
    match setting.kind:
        case "switch" if isinstance(value, bool):
            return value
        case "number" if isinstance(value, int) and not isinstance(value, bool):
            if setting.least <= value <= setting.most:
                return value
        case "choice" if isinstance(value, str) and value in setting.choices:
            return value
    raise _not_allowed(setting, value)


def _not_allowed(setting: Setting, value: object) -> BadInput:
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return BadInput(f"{setting.key} cannot be {shown}", advice=f"It is {setting.allowed}.")
