"""What an author does who wants to learn something: writes, waits for the confirmation, and notes how long it took.

Confirmations are looked for where the author's server shows them to him: receipts in his own sync, and to-device
messages of the victim. Times are the machine's, multiplied by the speed of the run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from tandem_demo.raw import CLIENT, Json
from tests.privacy.rig import Author

_FILTER = json.dumps(
    {
        "presence": {"types": ["none"]},
        "account_data": {"types": ["none"]},
        "room": {
            "timeline": {"types": ["none"]},
            "state": {"types": ["none"]},
            "account_data": {"types": ["none"]},
            "ephemeral": {"types": ["m.receipt"]},
        },
    }
)
_LONG_POLL_MS = 20_000
TYPES = ("m.delivery", "org.matrix.msc4089.delivery")


@dataclass(frozen=True, slots=True)
class Heard:
    """One confirmation as it reached the author: machine time, the event, who, and what came with it."""

    at: float
    event_id: str
    user_id: str
    content: Json


@dataclass
class Watcher:
    """One author's own sync, followed all the time."""

    author: Author
    session: aiohttp.ClientSession
    heard: list[Heard] = field(default_factory=list)
    letters: list[float] = field(default_factory=list)
    """When encrypted to-device messages came."""
    events: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    letter: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    txns: Any = field(default_factory=itertools.count)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.author.peer.client.token}"}

    async def follow(self) -> None:
        """Sync until cancelled; a server that is away is asked again."""
        since: str | None = None
        url = f"{self.author.peer.client.base_url}{CLIENT}/sync"
        while True:
            words = {
                "filter": _FILTER,
                "timeout": str(_LONG_POLL_MS if since else 0),
                "set_presence": "offline",
            }
            try:
                async with self.session.get(
                    url, params=words | ({"since": since} if since else {}), headers=self._headers
                ) as answer:
                    said = await answer.json()
                    if answer.status != 200:
                        raise aiohttp.ClientError(str(answer.status))
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.3)
                continue
            at = time.monotonic()
            since = said["next_batch"]
            self._take(said, at)
            self.ready.set()

    def _take(self, said: Json, at: float) -> None:
        for room in said.get("rooms", {}).get("join", {}).values():
            for event in room.get("ephemeral", {}).get("events", ()):
                if event["type"] != "m.receipt":
                    continue
                for event_id, kinds in event["content"].items():
                    for kind in TYPES:
                        for user_id, word in kinds.get(kind, {}).items():
                            self.heard.append(Heard(at, event_id, user_id, word))
                            self.events[event_id].set()
        for event in said.get("to_device", {}).get("events", ()):
            if event["type"] == "m.room.encrypted":
                self.letters.append(at)
                self.letter.set()

    async def send(self, content: Json, kind: str = "m.room.encrypted", *, room: str | None = None) -> str:
        """Send an event; returns its id. Tries again until the server takes it."""
        txn = f"a{next(self.txns)}{secrets.token_hex(4)}"
        where = f"rooms/{quote(room or self.author.room)}/send/{quote(kind)}/{txn}"
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.session.put(
                    f"{self.author.peer.client.base_url}{CLIENT}/{where}", json=content, headers=self._headers
                ) as answer:
                    said = await answer.json()
                    if answer.status == 200:
                        return str(said["event_id"])
                    if answer.status < 500:
                        raise AssertionError(f"{answer.status} {said.get('errcode')}")
            await asyncio.sleep(0.3)

    async def say(self) -> str:
        """Write a visible message that asks for a confirmation."""
        return await self.send(self.author.sealed(self.author.text()))


class Watch:
    """Follows all these authors' syncs inside ``async with``."""

    def __init__(self, authors: Sequence[Author]) -> None:
        self._authors = authors
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.watchers: list[Watcher] = []

    async def __aenter__(self) -> Self:
        session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=60),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        self.watchers = [Watcher(author, session) for author in self._authors]
        self._tasks = [asyncio.create_task(watcher.follow()) for watcher in self.watchers]
        await asyncio.gather(*(watcher.ready.wait() for watcher in self.watchers))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()


@dataclass(frozen=True, slots=True)
class Plan:
    """How an author measures: so many confirmations, a pause between one and the next message (unscaled seconds)."""

    flushes: int
    pause_s: tuple[float, float] = (10.5, 14.0)
    wait_s: float = 150.0
    by_letter: bool = False
    """Confirmations come as encrypted to-device messages (a server without our module)."""


async def delays(
    watcher: Watcher, plan: Plan, scale: float, chance: random.Random, until: float
) -> list[float]:
    """Write, wait for the confirmation, note how long it took (unscaled seconds), until there are enough or time is up.

    A message whose confirmation does not come in ``wait_s`` gives no figure.
    """
    found: list[float] = []
    await asyncio.sleep(chance.uniform(0, plan.pause_s[1]) / scale)
    while len(found) < plan.flushes and time.monotonic() < until:
        watcher.letter.clear()
        began = time.monotonic()
        event_id = await watcher.say()
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.wait_s / scale):
                await (watcher.letter if plan.by_letter else watcher.events[event_id]).wait()
            at = (
                next(t for t in watcher.letters if t >= began)
                if plan.by_letter
                else next(h.at for h in watcher.heard if h.event_id == event_id)
            )
            found.append((at - began) * scale)
        await asyncio.sleep(chance.uniform(*plan.pause_s) / scale)
    return found


async def measure(
    authors: Sequence[Author], plan: Plan, scale: float, *, seed: int, within_s: float
) -> list[list[float]]:
    """All authors at once, each by himself; a list of delays per author."""
    until = time.monotonic() + within_s
    async with Watch(authors) as watch:
        return list(
            await asyncio.gather(
                *(
                    delays(watcher, plan, scale, random.Random(f"{seed} {number}"), until)
                    for number, watcher in enumerate(watch.watchers)
                )
            )
        )
