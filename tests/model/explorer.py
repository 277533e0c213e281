"""Explore every state that a model can reach, breadth first, and show the shortest way to a broken promise.

A state is any hashable value. Each state is expanded once; because the nearest states come first, the first broken
one found is as near to the start as any. Two kinds of promise: a *property* holds in every state, a *goal* stays within
reach of every state. Out of reach means that no steps at all lead there, however lucky.
"""

from __future__ import annotations

import gc
import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")

_ACTORS = 16
"""More than any model has."""


class Step(NamedTuple, Generic[S]):
    """One thing that may happen next: who does it, what it is, to what (shown in a trace), and the state then."""

    who: str
    what: str
    about: object
    then: S

    def __str__(self) -> str:
        return f"{self.who} {self.what}" + ("" if self.about is None else f": {self.about}")


Steps = Callable[[S], Iterable[Step[S]]]
Property = Callable[[S], str | None]
"""What is wrong with a state, in words, or None."""


@dataclass(frozen=True)
class Goal(Generic[S]):
    """From each state that ``owes`` it, a state that has ``arrived`` is in reach by steps of those who ``act``."""

    name: str
    owes: Callable[[S], bool]
    arrived: Callable[[S], bool]
    act: Callable[[str], bool] = lambda who: True


@dataclass(frozen=True)
class Broken(Generic[S]):
    """A promise that does not hold, and a shortest run that shows it."""

    promise: str
    why: str
    trace: tuple[Step[S], ...]

    def __str__(self) -> str:
        lines = [f"{number:3}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"     broken: {self.promise}: {self.why}"])


@dataclass(frozen=True)
class Found(Generic[S]):
    """What an exploration came to; ``depth`` is the greatest distance from the start."""

    states: int
    transitions: int
    depth: int
    broken: Broken[S] | None
    taken: Counter[str] = field(default_factory=Counter)
    """How often each kind of step was taken: a kind that never was proves nothing."""


class TooMany(Exception):
    """There are more states than the caller wanted to wait for; nothing is known of the rest."""


def explore(
    start: S,
    steps: Steps[S],
    properties: Mapping[str, Property[S]],
    goals: Sequence[Goal[S]] = (),
    *,
    most: int = 2_000_000,
) -> Found[S]:
    """Visit all reachable states, or those up to the first that breaks a property.

    Goals are looked at when every state is known. Raises TooMany beyond ``most`` states.
    """
    gc_was_on = gc.isenabled()
    gc.disable()  # there are no cycles among states, and looking for them takes longer than all else
    try:
        return _explore(start, steps, properties, goals, most)
    finally:
        if gc_was_on:
            gc.enable()


def _explore(
    start: S, steps: Steps[S], properties: Mapping[str, Property[S]], goals: Sequence[Goal[S]], most: int
) -> Found[S]:
    number: dict[S, int] = {start: 0}
    states: list[S] = [start]
    came_from = array("q", [-1])
    edges = _Edges() if goals else None
    taken: Counter[str] = Counter()
    transitions = depth = 0
    layer_ends = 1

    def found(broken: Broken[S] | None) -> Found[S]:
        return Found(len(states), transitions, depth, broken, taken)

    def trace(last: int) -> tuple[Step[S], ...]:
        way = [last]
        while came_from[way[-1]] >= 0:
            way.append(came_from[way[-1]])
        way.reverse()
        return tuple(
            next(step for step in steps(states[here]) if step.then == states[there])
            for here, there in itertools.pairwise(way)
        )

    def wrong(at: int) -> Broken[S] | None:
        for name, holds in properties.items():
            if why := holds(states[at]):
                return Broken(name, why, trace(at))
        return None

    if broken := wrong(0):
        return found(broken)
    here = 0
    while here < len(states):
        if here == layer_ends:
            depth, layer_ends = depth + 1, len(states)
        for who, what, _, then in steps(states[here]):
            transitions += 1
            taken[what] += 1
            there = number.setdefault(then, len(states))
            if there == len(states):
                states.append(then)
                came_from.append(here)
                if broken := wrong(there):
                    depth += 1
                    return found(broken)
                if there >= most:
                    raise TooMany(f"more than {most} states")
            if edges is not None:
                edges.add(here, there, who)
        here += 1
    if edges is not None:
        assert len(edges.names) <= _ACTORS
        for goal in goals:
            stuck = _first_stuck(states, edges, goal)
            if stuck is not None:
                return found(Broken(goal.name, "out of reach from here", trace(stuck)))
    return found(None)


class _Edges:
    """All transitions backwards: for each state those before it, each with who came from there, in one number."""

    def __init__(self) -> None:
        self.before: list[list[int]] = [[]]
        self.names: dict[str, int] = {}

    def add(self, source: int, target: int, who: str) -> None:
        if target == len(self.before):
            self.before.append([])
        self.before[target].append(source * _ACTORS + self.names.setdefault(who, len(self.names)))


def _first_stuck(states: list[S], edges: _Edges, goal: Goal[S]) -> int | None:
    """The nearest state that owes the goal and cannot reach it."""
    may = [goal.act(name) for name in edges.names]
    before = edges.before
    todo = [at for at, state in enumerate(states) if goal.arrived(state)]
    can = bytearray(len(states))
    for at in todo:
        can[at] = 1
    while todo:
        for edge in before[todo.pop()]:
            source, actor = divmod(edge, _ACTORS)
            if not can[source] and may[actor]:
                can[source] = 1
                todo.append(source)
    return next((at for at, state in enumerate(states) if not can[at] and goal.owes(state)), None)
