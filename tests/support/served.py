"""An aiohttp server on loopback in a thread of its own, so that plain tests and real programs can use it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager
from typing import Self

from aiohttp import web


class Served:
    """Use as a context manager; ``base_url`` is where it listens."""

    def __init__(self, name: str) -> None:
        self.base_url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name)
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    def _running(self) -> AbstractAsyncContextManager[web.BaseRunner]:
        """What answers, for as long as this is entered; each kind of server has its own."""
        raise NotImplementedError

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with self._running() as runner:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._over.wait()
            await _end(runner)


async def _end(runner: web.BaseRunner) -> None:
    """Stop answering. No line is left to the garbage collector: not one that somebody does not read, nor a late one."""
    server = runner.server
    assert server is not None
    lines = [handler.transport for handler in server.connections]
    await runner.cleanup()
    await asyncio.sleep(0.01)
    for line in (*lines, *(handler.transport for handler in server.connections)):
        if line is not None:
            line.abort()
    await asyncio.sleep(0)
