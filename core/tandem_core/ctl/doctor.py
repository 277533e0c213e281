"""``tandemctl doctor``: look at store, keys and server; say what is wrong and what to do."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE, FAILED
from tandem_core.ctl.output import local_time, note, show, show_json, table
from tandem_core.errors import Expected
from tandem_core.paths import ProfilePaths
from tandem_core.store import inspect
from tandem_core.store.database import Database
from tandem_core.store.session import Session
from tandem_core.types import Role

_SERVER_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``advice`` says what to do, where something is to be done."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    findings = list(_examine(paths))
    if options.json:
        show_json({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]})
    else:
        show(
            table(
                [("ok" if f.ok else "!!", f.what, " ".join((f.detail, f.advice)).strip()) for f in findings]
            )
        )
    bad = [f for f in findings if not f.ok]
    if bad:
        note(f"{len(bad)} of {len(findings)} are not as they should be: {', '.join(f.what for f in bad)}.")
        return FAILED
    return DONE


def _examine(paths: ProfilePaths) -> Iterator[Finding]:
    if not paths.database.exists():
        yield Finding("account", False, "nobody is signed in", "Run tandemctl login.")
        return
    yield _permissions(paths)
    yield from _programs(paths)
    try:
        db = Database.open(paths.database)
    except Expected as trouble:
        yield _finding("store", trouble)
        return
    with contextlib.closing(db):
        yield _store(db)
        yield _confirmations(db)
        yield from _account(paths, db)


def _permissions(paths: ProfilePaths) -> Finding:
    """Files for their owner only, and owned by who asks."""
    files = [
        paths.data,
        paths.database,
        paths.vault_file,
        *paths.data.glob("*.db-*"),
        *paths.data.glob("*.lock"),
    ]
    open_ones = [str(file) for file in files if file.exists() and not _is_private(file)]
    if open_ones:
        return Finding(
            "permissions",
            False,
            f"others may read {', '.join(open_ones)}",
            f"Run chmod -R go= {paths.data}, as the owner.",
        )
    return Finding("permissions", True, f"{paths.data} is private")


def _is_private(file: Path) -> bool:
    info = file.stat()
    return info.st_uid == os.getuid() and not info.st_mode & 0o077


def _programs(paths: ProfilePaths) -> Iterator[Finding]:
    from tandem_core.role import is_running

    for role in Role:
        yield Finding(str(role), True, "runs" if is_running(paths, role) else "does not run")


def _store(db: Database) -> Finding:
    try:
        trouble = db.read_now(inspect.trouble)
    except Expected as error:
        return _finding("store", error)
    if trouble is not None:
        return Finding("store", False, trouble, "Restore a backup, or move it away and sign in again.")
    size = db.path.stat().st_size / 1_048_576
    return Finding("store", True, f"sound, {size:.1f} MiB")


def _account(paths: ProfilePaths, db: Database) -> Iterator[Finding]:
    from tandem_core import session
    from tandem_core.vault import pickle_key

    try:
        current = session.current(db)
    except Expected as trouble:
        yield _finding("account", trouble)
        return
    yield Finding("account", True, f"{current.me.user_id}, device {current.me.device_id}")
    yield from _session(current)
    try:
        _, kept_in = pickle_key(paths)
    except Expected as trouble:
        yield _finding("pickle key", trouble)
    else:
        yield Finding("pickle key", True, f"in the {kept_in}")
    yield _keys(db)
    yield from _restored(db)
    yield _recovery(db)
    yield _readers(db)
    waits = db.read_now(inspect.waiting)
    yield Finding(
        "messages",
        waits.failed_messages == 0,
        f"{waits.messages} to be sent, {waits.failed_messages} not sent, {waits.sealed_messages} without a key",
        "Open the window to send them again or delete them." if waits.failed_messages else "",
    )
    yield from asyncio.run(_server(paths, db, current))


def _keys(db: Database) -> Finding:
    from tandem_core.crypto.account import FORKED_FACT
    from tandem_core.crypto.keys import StoreForked
    from tandem_core.store.session import fact

    if db.read_now(fact, FORKED_FACT):
        return _finding("device keys", StoreForked())
    if db.read_now(inspect.keys_are_uploaded):
        return Finding("device keys", True, "are on the server")
    return Finding(
        "device keys",
        False,
        "are not on the server yet",
        "Start tandem or tandem-notifier while you are online.",
    )


def _recovery(db: Database) -> Finding:
    """Whether the account's keys would survive the loss of this device; a choice of the person's, so never wrong."""
    from tandem_core.crypto.recovery_state import Standing, names_of, state

    now = db.read_now(state)
    match now.standing:
        case Standing.NOT_SET_UP:
            return Finding("recovery", True, "is not set up", "tandemctl recovery set-up does it.")
        case Standing.LOCKED:
            return Finding(
                "recovery", True, f"is set up; missing on this device: {names_of(now.missing_here)}"
            )
        case Standing.INCOMPLETE:
            missing = names_of(now.missing_there)
            return Finding(
                "recovery", True, f"lacks the {missing}", "tandemctl recovery unlock adds what is here."
            )
        case Standing.COMPLETE:
            return Finding("recovery", True, "is set up and complete")


def _readers(db: Database) -> Finding:
    """How the two programs share what the server keeps for this device, and why so."""
    from tandem_core.sync.place import standing
    from tandem_core.sync.readers import Rule

    words = {
        Rule.SINCE: "both programs read, in turns: the server keeps an event until a token covers it (MSC4538)",
        Rule.SINCE_OR_POS: "both programs read, in turns: the server keeps an event until a token covers it",
        Rule.POS: "one program reads, and the other takes over when it ends: this server goes by its place in the"
        " stream instead of by our tokens, and would delete for both what one has passed",
        Rule.UNKNOWN: "one program reads, and the other takes over when it ends, until an encrypted event has shown"
        " how this server deletes them",
    }
    return Finding("to-device events", True, words[db.read_now(standing, Role.APP).rule])


def _session(current: Session) -> Iterator[Finding]:
    """Whether the session goes on by itself, where it would run out otherwise."""
    at_ms = current.token_expires_at
    if at_ms is None:
        return
    if current.refresh_token is not None:
        yield Finding("session", True, "is renewed by itself")
        return
    yield Finding(
        "session",
        False,
        f"is renewed by the server no more, and runs out at {local_time(at_ms)}",
        "Sign in again then; messages and keys are kept.",
    )


def _restored(db: Database) -> Iterator[Finding]:
    """Whether an older copy of the store was put in its place; there is nothing left to do about it."""
    from tandem_core.store.crypto import restored

    noticed = db.read_now(restored)
    if noticed is not None:
        at = datetime.fromtimestamp(noticed.at / 1000).astimezone()
        yield Finding(
            "encryption sessions",
            True,
            f"began anew on {at:%Y-%m-%d at %H:%M}, when the message store turned out to be an older copy;"
            " messages that came in since that copy was made may be unreadable",
        )


async def _server(paths: ProfilePaths, db: Database, current: Session) -> list[Finding]:
    from tandem_core import capabilities
    from tandem_core.http import path
    from tandem_core.tokens import renewing_http

    http = renewing_http(paths, db, current)
    try:
        async with asyncio.timeout(_SERVER_S):
            await http.request("GET", path("account", "whoami"))
            can = await capabilities.refresh(db, http, now_ms=SystemClock().now_ms())
    except TimeoutError:
        return [Finding("server", False, "no answer in time", "Check the network.")]
    except Expected as trouble:
        return [_finding("server", trouble)]
    finally:
        await http.close()
    found = [Finding("server", True, f"{current.homeserver} answers and knows this device")]
    if not can.sliding_sync:
        found.append(
            Finding("sliding sync", False, "is not offered", "Ask the server's administrator to update.")
        )
    words = {
        (False, False): "not offered here: others are not told, and marks stay at sent",
        (True, False): "offered, per person",
        (True, True): "offered, per person and device",
    }[can.delivery, can.delivery_devices]
    found.append(Finding("delivery receipts", True, words))
    return found


def _confirmations(db: Database) -> Finding:
    """Whether others learn that messages came; that nobody was asked yet is nothing wrong."""
    from tandem_core import settings
    from tandem_core.store.shared_settings import exceptions_are_known

    try:
        confirms = db.read_now(settings.confirms)
        is_answered = db.read_now(settings.get, "receipts.answered") is True
        are_known = db.read_now(exceptions_are_known)
    except Expected as error:
        return _finding("confirmations", error)
    if not are_known:
        detail = "nothing is confirmed: this device cannot read the exceptions that your devices share"
        return Finding(
            "confirmations", False, detail, "Verify it; or run tandemctl receipts exceptions anew."
        )
    if confirms is None:
        detail = "nothing is confirmed: what is stored cannot be understood"
        return Finding("confirmations", False, detail, "Run tandemctl receipts answer recommended.")
    if not is_answered:
        detail = "nothing is confirmed until you choose"
        return Finding("confirmations", True, detail, "Run tandemctl receipts answer recommended, or off.")
    return Finding("confirmations", True, "on" if confirms else "off")


def _finding(what: str, trouble: Expected) -> Finding:
    detail = f" ({trouble.detail})" if trouble.detail else ""
    return Finding(what, False, f"{trouble.title}{detail}.", trouble.advice)
