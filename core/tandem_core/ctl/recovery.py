"""``tandemctl recovery``: keep the account's keys behind a recovery key, and get them back with it."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tandem_core.command_line import DONE, FAILED
from tandem_core.crypto import recovery_question, recovery_steps
from tandem_core.crypto.recovery_question import Question
from tandem_core.crypto.recovery_state import RecoveryState, Standing, names_of
from tandem_core.ctl import own_keys, world
from tandem_core.ctl.account import read_secret
from tandem_core.ctl.approver import TerminalApprover
from tandem_core.ctl.identity import ask_twice
from tandem_core.ctl.output import note, show, show_json
from tandem_core.ctl.own_keys import OwnKeys
from tandem_core.errors import Offline
from tandem_core.paths import ProfilePaths
from tandem_core.store import gossip, identities
from tandem_core.types import Change, Json, Topic

T = TypeVar("T")
_STANDING = {
    Standing.NOT_SET_UP: "Recovery is not set up.",
    Standing.LOCKED: "Recovery is set up; this device does not have all secrets yet.",
    Standing.INCOMPLETE: "Recovery is set up, but incomplete.",
    Standing.COMPLETE: "Recovery is set up and complete.",
}
_QUESTION = {
    Question.NOTHING: "",
    Question.VERIFY_OR_RECOVER: "Verify this device with another one, unlock recovery, or reset the identity.",
    Question.SET_UP_RECOVERY: "Set recovery up, so that your messages survive the loss of this device.",
    Question.RESET: "No other device and no recovery key can help: only a reset of the identity goes on.",
}


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    match options.verb:
        case "set-up":
            return _set_up(paths, options)
        case "unlock":
            return _unlock(paths, options)
        case "change":
            return _change(paths, options)
        case "reset":
            return _reset(paths, options)
        case "delete":
            return _delete(paths, options)
        case "later":
            return _later(paths)
    return _status(paths, options)


def _status(paths: ProfilePaths, options: argparse.Namespace) -> int:
    async def look(own: OwnKeys) -> RecoveryState:
        try:
            return await own.recovery.refresh()
        except Offline:
            note("The server cannot be reached; this is what is stored.")
            return await own.recovery.state()

    with world.opened(paths) as here:
        asyncio.run(world.refresh(here, options.timeout))
        if here.db.read_now(gossip.offers):
            # What another device has sent is taken over first, which takes a word with the server.
            asyncio.run(world.until(here, _has_looked, options.timeout, even_offline=False))
        now = asyncio.run(_with(here, look))
        asked = here.db.read_now(recovery_question.due)
        ways = here.db.read_now(recovery_question.ways, here.session.me)
    if options.json:
        told: Json = {
            "state": now.standing.value,
            "passphrase": now.has_passphrase,
            "missing_here": list(now.missing_here),
            "missing_in_storage": list(now.missing_there),
            "problem": now.problem or None,
            "question": asked.value,
            "can_verify": ways.can_verify,
            "can_recover": ways.can_recover,
        }
        show_json(told)
        return DONE
    lines = [_STANDING[now.standing]]
    if now.problem:
        lines.append(
            f"There is a key that cannot be used ({now.problem}); tandemctl recovery change makes another."
        )
    if now.missing_here:
        lines.append(f"Missing on this device: {names_of(now.missing_here)}.")
    if now.missing_there and now.standing is not Standing.NOT_SET_UP:
        lines.append(f"Missing in the storage: {names_of(now.missing_there)}.")
        lines.append("tandemctl recovery unlock adds what this device has.")
    show([*lines, *filter(None, [_QUESTION[asked]])])
    return DONE


def _set_up(paths: ProfilePaths, options: argparse.Namespace) -> int:
    passphrase = _passphrase(options)

    async def work(own: OwnKeys) -> None:
        # The first device of an account gives it its identity in the background.
        me = own.here.session.me.user_id
        await world.until(
            own.here,
            lambda conn: identities.identity(conn, me) is not None or None,
            options.timeout,
            even_offline=False,
        )
        await recovery_steps.set_up(own.recovery, own.backup, passphrase, show=_shows(options))

    _do(paths, work)
    return _done(options, "Recovery is set up.")


def _unlock(paths: ProfilePaths, options: argparse.Namespace) -> int:
    text = read_secret(options.key_file, "recovery key")
    found = _do(paths, lambda own: own.recovery.unlock(text))
    if options.json:
        show_json({"found": list(found.found), "refused": found.refused, "stored": list(found.stored)})
        return DONE if found.found else FAILED
    for name, why in found.refused.items():
        note(f"The {names_of([name])} was not taken: {why}.")
    if found.found:
        show([f"This device now has: {names_of(found.found)}."])
    else:
        note("There was nothing that this device could take.")
    if found.stored:
        show([f"Added to the storage: {names_of(found.stored)}."])
    return DONE if found.found else FAILED


def _change(paths: ProfilePaths, options: argparse.Namespace) -> int:
    passphrase = _passphrase(options)
    old = read_secret(options.key_file, "recovery key") if options.key_file else None

    async def work(own: OwnKeys) -> None:
        if old is not None:
            await own.recovery.unlock(old)
        await own.recovery.change(passphrase, show=_shows(options))

    _do(paths, work)
    return _done(options, "The recovery key was changed; the old one opens nothing any more.")


def _reset(paths: ProfilePaths, options: argparse.Namespace) -> int:
    if not options.yes:
        ask_twice()
    passphrase = _passphrase(options)
    approver = TerminalApprover(options.password_file)

    async def work(own: OwnKeys) -> None:
        await recovery_steps.reset(
            own.cross_signing, own.backup, own.recovery, approver, passphrase, show=_shows(options)
        )

    _do(paths, work)
    return _done(options, "Your account has a new identity, and the recovery key is in force.")


def _delete(paths: ProfilePaths, options: argparse.Namespace) -> int:
    if not options.yes:
        ask_twice(["Recovery is removed: if all of your devices are lost, so are your messages."])
    _do(paths, lambda own: own.recovery.delete())
    if options.json:
        show_json({"state": Standing.NOT_SET_UP.value})
    return _done(options, "Recovery was removed from your account.")


def _later(paths: ProfilePaths) -> int:
    with world.opened(paths) as here:
        asked = here.db.read_now(recovery_question.due)
        here.db.write_now(recovery_question.later, asked, here.session.me)
        world.ring(here, Change(Topic.KEYS))
    return DONE


def _do(paths: ProfilePaths, work: Callable[[OwnKeys], Awaitable[T]]) -> T:
    """Do this, and tell the programs that run to look at what has changed."""
    with world.opened(paths) as here:
        try:
            return asyncio.run(_with(here, work))
        finally:
            world.ring(here, Change(Topic.KEYS), Change(Topic.DEVICES), Change(Topic.ACCOUNT_DATA))


async def _with(here: world.World, work: Callable[[OwnKeys], Awaitable[T]]) -> T:
    async with own_keys.opened(here) as own:
        return await work(own)


def _shows(options: argparse.Namespace) -> Callable[[str], Awaitable[None]]:
    """Print the recovery key, once, before it comes into force."""

    async def print_key(text: str) -> None:
        if options.json:
            show_json({"recovery_key": text})
        else:
            show(
                [
                    "Your recovery key, which is not shown again. Keep it in a safe place:",
                    "",
                    f"    {text}",
                    "",
                ]
            )

    return print_key


def _done(options: argparse.Namespace, words: str) -> int:
    if not options.json:
        show([words])
    return DONE


def _passphrase(options: argparse.Namespace) -> str | None:
    return read_secret(options.passphrase_file, "passphrase") if options.passphrase_file else None


def _has_looked(conn: sqlite3.Connection) -> bool | None:
    return not gossip.offers(conn) or None
