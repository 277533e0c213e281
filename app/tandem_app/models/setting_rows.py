"""What the settings page shows, read from the store: sections, rows and words. Nothing here changes anything."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tandem_core import setting_list, settings, trust, vault
from tandem_core.receipts import facts, gate
from tandem_core.store import members, rooms
from tandem_core.store import session as sessions
from tandem_core.trust import PersonTrust
from tandem_core.types import Me, Role, RoomId, UserId

if TYPE_CHECKING:
    from tandem_core.paths import ProfilePaths
    from tandem_core.setting_list import Setting
    from tandem_core.settings import Effective

LINK = Role.APP

BLANK: dict[str, Any] = {
    "key": "", "kind": "", "heading": "", "words": "", "title": "", "help": "", "warning": "", "value": "",
    "options": [], "least": 0, "most": 0, "active": True, "room": "", "person": "",
}  # fmt: skip
"""A row with every key that QML asks for.

``kind``: switch, onoff, choice, number, fixed, exception, person, trust, lead.
"""


@dataclass(slots=True)
class Page:
    """A title, a few lines about the account or room, and the rows."""

    title: str = ""
    lines: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


_SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Encryption", ("encryption.verified_only", "encryption.exclude_unsigned")),
    ("Reading and typing", ("reads.mode", "typing.send")),
    ("Notifications", ("notifications.enabled", "notifications.hide_content", "background.notifier")),
    ("Appearance", ("appearance.theme", "appearance.contrast", "appearance.marks")),
)
_MOST_PEOPLE = 30
_TRUST_WORDS = {
    PersonTrust.NO_IDENTITY: "Has no identity that could be verified",
    PersonTrust.SEEN: "Not verified",
    PersonTrust.VERIFIED: "Verified",
    PersonTrust.CHANGED: "Has a new identity, not verified",
    PersonTrust.VIOLATED: "Has another identity than the one that you verified",
}
_WORDS = {
    "on": "On",
    "off": "Off",
    "never": "Never",
    "default": "Default",
    "nobody": "Nobody",
    "verified": "Verified people",
    "accepted": "Everybody I accepted",
    "public": "Everybody in the room",
    "everyone": "Everybody in the room",
    "private": "Only my devices",
    "system": "As the desktop",
    "light": "Light",
    "dark": "Dark",
    "high": "High",
    "icons": "Pictures",
    "words": "Words",
    "all": "All messages",
    "mentions": "Mentions only",
    "mute": "None",
}
_OWN_WORDS = {
    "reads.mode": {"off": "Nobody"},
    "receipts.timing": {
        "protected": "Protected: usually within 20 seconds",
        "slower": "Slower, more private: after 1 to 10 minutes",
        "quick": "Quick: within 6 seconds, easier to track you",
    },
    "encryption.room": {"verified": "Only verified devices"},
}
_HELP = {
    "receipts.groups_max": "Only groups with at most this many other people. In groups of more than"
    f" {gate.MOST_UNASKED}, only messages that ask for it are confirmed.",
    "receipts.device_detail": "In direct chats only; all others see just that it reached you.",
    "receipts.notifier": "So a confirmation says nothing about where you are. If you turn this off, a delivered mark"
    " tells the author that your Tandem window is open.",
    "reads.mode": "Apart from delivery: that a message was read is told only by this setting.",
}
UNSOUND = "What is stored here cannot be understood. Until you choose anew, nothing is confirmed."


def account_page(conn: sqlite3.Connection, paths: ProfilePaths, confirmations: str) -> Page:
    """Everything that is chosen for the account, and who that is; ``confirmations`` says how those stand."""
    page = Page("Settings")
    lead = BLANK | {
        "kind": "lead",
        "title": "Whether others learn that messages reached you",
        "help": confirmations,
    }
    page.rows = [lead | {"heading": "Delivery confirmations"}]
    for heading, keys in _SECTIONS:
        found = [setting_row(conn, key) for key in keys]
        found[0]["heading"] = heading
        page.rows += found
    session = sessions.session(conn)
    if session is not None:
        page.lines = [
            f"Signed in as {session.me.user_id}",
            f"Device {session.me.device_id} at {session.homeserver}",
        ]
        where = vault.kept_in(paths)
        if where is not None:
            place = "a file that only you can read" if where == "file" else "your desktop's keyring"
            page.lines.append(f"The key that protects your encryption keys is in {place}.")
    return page


def room_page(conn: sqlite3.Connection, room_id: RoomId) -> Page:
    """What may be chosen for one room, and what holds there if nothing is."""
    room = rooms.room(conn, LINK, room_id)
    session = sessions.session(conn)
    if room is None or session is None:
        return Page("Room")
    me = session.me
    page = Page(room.name, [line for line in (room.topic or "", _about(room)) if line])
    confirm = setting_row(conn, "receipts.room", room_id)
    others = rooms.joined_people(conn, room_id, me.user_id)
    known = facts.room_facts(conn, me, room_id)
    confirm |= {"heading": "In this room", "help": f"Default here: {_default_here(conn, known, room_id)}."}
    if known.kind is rooms.RoomKind.PUBLIC and confirm["value"] == "on":
        confirm["warning"] = (
            "Anyone may join this room, write to you, and learn from confirmations when you are here."
        )
    page.rows = [confirm]
    if room.is_dm and len(others) == 1:
        partner = others[0]
        row = setting_row(conn, "receipts.person", None, partner)
        row["title"] = f"Confirm delivery to {members.display_name(conn, room_id, partner)}"
        page.rows.append(row)
    page.rows.append(setting_row(conn, "notifications.room", room_id))
    if known.encrypted:
        page.rows.append(setting_row(conn, "encryption.room", room_id))
        page.rows += _people(conn, me, room_id, others)
    return page


def _people(conn: sqlite3.Connection, me: Me, room_id: RoomId, others: list[UserId]) -> list[dict[str, Any]]:
    """Whom in the room we have verified, and whom we could verify; the first few of a large room."""
    known = trust.people(conn, me, others[:_MOST_PEOPLE])
    rows = [
        BLANK
        | {
            "kind": "trust",
            "title": members.display_name(conn, room_id, user_id),
            "help": _TRUST_WORDS[known[user_id]],
            "person": user_id,
            "active": known[user_id] is not PersonTrust.NO_IDENTITY,
            "value": known[user_id] is PersonTrust.VERIFIED,
        }
        for user_id in others[:_MOST_PEOPLE]
    ]
    if rows:
        rows[0] |= {
            "heading": "Verification",
            "words": "Compare emoji with people, and nobody can pretend to be them without your being told.",
        }
    return rows


def setting_row(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> dict[str, Any]:
    """A row for one setting, with every key."""
    setting = setting_list.declared(key)
    holds = settings.effective(conn, key, room_id, user_id)
    row = BLANK | {
        "key": key,
        "kind": setting.kind,
        "title": setting.title,
        "help": _HELP.get(key, setting.help),
        "warning": beaten(conn, key, room_id, user_id) if holds.is_sound else UNSOUND,
        "value": holds.value,
        "options": [{"value": word, "label": _label(key, word)} for word in setting.choices],
        "least": setting.least,
        "most": setting.most,
        "room": room_id or "",
        "person": user_id or "",
    }
    return row | _as_switch(setting, holds)


def beaten(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> str:
    """That a refusal of this device keeps what the user's other devices chose from holding here; empty if none does."""
    if settings.beaten(conn, key, room_id, user_id) is None:
        return ""
    return "Your other devices allow this. What was refused on this device, only this device allows again."


