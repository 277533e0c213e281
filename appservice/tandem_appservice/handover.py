"""An account passes from a program that keeps it in sync to the service, or back: nothing falls in between."""

from __future__ import annotations

import asyncio
import logging

from tandem_appservice.queue import Account, Queue
from tandem_appservice.sight import LINK
from tandem_appservice.take import place, take
from tandem_core.clock import Clock, system_chance
from tandem_core.doorbell import ring_once
from tandem_core.errors import ServerRefused
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.session import Session
from tandem_core.store import inspect
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_core.sync.loop import SyncLoop
from tandem_core.tokens import renewing_http
from tandem_core.types import Change, Role, Topic

log = logging.getLogger("tandem.appservice.handover")


async def catch_up(homeserver: str, paths: ProfilePaths, session: Session, *, clock: Clock) -> None:
    """Sync a profile once, to the end; the caller holds its role. Raises Offline, RateLimited, SignedOut.

    The events of its rooms and of its inbox that came before the first transaction are told by nobody else.
    """
    db = await asyncio.to_thread(Database.open, paths.database)
    chance = system_chance()
    http = renewing_http(paths, db, session, chance=chance, clock=clock, base_url=homeserver)
    loop = SyncLoop(db, http, session.me, LINK, clock=clock, chance=chance, long_poll_ms=0)
    try:
        while True:
            applied = await loop.step()
            is_whole = await db.read(inspect.has_all_rooms, LINK)
            if applied is not None and not applied.to_device and is_whole:
                break
    except ServerRefused as refused:
        log.warning("%s cannot be brought up to date by sync: %s", session.me.user_id, refused.errcode)
    finally:
        await http.close()
        await asyncio.to_thread(db.close)


def hand_over(queue: Queue, db: Database, account: Account, *, now_ms: int) -> int:
    """Put what waits for an account into its store, whoever works on it; returns how many pieces. Blocks.

    What is for an older device of it is let go.
    """
    total = 0
    while True:
        session = db.read_now(sessions.session)
        after = db.read_now(place, queue.epoch)
        pieces = queue.pieces(account.user_id, after)
        if session is not None and session.me.device_id == account.device_id:
            db.write_now(take, session.me, queue.epoch, pieces, {}, now_ms=now_ms, chance=system_chance())
        queue.done(account.user_id, pieces[-1].id if pieces else after)
        if not pieces:
            return total
        total += len(pieces)


def hand_to_released(queue: Queue, account: Account, *, now_ms: int) -> None:
    """The same for a released account, whose own program is told to look. Blocks."""
    if not queue.depth(account.user_id):
        return
    paths = profile_paths(account.profile)
    if not paths.database.exists():
        log.warning(
            "the profile %s is gone; forget it: tandem-appservice remove-account --forget", account.profile
        )
        return
    db = Database.open(paths.database)
    try:
        hand_over(queue, db, account, now_ms=now_ms)
    finally:
        db.close()
    for role in Role:
        ring_once(paths.socket(role), [Change(Topic.INBOX)])
