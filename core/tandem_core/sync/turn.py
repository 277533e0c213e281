"""Whose turn it is to wait for to-device events: one kernel lock, so that it passes on at once when its holder dies.

Both programs have a long poll each, and an event that wakes both would be fetched twice. So only one of them asks
for to-device events at a time. Where the server lets both read, they take turns; where it does not, the first one
reads until it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tandem_core.clock import Clock
from tandem_core.netlock import open_lock
from tandem_core.paths import ProfilePaths

TURN_S = 15.0
"""A turn lasts at least so long, if the other program runs; it ends with the next answer."""
PATIENCE_S = 75.0
"""Who has waited longer than the longest turn reads out of turn: the holder hangs."""
_COURTESY_S = 0.1


class Turn(Protocol):
    """What the sync loop needs to know of it."""

    @property
    def is_ours(self) -> bool: ...

    @property
    def is_overdue(self) -> bool:
        """Whether the other program has had it for longer than it should."""
        ...

    @property
    def may_end(self) -> bool:
        """Whether it is ours, has lasted, and somebody waits for it."""
        ...

    def end(self) -> None:
        """Let the other one have it."""
        ...

    def on_taken(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` on the loop whenever it becomes ours."""
        ...


class Alone:
    """The turn of a program that has no other."""

    is_ours = True
    is_overdue = False
    may_end = False

    def end(self) -> None: ...

    def on_taken(self, listener: Callable[[], None]) -> None: ...


class SharedTurn:
    """The turn between two processes. ``run`` waits for it as long as the program lives.

    The kernel wakes who waits, so waiting costs nothing; the thread that does it is a daemon, and gives back
    what it gets too late.
    """

    def __init__(self, paths: ProfilePaths, *, clock: Clock, other_runs: Callable[[], bool]) -> None:
        self._file = paths.lock("net-reader")
        self._clock = clock
        self._other_runs = other_runs
        self._lock: int | None = None
        self._since_s = clock.monotonic_s()
        """When it became ours, or when we began to wait for it."""
        self._ended = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_ours(self) -> bool:
        return self._lock is not None

    @property
    def is_overdue(self) -> bool:
        return not self.is_ours and self._clock.monotonic_s() - self._since_s > PATIENCE_S

    @property
    def may_end(self) -> bool:
        return self.is_ours and self._clock.monotonic_s() - self._since_s > TURN_S and self._other_runs()

    def end(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            self._since_s = self._clock.monotonic_s()
            os.close(lock)
            self._ended.set()

    def on_taken(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Wait for the turn, and again after each end, until cancelled."""
        try:
            while True:
                self._lock = await _locked(self._file)
                self._since_s = self._clock.monotonic_s()
                self._ended.clear()
                for listener in self._listeners:
                    listener()
                await self._ended.wait()
                await asyncio.sleep(_COURTESY_S)  # the other one is being woken
        finally:
            self.end()


async def _locked(file: Path) -> int:
    """The descriptor that holds the lock; whoever cancels the wait does not keep it."""
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[int] = loop.create_future()
    lock = open_lock(file)

    def give() -> None:
        if taken.cancelled():
            os.close(lock)
        else:
            taken.set_result(lock)

    def wait() -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            loop.call_soon_threadsafe(give)
        except RuntimeError:  # the loop is closed: nobody waits any more
            os.close(lock)

    threading.Thread(target=wait, name="tandem-turn", daemon=True).start()
    try:
        return await taken
    except asyncio.CancelledError:
        if not taken.cancelled():
            os.close(lock)
        raise
