"""D2 to D5 and the ticks of D10: the real programs at the harness's speed, real Synapse, many authors at once.

Each author has his own room, key and schedule, so that his confirmations tell nothing of another's. The states of the
victim are visited in turns, a few confirmations each, so that a machine that grows slower is no leak.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tandem_demo.synapse import SynapseServer
from tests.privacy.attacker import Plan, measure
from tests.privacy.clockwork import Rate
from tests.privacy.path import travel_ms
from tests.privacy.rig import Author, Victim, Way, make_friends, make_victim, path_to, synapse
from tests.privacy.upkeep import days_go_by

PER_OBSERVATION = 30
PER_OBSERVATION_OF_DEVICES = 60
_SETTLE_S = 3.0
"""Unscaled seconds after a change of state."""


@dataclass(frozen=True, slots=True)
class State:
    """What the attacker wants to know: the place, whether the machine idles, which programs of which devices run."""

    name: str
    one_way_ms: float = 19.0
    idle_ms: float = 0.0
    window: bool = False
    devices: int = 1

    def travel_ms(self, chance: random.Random) -> float:
        """How long a request or an answer is on its way, once."""
        return travel_ms(self.one_way_ms, self.idle_ms, chance)


BASE = State("active, notifier, second place in the city")
IDLE = State("idle", idle_ms=50.0)
WINDOW = State("window open", window=True)
CITY = (State("first place in the city", 16.0), BASE, State("third place in the city", 22.0))
COUNTRIES = (State("near country", 10.0), State("far country", 45.0), State("other continent", 120.0))
DEVICES = (State("one device", devices=1), State("two devices", devices=2), State("three devices", devices=3))
ALL = (BASE, IDLE, WINDOW, CITY[0], CITY[2], *COUNTRIES)


@dataclass
class Collected:
    """Delays (unscaled seconds) by state; each list is one author's, in order."""

    delays: dict[str, list[float]] = field(default_factory=dict)
    late_ms: list[float] = field(default_factory=list)

    def add(self, state: State, found: Sequence[Sequence[float]]) -> None:
        self.delays.setdefault(state.name, []).extend(delay for one in found for delay in one)

    def observations(self, state: State, size: int, seed: int = 1) -> list[list[float]]:
        """Budgets of confirmations, drawn without repetition from all authors: each by itself tells the same."""
        mixed = self.delays.get(state.name, [])[:]
        random.Random(f"{seed} {state.name}").shuffle(mixed)
        return [mixed[at : at + size] for at in range(0, len(mixed) - size + 1, size)]


@dataclass
class World:
    """The victim and his authors, running."""

    server: SynapseServer
    victim: Victim
    way: Way
    authors: list[Author]
    scale: float
    by_letter: bool = False

    def be(self, state: State) -> None:
        """Bring the victim into this state."""
        self.way.be(one_way_ms=state.one_way_ms, idle_ms=state.idle_ms)
        for number in range(len(self.victim.devices)):
            if number < state.devices:
                self.victim.start(number, "notifier")
            else:
                self.victim.stop(number, "notifier")
        if state.window:
            self.victim.start(0, "app")
        else:
            self.victim.stop(0, "app")

    def visit(self, state: State, flushes: int, *, seed: int, within_s: float) -> list[list[float]]:
        """Some confirmations for every author, in this state."""
        self.be(state)
        time.sleep(_SETTLE_S / self.scale)
        plan = Plan(flushes, by_letter=self.by_letter)
        with days_go_by(self.victim.devices):
            return asyncio.run(measure(self.authors, plan, self.scale, seed=seed, within_s=within_s))


@contextmanager
def world(
    folder: Path,
    *,
    scale: float,
    authors: int,
    direct: bool = True,
    devices: int = 1,
    module: bool = True,
    seed: int = 1,
) -> Iterator[World]:
    """Server, path, victim and authors; ended when left. ``direct``: contacts in direct chats, else small groups."""
    server = synapse(folder / "synapse", scale=scale, module=module)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with server.running(), path_to(server, scale, folder / "path.out", seed=seed) as way:
        victim = make_victim(server, folder / "victim", Rate.starting_now(scale))
        try:
            for _ in range(devices):
                victim.add_device(way.base_url)
            people = make_friends(victim, authors, direct=direct)
            yield World(server, victim, way, people, scale, by_letter=not module)
        finally:
            victim.stop_all()


def collect(
    where: World,
    states: Sequence[State],
    *,
    rounds: int,
    flushes: int,
    seed: int,
    until: float,
    tell: Callable[[str], None] = lambda words: None,
) -> Collected:
    """Visit all states in turns, each round in another order; ends early when time is up, with whole rounds only."""
    found = Collected()
    chance = random.Random(seed)
    for number in range(rounds):
        order = list(states)
        chance.shuffle(order)
        began = time.monotonic()
        done: list[tuple[State, list[list[float]]]] = []
        for state in order:
            left_s = max(until - time.monotonic(), 20.0)
            done.append((state, where.visit(state, flushes, seed=chance.randrange(10**9), within_s=left_s)))
            tell(f"round {number + 1}: {state.name}, {sum(map(len, done[-1][1]))} confirmations")
        for state, delays in done:
            found.add(state, delays)
        if time.monotonic() + (time.monotonic() - began) > until:
            break
    return found
