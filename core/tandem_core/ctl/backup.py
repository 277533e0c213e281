"""``tandemctl backup``: the key backup on the server. Both programs fill it; this says how it stands and directs it."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TypeVar

from tandem_core.command_line import DONE, FAILED
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import backup_words as words
from tandem_core.crypto import recovery_key
from tandem_core.crypto.backup import NoBackupKey, Status, status
from tandem_core.crypto.recovery import NotSetUp
from tandem_core.crypto.recovery_state import Standing as RecoveryStanding
from tandem_core.crypto.recovery_state import state as recovery_state
from tandem_core.crypto.secrets import BACKUP
from tandem_core.ctl import own_keys, world
from tandem_core.ctl.account import read_secret
from tandem_core.ctl.output import note, show, show_json
from tandem_core.ctl.own_keys import OwnKeys
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.store import backup as rows
from tandem_core.store.backup import Restore
from tandem_core.types import Change, Json, Topic

T = TypeVar("T")
_CHANGES = (Change(Topic.KEYS), Change(Topic.STATUS))


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        match options.verb:
            case "create":
                return _create(here, options)
            case "restore":
                return _restore(here, options)
            case "cancel":
                _work(here, lambda own: own.backup.cancel_restore())
            case "delete":
                return _delete(here, options)
            case _:
                _work(here, lambda own: own.backup.look())
        return _say(here, options)


def _create(here: world.World, options: argparse.Namespace) -> int:
    """Make a version, and stay until every key is in it."""
    _work(here, lambda own: own.backup.create(replace=options.replace))
    if asyncio.run(world.until(here, _is_complete, options.timeout, *_CHANGES)) is None:
        note("Not every key is in the backup yet; that goes on when Tandem runs.")
    recovery = here.db.read_now(recovery_state)
    if recovery.standing is RecoveryStanding.NOT_SET_UP:
        note("Only this device has the backup's key. Set up recovery, so that a new device can get at it.")
    elif BACKUP in recovery.missing_there:
        note("The recovery key does not open the new backup yet.")
    return _say(here, options)


def _restore(here: world.World, options: argparse.Namespace) -> int:
    """Have everything restored and say how far it is; Ctrl-C leaves the rest to the programs that run."""
    if options.key_file is not None:
        secret = read_secret(options.key_file, "key")
        _work(here, lambda own: _unlock(own, secret))
    _work(here, lambda own: own.backup.restore())
    told: list[str] = []

    def look(conn: sqlite3.Connection) -> Restore | None:
        restore = rows.restore(conn)
        if restore is None:
            return None
        if not options.json and (line := words.restore_line(restore)) not in told[-1:]:
            told.append(line)
            show([line])
        return None if restore.state == "running" else restore

    done = asyncio.run(world.until(here, look, options.timeout, *_CHANGES))
    if done is None:
        note("The restore is not over yet; it goes on when Tandem runs.")
        done = here.db.read_now(rows.restore)
    if options.json:
        show_json(None if done is None else asdict(done))
    return DONE if done is not None and done.state == "done" else FAILED


def _delete(here: world.World, options: argparse.Namespace) -> int:
    if not options.yes:
        raise BadInput("this deletes every key in the backup", advice="Add --yes if you mean it.")
    _work(here, lambda own: own.backup.delete())
    return _say(here, options)


async def _unlock(own: OwnKeys, text: str) -> None:
    """Adopt the key of the backup: given as such, as the recovery key of an older client, or by secret storage."""
    candidates = [text]
    if recovery_key.looks_like_one(text):
        candidates.append(form.encoded(recovery_key.decode(text)))
    for candidate in candidates:
        if await own.backup.adopt(candidate):
            return
    try:
        unlocked = await own.recovery.unlock(text)
    except NotSetUp as error:
        raise BadInput("this key does not open the backup", advice="Check it for typing errors.") from error
    if BACKUP not in unlocked.found:
        raise NoBackupKey


def _is_complete(conn: sqlite3.Connection) -> bool | None:
    return status(conn).waiting == 0 or None


def _say(here: world.World, options: argparse.Namespace) -> int:
    found = here.db.read_now(status)
    if options.json:
        show_json(_json(found))
    else:
        show(words.status_lines(found))
    return DONE


def _json(found: Status) -> Json:
    return {
        "version": found.version,
        "standing": None if found.standing is None else found.standing.value,
        "has_key": found.has_key,
        "waiting": found.waiting,
        "on_server": found.on_server,
        "restore": None if found.restore is None else asdict(found.restore),
    }


def _work(here: world.World, work: Callable[[OwnKeys], Awaitable[T]]) -> T:
    """Do this with a door of our own, and tell the programs that run of what changed."""

    async def go() -> T:
        async with own_keys.opened(here) as own:
            return await work(own)

    done = asyncio.run(go())
    world.ring(here, *_CHANGES)
    return done
