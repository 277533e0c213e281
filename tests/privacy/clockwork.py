"""Time that runs faster, for the harness alone: a clock and an event loop that agree, and how late both are.

``victim`` builds the product's engine with them. Nothing of the product reads them from anywhere else.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tandem_core.clock import SystemClock

JITTER_SHARE = 0.05
"""How much of the shortest hold the machine's lateness may be; a higher speed would measure the machine."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``scale`` seconds pass in one second of the machine; all processes of a run share the origin."""

    scale: float
    mono0: float
    wall0_ms: int

    @classmethod
    def starting_now(cls, scale: float) -> Rate:
        return cls(scale, time.monotonic(), time.time_ns() // 1_000_000)

    def monotonic_s(self) -> float:
        return self.mono0 + (time.monotonic() - self.mono0) * self.scale

    def now_ms(self) -> int:
        return self.wall0_ms + int((time.monotonic() - self.mono0) * self.scale * 1000)

    def words(self) -> list[str]:
        """As arguments of ``victim``."""
        return ["--scale", repr(self.scale), "--mono0", repr(self.mono0), "--wall0", str(self.wall0_ms)]


class ScaledClock(SystemClock):
    """The product's clock at another rate; its ``sleep`` is the loop's, which has the same rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate

    def now_ms(self) -> int:
        return self._rate.now_ms()

    def monotonic_s(self) -> float:
        return self._rate.monotonic_s()


class _Impatient(selectors.BaseSelector):
    """Waits on the machine for a part of the time that the loop wishes to wait."""

    def __init__(self, scale: float) -> None:
        self._inner = selectors.DefaultSelector()
        self._scale = scale

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        wait = timeout if timeout is None or timeout <= 0 else timeout / self._scale
        return self._inner.select(wait)

    def close(self) -> None:
        self._inner.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()


class ScaledLoop(asyncio.SelectorEventLoop):
    """An event loop whose time runs at ``rate``."""

    def __init__(self, rate: Rate) -> None:
        super().__init__(_Impatient(rate.scale))
        self._rate = rate

    def time(self) -> float:
        return self._rate.monotonic_s()


def lateness_ms(rate: Rate, *, naps: int = 200, seed: int = 1) -> list[float]:
    """By how many milliseconds of the machine a scaled loop wakes too late, sorted."""
    chance = random.Random(seed)

    async def nap() -> list[float]:
        found = []
        for _ in range(naps):
            wish_s = chance.uniform(0.005, 0.03)
            began = time.monotonic()
            await asyncio.sleep(wish_s * rate.scale)
            found.append((time.monotonic() - began - wish_s) * 1000)
        return found

    with asyncio.Runner(loop_factory=lambda: ScaledLoop(rate)) as runner:
        return sorted(runner.run(nap()))


def fitting_scale(shortest_hold_s: float, late_ms: float, *, most: float = 5.0) -> float:
    """The highest speed at which so much lateness is within the allowed share of the shortest hold; at least 1."""
    return max(1.0, min(most, JITTER_SHARE * shortest_hold_s * 1000 / max(late_ms, 0.001)))
