"""D9: an hour of one silent probe a second, and what deciding that none of them is confirmed costs.

The same stream goes to two victims: one as the product is, one whose gate is taken out. Each event comes in an
answer of its own, as it would; the difference in processor time is what receipts add.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from unittest import mock

from tandem_core import judge
from tandem_core.types import Role
from tests.privacy.classify import quantile
from tests.privacy.memory import at_home, make_home, make_server
from tests.privacy.probes import PROBES, Sealed
from tests.privacy.stepped import LeapingClock

_BLOCK = 50
_WRITERS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds per event with the gate and without, and the share of one core at one event a second."""

    events: int
    receipts: int
    with_gate_s: float
    without_s: float
    share: float
    low: float
    high: float


async def flood(folder: Path, events: int, *, seed: int) -> Cost:
    """``events`` silent ones for each of the two victims, in blocks that alternate."""
    chance = random.Random(seed)
    silent = [probe for probe in PROBES if isinstance(probe, Sealed) and isinstance(probe.content, dict)]
    clocks = [LeapingClock(), LeapingClock()]
    servers = [make_server(clock, _WRITERS) for clock in clocks]
    homes = [make_home(server, folder / f"v{number}") for number, server in enumerate(servers)]
    used: list[list[float]] = [[], []]
    async with (
        at_home(homes[0], Role.NOTIFIER, clocks[0]) as with_gate,
        at_home(homes[1], Role.NOTIFIER, clocks[1]) as without,
    ):
        programs = (with_gate, without)
        for number in range(max(events // _BLOCK, 2)):
            probes = chance.choices(silent, k=_BLOCK)
            order = (0, 1) if number % 2 == 0 else (1, 0)
            for which in order:
                program, server = programs[which], servers[which]
                with _no_gate() if which else contextlib.nullcontext():
                    began = program.cpu_s
                    for place, probe in enumerate(probes):
                        server.clock.at_ms += 1000
                        server.say(server.writers[place % _WRITERS], probe.content, probe.type)
                        await program.sync()
                    used[which].append((program.cpu_s - began) / _BLOCK)
    differences = [one - other for one, other in zip(*used, strict=True)]
    found = sorted(fmean(chance.choices(differences, k=len(differences))) for _ in range(1000))
    return Cost(
        events=_BLOCK * len(differences),
        receipts=len(servers[0].posted),
        with_gate_s=fmean(used[0]),
        without_s=fmean(used[1]),
        share=fmean(differences),
        low=quantile(found, 0.025),
        high=quantile(found, 0.975),
    )


@contextlib.contextmanager
def _no_gate() -> Iterator[None]:
    """A client that knows no receipts: nothing is gathered for the gate, nothing decided."""
    with mock.patch.object(judge, "_confirm", return_value=None):
        yield
