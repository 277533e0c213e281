"""What the page "Delivery confirmations" shows, read from the store. Nothing here changes anything."""

from __future__ import annotations

import sqlite3
from typing import Any

from tandem_app.models import setting_rows, words
from tandem_app.models.setting_rows import BLANK, LINK, UNSOUND, Page, setting_row
from tandem_core import capabilities, settings
from tandem_core.receipts import pause
from tandem_core.receipts.preview import preview
from tandem_core.receipts.words import listed, quantity
from tandem_core.store import members, receipt_log, rooms
from tandem_core.types import Me, RoomId, UserId

DAY_MS = 86_400_000
MOST_PEOPLE = 8
"""So many people are offered for the preview."""
MOST_LINES = 60
"""So many lines of the log are shown."""
_LONGEST_NAME = 28
"""So that it fits on a button in a narrow window."""
_ABOUT = (
    "A confirmation tells the author of a message that it reached you, and nobody else. It goes out after a random"
    " pause, only for messages you can read, and only where you have written or accepted."
)
_NO_SUPPORT = (
    " Your homeserver does not offer them (MSC4089): they go encrypted to the devices of those who ask."
)
_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Devices",
        "",
        ("receipts.notifier", "receipts.device_detail", "receipts.failed"),
    ),
    ("Timing", "", ("receipts.timing",)),
    (
        "I ask for confirmations of my messages",
        "Whether others confirm is their choice; what you send does not depend on it.",
        ("receipts.ask_direct", "receipts.ask_groups", "receipts.ask_groups_max"),
    ),
)
_KINDS = ("receipts.direct", "receipts.groups", "receipts.groups_max", "receipts.plain")
UNREAD = (
    "This device cannot read the exceptions that your other devices share, so it confirms nothing. Verify it with one"
    " of them; or begin anew with the exceptions listed here, if no device has the others any more."
)


def page(conn: sqlite3.Connection) -> Page:
    """Every choice, in sections."""
    made = Page("Delivery confirmations")
    server = capabilities.kept(conn)
    first = setting_row(conn, "receipts.enabled") | {
        "heading": "I confirm that messages reached me",
        "words": _ABOUT + (_NO_SUPPORT if server is not None and not server.delivery else ""),
    }
    kinds = [setting_row(conn, key) for key in _KINDS]
    kinds[2]["active"] = settings.get(conn, "receipts.groups") == "on"
    made.rows = [first, *kinds, _public(), _strangers()]
    for heading, about, keys in _SECTIONS:
        found = [setting_row(conn, key) for key in keys]
        found[0] |= {"heading": heading, "words": about}
        made.rows += found
    made.rows[-1]["active"] = settings.get(conn, "receipts.ask_groups") is True
    made.rows += _exceptions(conn)
    return made


def standing(conn: sqlite3.Connection, now_ms: int) -> str:
    """How it stands, in a sentence or two."""
    answered, confirms = settings.effective(conn, "receipts.answered"), settings.confirms(conn)
    if confirms is None:
        return "What is stored cannot be understood here, so nothing is confirmed."
    if answered.value is not True:
        return "You have not chosen yet. Until then nothing is confirmed."
    if not confirms:
        return "Off."
    until = pause.paused_until(conn, now_ms)
    if until is not None:
        return f"Paused until {words.clock_time(until)}."
    kinds = []
    if settings.get(conn, "receipts.direct") == "on":
        kinds.append("direct chats")
    if settings.get(conn, "receipts.groups") == "on":
        kinds.append(f"groups of up to {settings.get(conn, 'receipts.groups_max')} people")
    if settings.get(conn, "receipts.plain") == "on":
        kinds.append("private rooms without encryption")
    return f"On in {listed(kinds)}." if kinds else "Off in every kind of room."


def people(conn: sqlite3.Connection, me: Me) -> list[dict[str, Any]]:
    """Whom the preview offers: ``id`` and ``name``."""
    found = receipt_log.people(conn, LINK, me.user_id, MOST_PEOPLE)
    return [
        {"id": user_id, "name": words.shortened(_name(conn, user_id), _LONGEST_NAME)} for user_id in found
    ]


