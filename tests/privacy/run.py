"""What all parts of a run share: where, how fast, how long; and what is written down of it."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tandem_core.receipts.schedule import PACES, Profile
from tandem_demo.synapse import SynapseServer
from tests.privacy import classify, clockwork
from tests.privacy.rig import synapse
from tests.privacy.table import Line

_SHORTEST = 0.01
"""The share of all holds that is at most as long as what counts as the shortest."""


@dataclass
class Run:
    """What all sections share."""

    folder: Path
    seed: int
    minutes: float
    tell: Callable[[str], None]
    scale: float = 1.0
    notes: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def place(self, name: str) -> Path:
        return self.folder / f"{next(self._numbers)}-{name}"

    def seconds(self, share: float) -> float:
        """This share of the whole time."""
        return 60 * self.minutes * share


def choose_scale(run: Run) -> None:
    """As fast as the machine's lateness allows now, for the shortest hold.

    A hold is the mean of two draws, and a contact's may be none at all: the shortest is that of the shortest hundredth.
    """
    late_ms = classify.quantile(clockwork.lateness_ms(clockwork.Rate.starting_now(5.0)), 0.95)
    shortest_s = min(
        least + (most - least) * math.sqrt(_SHORTEST / 2)
        for least, most in (PACES[each].hold_s for each in (Profile.CONTACT, Profile.OTHERS, Profile.MERGED))
    )
    run.scale = round(clockwork.fitting_scale(shortest_s, late_ms), 1)
    run.notes.append(
        f"Time runs {run.scale:g} times as fast: the machine wakes {late_ms:.1f} ms late (95th percentile), and the"
        f" shortest hold is {shortest_s:.2f} s; 5 % of it, at that speed, is"
        f" {1000 * clockwork.JITTER_SHARE * shortest_s / run.scale:.1f} ms."
    )


@contextmanager
def server(run: Run, name: str, *, module: bool = True) -> Iterator[SynapseServer]:
    made = synapse(run.place(f"{name}-synapse"), module=module)
    with made.running():
        yield made


def commit() -> str:
    """Which version was measured; with a plus if the tree was changed."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def as_json(run: Run, lines: Sequence[Line]) -> str:
    told = {
        "commit": commit(),
        "seed": run.seed,
        "scale": run.scale,
        "notes": run.notes,
        "lines": [line.as_json() for line in lines],
    }
    return json.dumps(told, indent=1) + "\n"
