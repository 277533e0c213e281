"""The product's engine, taken step by step: days pass in minutes, and no machine's lateness is in what is decided.

Time stands while something is done, requests to the real server included, and leaps when nothing is left to do:
to the next moment that a worker or the harness waits for. The harness plays the event loop's part and no other: the
sync loop, the workers and all that they call are the product's, with the product's own clock seam.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tandem_core.clock import system_chance
from tandem_core.engine import Engine
from tandem_core.errors import Expected, SignedOut
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.session import current
from tandem_core.store.database import Database
from tandem_core.sync.loop import SyncLoop
from tandem_core.types import Change, Role
from tandem_core.worker import Worker

_MOST_ROUNDS = 200
_STEPPED = ("opener", "sender", "receipts", "gaps", "reads", "capabilities")
_ONLINE = ("crypto",)
"""Names of the workers that matter here begin so; the second ones need a whole server. The others have nothing to do
with what is measured."""


@dataclass
class LeapingClock:
    """Time that the harness moves; all programs of a run share one."""

    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.at_ms += max(0, round(seconds * 1000))


class Stepped:
    """One program of the victim. ``online`` is whether it runs; while it does not, nothing of it happens."""

    def __init__(self, engine: Engine, clock: LeapingClock, names: tuple[str, ...]) -> None:
        self.engine = engine
        self.clock = clock
        self.cpu_s = 0.0
        """Processor time of this thread and its helpers while this program was at work."""
        self.due_ms: dict[str, int] = {}
        self._dirty = True
        feed = engine._feed
        assert isinstance(feed, SyncLoop)
        feed._long_poll_ms = 0
        self.feed = feed
        self._workers = [worker for worker in engine._workers if worker.name.startswith(names)]
        self._wanted = {topic for worker in self._workers for topic in worker.wants}
        assert {"opener", "receipts"} <= {worker.name for worker in self._workers}

    async def sync(self) -> None:
        """One request to the server and all that follows from its answer."""
        began = time.process_time()
        await self.feed.step()
        self.cpu_s += time.process_time() - began
        await self.settle()

    async def settle(self) -> None:
        """Have every worker do what is due, until none has anything left to do now."""
        began = time.process_time()
        for _ in range(_MOST_ROUNDS):
            self._dirty = False
            for worker in self._workers:
                pause_s = await self._one(worker)
                self.due_ms.pop(worker.name, None)
                if pause_s is not None:
                    self.due_ms[worker.name] = self.clock.now_ms() + max(1, round(pause_s * 1000))
            await asyncio.sleep(0)
            if not self._dirty:
                break
        else:
            raise AssertionError("the programs do not come to rest")
        self.cpu_s += time.process_time() - began

    def next_due_ms(self) -> int | None:
        """When the receipts want to be looked at again."""
        return self.due_ms.get("receipts")

    async def _one(self, worker: Worker) -> float | None:
        try:
            return await worker.step()
        except SignedOut:
            raise
        except Expected as trouble:
            raise AssertionError(f"{worker.name}: {trouble.title} {trouble.detail}") from trouble

    def note(self, changes: Iterable[Change]) -> None:
        """Something was committed, in the writer's thread; whoever waits for such news is to look again."""
        if any(change.topic in self._wanted for change in changes):
            self._dirty = True


@asynccontextmanager
async def stepped(
    paths: ProfilePaths, role: Role, clock: LeapingClock, *, http: Http | None = None
) -> AsyncIterator[Stepped]:
    """Open the store and make the engine of this program; it is at rest until it is stepped.

    ``http``: a server in memory, which knows nothing of keys, in place of the one that the store names.
    """
    db = await asyncio.to_thread(Database.open, paths.database)
    engine = Engine(paths, db, current(db), role, clock=clock, chance=system_chance(), http=http)
    program = Stepped(engine, clock, _STEPPED if http else (*_STEPPED, *_ONLINE))
    db.listen(program.note)
    turn = asyncio.create_task(engine._turn.run()) if engine._turn is not None else None
    try:
        while engine._turn is not None and not engine._turn.is_ours and role is Role.NOTIFIER:
            await asyncio.sleep(0.005)
        yield program
    finally:
        db.unlisten(program.note)
        if turn is not None:
            turn.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await turn
        await engine.http.close()
        await asyncio.to_thread(db.close)


async def run_until(programs: Iterable[Stepped], clock: LeapingClock, until_ms: int) -> None:
    """Let time leap to ``until_ms``, stopping wherever a program has something due on the way."""
    running = list(programs)
    while True:
        due = [at for program in running if (at := program.next_due_ms()) is not None]
        soonest = min(due, default=until_ms)
        if soonest > until_ms:
            break
        clock.at_ms = max(clock.at_ms, soonest)
        for program in running:
            at = program.next_due_ms()
            if at is not None and at <= clock.at_ms:
                await program.settle()
        if not due:
            break
    clock.at_ms = max(clock.at_ms, until_ms)


async def live_on(
    programs: Sequence[Stepped], clock: LeapingClock, until_ms: int, *, every_ms: int = 30_000
) -> None:
    """The same with a sync every now and then: who asks nothing for minutes is away."""
    while clock.now_ms() < until_ms:
        await run_until(programs, clock, min(until_ms, clock.now_ms() + every_ms))
        for program in programs:
            await program.sync()
