"""``tandemctl identity``: the account's identity, and what is known of other people's."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tandem_core import trust
from tandem_core.command_line import DONE
from tandem_core.ctl import own_keys, world
from tandem_core.ctl.output import local_time, note, show, show_json, table
from tandem_core.errors import BadInput, Cancelled
from tandem_core.paths import ProfilePaths
from tandem_core.store import devices, identities
from tandem_core.trust import DeviceTrust, PersonTrust
from tandem_core.types import Change, Json, Me, Topic, UserId

T = TypeVar("T")
CONSEQUENCES = (
    "A new identity replaces the one that your account has:",
    "- Everybody who verified you is warned that you may be somebody else, and has to verify you again.",
    "- Your other devices are not trusted any more until you verify them again.",
    "- People whom you verified have to be verified again.",
    "- What is kept with your recovery key belongs to the old identity, until you unlock recovery once more.",
    "Messages that you can read now stay readable here.",
)
_PEOPLE = {
    PersonTrust.NO_IDENTITY: "no identity is known",
    PersonTrust.SEEN: "not verified",
    PersonTrust.VERIFIED: "verified",
    PersonTrust.CHANGED: "changed since it was first seen, not verified",
    PersonTrust.VIOLATED: "CHANGED since it was verified: nothing is sent until you verify again or accept it",
}
_OWN = _PEOPLE | {
    PersonTrust.SEEN: "not confirmed on this device",
    PersonTrust.VERIFIED: "confirmed on this device",
    PersonTrust.VIOLATED: "REPLACED elsewhere since this device confirmed it",
}
_DEVICES = {
    DeviceTrust.VERIFIED: "verified",
    DeviceTrust.SIGNED_BY_OWNER: "signed by its owner",
    DeviceTrust.UNSIGNED: "not signed by its owner",
}


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    match options.verb:
        case "set-up":
            return _make(paths, options, is_reset=False)
        case "reset":
            return _make(paths, options, is_reset=True)
        case "accept":
            return _accept(paths, options)
    return _status(paths, options)


def _status(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        me = here.session.me
        user_id = me.user_id if options.user is None else _user(options.user)
        found = here.db.read_now(_facts, me, user_id)
    if options.json:
        show_json(found)
    else:
        show(_lines(found, is_own=user_id == me.user_id))
    return DONE


def _make(paths: ProfilePaths, options: argparse.Namespace, *, is_reset: bool) -> int:
    from tandem_core.crypto.cross_signing import CrossSigning
    from tandem_core.ctl.approver import TerminalApprover

    if is_reset and not options.yes:
        ask_twice()
    approver = TerminalApprover(options.password_file)

    async def work(own: CrossSigning) -> None:
        await (own.reset(approver) if is_reset else own.set_up(approver))

    found = _do(paths, work)
    if options.json:
        show_json(found)
    else:
        show(["The account has a new identity." if is_reset else "The account has an identity."])
        show(_lines(found, is_own=True))
    return DONE


def _accept(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.crypto.cross_signing import accept_change

    user_id = _user(options.user_id)
    with world.opened(paths) as here:
        here.db.write_now(accept_change, here.session.me, user_id)
        found = here.db.read_now(_facts, here.session.me, user_id)
        world.ring(here, Change(Topic.DEVICES), Change(Topic.OUTBOX))
    if options.json:
        show_json(found)
    else:
        show([f"The identity of {user_id} is accepted as it is now; it is not verified."])
    return DONE


def _do(paths: ProfilePaths, work: Callable[..., Awaitable[None]]) -> Json:
    """Do this with a door of our own; returns what is known of our identity afterwards."""

    async def go(here: world.World) -> None:
        async with own_keys.opened(here) as own:
            await work(own.cross_signing)

    with world.opened(paths) as here:
        try:
            asyncio.run(go(here))
        finally:
            world.ring(here, Change(Topic.DEVICES), Change(Topic.KEYS))
        return here.db.read_now(_facts, here.session.me, here.session.me.user_id)


def _facts(conn: sqlite3.Connection, me: Me, user_id: UserId) -> Json:
    from tandem_core.crypto import own_identity, secrets

    theirs = identities.identity(conn, user_id)
    of_devices = trust.devices(conn, me, [user_id])
    found: Json = {
        "user_id": user_id,
        "trust": trust.person(conn, me, user_id).value,
        "master": None if theirs is None else theirs.master,
        "is_hidden": theirs is not None and theirs.is_hidden,
        "changed_at": None if theirs is None else theirs.changed_at,
        "devices": [
            {
                "device_id": device.device_id,
                "name": device.display_name,
                "ed25519": device.ed25519,
                "trust": of_devices[user_id, device.device_id].value,
            }
            for device in devices.devices_of(conn, [user_id])
        ],
    }
    if user_id == me.user_id:
        held = [usage for usage, name in own_identity.USAGES.items() if secrets.has(conn, name)]
        found |= {
            "device_id": me.device_id,
            "keys_here": held,
            "wants_approval": own_identity.is_asked(conn, me),
        }
    return found


def _lines(found: Json, *, is_own: bool) -> list[str]:
    state = PersonTrust(found["trust"])
    lines = [f"{found['user_id']}: {(_OWN if is_own else _PEOPLE)[state]}"]
    if found["master"] is not None:
        since = f" since {local_time(found['changed_at'])}" if found["changed_at"] is not None else ""
        lines.append(f"Master key{since}: {_grouped(found['master'])}")
    if found["is_hidden"]:
        lines.append("The server left it out of its last answer; what was known still holds.")
    if is_own:
        held = ", ".join(usage.replace("_", "-") for usage in found["keys_here"])
        lines.append(f"Keys on this device: {held or 'none'}")
        if found["wants_approval"]:
            lines.append(
                "The server wants your approval first: tandemctl identity set-up --password-file FILE"
            )
    return lines + table(
        [
            (
                "*" if is_own and device["device_id"] == found["device_id"] else " ",
                device["device_id"],
                _DEVICES[DeviceTrust(device["trust"])],
                device["name"] or "-",
            )
            for device in found["devices"]
        ]
    )


def ask_twice(consequences: Iterable[str] = CONSEQUENCES) -> None:
    """Say what follows, and go on only with a plain yes; raises Cancelled."""
    for line in consequences:
        note(line)
    note("Type yes to go on:")
    if sys.stdin.readline().strip().lower() != "yes":
        raise Cancelled


def _user(text: str) -> UserId:
    if not text.startswith("@") or ":" not in text:
        raise BadInput(f"{text!r} is no user id", advice="It looks like @user:example.org.")
    return UserId(text)


def _grouped(key: str) -> str:
    """In fours, to be read out."""
    return " ".join(key[at : at + 4] for at in range(0, len(key), 4))
