"""What the parts of federation ask of a server, on a plain SQLite database and with a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from tandem_synapse import schema
from tandem_synapse.federation_wire import ANNOUNCEMENT, Json
from tandem_synapse.seams import Unreachable

Work = Callable[..., Coroutine[Any, Any, None]]


class World:
    """``here`` is our server; ``there`` the other one, which may be down, and may have the module or not."""

    server_name = "here"
    can_send_edus = True

    def __init__(self) -> None:
        self.conn = sqlite3.connect(":memory:")
        schema.migrate(self.conn)
        self.now = 1_000_000
        self.there_is_up = True
        self.there_has_module = True
        self.there_is_in_the_room = True
        self.asked: list[int] = []
        self.handed: list[tuple[int, Json]] = []
        self.waiting: dict[Any, Json] = {}
        self.under_way: list[Json] | None = None
        self.told: list[Json] = []
        self.taken: Callable[[str, Json], Awaitable[None]] | None = None
        self.answers_after: dict[str, asyncio.Event] = {}
        """Names of transactions whose answers come late."""
        self._timers: list[tuple[int, int, Work]] = []
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self.conn.close()

    # What Inside offers

    async def run(self, name: str, work: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        with self.conn:
            result = work(self.conn.cursor())
        if name in self.answers_after:
            await self.answers_after[name].wait()
        return result

    def now_ms(self) -> int:
        return self.now

    def later(self, after_ms: float, work: Work) -> None:
        assert after_ms > 0
        heapq.heappush(self._timers, (self.now + round(after_ms), next(self._numbers), work))

    def in_background(self, _name: str, work: Work, *arguments: object) -> None:
        task = asyncio.get_running_loop().create_task(work(*arguments))
        self._tasks.add(task)

    def one_at_a_time(self, _name: str) -> Callable[[str], contextlib.AbstractAsyncContextManager[None]]:
        locks: dict[str, asyncio.Lock] = {}

        @contextlib.asynccontextmanager
        async def queue(key: str) -> AsyncIterator[None]:
            async with locks.setdefault(key, asyncio.Lock()):
                yield

        return queue

    async def is_server_in(self, _server: str, _room_id: str) -> bool:
        return self.there_is_in_the_room

    async def ask_server(self, server: str, query_type: str, *, is_probe: bool) -> Json | None:
        assert (server, query_type) == ("there", "im.tandem.delivery")
        self.asked.append(self.now)
        await asyncio.sleep(0)
        if not self.there_is_up:
            raise Unreachable("down")
        return ANNOUNCEMENT if self.there_has_module else None

    def send_edu(self, destination: str, edu_type: str, content: Json, key: Any) -> None:
        assert (destination, edu_type) == ("there", "im.tandem.delivery")
        self.handed.append((self.now, content))
        self.waiting[key] = content
        self.in_background("", self._transaction)

    def server_is_up(self, _server: str) -> None:
        if self.under_way is not None:
            self.in_background("", self._try)

    async def _transaction(self) -> None:
        """Synapse's transactions, one at a time: one that is not taken is tried again when it hears of the server."""
        await asyncio.sleep(0)
        if self.under_way is None and self.waiting:
            self.under_way = list(self.waiting.values())
            self.waiting.clear()
            await self._try()

    async def _try(self) -> None:
        if self.there_is_up and self.under_way is not None:
            taken, self.under_way = self.under_way, None
            for content in taken:
                self.told.append(content)
                if self.taken is not None:
                    await self.taken("there", content)
            await self._transaction()

    # For tests

    def restart(self) -> None:
        """The process dies: what is in memory is gone."""
        self.forget()
        self._timers.clear()

    def forget(self) -> None:
        """Synapse gives up what it has in memory."""
        self.waiting.clear()
        self.under_way = None

    async def settle(self) -> None:
        """Let everything that is under way come to its end; raises what it raised."""
        while self._tasks:
            await self._tasks.pop()

    async def pass_time(self, ms: int) -> None:
        """Turn the clock, with all that it sets off."""
        end = self.now + ms
        await self.settle()
        while self._timers and self._timers[0][0] <= end:
            at, _, work = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            await work()
            await self.settle()
        self.now = end