def _as_switch(setting: Setting, holds: Effective) -> dict[str, Any]:
    """Two words, on and off, are a switch to a person."""
    if setting.choices != ("on", "off"):
        return {}
    return {"kind": "onoff", "value": holds.value == "on", "options": []}


def _label(key: str, word: str) -> str:
    return _OWN_WORDS.get(key, {}).get(word) or _WORDS.get(word, word.capitalize())


def _about(room: rooms.RoomRow) -> str:
    people = f"{room.joined_count} people" if room.joined_count != 1 else "Only you"
    kind = "Direct chat" if room.is_dm else people
    return f"{kind} · {'encrypted' if room.encrypted else 'not encrypted'}"


def _default_here(conn: sqlite3.Connection, room: gate.RoomFacts, room_id: RoomId) -> str:
    """What the gate itself would say to somebody here of whom nothing special is chosen."""
    nobody = UserId("@:")
    held = facts.receipt_settings(conn, room_id, nobody)
    plain = replace(held, room="default", person="default")
    # Where the kind of room says no, writing here would not change that.
    accepted = replace(room, accepted=True)
    reason = gate.still_owed(accepted, gate.SenderFacts(is_me=False, ignored=False, joined=True), plain)
    if reason is None and not room.accepted:
        reason = gate.Reason.NOT_ACCEPTED
    match reason:
        case None if room.is_large:
            return "on for messages that ask for it, since many people are here"
        case None:
            return f"on, as in all {_kind_words(room.kind)}"
        case gate.Reason.KIND_OFF:
            return f"off, as in all {_kind_words(room.kind)}"
        case gate.Reason.SWITCHED_OFF if settings.get(conn, "receipts.answered") is not True:
            return "off, because you have not chosen yet whether to confirm"
        case gate.Reason.SWITCHED_OFF:
            return "off, as everywhere"
        case gate.Reason.PUBLIC_ROOM:
            return "off, because anyone may join this room"
        case gate.Reason.TOO_MANY_PEOPLE:
            most = min(plain.groups_max, gate.MOST_PEOPLE)
            return f"off, because more than {most} other people are here"
        case gate.Reason.NOT_ACCEPTED:
            return "off until you write here for the first time"
        case gate.Reason.SETTINGS_UNSOUND:
            return "off, because a stored setting cannot be understood"
        case _:
            return "off, as long as it is not certain what kind of room this is"


def _kind_words(kind: rooms.RoomKind) -> str:
    match kind:
        case rooms.RoomKind.DIRECT:
            return "encrypted direct chats"
        case rooms.RoomKind.PRIVATE_GROUP:
            return "encrypted private groups"
        case rooms.RoomKind.PRIVATE_PLAIN:
            return "private rooms without encryption"
        case _:
            return "rooms like this"
