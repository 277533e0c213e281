"""What befalls the network in a storm: short bursts of faults between Alice's programs and the server."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.proxy import actions
from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.wire import SYNC, Action
from tests.torture.report import Report

_MOST_AT_ONCE = 3
_MOST_TIMES = 10
# A long poll that is asked twice would hold the second one's answer back for half a minute.
_NOT_SYNC = f"^(?!{re.escape(SYNC)}$)"
KINDS: dict[str, tuple[Action, str]] = {
    "requests lost": (actions.drop_request(), ""),
    "answers lost": (actions.drop_answer(), ""),
    "requests doubled": (actions.duplicate(), _NOT_SYNC),
    "answers cut short": (actions.truncate(), ""),
    "502 of a gateway": (actions.page(502), ""),
    "429, slow down": (actions.limited(200), ""),
}


@dataclass(frozen=True, slots=True)
class Burst:
    """One kind of fault, met by a share of the requests and at most so many times."""

    kind: str
    share: float
    times: int

    def __str__(self) -> str:
        return f"{self.kind} ({self.share:.2f}, at most {self.times})"


def draw(chance: random.Random) -> list[Burst]:
    """One to three kinds of fault at a time."""
    kinds = chance.sample(list(KINDS), chance.randint(1, _MOST_AT_ONCE))
    return [Burst(kind, chance.uniform(0.1, 0.6), chance.randint(2, _MOST_TIMES)) for kind in kinds]


@contextmanager
def broken(proxy: FaultProxy, bursts: list[Burst], report: Report) -> Iterator[None]:
    """Have the network break in these ways; healed, and what was met counted, when left."""
    rules = {}
    for burst in bursts:
        action, path = KINDS[burst.kind]
        conditions: dict[str, Any] = {"path": path, "share": burst.share, "times": burst.times}
        rules[burst.kind] = proxy.add(burst.kind, action, **conditions)
    try:
        yield
    finally:
        proxy.heal()
        for kind, rule in rules.items():
            report.faults[kind] += rule.met
        # What the log is for is not asked here, and an hour's would be long.
        proxy.log.clear()
