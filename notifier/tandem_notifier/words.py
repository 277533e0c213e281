"""The words of a popup: who, where and what; or nothing of that when the content is to be hidden."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.rows import preview
from tandem_core.store.notifications import Due

# Control characters, line separators, and the marks that turn the direction of what stands beside them.
_CONTROLS = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")
MOST_BODY = 240
MOST_NAME = 60
HIDDEN_TITLE = "Tandem"


@dataclass(frozen=True, slots=True)
class Place:
    """The room as popups name it."""

    name: str
    is_direct: bool


def title(place: Place, sender_name: str) -> str:
    """The person in a direct chat, the person and the room elsewhere."""
    who, where = shortened(sender_name, MOST_NAME), shortened(place.name, MOST_NAME)
    return who if place.is_direct or who == where else f"{who} in {where}"


def room_title(place: Place) -> str:
    """For a popup that tells of several messages."""
    return shortened(place.name, MOST_NAME)


def body(item: Due, sender_name: str) -> str:
    """What the message says, in one short line."""
    line = shortened(preview(item.kind, item.body), MOST_BODY)
    if item.kind == "emote":
        return f"* {shortened(sender_name, MOST_NAME)} {line}"
    return line or "New message"


def line(place: Place, sender_name: str, text: str) -> str:
    """One of several lines in a popup."""
    return (
        text if place.is_direct or text.startswith("* ") else f"{shortened(sender_name, MOST_NAME)}: {text}"
    )


def many(count: int) -> str:
    """For more messages than one wants to read in a popup."""
    return "New message" if count == 1 else f"{count} new messages"


def many_from(place: Place, count: int, names: Sequence[str]) -> str:
    """The same, with who wrote them where that is not the room's name anyway."""
    return many(count) if place.is_direct else f"{many(count)} from {_names(names)}"


def _names(names: Sequence[str]) -> str:
    """``Ann, Bo and 2 others``."""
    distinct = list(dict.fromkeys(shortened(name, MOST_NAME) for name in names))
    if len(distinct) == 1:
        return distinct[0]
    if len(distinct) <= 3:
        return f"{', '.join(distinct[:-1])} and {distinct[-1]}"
    return f"{distinct[0]}, {distinct[1]} and {len(distinct) - 2} others"


def shortened(text: str, most: int) -> str:
    """One line without control characters and direction marks, at most ``most`` characters."""
    flat = " ".join(_CONTROLS.sub(" ", text[: most * 4]).split())
    return flat if len(flat) <= most else f"{flat[: most - 1].rstrip()}…"
