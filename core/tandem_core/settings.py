"""Every setting, declared once; panel, command line, storage and docs read it from here.

Inheritance is visible: ``effective`` says where a value comes from: the room or person, the account,
or Tandem's own default.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.errors import BadInput
from tandem_core.store import account_data
from tandem_core.store import settings as store
from tandem_core.store.database import Transaction
from tandem_core.types import Json, RoomId, Topic, UserId

Value = bool | int | str

DELIVERY_SETTINGS = "im.tandem.delivery_settings"
"""Account data that all devices of a person go by, and an appservice: ``{"enabled": false}`` confirms nothing."""


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

SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            "receipts.direct",
            "on",
            "Confirm delivery in direct chats",
            "In encrypted direct chats that you accepted, tell the author that a message reached you.",
            _ON_OFF,
        ),
        Setting(
            "receipts.groups",
            "on",
            "Confirm delivery in groups",
            "In encrypted private groups up to the size below.",
            _ON_OFF,
        ),
        Setting(
            "receipts.groups_max",
            20,
            "Largest group",
            "How many other people a group may have before confirmations stop.",
            least=1,
            most=100,
        ),
        Setting(
            "receipts.plain",
            "off",
            "Confirm delivery in private rooms without encryption",
            "Your server and everybody in the room can read such messages.",
            _ON_OFF,
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
        ),
        Setting(
            "receipts.room",
            "default",
            "Confirm delivery in this room",
            "Overrides the rule for this kind of room. In a public room anyone may join and learn when you are here.",
            ("default", "on", "never"),
            scope=Scope.ROOM,
        ),
        Setting(
            "receipts.person",
            "default",
            "Confirm delivery to this person",
            "Never beats every other setting, in all rooms.",
            ("default", "never"),
            scope=Scope.PERSON,
        ),
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
    text = store.chosen(conn, setting.scope, target, key)
    if text is None:
        return Effective(setting.default, "default")
    try:
        return Effective(_checked(setting, json.loads(text)), str(setting.scope))
    except (BadInput, ValueError):
        return Effective(setting.default, "default", is_sound=False)


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
    """Keep a choice; ``"default"`` for a room or person forgets it. Raises BadInput when it is not allowed."""
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    checked = _checked(setting, value)
    if checked == "default":
        store.clear(txn, setting.scope, target, key)
    else:
        store.put(txn, setting.scope, target, key, json.dumps(checked), now_ms)


def parse_text(key: str, text: str) -> Value:
    """A value as a person types it: ``on``, ``off``, ``yes``, ``no``, ``true``, ``false``, a number or a word."""
    setting = declared(key)
    word = text.strip().lower()
    match setting.kind:
        case "switch" if word in ("true", "on", "yes", "1"):
            return True
        case "switch" if word in ("false", "off", "no", "0"):
            return False
        case "number" if word.isascii() and word.isdigit() and len(word) < 10:
            return _checked(setting, int(word))
        case "choice":
            return _checked(setting, word)
    raise _not_allowed(setting, text)


def all_values(conn: sqlite3.Connection) -> list[Chosen]:
    """Every account setting with its source, then each room's and person's own choices."""
    found = [Chosen(s, "", effective(conn, s.key)) for s in SETTINGS.values() if s.scope is Scope.ACCOUNT]
    for row in store.rows(conn):
        setting = SETTINGS.get(row.key)
        if setting is None or setting.scope is Scope.ACCOUNT or setting.scope != row.scope:
            continue
        held = effective(conn, row.key, RoomId(row.target), UserId(row.target))
        found.append(Chosen(setting, row.target, held))
    return found


def note_account_data(txn: Transaction, event_type: str, content: Json) -> None:
    """Say that settings changed when account data that acts as one arrived (whom you ignore, push rules, receipts)."""
    if event_type in ("m.ignored_user_list", "m.push_rules", DELIVERY_SETTINGS):
        txn.changed(Topic.SETTINGS)


def confirms(conn: sqlite3.Connection) -> bool | None:
    """Whether this account confirms deliveries at all, as its account data says; None if that makes no sense."""
    said = (account_data.get(conn, DELIVERY_SETTINGS) or {}).get("enabled", True)
    return said if isinstance(said, bool) else None


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
