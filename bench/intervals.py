"""How sure a figure is: percentiles, and the 95 % interval of a ratio by drawing the runs again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_DRAWS = 2_000


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the runs do not exceed; between two runs, in proportion."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def interval(
    ours: Sequence[float], theirs: Sequence[float], measure: Callable[[Sequence[float]], float]
) -> tuple[float, float]:
    """In which 95 % of the ratios ``measure(ours) / measure(theirs)`` lie when the runs are drawn again and again."""
    chance = random.Random(1)
    ratios = sorted(
        measure(chance.choices(ours, k=len(ours))) / measure(chance.choices(theirs, k=len(theirs)))
        for _ in range(_DRAWS)
    )
    return percentile(ratios, 2.5), percentile(ratios, 97.5)


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def top(values: Sequence[float]) -> float:
    """What one in a hundred exceeds."""
    return percentile(values, 99)
