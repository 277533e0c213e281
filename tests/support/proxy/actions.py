"""What can go wrong between a client and its server, each as an action of the fault proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

from tests.support.proxy.wire import Action, Answer, Asked, Forward, Json


def drop_request() -> Action:
    """The server never hears of it."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        return None

    return act


def drop_answer() -> Action:
    """The server has done it; the client never hears so."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        await forward(asked)
        return None

    return act


def delay(seconds: float) -> Action:
    """The answer comes late."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        await asyncio.sleep(seconds)
        return answer

    return act


def duplicate() -> Action:
    """The server gets it twice; the client hears what was said the second time."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        await forward(asked)
        return await forward(asked)

    return act


class Hold:
    """Keeps back answers that the server has given until ``release``; others overtake them."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        self.reached.set()
        while not self._released.is_set():
            await asyncio.sleep(0.01)
        return answer


class Stale:
    """Gives the client an older answer once more, as a cache in between would; the server hears nothing.

    It remembers the first answer of each connection that it lets through.
    """

    def __init__(self) -> None:
        self._kept: dict[str | None, Answer] = {}

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        if (old := self._kept.get(asked.conn_id)) is not None:
            return old
        answer = await forward(asked)
        if answer.status == 200:
            self._kept[asked.conn_id] = answer
        return answer


class Repeated:
    """Has everything asked twice, by losing each first answer; keeps what was said under each address.

    Addresses hold transaction ids, so one address must stand for one text.
    """

    def __init__(self) -> None:
        self.said: dict[str, list[bytes]] = {}
        """Digests, in the order of asking."""

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        said = self.said.setdefault(asked.path, [])
        said.append(hashlib.sha256(asked.data).digest())
        is_first = len(said) == 1
        answer = await forward(asked)
        return None if is_first else answer


class Fetched:
    """Passes everything on, and counts how often each to-device event was in an answer."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        block = answer.body.get("extensions", {}).get("to_device", {})
        self.times.update(json.dumps(event, sort_keys=True) for event in block.get("events", ()))
        return answer


def truncate(share: float = 0.5) -> Action:
    """The connection breaks in the middle of the answer."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        return replace(answer, cut=int(len(answer.data) * share))

    return act


def corrupt() -> Action:
    """The answer has the announced length and is no JSON any more."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        middle = len(answer.data) // 2
        return replace(answer, data=answer.data[:middle] + b"\x00}{" + answer.data[middle + 3 :])

    return act


def wrong_types() -> Action:
    """Every value at the top is of another type than promised."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        return replace(answer, data=json.dumps({key: [7] for key in answer.body}).encode())

    return act


def wrong_types_inside(*path: str, value: Any) -> Action:
    """What stands at this place of the answer is ``value`` instead."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        def change(body: Json) -> None:
            for key in path[:-1]:
                body = body.setdefault(key, {})
            body[path[-1]] = value

        return (await forward(asked)).edited(change)

    return act


def without(*path: str) -> Action:
    """What stands at this place of the answer is missing: ``without("extensions", "to_device")``."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        def change(body: Json) -> None:
            for key in path[:-1]:
                body = body.get(key, {})
            body.pop(path[-1], None)

        return (await forward(asked)).edited(change)

    return act


def refuse(status: int, errcode: str, **more: Any) -> Action:
    """A Matrix error instead of the server's answer; the server hears nothing."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        return Answer(status, json.dumps({"errcode": errcode, "error": "a fault", **more}).encode())

    return act


def page(status: int) -> Action:
    """A web server's error page, such as a 502 of a reverse proxy whose backend is down."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        return Answer(status, b"<html><body><h1>Bad Gateway</h1></body></html>", "text/html")

    return act


def limited(retry_after_ms: Any = None, *, header: str | None = None) -> Action:
    """429, with a wish how long to wait in the body or the header, or none."""
    wish = {} if retry_after_ms is None else {"retry_after_ms": retry_after_ms}

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        body = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", **wish}
        return Answer(
            429, json.dumps(body).encode(), headers={} if header is None else {"Retry-After": header}
        )

    return act


def signed_out(*, soft: bool) -> Action:
    """The token is not known any more."""
    return refuse(401, "M_UNKNOWN_TOKEN", soft_logout=soft)


def unknown_pos() -> Action:
    """The place is not known any more."""
    return refuse(400, "M_UNKNOWN_POS")


def send_since(value: Any) -> Action:
    """The server gets another to-device token than the client sent, if it sent one."""

    async def act(asked: Asked, forward: Forward) -> Answer | None:
        return await forward(asked.with_since(value) if "since" in asked.to_device else asked)

    return act
