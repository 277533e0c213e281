"""Who may have the keys of what we write: the person's settings, applied to trust (MSC4153).

A device that may not have them is told so (``m.room_key.withheld``). Nothing at all is sent while somebody in the room
whom we verified shows another identity: the person decides first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tandem_core import settings, trust
from tandem_core.store.devices import Device
from tandem_core.trust import DeviceTrust, PersonTrust
from tandem_core.types import Me, RoomId, UserId

UNVERIFIED = "m.unverified"
REASONS = {
    UNVERIFIED: "The sender has disabled encrypting to unverified devices.",
    "m.no_olm": "Unable to establish a secure channel.",
}
"""What is said with a code, for clients that show it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in one room."""

    verified_only: bool
    exclude_unsigned: bool


@dataclass(frozen=True, slots=True)
class Readers:
    """Devices that may read what we write, and those that may not, each with the code of why."""

    entitled: list[Device]
    withheld: list[tuple[Device, str]]


def rules(conn: sqlite3.Connection, room_id: RoomId) -> Rules:
    """The settings of this room; what cannot be understood counts as the stricter choice."""
    room = settings.effective(conn, "encryption.room", room_id)
    account = settings.effective(conn, "encryption.verified_only")
    unsigned = settings.effective(conn, "encryption.exclude_unsigned")
    here = account.value if room.value == "default" else room.value == "verified"
    return Rules(
        verified_only=bool(here) or not room.is_sound or (not account.is_sound and room.value == "default"),
        exclude_unsigned=bool(unsigned.value) or not unsigned.is_sound,
    )


def refusal(rules: Rules, device: DeviceTrust, owner: PersonTrust, *, is_own: bool) -> str | None:
    """The code with which a device is refused the key, or None if it may have it.

    Devices that somebody else's identity brought into our own account get nothing, whatever the settings.
    """
    if device is DeviceTrust.VERIFIED:
        return None
    if is_own and owner is PersonTrust.VIOLATED:
        return UNVERIFIED
    if rules.verified_only or (rules.exclude_unsigned and device is DeviceTrust.UNSIGNED):
        return UNVERIFIED
    return None


def divide(conn: sqlite3.Connection, me: Me, room_id: RoomId, devices: Iterable[Device]) -> Readers:
    """Tell the devices that may have this room's keys from those that may not."""
    found = list(devices)
    people = {device.user_id for device in found}
    of_devices = trust.devices(conn, me, people)
    of_people = trust.people(conn, me, people)
    here = rules(conn, room_id)
    entitled: list[Device] = []
    withheld: list[tuple[Device, str]] = []
    for device in found:
        code = refusal(
            here,
            of_devices.get((device.user_id, device.device_id), DeviceTrust.UNSIGNED),
            of_people[device.user_id],
            is_own=device.user_id == me.user_id,
        )
        if code is None:
            entitled.append(device)
        else:
            withheld.append((device, code))
    return Readers(entitled, withheld)


def stopped_by(conn: sqlite3.Connection, me: Me, users: Collection[UserId]) -> list[UserId]:
    """Those of these people whom we verified and who show another identity now: nothing goes out before we decide."""
    return [
        notice.user_id
        for notice in trust.notices(conn, me)
        if notice.trust is PersonTrust.VIOLATED and notice.user_id in users and notice.user_id != me.user_id
    ]


def stopped_words(people: list[UserId]) -> str:
    """Why a message was not sent, and what to do."""
    who = people[0] if len(people) == 1 else f"{people[0]} and {len(people) - 1} more"
    return (
        f"Not sent: the verified identity of {who} has changed. Verify them again or accept the change,"
        " then send again"
    )
