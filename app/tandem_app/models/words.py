"""Times, names and text as people read them. Pure; local time comes from the clock that is passed in."""

from __future__ import annotations

import html as entities
import re
import time
from zlib import crc32

_DAY_MS = 24 * 60 * 60 * 1000
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
_URL = re.compile(r"\b(?:https?://|matrix:)[^\s<>\"]+[^\s<>\".,;:!?)\]}']")

HUES = 8
"""How many colours the theme has for people and rooms."""

_WITHHELD = {
    "m.unverified": "The sender only shares keys with verified devices, and this one was none. Verify it to read what"
    " follows.",
    "m.blacklisted": "The sender has blocked this device.",
    "m.unauthorised": "You were not in the room when this was sent.",
    "m.unavailable": "The sender's device no longer has the key.",
    "m.no_olm": "The sender's device could not reach this one safely. It tries again with the next message.",
}
_SEALED = {
    "no_key": "Waiting for the key to this message\N{HORIZONTAL ELLIPSIS}",
    "too_early": "This was written before this device got the key. Your key backup or another device may have it.",
    "bad_key": "The key that a backup or a key file has for this message does not fit. Waiting for its sender's own.",
    "replay": "This message repeats an earlier one and was not opened.",
    "forged": "This message does not come from whom it claims, and was not opened.",
    "malformed": "This message is damaged and cannot be opened.",
    "unknown_algorithm": "This message uses an encryption that Tandem does not know.",
}


def hue(identity: str) -> int:
    """The colour of a person or room: the same in every place and on every day."""
    return crc32(identity.encode()) % HUES


def clock_time(at_ms: int) -> str:
    """``HH:MM`` in local time."""
    return time.strftime("%H:%M", time.localtime(at_ms / 1000))


def day_number(at_ms: int) -> int:
    """A number that changes at local midnight."""
    local = time.localtime(at_ms / 1000)
    return local.tm_year * 1000 + local.tm_yday


def list_time(at_ms: int, now_ms: int) -> str:
    """For the room list: today the time, then Yesterday, a weekday, and a date."""
    if at_ms <= 0:
        return ""
    days = _days_ago(at_ms, now_ms)
    local = time.localtime(at_ms / 1000)
    if days <= 0:
        return time.strftime("%H:%M", local)
    if days == 1:
        return "Yesterday"
    if days < 7:
        return _WEEKDAYS[local.tm_wday]
    month = _MONTHS[local.tm_mon - 1][:3]
    if local.tm_year == time.localtime(now_ms / 1000).tm_year:
        return f"{local.tm_mday} {month}"
    return f"{local.tm_mday} {month} {local.tm_year}"


def moment(at_ms: int, now_ms: int) -> str:
    """A time to the minute, with its day unless that is today: 11:50, yesterday 11:50, 3 Nov 11:50."""
    day = list_time(at_ms, now_ms)
    hour = clock_time(at_ms)
    if day == hour:
        return hour
    return f"{'yesterday' if day == 'Yesterday' else day} {hour}"


def day_words(at_ms: int, now_ms: int) -> str:
    """For the line between two days: Today, Yesterday, or the full date."""
    days = _days_ago(at_ms, now_ms)
    if days == 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    local = time.localtime(at_ms / 1000)
    date = f"{_WEEKDAYS[local.tm_wday]}, {local.tm_mday} {_MONTHS[local.tm_mon - 1]}"
    if local.tm_year == time.localtime(now_ms / 1000).tm_year:
        return date
    return f"{date} {local.tm_year}"


def styled(body: str, html: str | None) -> str:
    """StyledText of a message: the sanitised formatting, or the plain words with their links made live."""
    if html:
        return html
    parts = []
    end = 0
    for found in _URL.finditer(body):
        parts.append(_plain(body[end : found.start()]))
        url = entities.escape(found.group(), quote=True)
        parts.append(f'<a href="{url}">{url}</a>')
        end = found.end()
    parts.append(_plain(body[end:]))
    return "".join(parts)


def sealed(reason: str | None) -> str:
    """Why a message cannot be read yet, or ever."""
    if reason is None:
        return _SEALED["no_key"]
    if reason.startswith("withheld:"):
        return _WITHHELD.get(reason[9:], "The sender did not share the key with this device.")
    return _SEALED.get(reason, "This message cannot be opened.")


def typing(names: list[str]) -> str:
    """Who is typing, in at most one line; empty when nobody is."""
    match names:
        case []:
            return ""
        case [one]:
            return f"{one} is typing\N{HORIZONTAL ELLIPSIS}"
        case [one, two]:
            return f"{one} and {two} are typing\N{HORIZONTAL ELLIPSIS}"
        case [one, two, third]:
            return f"{one}, {two} and {third} are typing\N{HORIZONTAL ELLIPSIS}"
    return "Several people are typing\N{HORIZONTAL ELLIPSIS}"


def one_line(text: str) -> str:
    """The first words of a message on one line, for the room list."""
    return " ".join(text[:300].split())


def shortened(name: str, most: int) -> str:
    """A name of at most ``most`` characters; of a longer one its beginning."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def local_part(user_id: str) -> str:
    """``bob`` of ``@bob:example.org``: for people whose name is not known."""
    return user_id[1:].split(":", 1)[0] if user_id.startswith("@") else user_id


def badge(count: int) -> str:
    """A count that fits its circle."""
    return "" if count <= 0 else str(count) if count < 100 else "99+"


def _plain(text: str) -> str:
    # StyledText folds runs of spaces as HTML does; a leading space or a second one is meant.
    lines = entities.escape(text, quote=False).replace("  ", " \N{NO-BREAK SPACE}")
    return lines.replace("\n", "<br>")


def _days_ago(at_ms: int, now_ms: int) -> int:
    def midnight(ms: int) -> float:
        local = time.localtime(ms / 1000)
        return time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 12, 0, 0, 0, 0, -1))

    return round((midnight(now_ms) - midnight(at_ms)) * 1000 / _DAY_MS)
