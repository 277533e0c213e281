"""The same attackers against the schedule's own draws, as often as one likes: what no run of an hour has samples for.

Only the drawing of a flush is the product's here; the path is the one that the states say. Whether the programs keep
to the schedule is for the runs with real programs to show, whose delays are held against these.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tandem_core.receipts import schedule
from tandem_core.receipts.schedule import Profile, Standing
from tandem_core.store.receipt_plans import Flush
from tandem_synapse.release import Hold
from tests.privacy.path import travel_ms
from tests.privacy.timing import State

TRAIN_S = 0.05
"""A dense train: one visible message every 50 ms, so that the last one confirmed tells the hold."""
_SERVER_HOLD_S = (8, 10)


def _path_s(state: State, chance: random.Random) -> float:
    """There and back."""
    return (state.travel_ms(chance) + state.travel_ms(chance)) / 1000


def single(profile: Profile, state: State, chance: random.Random) -> float:
    """Seconds from a message to its confirmation, for an author who sends one and waits."""
    return schedule.draw(profile, 0, chance).flush_at / 1000 + _path_s(state, chance)


def train(profile: Profile, state: State, chance: random.Random) -> float:
    """Seconds from the last confirmed message of a dense train to its confirmation."""
    return (
        schedule.draw(profile, 0, chance).hold_ms / 1000 + _path_s(state, chance) + chance.uniform(0, TRAIN_S)
    )


def interval(profile: Profile, state: State, chance: random.Random) -> float:
    """Seconds between two confirmations of a dense train, the second of which waits for the spacing to be over.

    Both travel the same way, so the place is not in it; that an idle machine wakes up late for the second one is.
    """
    plan = schedule.draw(profile, 0, chance)
    at = schedule.turn(plan, Standing(flushes=[Flush(0, attended=False)]), 0).at
    assert at is not None
    return (at + travel_ms(0.0, state.idle_ms, chance)) / 1000


def merged(state: State, chance: random.Random) -> float:
    """The same for a reader with several devices whose server holds and merges: each device posts by its schedule."""
    hold = Hold(*(round(second * 1000) for second in _SERVER_HOLD_S), secret=b"a secret of the server")
    posts = [single(Profile.MERGED, state, chance) for _ in range(state.devices)]
    event = f"$e{chance.getrandbits(64)}"
    return hold.until(event, "@victim:example.org", 0, round(min(posts) * 1000)) / 1000


ATTACKS = {"single": single, "train": train, "interval": interval}


def observations(
    profile: Profile, states: Sequence[State], *, attack: str, size: int, count: int, seed: int
) -> list[list[list[float]]]:
    """``count`` budgets of ``size`` confirmations for each state."""
    draw = ATTACKS[attack]
    return [
        [[draw(profile, state, chance) for _ in range(size)] for _ in range(count)]
        for state in states
        for chance in [random.Random(f"{seed} {attack} {profile} {state.name}")]
    ]


def device_observations(
    states: Sequence[State], *, size: int, count: int, seed: int
) -> list[list[list[float]]]:
    """The same for the number of devices that are online."""
    return [
        [[merged(state, chance) for _ in range(size)] for _ in range(count)]
        for state in states
        for chance in [random.Random(f"{seed} {state.name}")]
    ]
