"""What the info panel says of people and devices, in groups: what needs attention first. Words, pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tandem_app.models.words import hue, list_time, moment, shortened
from tandem_core.receipts.states import MOST_NAMED, DeviceDelivery, PersonDelivery, PersonState
from tandem_core.receipts.words import quantity

OWN = "own"
"""The group of the account's own other devices."""
BLANK: dict[str, Any] = {
    "kind": "", "group": "", "words": "", "canFold": False, "folded": False, "name": "", "userId": "", "hue": 0,
    "line": "", "devices": [], "spoken": "",
}  # fmt: skip
"""A row with every key that QML asks for. ``kind``: heading, person, own (our other devices)."""
_GROUPS = (
    ("trouble", "Needs attention"),
    ("waiting", "Waiting"),
    ("delivered", "Delivered"),
    ("read", "Read"),
    ("other", "Not counted"),
)
ALL = frozenset(group for group, _ in _GROUPS) | {OWN}
"""Every group."""
_NOT_TRACKED = "Not tracked"
_LONGEST_NAME = 40
"""So that there is room for what is asked."""
_CODES = {"no_key": "no key", "withheld": "key withheld"}
_WHY_NOT = {
    "bot": "A bot, which confirms nothing",
    "bridged": "On another network, whose bridge reports nothing",
    "joined later": "Joined later",
}


def rows(
    people: Sequence[PersonDelivery],
    own: Sequence[DeviceDelivery],
    now_ms: int,
    *,
    tracked: bool,
    unfolded: Collection[str] = (),
    wanted: str = "",
) -> list[dict[str, Any]]:
    """Maps for QML: a heading for each group, and the people of those that are not folded.

    With more people than can be named at a glance the groups are folded, but not what needs attention; a
    search (``wanted``: a part of a name or id) finds people in all of them. ``tracked``: anything can be expected.
    """
    is_large = are_many(people)
    looked_for = wanted.casefold().strip()
    found: list[dict[str, Any]] = []
    for group, title in _GROUPS:
        members = [person for person in people if _group(person) == group]
        if not members:
            continue
        shown = [person for person in members if _matches(person, looked_for)]
        can_fold = is_large and group != "trouble" and not looked_for
        folded = can_fold and group not in unfolded
        if shown:
            number = f"{len(shown)} of {len(members)}" if looked_for else str(len(members))
            name = _NOT_TRACKED if group == "waiting" and not tracked else title
            found.append(_heading(group, f"{name} ({number})", can_fold=can_fold, folded=folded))
        if not folded:
            found += [_person(person, now_ms, tracked) for person in shown]
    having = sum(device.delivered_at is not None for device in own)
    if having and not looked_for:
        folded = OWN not in unfolded
        words = f"Your other devices ({having} of {len(own)})"
        found.append(_heading(OWN, words, can_fold=True, folded=folded))
        if not folded:
            found.append(_own(own, now_ms))
    return found


def question(person: PersonDelivery, device: DeviceDelivery) -> dict[str, Any]:
    """What is asked before the key of a message goes out once more: a map {title, words, userId, deviceId}."""
    name = shortened(person.name, _LONGEST_NAME)
    known = {
        True: "You have verified it.",
        False: f"It is not verified: nobody has checked that it is {name}'s own.",
        None: f"It is not among {name}'s devices any more, as far as your server says.",
    }
    return {
        "title": f'Send the key again to {name}\'s "{shortened(device.name, _LONGEST_NAME)}"?',
        "words": f"{known[device.verified]} Whoever has this device can then read this message, and what you write"
        " after it with the same key.",
        "userId": person.user_id,
        "deviceId": device.device_id,
    }


def are_many(people: Sequence[PersonDelivery]) -> bool:
    """Whether there are too many to be named all at once."""
    return sum(person.counted for person in people) > MOST_NAMED


