"""What a command stands on: the account's store, which programs run, and waiting until work is done.

There is no third connection (law 14). Where a program runs, a command writes rows, rings and waits for what
becomes of them; where none runs, it is the notifier for a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tandem_core.clock import SystemClock, system_chance
from tandem_core.errors import AlreadyRuns, Expected, NotSignedIn, UnknownRoom
from tandem_core.paths import ProfilePaths
from tandem_core.store import inspect, rooms, session, timeline
from tandem_core.store.database import Database
from tandem_core.types import Change, Role, RoomId

if TYPE_CHECKING:
    from tandem_core.engine import Engine
    from tandem_core.http import Http

T = TypeVar("T")
CHECK_PROGRAMS_S = 2.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class World:
    """An account that is signed in on this machine."""

    paths: ProfilePaths
    db: Database
    session: session.Session

    def running(self) -> list[Role]:
        """The programs that run now."""
        from tandem_core.role import is_running

        return [role for role in Role if is_running(self.paths, role)]

    @contextlib.asynccontextmanager
    async def door(self) -> AsyncIterator[Http]:
        """For requests of one's own; closed when left."""
        from tandem_core.tokens import renewing_http

        http = renewing_http(self.paths, self.db, self.session)
        try:
            yield http
        finally:
            await http.close()

    @property
    def link(self) -> Role:
        """The connection whose view is the freshest."""

        def synced_at(conn: sqlite3.Connection, role: Role) -> int:
            return session.connection(conn, role).synced_at or 0

        return self.db.read_now(lambda conn: max(Role, key=lambda role: synced_at(conn, role)))


@contextlib.contextmanager
def opened(paths: ProfilePaths) -> Iterator[World]:
    """The account of this profile; raises NotSignedIn, SignedOut or the store's errors."""
    from tandem_core.session import current

    with store_of(paths) as db:
        yield World(paths, db, current(db))


@contextlib.contextmanager
def store_of(paths: ProfilePaths) -> Iterator[Database]:
    """The store of this profile, if there is one; raises NotSignedIn otherwise and makes nothing."""
    if paths.leaving.exists():
        from tandem_core.session import finish_logout

        asyncio.run(finish_logout(paths))
    if not paths.database.exists():
        raise NotSignedIn
    paths.make()
    db = Database.open(paths.database)
    try:
        yield db
    finally:
        db.close()


def ring(world: World, *changes: Change) -> None:
    """Tell the programs that run to look; a lost ring costs latency only."""
    from tandem_core.doorbell import ring_once

    for role in world.running():
        ring_once(world.paths.socket(role), changes)


async def until(
    world: World,
    look: Callable[[sqlite3.Connection], T | None],
    timeout_s: float,
    *changes: Change,
    even_offline: bool = True,
) -> T | None:
    """Have the work done and return what ``look`` finds, or None when the time is over.

    ``changes`` is what the running programs are told to look at. Without ``even_offline`` it also ends when
    this process works and the server does not answer.
    """
    ends_at = time.monotonic() + timeout_s
    conn = world.db.reader()
    try:
        # The program that works may end: then the next round is another one's, or ours.
        while True:
            async with working(world) as work:
                ring(world, *changes)
                checked_at = time.monotonic()
                while True:
                    found = look(conn)
                    if found is not None:
                        return found
                    now = time.monotonic()
                    if now >= ends_at or (work.is_offline and not even_offline):
                        return None
                    if now - checked_at >= CHECK_PROGRAMS_S:
                        checked_at = now
                        if not work.is_alive(world):
                            break
                    await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        conn.close()


class Work:
    """Somebody's work on the account: this process's (``is_ours``) or that of a program that runs."""

    def __init__(self, engine: Engine | None = None, task: asyncio.Task[None] | None = None) -> None:
        self._engine = engine
        self._task = task
        self.is_ours = engine is not None

    @property
    def is_offline(self) -> bool:
        """Whether we work and the server does not answer us."""
        return self._engine is not None and self._engine.status.state is session.ProgramState.OFFLINE

    def is_alive(self, world: World) -> bool:
        """Whether somebody still works; raises what ended our own work."""
        if self._task is None:
            return bool(world.running())
        if self._task.done():
            self._task.result()
        return True


@contextlib.asynccontextmanager
async def working(world: World) -> AsyncIterator[Work]:
    """Somebody works while the block runs: a program that runs, or else this process in the notifier's place."""
    from tandem_core.engine import Engine
    from tandem_core.role import stand_in

    if world.running():
        yield Work()
        return
    try:
        role_lock = stand_in(world.paths, Role.NOTIFIER)
    except AlreadyRuns:
        # It has just started.
        yield Work()
        return
    with role_lock:
        engine = Engine(
            world.paths, world.db, world.session, Role.NOTIFIER, clock=SystemClock(), chance=system_chance()
        )
        task = asyncio.create_task(engine.run())
        try:
            yield Work(engine, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Expected):
                await task


def caught_up(since_ms: int) -> Callable[[sqlite3.Connection], bool | None]:
    """A look that finds when what happened on the server before ``since_ms`` has arrived and is processed."""

    def look(conn: sqlite3.Connection) -> bool | None:
        for role in Role:
            is_fresh = (session.connection(conn, role).synced_at or 0) >= since_ms
            if is_fresh and inspect.has_all_rooms(conn, role) and not timeline.gaps(conn, role):
                return inspect.is_quiet(conn) or None
        return None

    return look


async def refresh(world: World, timeout_s: float) -> bool:
    """Bring the store up to date where no program does; False when the server cannot be reached in time."""
    if world.running():
        return True
    look = caught_up(SystemClock().now_ms())
    return await until(world, look, timeout_s, even_offline=False) is not None


def room_named(conn: sqlite3.Connection, link: Role, text: str) -> RoomId:
    """The room of this account that an id, alias, address or exact name means; raises UnknownRoom."""
    wanted = _address_id(text)
    known = rooms.room_list(conn, link)
    for room in known:
        if wanted == room.room_id:
            return room.room_id
    aliased = inspect.room_of_alias(conn, wanted)
    if aliased is not None:
        return aliased
    named = [room.room_id for room in known if room.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        raise UnknownRoom(f"{len(named)} rooms are called {text}", advice="Use the room's id.")
    raise UnknownRoom(text)


def _address_id(text: str) -> str:
    from tandem_core import uri

    if text[:1] in ("!", "#") or not text.lower().startswith(("matrix:", "http")):
        return text
    return uri.parse(text).id
