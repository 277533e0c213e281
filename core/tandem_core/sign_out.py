"""Sign out: the server forgets this device, and this machine forgets the account, whatever dies on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time

from tandem_core import vault
from tandem_core.clock import Clock
from tandem_core.doorbell import ring_once
from tandem_core.errors import Expected, NotSignedIn, SignedOut, StoreError
from tandem_core.http import path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.role import is_running
from tandem_core.store import session as store
from tandem_core.store.database import Database, mapped_errors
from tandem_core.store.session import Session
from tandem_core.tokens import renewing_http
from tandem_core.types import Change, Role, Topic

log = logging.getLogger("tandem.sign_out")

_DEADLINE_S = 10.0
_ENDING_S, _LOOK_S = 3.0, 0.05
_ASKED, _TOLD = "asked", "told"
"""How far a sign-out has come: the person wants it; the server knows, or will not be told."""


async def logout(paths: ProfilePaths, *, clock: Clock | None = None, force: bool = False) -> None:
    """Sign this device out at the server, then remove everything of the account here.

    Raises Offline with everything kept, unless ``force``: then the files go all the same, and the device stays
    listed at the server. Programs that run stop by themselves. What is cut off is finished by ``finish_logout``.
    """
    if not paths.database.exists():
        raise NotSignedIn()
    async with netlock(paths, "logout"):
        if not await asyncio.to_thread(_has_session, paths):
            raise NotSignedIn()
        _note_leaving(paths, _ASKED)
        await _leave(paths, clock, force=force)


async def finish_logout(paths: ProfilePaths, *, clock: Clock | None = None) -> None:
    """Finish a sign-out that was cut off; programs call this before they open the store. Mostly one look.

    Where the server did not say yes before and cannot be reached now, nobody has signed out.
    """
    if not paths.leaving.exists():
        return
    async with netlock(paths, "logout"):
        if not paths.leaving.exists():
            return
        log.info("a sign-out was cut off")
        if paths.leaving.read_text("utf-8") == _TOLD or not paths.database.exists():
            await asyncio.to_thread(wipe, paths)
            return
        with contextlib.suppress(Expected):
            await _leave(paths, clock, force=False)


async def _leave(paths: ProfilePaths, clock: Clock | None, *, force: bool) -> None:
    db = await asyncio.to_thread(Database.open, paths.database)
    try:
        session = await db.read(store.session)
        if session is not None and session.access_token is not None:
            try:
                await _forget_at_server(paths, db, session, clock, force=force)
            except Expected:
                paths.leaving.unlink(missing_ok=True)
                raise
        _note_leaving(paths, _TOLD)
        with contextlib.suppress(StoreError):  # it goes all the same
            await db.write(store.leave)
        for role in Role:
            await asyncio.to_thread(ring_once, paths.socket(role), [Change(Topic.SESSION)])
    finally:
        await asyncio.to_thread(db.close)
    await _notifier_has_ended(paths)
    await asyncio.to_thread(wipe, paths)


async def _forget_at_server(
    paths: ProfilePaths, db: Database, session: Session, clock: Clock | None, *, force: bool
) -> None:
    http = renewing_http(paths, db, session, clock=clock)
    try:
        await http.retry("POST", path("logout"), {}, deadline_s=_DEADLINE_S)
    except SignedOut as ended:
        if ended.soft:
            log.warning("signed out here only: the session had expired before")
        else:
            log.info("the server had signed this device out before")
    except Expected:
        if not force:
            raise
        log.warning("signed out here only: the server could not be told")
    finally:
        await http.close()


async def _notifier_has_ended(paths: ProfilePaths) -> None:
    """Give it a moment: what it still writes should not come after the wipe."""
    ends_at = time.monotonic() + _ENDING_S
    while is_running(paths, Role.NOTIFIER) and time.monotonic() < ends_at:  # noqa: ASYNC110  # a kernel lock
        await asyncio.sleep(_LOOK_S)


def _has_session(paths: ProfilePaths) -> bool:
    db = Database.open(paths.database)
    try:
        return db.read_now(store.session) is not None
    finally:
        db.close()


def _note_leaving(paths: ProfilePaths, how_far: str) -> None:
    """Written before the step it names, and on the disk before that. A full disk keeps nobody from leaving."""
    new = paths.leaving.with_suffix(".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, how_far.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(paths.leaving)
    except OSError as error:
        log.warning("a sign-out that is cut off now will not be finished: %s", error.strerror)


def wipe(paths: ProfilePaths) -> None:
    """Remove everything of the account from this machine but locks and logs. Blocks: the keyring may be asked.

    The key goes first: without it, what is left of the store's keys on the disk opens nothing. Raises StoreError.
    """
    with mapped_errors():
        _wipe(paths)


def _wipe(paths: ProfilePaths) -> None:
    if not vault.forget(paths):
        log.warning("the keyring still has this account's key, which protects nothing any more")
    shutil.rmtree(paths.media, ignore_errors=True)
    for left in (paths.database, *sorted(paths.data.iterdir())):
        if left == paths.leaving or left.suffix == ".lock":
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    shutil.rmtree(paths.media, ignore_errors=True)
    for role in Role:
        if not is_running(paths, role):
            paths.socket(role).unlink(missing_ok=True)
    paths.leaving.unlink(missing_ok=True)