def seen(conn: sqlite3.Connection, me: Me, person: str, now_ms: int) -> list[dict[str, Any]]:
    """What this person learns: ``room``, ``words`` and whether it is anything at all (``tells``)."""
    return [
        {"room": _room_name(conn, one.room_id), "words": one.words, "tells": one.share is not None}
        for one in preview(conn, me, LINK, UserId(person), now_ms)
    ]


def log(conn: sqlite3.Connection, now_ms: int) -> tuple[str, list[str]]:
    """The last 24 hours: a sentence, and a line for each confirmation, newest first."""
    rows = receipt_log.confirmed_since(conn, now_ms - DAY_MS)
    told = len({one.sender for one in rows})
    sentence = (
        f"{quantity(len(rows), 'confirmation')} sent to {quantity(told, 'person', 'people')} in the last 24 hours."
        if rows
        else "No confirmation was sent in the last 24 hours."
    )
    lines = [_line(conn, one, now_ms) for one in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        lines.append(f"and {len(rows) - MOST_LINES} more; tandemctl receipts log shows all")
    return sentence, lines


def _line(conn: sqlite3.Connection, one: receipt_log.Confirmed, now_ms: int) -> str:
    name, room = members.display_name(conn, one.room_id, one.sender), _room_name(conn, one.room_id)
    parts = [words.list_time(one.done_at, now_ms), name]
    if room != name:  # a direct chat is called as the other person
        parts.append(room)
    if one.share == "device":
        parts.append("with this device")
    return " · ".join(parts)


def _public() -> dict[str, Any]:
    return BLANK | {
        "kind": "fixed",
        "title": "Confirm delivery in public rooms",
        "help": "Anyone may join a public room and would learn when you are here. You can turn it on for one room,"
        " in that room's settings.",
        "value": "Never",
    }


def _strangers() -> dict[str, Any]:
    return BLANK | {
        "kind": "fixed",
        "title": "Confirm to strangers and for requests",
        "help": "Only once you have written in the room, or accepted the invitation of a direct chat.",
        "value": "Never",
    }


def _exceptions(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Rooms and people with a choice of their own, then the line to add a person."""
    found = []
    for chosen in settings.all_values(conn):
        if chosen.setting.key not in ("receipts.room", "receipts.person"):
            continue
        is_room = chosen.setting.key == "receipts.room"
        room_id = RoomId(chosen.target) if is_room else None
        user_id = None if is_room else UserId(chosen.target)
        room = rooms.room(conn, LINK, room_id) if room_id else None
        always = chosen.effective.value == "on"
        found.append(
            BLANK
            | {
                "key": chosen.setting.key,
                "kind": "exception",
                "title": room.name if room is not None else chosen.target,
                "help": f"{'Room' if is_room else 'Person'} · {'always confirm' if always else 'never confirm'}",
                "warning": setting_rows.beaten(conn, chosen.setting.key, room_id, user_id)
                if chosen.effective.is_sound
                else UNSOUND,
                "room": chosen.target if is_room else "",
                "person": "" if is_room else chosen.target,
            }
        )
    add = BLANK | {"key": "receipts.person", "kind": "person", "title": "Never confirm to"}
    lines = [*found, add]
    lines[0] |= {
        "heading": "Exceptions",
        "words": "Never beats always. Rooms get theirs in their own settings. Your devices share them, encrypted.",
    }
    return lines


def _name(conn: sqlite3.Connection, user_id: UserId) -> str:
    rooms_there = receipt_log.rooms_with(conn, LINK, user_id, 1)
    return members.display_name(conn, rooms_there[0], user_id) if rooms_there else words.local_part(user_id)


def _room_name(conn: sqlite3.Connection, room_id: RoomId) -> str:
    room = rooms.room(conn, LINK, room_id)
    return "A room that you left" if room is None else room.name
