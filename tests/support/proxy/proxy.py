"""A reverse proxy on loopback that breaks what passes through it, by rules, and keeps a log without secrets."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.proxy.wire import SYNC, Action, Answer, Asked, Seen, template
from tests.support.served import Served

WELL_KNOWN = "/.well-known/matrix/client"
_PASSED_ON = ("Authorization", "Content-Type", "Accept")


@dataclass
class Rule:
    """Which requests meet a fault: all conditions must hold, from the ``first`` such request on, ``times`` times.

    ``path`` is a regular expression for the path's template; ``share`` of the matches, drawn with the
    proxy's seed, meet the fault.
    """

    name: str
    action: Action
    path: str = re.escape(SYNC)
    method: str | None = None
    conn_id: str | None = None
    when: Callable[[Asked], bool] | None = None
    first: int = 1
    times: int | None = 1
    share: float = 1.0
    matched: int = field(default=0, init=False)
    met: int = field(default=0, init=False)

    def wants(self, asked: Asked, chance: random.Random) -> bool:
        """Whether this request meets the fault; counts."""
        if self.times is not None and self.met >= self.times:
            return False
        if self.method not in (None, asked.method) or not re.search(self.path, template(asked.path)):
            return False
        if self.conn_id not in (None, asked.conn_id) or (self.when is not None and not self.when(asked)):
            return False
        self.matched += 1
        if self.matched < self.first or chance.random() >= self.share:
            return False
        self.met += 1
        return True


class FaultProxy(Served):
    """Use as a context manager; ``base_url`` is the homeserver's address for those who are to suffer.

    The first rule that wants a request has it. ``log`` is in the order of arrival.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        super().__init__("fault proxy")
        self.log: list[Seen] = []
        self.rules: list[Rule] = []
        self._upstream = upstream
        self._chance = random.Random(seed)
        self._guard = threading.Lock()
        self._client: aiohttp.ClientSession

    def add(self, name: str, action: Action, **conditions: Any) -> Rule:
        """From now on this fault happens, under these conditions (see Rule)."""
        rule = Rule(name, action, **conditions)
        with self._guard:
            self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """No faults from now on."""
        with self._guard:
            self.rules.clear()

    def seen(self, path: str = "", *, conn_id: str | None = None, since_number: int = 0) -> list[Seen]:
        """The log from this line on, of these paths and this connection."""
        return [
            line
            for line in self.log[since_number:]
            if re.search(path, line.path) and conn_id in (None, line.conn_id)
        ]

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[web.BaseRunner]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that gives up takes its request to the server with it, as a broken line would.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
        ) as self._client:
            yield runner

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        asked = Asked(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, headers,
            await request.read(),
        )  # fmt: skip
        block = asked.to_device
        line = Seen(
            time.monotonic(), asked.conn_id, asked.method, template(asked.path),
            block.get("since"), block.get("limit"), block.get("enabled") is True,
        )  # fmt: skip
        with self._guard:
            self.log.append(line)
            rule = next((rule for rule in self.rules if rule.wants(asked, self._chance)), None)
        if rule is not None:
            line.fault = rule.name
        try:
            answer = await (self._forward(asked) if rule is None else rule.action(asked, self._forward))
        except (aiohttp.ClientError, OSError):
            answer = None  # the server went away in the middle
        except asyncio.CancelledError:
            if rule is not None:
                rule.met -= 1  # the client gave up before it could suffer: the next one does
            raise
        if answer is None or answer.cut == 0:
            _break(request)
            return web.Response()
        if answer.cut is None:
            line.status, line.next_batch, line.brought = answer.status, answer.next_batch, answer.brought
            line.answered_at = time.monotonic()
            return web.Response(
                status=answer.status,
                body=answer.data,
                content_type=answer.content_type,
                headers=answer.headers,
            )
        half = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(answer.data))})
        await half.prepare(request)
        await half.write(answer.data[: answer.cut])
        _break(request)
        return half

    async def _forward(self, asked: Asked) -> Answer:
        query = f"?{asked.query}" if asked.query else ""
        async with self._client.request(
            asked.method,
            URL(f"{self._upstream}{asked.path}{query}", encoded=True),
            data=asked.data or None,
            headers=asked.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=120),
        ) as answer:
            data = await answer.read()
            if asked.path == WELL_KNOWN:
                # The server tells its own address, and who believes it would go past us.
                data = data.replace(self._upstream.encode(), self.base_url.encode())
            return Answer(answer.status, data, answer.content_type)


def _break(request: web.Request) -> None:
    """Close the connection without another word."""
    if request.transport is not None:
        request.transport.close()
