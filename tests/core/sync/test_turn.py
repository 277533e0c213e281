"""The turn to wait for to-device events passes on when it is over, and at once when its holder dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tandem_core.paths import ProfilePaths
from tandem_core.sync.turn import PATIENCE_S, TURN_S, SharedTurn
from tests.core.sync_world import StillClock
from tests.support.aio import in_loop

_HOLD = """
import asyncio, sys
from pathlib import Path
from tandem_core.clock import SystemClock
from tandem_core.paths import ProfilePaths
from tandem_core.sync.turn import SharedTurn

async def main():
    paths = ProfilePaths("p", *[Path(sys.argv[1])] * 3)
    turn = SharedTurn(paths, clock=SystemClock(), other_runs=lambda: True)
    turn.on_taken(lambda: print("mine", flush=True))
    await turn.run()

asyncio.run(main())
"""


@pytest.fixture
def paths(tmp_path: Path) -> ProfilePaths:
    return ProfilePaths("p", tmp_path, tmp_path, tmp_path)


class Taker:
    """A turn that is waited for, with word of when it comes."""

    def __init__(self, paths: ProfilePaths, *, other_runs: bool = True) -> None:
        self.clock = StillClock()
        self.turn = SharedTurn(paths, clock=self.clock, other_runs=lambda: other_runs)
        self.taken = asyncio.Event()
        self.turn.on_taken(self.taken.set)


@contextlib.asynccontextmanager
async def _waiting(taker: Taker) -> AsyncIterator[Taker]:
    task = asyncio.ensure_future(taker.turn.run())
    try:
        yield taker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _comes(taker: Taker) -> None:
    await asyncio.wait_for(taker.taken.wait(), 30)


@in_loop
async def test_one_at_a_time_and_the_next_when_it_is_over(paths: ProfilePaths) -> None:
    async with _waiting(Taker(paths)) as first:
        await _comes(first)
        async with _waiting(Taker(paths)) as second:
            await asyncio.sleep(0.05)
            assert (first.turn.is_ours, second.turn.is_ours) == (True, False)
            assert not first.turn.may_end
            first.clock.time_ms += int(1000 * (TURN_S + 1))
            assert first.turn.may_end
            first.turn.end()
            await _comes(second)
            assert not first.turn.is_ours
        first.taken.clear()
        await _comes(first)


@in_loop
async def test_without_another_program_a_turn_has_no_end(paths: ProfilePaths) -> None:
    async with _waiting(Taker(paths, other_runs=False)) as taker:
        await _comes(taker)
        taker.clock.time_ms += int(1000 * (10 * TURN_S))
        assert not taker.turn.may_end


@in_loop
async def test_who_waits_for_too_long_reads_out_of_turn(paths: ProfilePaths) -> None:
    async with _waiting(Taker(paths)) as first:
        await _comes(first)
        async with _waiting(Taker(paths)) as second:
            assert not second.turn.is_overdue
            second.clock.time_ms += int(1000 * (PATIENCE_S + 1))
            assert second.turn.is_overdue
            first.clock.time_ms += int(1000 * (PATIENCE_S + 1))
            assert not first.turn.is_overdue


@in_loop
async def test_a_wait_that_is_given_up_keeps_nothing(paths: ProfilePaths) -> None:
    async with _waiting(Taker(paths)) as first:
        await _comes(first)
        async with _waiting(Taker(paths)):
            await asyncio.sleep(0.05)
    async with _waiting(Taker(paths)) as third:
        await _comes(third)


@in_loop
async def test_a_holder_that_is_killed_is_followed_at_once(paths: ProfilePaths) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(paths.data)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        assert await asyncio.to_thread(child.stdout.readline) == "mine\n"
        async with _waiting(Taker(paths)) as taker:
            await asyncio.sleep(0.05)
            assert not taker.turn.is_ours
            os.kill(child.pid, signal.SIGKILL)
            await _comes(taker)
