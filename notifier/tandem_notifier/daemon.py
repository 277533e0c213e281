"""The running notifier: engine, popups and the worker between them, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tandem_core.clock import SystemClock, system_chance
from tandem_core.engine import Engine
from tandem_core.errors import NotSignedIn, SignedOut, StoreCorrupt
from tandem_core.paths import ProfilePaths
from tandem_core.role import take_role_from_stand_in
from tandem_core.session import current, finish_logout
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_core.store.session import ProgramState, Session, SessionState
from tandem_core.types import Change, Json, Role, RoomId, Topic
from tandem_notifier import systemd
from tandem_notifier.focus import WindowFocus
from tandem_notifier.open_room import RoomOpener
from tandem_notifier.popup import Click, PopupsUnavailable
from tandem_notifier.popups.choice import ChosenPopups
from tandem_notifier.popups.log import LogPopups
from tandem_notifier.verification import VerificationNotices
from tandem_notifier.worker import NotificationWorker

log = logging.getLogger("tandem.notifier")

Tell = Callable[[str], None]
_LOOK_S = 2.0


def run(paths: ProfilePaths, tell: Tell) -> None:
    """Run until SIGTERM or SIGINT. Raises AlreadyRuns, NotSignedIn, SignedOut and the errors of the store.

    What goes wrong while it runs comes in an exception group.
    """
    with take_role_from_stand_in(paths, Role.NOTIFIER):
        if paths.leaving.exists():
            asyncio.run(finish_logout(paths))
        if not paths.database.exists():
            raise NotSignedIn()
        db = Database.open(paths.database)
        try:
            asyncio.run(_serve(paths, db, current(db), tell))
        finally:
            db.close()


async def _serve(paths: ProfilePaths, db: Database, session: Session, tell: Tell) -> None:
    loop = asyncio.get_running_loop()
    life = asyncio.create_task(_live(paths, db, session, tell))

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second signal ends the process at once.
            loop.remove_signal_handler(number)
        systemd.notify("STOPPING=1")
        life.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await life


async def _live(paths: ProfilePaths, db: Database, session: Session, tell: Tell) -> None:
    popups, opener = _popups(tell), RoomOpener(paths)
    engine = _engine(paths, db, session)
    focus = WindowFocus(lambda: engine.doorbell.focus)
    worker = NotificationWorker(
        db, session.me.user_id, popups, focus.shows, clock=engine.clock, chance=engine.chance
    )
    verifications = VerificationNotices(
        db, popups, lambda: focus.is_looked_at, clock=engine.clock, chance=engine.chance
    )

    def hear(message: Json) -> None:
        if message.get("kind") == "focus":
            worker.look_again()
            verifications.look_again()

    async def notice(title: str, advice: str) -> None:
        with contextlib.suppress(PopupsUnavailable):
            await popups.notice(title, advice)

    async with asyncio.TaskGroup() as group:

        def gone(room_id: RoomId) -> None:
            worker.popup_gone(room_id)
            verifications.popup_gone(room_id)

        def clicked(click: Click) -> None:
            gone(click.room_id)
            group.create_task(opener.open(click), name="open room")

        popups.on_click = clicked
        popups.on_gone = gone
        told = ""

        def follow(changes: frozenset[Change]) -> None:
            """Tell once what only a person can mend."""
            nonlocal told
            status = engine.status
            if Change(Topic.STATUS) not in changes or status.state is ProgramState.STARTING:
                return
            systemd.notify(f"STATUS={status.detail or status.state}")
            if status.advice and told != status.detail:
                group.create_task(notice(status.detail, status.advice), name="notice")
            told = status.detail if status.advice else ""

        async def run_engine() -> None:
            engine.on_message = hear
            engine.listen(worker.wake)
            engine.listen(verifications.wake)
            engine.listen(follow)
            await engine.run()

        helpers = [
            group.create_task(popups.run(), name="popups"),
            group.create_task(systemd.feed_watchdog(), name="systemd watchdog"),
        ]
        try:
            await popups.ready()
            helpers.append(group.create_task(worker.run(), name="notifications"))
            helpers.append(group.create_task(verifications.run(), name="verification notices"))
            systemd.notify("READY=1")
            log.info("running for %s, device %s", session.me.user_id, session.me.device_id)
            while True:
                try:
                    await run_engine()
                except SignedOut as ended:
                    if not ended.soft:
                        raise
                    tell(ended.sentence)
                    await notice(ended.title, ended.advice)
                    engine = _engine(paths, db, await _signed_in_again(paths, db))
                    log.info("signed in again")
        except (SignedOut, StoreCorrupt) as error:
            await notice(error.title, error.advice)
            raise
        finally:
            for helper in helpers:
                helper.cancel()


def _engine(paths: ProfilePaths, db: Database, session: Session) -> Engine:
    return Engine(paths, db, session, Role.NOTIFIER, clock=SystemClock(), chance=system_chance())


async def _signed_in_again(paths: ProfilePaths, db: Database) -> Session:
    """Wait until somebody signs in again; raises SignedOut or NotSignedIn once what was kept for that is gone."""
    systemd.notify("STATUS=signed out")
    while True:
        await asyncio.sleep(_LOOK_S)
        if not paths.database.exists():
            raise NotSignedIn
        session = await db.read(sessions.session)
        if session is None or session.state is SessionState.SIGNED_OUT:
            raise SignedOut(soft=False)
        if session.state is SessionState.SIGNED_IN:
            return session


def _popups(tell: Tell) -> ChosenPopups:
    wanted = os.environ.get("TANDEM_POPUP_LOG")
    written = LogPopups(Path(wanted) if wanted else None)
    return ChosenPopups(written, tell, is_log_wanted=bool(wanted))
