"""Every setting, declared once; panel, command line, storage and docs read it from here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tandem_core.errors import BadInput

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

    def checked(self, value: object) -> Value:
        """The value, if it may be chosen; raises BadInput otherwise."""
        match self.kind:
            case "switch" if isinstance(value, bool):
                return value
            case "number" if isinstance(value, int) and not isinstance(value, bool):
                if self.least <= value <= self.most:
                    return value
            case "choice" if isinstance(value, str) and value in self.choices:
                return value
        raise self._not_allowed(value)

    def parsed(self, text: str) -> Value:
        """A value as a person types it: ``on``, ``off``, ``yes``, ``no``, ``true``, ``false``, a number or a word."""
        word = text.strip().lower()
        match self.kind:
            case "switch" if word in ("true", "on", "yes", "1"):
                return True
            case "switch" if word in ("false", "off", "no", "0"):
                return False
            case "number" if word.isascii() and word.isdigit() and len(word) < 17:
                return self.checked(int(word))
            case "choice":
                return self.checked(word)
        raise self._not_allowed(text)

    def _not_allowed(self, value: object) -> BadInput:
        shown = repr(value)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        return BadInput(f"{self.key} cannot be {shown}", advice=f"It is {self.allowed}.")


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
