"""``tandemctl devices``: the account's devices, their names, and signing out others."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tandem_core import own_devices
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.approver import TerminalApprover
from tandem_core.ctl.output import local_time, show, show_json, table
from tandem_core.errors import BadInput
from tandem_core.http import Http
from tandem_core.own_devices import OwnDevice
from tandem_core.paths import ProfilePaths
from tandem_core.trust import DeviceTrust
from tandem_core.types import Change, DeviceId, Json, Topic

T = TypeVar("T")
_WORDS = {
    DeviceTrust.VERIFIED: "verified",
    DeviceTrust.SIGNED_BY_OWNER: "signed by the account",
    DeviceTrust.UNSIGNED: "not verified",
    None: "no keys known",
}


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    match options.verb:
        case "rename":
            return _rename(paths, options)
        case "sign-out":
            return _sign_out(paths, options)
    return _list(paths, options)


def _list(paths: ProfilePaths, options: argparse.Namespace) -> int:
    found = _ask(paths, lambda here, http: own_devices.fetch(http, here.db, here.session.me))
    if options.json:
        show_json([_json(device, with_ip=options.ip) for device in found])
    else:
        show(table([_line(device, with_ip=options.ip) for device in found]))
    return DONE


def _rename(paths: ProfilePaths, options: argparse.Namespace) -> int:
    device_id = DeviceId(options.device)
    name = _ask(
        paths,
        lambda here, http: own_devices.rename(http, here.db, here.session.me, device_id, options.name),
    )
    if options.json:
        show_json({"device_id": device_id, "name": name})
    else:
        show([f"{device_id} is called {name}."])
    return DONE


def _sign_out(paths: ProfilePaths, options: argparse.Namespace) -> int:
    wanted = [DeviceId(text) for text in options.device]
    if bool(wanted) == options.others:
        raise BadInput("name devices, or --others", advice="Run tandemctl devices to see them.")
    approver = TerminalApprover(options.password_file)

    async def work(here: world.World, http: Http) -> list[DeviceId]:
        me = here.session.me
        if options.others:
            gone = await own_devices.sign_out_others(http, here.db, me, approver)
            return [device.device_id for device in gone]
        known = {device.device_id for device in await own_devices.fetch(http, here.db, me)}
        strange = [device_id for device_id in wanted if device_id not in known]
        if strange:
            # The server says yes to any name; a slip of the pen is told before anything is done.
            raise own_devices.UnknownDevice(404, "M_NOT_FOUND", ", ".join(strange))
        await own_devices.sign_out(http, here.db, me, wanted, approver)
        return wanted

    gone = _ask(paths, work)
    if options.json:
        show_json({"signed_out": gone})
    else:
        show([f"Signed out {', '.join(gone)}." if gone else "There is no other device."])
    return DONE


def _ask(paths: ProfilePaths, work: Callable[[world.World, Http], Awaitable[T]]) -> T:
    """Do this with a door of our own, and tell the programs that run of what changed."""

    async def go(here: world.World) -> T:
        async with here.door() as http:
            return await work(here, http)

    with world.opened(paths) as here:
        done = asyncio.run(go(here))
        world.ring(here, Change(Topic.DEVICES))
    return done


def _json(device: OwnDevice, *, with_ip: bool) -> Json:
    told = {
        "device_id": device.device_id,
        "name": device.name or None,
        "last_seen_at": device.last_seen_at,
        "is_this": device.is_this,
        "trust": None if device.trust is None else device.trust.value,
    }
    return told | ({"last_seen_ip": device.last_seen_ip} if with_ip else {})


def _line(device: OwnDevice, *, with_ip: bool) -> tuple[str, ...]:
    ip = (device.last_seen_ip or "-",) if with_ip else ()
    return (
        "*" if device.is_this else " ",
        device.device_id,
        _WORDS[device.trust],
        local_time(device.last_seen_at),
        *ip,
        device.name or "-",
    )
