"""Time and chance behind seams, so that tests own both."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stored times, monotonic time for waiting."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancelling is clean."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio  # the window reads the clock before it has any use for a loop

        await asyncio.sleep(seconds)


def elapsed_ms(then_ms: int, now_ms: int) -> int:
    """How far apart two stored times are, whichever is the later one.

    A time in the future was written by a clock that has since been set back. Taken for the past, it wears out
    like any other; taken for a negative age, it would never.
    """
    return abs(now_ms - then_ms)


class Chance(Protocol):
    """The part of ``random.Random`` that decisions draw from; never used for keys."""

    def uniform(self, a: float, b: float) -> float: ...


def system_chance() -> Chance:
    """Randomness from the operating system."""
    return random.SystemRandom()


def jittered_backoff_s(failures: int, chance: Chance, *, first_s: float = 0.5, most_s: float = 30.0) -> float:
    """Seconds to wait before try ``failures + 1``: doubling, capped, spread by half."""
    ceiling = min(most_s, first_s * 2.0 ** min(failures, 16))
    return chance.uniform(ceiling / 2, ceiling)
