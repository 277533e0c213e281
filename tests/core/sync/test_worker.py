"""A worker's loop: woken by what it wants, patient with trouble, and always ended by a cancellation."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar

import pytest

from tandem_core.errors import Offline, RateLimited, SignedOut
from tandem_core.types import Change, Topic
from tandem_core.worker import Worker
from tests.support.aio import in_loop


class Counter(Worker):
    name: ClassVar[str] = "counter"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.INBOX})

    def __init__(self, *troubles: Exception) -> None:
        super().__init__(random.Random(1))
        self.troubles = list(troubles)
        self.steps = 0

    async def step(self) -> float | None:
        self.steps += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return 60.0


async def _steps(worker: Counter, count: int) -> None:
    async with asyncio.timeout(30):
        while worker.steps < count:
            await asyncio.sleep(0.005)


@in_loop
async def test_it_looks_again_when_what_it_wants_changes_and_only_then() -> None:
    worker = Counter()
    running = asyncio.ensure_future(worker.run())
    await _steps(worker, 1)
    worker.wake([Change(Topic.TYPING)])
    await asyncio.sleep(0.02)
    assert worker.steps == 1
    worker.wake([Change(Topic.INBOX)])
    await _steps(worker, 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@in_loop
async def test_a_cancellation_that_comes_together_with_the_waking_ends_it() -> None:
    for _ in range(20):
        worker = Counter()
        running = asyncio.ensure_future(worker.run())
        await _steps(worker, 1)
        worker.wake([Change(Topic.INBOX)])
        running.cancel()
        done, _pending = await asyncio.wait({running}, timeout=10)
        assert done, "the cancellation was swallowed"
        assert running.cancelled()


@in_loop
async def test_trouble_is_told_and_survived() -> None:
    worker = Counter(Offline("a"), ValueError("a bug"), RateLimited(0.01))
    told: list[str | None] = []
    worker.on_trouble = lambda name, trouble: told.append(trouble.title if trouble else None)
    running = asyncio.ensure_future(worker.run())
    await _steps(worker, 4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told[0] == Offline.title
    assert told[-1] is None


@in_loop
async def test_signed_out_ends_it() -> None:
    with pytest.raises(SignedOut):
        await asyncio.wait_for(Counter(SignedOut(soft=True)).run(), 30)
