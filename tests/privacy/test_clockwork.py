"""The harness's time: faster, the same everywhere, and never faster than the machine keeps up with."""

from __future__ import annotations

import asyncio
import os
import time
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.privacy.clockwork import (
    JITTER_SHARE,
    Rate,
    ScaledClock,
    ScaledLoop,
    fitting_scale,
    lateness_ms,
)
from tests.privacy.path import PathProxy


def test_a_loop_at_speed_sleeps_for_its_own_time() -> None:
    rate = Rate.starting_now(100.0)

    async def nap() -> tuple[float, float]:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        at = loop.time()
        await asyncio.sleep(2.0)
        return loop.time() - at, time.monotonic() - began

    with asyncio.Runner(loop_factory=lambda: ScaledLoop(rate)) as runner:
        slept, of_the_machine = runner.run(nap())
    assert slept >= 1.999
    assert of_the_machine >= 0.0199
    assert of_the_machine == pytest.approx(slept / 100, rel=0.01)


def test_clock_and_loop_of_one_rate_agree() -> None:
    rate = Rate(50.0, time.monotonic() - 10, 1_800_000_000_000)
    clock = ScaledClock(rate)
    assert clock.now_ms() >= 1_800_000_000_000 + 500_000
    loop = ScaledLoop(rate)
    try:
        before, of_the_loop, after = clock.monotonic_s(), loop.time(), clock.monotonic_s()
    finally:
        loop.close()
    assert before <= of_the_loop <= after


def test_a_timeout_of_the_loop_is_scaled_too() -> None:
    async def wait() -> None:
        async with asyncio.timeout(1.0):
            await asyncio.sleep(3600)

    with (
        asyncio.Runner(loop_factory=lambda: ScaledLoop(Rate.starting_now(200.0))) as runner,
        pytest.raises(TimeoutError),
    ):
        runner.run(wait())


def test_a_loop_at_speed_still_hears_of_a_pipe() -> None:
    """What comes from outside wakes it as it wakes any loop."""
    read, write = os.pipe()

    async def hear() -> bytes:
        loop = asyncio.get_running_loop()
        heard = loop.create_future()
        loop.add_reader(read, lambda: heard.set_result(os.read(read, 1)))
        loop.call_later(0.5, os.write, write, b"x")
        try:
            return bytes(await heard)
        finally:
            loop.remove_reader(read)

    try:
        with asyncio.Runner(loop_factory=lambda: ScaledLoop(Rate.starting_now(20.0))) as runner:
            assert runner.run(hear()) == b"x"
    finally:
        os.close(read)
        os.close(write)


def test_lateness_is_measured_in_order_and_never_early() -> None:
    late = lateness_ms(Rate.starting_now(5.0), naps=10)
    assert late == sorted(late)
    assert late[0] > -1.1


@given(st.floats(0.1, 60), st.floats(0.01, 500))
def test_the_speed_stops_where_lateness_would_show(shortest_hold_s: float, late_ms: float) -> None:
    scale = fitting_scale(shortest_hold_s, late_ms)
    assert 1 <= scale <= 5
    if scale > 1:
        assert late_ms * scale <= JITTER_SHARE * shortest_hold_s * 1000 * 1.0001


def test_a_machine_that_is_always_late_is_measured_in_real_time() -> None:
    assert fitting_scale(1.0, 500.0) == 1.0


def test_long_polls_are_hurried_with_the_time() -> None:
    proxy = PathProxy("http://127.0.0.1:9", 5.0)
    words = parse_qs(proxy._hurried("pos=a%2Fb&timeout=30000"))
    assert words == {"pos": ["a/b"], "timeout": ["6000"]}
    assert proxy._hurried("") == ""
