"""A homeserver in memory, for speed: Synapse's measured rules on loopback, with faults on demand.

The contract suite (tests/contract) holds it and a real Synapse to the same rules.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.fake import api
from tests.support.fake.sliding import sliding_sync
from tests.support.fake.state import Json, Refused, State
from tests.support.served import Served

SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
_DEDUPED = re.compile(r"/(send|redact|sendToDevice)/")


@dataclass
class Recorded:
    """A request that arrived, and how it was answered (0: not at all, so far)."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    user_id: str
    status: int = 0
    answer: Any = None


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose path matches."""

    pattern: re.Pattern[str]
    times: int
    answer: tuple[int, bytes, str] | None = None
    delay_s: float = 0.0
    drops: bool = False
    edit: Callable[[Json], Json | bytes] | None = None
    gate: Gate | None = None


class Gate:
    """Holds answers that are processed but not yet sent; ``reached`` is set when the first one is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reached = threading.Event()
        self._loop = loop
        self.opened = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self.opened.set)


class FakeHomeserver(Served):
    """Use as a context manager; ``base_url`` is where it listens."""

    def __init__(self, *, with_module: bool = False) -> None:
        super().__init__("fake homeserver")
        self.state: State
        self.requests: list[Recorded] = []
        self._with_module = with_module
        self._faults: list[Fault] = []

    def register(self, localpart: str, password: str) -> None:
        self._do(lambda: self.state.register(localpart, password))

    def answer(
        self, pattern: str, status: int, body: Any, *, times: int = 1, content_type: str = "application/json"
    ) -> None:
        """Answer so instead of processing the request; bytes are sent as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._add(Fault(re.compile(pattern), times, answer=(status, data, content_type)))

    def delay(self, pattern: str, seconds: float, *, times: int = 1) -> None:
        self._add(Fault(re.compile(pattern), times, delay_s=seconds))

    def drop_after_processing(self, pattern: str, *, times: int = 1) -> None:
        """Do what is asked, then break the connection instead of answering."""
        self._add(Fault(re.compile(pattern), times, drops=True))

    def edit(self, pattern: str, change: Callable[[Json], Json | bytes], *, times: int = 1) -> None:
        """Send what ``change`` makes of the right answer."""
        self._add(Fault(re.compile(pattern), times, edit=change))

    def hold(self, pattern: str, *, times: int = 1) -> Gate:
        """Process the request but keep back the answer until the gate is opened."""
        gate = Gate(self._loop)
        self._add(Fault(re.compile(pattern), times, gate=gate))
        return gate

    def heal(self) -> None:
        """No faults from now on."""
        self._do(self._faults.clear)

    def expire(self, user_id: str, *, soft: bool) -> None:
        """End this user's tokens; a soft end keeps the devices."""

        def end() -> None:
            for device in self.state.devices_of(user_id):
                if not soft:
                    self.state.sign_out(device)
            self.state.soft.update(token for token, owner in self.state.tokens.items() if owner[0] == user_id)
            self.state.ring()

        self._do(end)

    def put_to_device(self, user_id: str, event: Any) -> None:
        """Queue any JSON value as a to-device event of each device of this user."""

        def queue() -> None:
            self.state.to_device_at += 1
            for device in self.state.devices_of(user_id):
                device.queue.append((self.state.to_device_at, event))
            self.state.ring()

        self._do(queue)

    def queued(self, user_id: str) -> list[Any]:
        """The to-device events of this user that nobody has acknowledged."""
        return self._do(
            lambda: [event for device in self.state.devices_of(user_id) for _, event in device.queue]
        )

    def seen(self, pattern: str) -> list[Recorded]:
        """The requests so far whose path matches."""
        return self._do(lambda: [one for one in self.requests if re.search(pattern, one.path)])

    def _add(self, fault: Fault) -> None:
        self._do(lambda: self._faults.append(fault))

    def _do(self, work: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[web.BaseRunner]:
        self.state = State(with_module=self._with_module)
        answering = web.Server(self._handle, access_log=None, handler_cancellation=True)
        yield web.ServerRunner(answering, shutdown_timeout=0.1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            return web.json_response({"errcode": "M_NOT_JSON", "error": "Content not JSON."}, status=400)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        user_id = self.state.tokens.get(token, ("", ""))[0]
        record = Recorded(request.method, request.path, dict(request.query), body, user_id)
        self.requests.append(record)
        fault = self._fault(request.path)
        if fault and fault.answer:
            record.status, data, content_type = fault.answer
            return web.Response(status=record.status, body=data, content_type=content_type)
        if fault and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        status, answer = await self._process(request, body, token)
        if fault and fault.edit and status == 200:
            answer = fault.edit(answer)
        if fault and fault.gate:
            record.answer = answer
            fault.gate.reached.set()
            await fault.gate.opened.wait()
        if fault and fault.drops:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        record.status, record.answer = status, answer
        if isinstance(answer, bytes):
            return web.Response(status=status, body=answer, content_type="application/json")
        return web.json_response(answer, status=status)

    def _fault(self, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.pattern.search(path):
                fault.times -= 1
                return fault
        return None

    async def _process(self, request: web.BaseRequest, body: Any, token: str) -> tuple[int, Any]:
        try:
            return 200, await self._find(request, body, token)
        except Refused as refused:
            return refused.status, refused.body

    async def _find(self, request: web.BaseRequest, body: Any, token: str) -> Json:
        state, query = self.state, dict(request.query)
        path = request.rel_url.raw_path
        for method, pattern, handler in api.OPEN:
            if method == request.method and pattern.match(path):
                return handler(state, body, query)
        if (request.method, path) == ("POST", SYNC):
            return await sliding_sync(state, state.who(token), body, query)
        for method, pattern, handler in api.ROUTES:
            found = pattern.match(path)
            if method == request.method and found:
                me = state.who(token)
                parts = {name: unquote(part) for name, part in found.groupdict().items()}
                key = (token, path)
                if method != "PUT" or not _DEDUPED.search(path):
                    return handler(state, me, body, query, **parts)
                if key not in state.done:
                    state.done[key] = handler(state, me, body, query, **parts)
                return state.done[key]
        raise Refused(404, "M_UNRECOGNIZED", "Unrecognized request")
