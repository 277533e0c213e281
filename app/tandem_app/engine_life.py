"""The life of the engine in its thread: open the store, run while somebody is signed in, wait while nobody is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from tandem_app import notifier_process
from tandem_core.clock import SystemClock, jittered_backoff_s, system_chance
from tandem_core.doorbell import Bell, DoorbellServer, changes_of
from tandem_core.engine import HELD, STUCK, Engine
from tandem_core.errors import Expected, SignedOut, StoreError, StoreTooNew
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_core.store.session import ProgramState, SessionState
from tandem_core.types import Change, Json, Role, RoomId, Topic

if TYPE_CHECKING:
    from tandem_app.engine_thread import EngineThread
    from tandem_core.store.session import Session

log = logging.getLogger("tandem.app.engine")

_LOOK_S = 2.0
_GREET_S = 5.0
_OUTGROWN = (
    "Close this window and open it again. If it says so still, update Tandem; the store was left untouched."
)
_OWN_ERROR = "Tandem has met an error of its own and starts its engine again."


class EngineLife:
    """Owns the database and the engine; everything here runs on the engine's loop."""

    def __init__(self, host: EngineThread) -> None:
        self._host = host
        self._stopping = asyncio.Event()
        self._again = asyncio.Event()
        self._is_open = asyncio.Event()
        self._focus = Bell(host.paths.socket(Role.NOTIFIER))
        self._chance = system_chance()
        self._watched: RoomId | None = None
        self.db: Database | None = None
        self.engine: Engine | None = None
        self._was_open = False
        self._troubles = 0

    def stop(self) -> None:
        """End soon; ``run`` returns when everything is closed."""
        self._stopping.set()
        self._again.set()

    def look_again(self) -> None:
        """Somebody may have signed in or out."""
        self._again.set()

    def show(self, room_id: RoomId | None, active: bool) -> None:
        """Tell the other program what the window shows (law 11: the word belongs to the connection)."""
        self._focus.focus(room_id, active)

    def watch_room(self, room_id: RoomId | None) -> None:
        """Follow the open room closely."""
        self._watched = room_id
        if self.engine is not None:
            self.engine.watch_room(room_id)

    async def opened(self) -> Database:
        """The store, as soon as it is open."""
        while self.db is None:
            await self._is_open.wait()
        return self.db

    async def run(self) -> None:
        """Live until ``stop``."""
        greeter = asyncio.create_task(self._keep_focus_known())
        try:
            while not self._stopping.is_set():
                self._again.clear()
                db = await self._open()
                if db is None:
                    continue
                try:
                    self.db = db
                    self._was_open = True
                    self._is_open.set()
                    await self._live(db)
                    self._troubles = 0
                except StoreError as error:
                    # Signing out removes the file, perhaps just after we have opened it.
                    if self._host.paths.database.exists():
                        log.error("the store cannot be used: %s", error.title)
                        self._host.tell_trouble(self._in_words_for_the_window(error))
                        await self._pause(_LOOK_S + jittered_backoff_s(self._troubles, self._chance))
                        self._troubles += 1
                except Exception:
                    log.exception("the engine's life met an error and goes on")
                    self._host.tell_status(_OWN_ERROR)
                    await self._pause(_LOOK_S)
                finally:
                    self.db = None
                    self._is_open.clear()
                    await asyncio.to_thread(db.close)
        finally:
            greeter.cancel()
            self._focus.close()

    async def _open(self) -> Database | None:
        try:
            if self._host.paths.leaving.exists():
                from tandem_core.session import finish_logout

                await finish_logout(self._host.paths)
            return await asyncio.to_thread(Database.open, self._host.paths.database)
        except StoreError as error:
            log.error("the store cannot be opened: %s", error.title)
            self._host.tell_trouble(self._in_words_for_the_window(error))
            await self._pause(_LOOK_S)
            return None

    def _in_words_for_the_window(self, error: StoreError) -> StoreError:
        """A store that grew newer under us was updated together with the programs."""
        return StoreTooNew(advice=_OUTGROWN) if self._was_open and isinstance(error, StoreTooNew) else error

    async def _live(self, db: Database) -> None:
        """Follow the session until it is time to stop, or to open the store anew."""
        failures = 0
        while not self._stopping.is_set():
            self._again.clear()
            session = await db.read(sessions.session)
            if session is None or session.state is not SessionState.SIGNED_IN:
                state = SessionState.SIGNED_OUT if session is None else session.state
                self._host.tell_session(state)
                if not await self._wait_for_sign_in(db):
                    return
                continue
            self._host.tell_session(SessionState.SIGNED_IN)
            if await self._run_engine(db, session):
                failures = 0
            else:
                failures += 1
                await self._pause(jittered_backoff_s(failures, self._chance))

    async def _run_engine(self, db: Database, session: Session) -> bool:
        """Run one engine until it ends or we stop; returns whether it ended as it should."""
        engine = Engine(
            self._host.paths,
            db,
            session,
            Role.APP,
            clock=SystemClock(),
            chance=self._chance,
            on_message=self._on_message,
        )
        engine.listen(self._on_changes)
        if self._watched is not None:
            engine.watch_room(self._watched)
        self.engine = engine
        work = asyncio.create_task(engine.run(), name="engine")
        stop = asyncio.create_task(self._stopping.wait())
        await self._start_notifier(db)
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        except SignedOut as signed_out:
            self._host.tell_trouble(signed_out)
        except StoreError:
            raise
        except Exception:
            log.exception("the engine ended with an error and starts again")
            self._host.tell_status(_OWN_ERROR)
            return False
        finally:
            self.engine = None
            stop.cancel()
        return True

    async def _wait_for_sign_in(self, db: Database) -> bool:
        """Listen at the door while no engine does; False if we stop or the store has become another file."""
        doorbell = DoorbellServer(self._host.paths.socket(Role.APP), self._on_message)
        await doorbell.start()
        try:
            while not self._again.is_set():
                await self._pause(_LOOK_S)
                if not self._host.paths.database.exists():
                    return False
                session = await db.read(sessions.session)
                if session is not None and session.state is SessionState.SIGNED_IN:
                    return True
        finally:
            await doorbell.close()
        # A sign-in may have made the store's file anew, so it is opened again.
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, but not past a word that something is to be done."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()

    async def _start_notifier(self, db: Database) -> None:
        try:
            await notifier_process.start_if_wanted(self._host.paths, db)
        except (OSError, Expected) as error:
            log.warning("the notifier could not be started: %s", error)

    async def _keep_focus_known(self) -> None:
        """A notifier that starts later learns from us what the window shows."""
        while True:
            await asyncio.sleep(_GREET_S)
            self._focus.check()

    def _on_changes(self, changes: frozenset[Change]) -> None:
        self._host.ring(changes)
        if any(change.topic is Topic.STATUS for change in changes) and self.engine is not None:
            status = self.engine.status
            is_news = status.state is not ProgramState.STARTING or status.detail in (STUCK, HELD)
            self._host.tell_status(status.detail if is_news else "")

    def _on_message(self, message: Json) -> None:
        match message.get("kind"):
            case "open":
                self._host.tell_knock(message)
            case "ring":
                self._host.ring(changes_of(message))
                self._again.set()
