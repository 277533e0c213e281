"""The account's own devices: the list of them, their names, and signing them out (spec, "Device management")."""

from __future__ import annotations

import logging
import sqlite3
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from tandem_core import approval, trust
from tandem_core.approval import Approver
from tandem_core.errors import BadInput, Offline, ServerRefused
from tandem_core.http import Http, path
from tandem_core.store import devices as rows
from tandem_core.store.database import Database
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, Json, Me

log = logging.getLogger("tandem.own_devices")

MOST_NAME = 100
"""Synapse refuses a longer name; so do we, before the request."""
_MOST_DEVICES = 10_000
_MOST_TEXT = 255
_MOST_MS = 2**53


class UnknownDevice(ServerRefused):
    title = "Your account has no such device"
    advice = "Look at the list again: it may have been signed out meanwhile."


class ManagedElsewhere(ServerRefused):
    title = "Your homeserver does not let apps sign out devices"
    advice = "Do it on the account page of your homeserver."


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """A device of the account, to be shown."""

    device_id: DeviceId
    name: str
    """What the person calls it; empty where it has no name."""
    last_seen_at: int | None
    """When it last asked the server something (ms), as far as the server says; Synapse counts in minutes."""
    last_seen_ip: str | None = field(repr=False)
    """From which address; show it only where somebody asks."""
    is_this: bool
    trust: DeviceTrust | None
    """None: no keys of it are known here, so that nothing is encrypted for it."""

    @property
    def label(self) -> str:
        return self.name or self.device_id


async def fetch(http: Http, db: Database, me: Me) -> list[OwnDevice]:
    """All devices: this one, then the last seen first. Raises as ``Http.request``."""
    answer = await http.request("GET", path("devices"))
    entries = answer.get("devices")
    if not isinstance(entries, list):
        raise Offline("the list of devices cannot be read")
    trusted = await db.read(_trusted, me)
    found: dict[str, OwnDevice] = {}
    for entry in entries[:_MOST_DEVICES]:
        device = read(entry, me, trusted)
        if device is not None:
            found[device.device_id] = device
    return sorted(found.values(), key=lambda one: (not one.is_this, -(one.last_seen_at or 0), one.device_id))


def read(entry: Any, me: Me, trusted: dict[DeviceId, DeviceTrust]) -> OwnDevice | None:
    """One entry of ``GET /devices``; None if it is none."""
    if not isinstance(entry, dict):
        return None
    device_id = entry.get("device_id")
    if not isinstance(device_id, str) or not 0 < len(device_id) <= _MOST_TEXT:
        return None
    at, ip = entry.get("last_seen_ts"), entry.get("last_seen_ip")
    is_time = isinstance(at, int) and not isinstance(at, bool) and 0 < at < _MOST_MS
    return OwnDevice(
        DeviceId(device_id),
        clean_name(entry.get("display_name")),
        at if is_time else None,
        ip if isinstance(ip, str) and 0 < len(ip) <= _MOST_TEXT else None,
        device_id == me.device_id,
        trusted.get(DeviceId(device_id)),
    )


def clean_name(name: object) -> str:
    """A name on one line, without characters that steer the writing of others; empty where there is none."""
    if not isinstance(name, str):
        return ""
    kept = "".join(" " if char.isspace() else char for char in name if not _steers(char))
    return " ".join(kept.split())[:_MOST_TEXT]


async def rename(http: Http, db: Database, me: Me, device_id: DeviceId, name: str) -> str:
    """Give a device another name, which all who share a room with it can read; returns it as it was set.

    Raises BadInput, UnknownDevice, and as ``Http.request``.
    """
    name = clean_name(name)
    if not name:
        raise BadInput("a device needs a name", title="The name is empty", advice="Write a name.")
    if len(name) > MOST_NAME:
        raise BadInput(
            f"{len(name)} characters", title="The name is too long", advice=f"At most {MOST_NAME} characters."
        )
    try:
        await http.request("PUT", path("devices", device_id), {"display_name": name})
    except ServerRefused as refused:
        raise _in_our_words(refused) from refused
    await db.write(rows.rename, me.user_id, device_id, name)
    return name


async def sign_out(
    http: Http, db: Database, me: Me, device_ids: Collection[DeviceId], approver: Approver
) -> None:
    """Sign out other devices of the account; the server wants to see first that it is the person.

    They lose their access and their keys on the server; what they have stored stays with them. Raises BadInput for
    this device, Cancelled, ManagedElsewhere, and as ``approval.request``.
    """
    if me.device_id in device_ids:
        raise BadInput(
            f"{me.device_id} is this device",
            title="This device signs out another way",
            advice="Sign out in the settings, or with tandemctl logout: its messages and keys are removed, too.",
        )
    if not device_ids:
        return
    body: Json = {"devices": sorted(set(device_ids))}
    try:
        await approval.request(http, me, "POST", path("delete_devices"), body, approver)
    except ServerRefused as refused:
        raise _in_our_words(refused) from refused
    log.info("%d other devices were signed out", len(body["devices"]))
    await db.write(rows.note_signed_out, me.user_id, body["devices"])


async def sign_out_others(http: Http, db: Database, me: Me, approver: Approver) -> list[OwnDevice]:
    """Sign out every device but this one, as the server lists them now; returns which. Raises as ``sign_out``."""
    others = [device for device in await fetch(http, db, me) if not device.is_this]
    await sign_out(http, db, me, [device.device_id for device in others], approver)
    return others


def _trusted(conn: sqlite3.Connection, me: Me) -> dict[DeviceId, DeviceTrust]:
    return {device_id: how for (_, device_id), how in trust.devices(conn, me, [me.user_id]).items()}


def _in_our_words(refused: ServerRefused) -> ServerRefused:
    if refused.errcode == "M_UNRECOGNIZED":
        return ManagedElsewhere(refused.status, refused.errcode, refused.message)
    if refused.status == 404:
        return UnknownDevice(refused.status, refused.errcode, refused.message)
    return refused


def _steers(char: str) -> bool:
    """Control and format characters (bidirectional marks among them); joiners of emoji and scripts stay."""
    if char in "\u200c\u200d":
        return False
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") and not char.isspace()