def as_lines(shown: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as plain text."""
    lines: list[str] = []
    for row in shown:
        if row["kind"] == "heading":
            lines += ["", row["words"]]
            continue
        if row["kind"] == "person":
            lines.append(f"- {row['name']} ({row['userId']}): {row['line']}")
        lines += [f"    {device['label']}: {device['line']}" for device in row["devices"]]
    return lines


def _heading(group: str, words: str, *, can_fold: bool, folded: bool) -> dict[str, Any]:
    row = {"kind": "heading", "group": group, "words": words, "canFold": can_fold, "folded": folded}
    return BLANK | row


def _group(person: PersonDelivery) -> str:
    if not person.counted:
        return "other"
    match person.state:
        case PersonState.TROUBLE:
            return "trouble"
        case PersonState.READ:
            return "read"
        case PersonState.DELIVERED:
            return "delivered"
    return "waiting"


def _matches(person: PersonDelivery, looked_for: str) -> bool:
    return looked_for in person.name.casefold() or looked_for in person.user_id.casefold()


def _person(person: PersonDelivery, now_ms: int, tracked: bool) -> dict[str, Any]:
    shares_devices = any(device.delivered_at is not None for device in person.devices)
    # Who confirms as a person does not say on which device; showing the others as waiting would be a guess.
    is_silent = not tracked or (person.delivered_at is not None and not shares_devices)
    devices = person.failing if is_silent else person.devices
    told = [_device(device, now_ms, person.user_id) for device in devices]
    line = _line(person, shares_devices, now_ms, tracked)
    return BLANK | {
        "kind": "person",
        "name": person.name,
        "userId": person.user_id,
        "hue": hue(person.user_id),
        "line": line,
        "devices": told,
        "spoken": ". ".join([f"{person.name}: {line}", *(f"{d['label']}: {d['line']}" for d in told)]),
    }


def _own(own: Sequence[DeviceDelivery], now_ms: int) -> dict[str, Any]:
    told = [_device(device, now_ms) for device in own]
    return BLANK | {
        "kind": "own",
        "devices": told,
        "spoken": ". ".join(f"{device['label']}: {device['line']}" for device in told),
    }


def _line(person: PersonDelivery, shares_devices: bool, now_ms: int, tracked: bool) -> str:
    parts = []
    if person.failing:
        total = len([device for device in person.devices if device.counted]) or len(person.devices)
        number = f"{len(person.failing)} of {quantity(total, 'device')}"
        parts.append(f"{number} cannot decrypt it")
    if not person.counted:
        parts.append(_WHY_NOT.get(person.why_not, person.why_not))
    if person.read_at is not None and person.state is not PersonState.TROUBLE:
        parts.append(f"read {moment(person.read_at, now_ms)}")
    if person.delivered_at is not None:
        parts.append(f"delivered {moment(person.delivered_at, now_ms)}")
        parts.append(_heard(person.devices) if shares_devices else "device details not shared")
        if person.reported:
            parts.append(f"reported by the {person.reported}")
    if not parts:
        parts.append(_nothing(person, now_ms, tracked))
    if person.has_left:
        parts.append("has left the room")
    words = " · ".join(part for part in parts if part)
    return words[:1].upper() + words[1:]


def _nothing(person: PersonDelivery, now_ms: int, tracked: bool) -> str:
    if not tracked:
        return "Delivery is not tracked here"
    if person.tracked and person.last_heard_at is not None:
        return "No confirmation yet"
    last = "never" if person.last_heard_at is None else list_time(person.last_heard_at, now_ms)
    return f"No confirmation. Their app may not send any (last one: {last})"


def _heard(devices: Sequence[DeviceDelivery]) -> str:
    counted = [device for device in devices if device.counted]
    heard = sum(device.delivered_at is not None for device in counted)
    return f"{heard} of {quantity(len(counted), 'device')}"


def _device(device: DeviceDelivery, now_ms: int, user_id: str = "") -> dict[str, Any]:
    note = "" if device.verified is None else " (verified)" if device.verified else " (not verified)"
    state, line = "waits", "no answer yet"
    if device.failed_at is not None:
        what = _CODES.get(device.code, "cannot decrypt it")
        state, line = "failed", f"{what} · reported {moment(device.failed_at, now_ms)}"
        if device.key_sent_at is not None:
            line = f"key sent again {moment(device.key_sent_at, now_ms)}"
    elif device.delivered_at is not None:
        late = "" if device.counted else " · got the key later"
        state, line = "has", moment(device.delivered_at, now_ms) + late
    return {
        "id": device.device_id,
        "label": f"{device.name}{note}",
        "line": line,
        "state": state,
        "userId": user_id,
    }
