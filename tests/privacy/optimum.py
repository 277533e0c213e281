"""The best attacker there can be: one who knows exactly how delays are distributed in each state of the victim.

No statistics of 30 confirmations tell more than the likelihood ratio does (Neyman and Pearson), so what this attacker
guesses right is a bound for all of those in ``classify``. Distributions are lists of probabilities, one for each
step, from 0 s on; the path is the one that the states say.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from tandem_core.receipts.schedule import PACES, Pace, Profile
from tests.privacy.draws import TRAIN_S
from tests.privacy.timing import State

Law = list[float]
STEP_S = 0.01
COARSE_S = 0.05
"""Steps for what takes minutes."""
_SLOTS = 20
_NEVER = 1e-9


def hold(pace: Pace, *, step_s: float = STEP_S) -> Law:
    """The mean of two even draws: a triangle."""
    low, high = pace.hold_s
    return _law(lambda s: min(s - low, high - s), high, step_s)


def slack(pace: Pace, times: int = 1, *, step_s: float = STEP_S) -> Law:
    """The same in a slot whose length is drawn, too; ``times`` as long."""
    low, high = pace.slot_s
    slots = [times * (low + (high - low) * (n + 0.5) / _SLOTS) for n in range(_SLOTS)]
    return _law(lambda s: sum(max(min(s, slot - s), 0.0) / slot**2 for slot in slots), slots[-1], step_s)


def attacks(profile: Profile, state: State, *, step_s: float = STEP_S) -> dict[str, list[Law]]:
    """What each attacker sees of one confirmation: a single message, a dense train, and all that a train tells.

    In a train the spacing decides when the next confirmation is, so both its hold and its slack are seen.
    """
    pace = PACES[profile]
    woken = _law(lambda s: s * math.exp(-s / (state.idle_ms / 2000)), 1.0, step_s) if state.idle_ms else [1.0]
    path = _sum(_always(2 * state.one_way_ms / 1000, step_s), _sum(woken, woken))
    held = hold(pace, step_s=step_s)
    train = _sum(_sum(held, _law(lambda s: 1.0, TRAIN_S, step_s)), path)
    interval = _sum(slack(pace, pace.slacks, step_s=step_s), woken)
    return {
        "single": [_sum(_sum(held, slack(pace, step_s=step_s)), path)],
        "train": [train],
        "train and interval": [train, interval],
    }


def accuracy(
    profile: Profile,
    states: Sequence[State],
    *,
    size: int,
    count: int = 3000,
    seed: int = 1,
    step_s: float = STEP_S,
) -> dict[str, float]:
    """For each attack: how often the best guess after ``size`` confirmations is right, if each state is as likely."""
    chance = random.Random(seed)
    seen = [attacks(profile, state, step_s=step_s) for state in states]
    return {name: _right([one[name] for one in seen], size, count, chance) for name in seen[0]}


def _right(classes: Sequence[Sequence[Law]], size: int, count: int, chance: random.Random) -> float:
    hits = 0
    tables = [[[math.log(max(share, _NEVER)) for share in law] for law in laws] for laws in classes]
    for truth, laws in enumerate(classes):
        sums = [[0.0] * len(classes) for _ in range(count)]
        for which, law in enumerate(laws):
            rows = [[_at(table[which], place) for table in tables] for place in range(len(law))]
            for row in sums:
                for drawn in chance.choices(rows, weights=law, k=size):
                    for number, likely in enumerate(drawn):
                        row[number] += likely
        hits += sum(max(range(len(row)), key=row.__getitem__) == truth for row in sums)
    return hits / (count * len(classes))


def _at(table: Sequence[float], place: int) -> float:
    return table[place] if place < len(table) else math.log(_NEVER)


def _always(seconds: float, step_s: float) -> Law:
    """One time only, which lies between two steps."""
    place, rest = divmod(seconds / step_s, 1)
    return [0.0] * int(place) + [1 - rest, rest]


def _law(weight: Callable[[float], float], most_s: float, step_s: float) -> Law:
    """Probabilities in proportion to ``weight`` at the middle of each step, up to ``most_s``."""
    found = [max(weight((n + 0.5) * step_s), 0.0) for n in range(max(round(most_s / step_s), 1))]
    whole = sum(found)
    return [share / whole for share in found]


def _sum(left: Law, right: Law) -> Law:
    """How the sum of two independent times is distributed."""
    found = [0.0] * (len(left) + len(right) - 1)
    for offset, share in enumerate(right):
        if share > _NEVER:
            for place, other in enumerate(left):
                found[offset + place] += share * other
    return found
