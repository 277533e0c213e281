"""The attacker's statistics: from delays to a guess, and how often the guess is right. Plain Python.

An observation is the list of delays (seconds) of one budget of confirmations, all in one state of the victim.
A classifier learns on some observations and guesses others; which one, the attacker decides on what it learns from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev

Vector = list[float]
Guess = Callable[[Vector], int]
Learn = Callable[[list[Vector], list[int]], Guess]
Row = tuple[Vector, int]

_SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
_SHRINK = 0.03
_NEIGHBOURS = 15
_REMEMBERED = 400
_ROUNDS = 2000
_SHARED = 1.45
"""Folds learn from each other's observations, so their guesses vary together. On noise the accuracy varies by 1.4 times
what independent guesses would; without this the interval would be too narrow."""
NAMES = ("min", "5 %", "10 %", "25 %", "median", "75 %", "90 %", "max", "mean", "sd")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % bootstrap interval; ``samples`` observations in all classes together."""

    value: float
    low: float
    high: float
    samples: int
    bits: float = 0.0
    """Mutual information between guess and truth; biased upwards by a few hundredths where samples are few."""
    by: dict[str, int] = field(default_factory=dict)
    """How often each classifier was chosen."""

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def features(delays: Sequence[float]) -> Vector:
    """Minimum, quantiles, maximum, mean and spread of one observation (``NAMES``)."""
    ordered = sorted(delays)
    quantiles = [quantile(ordered, share) for share in _SHARES]
    return [ordered[0], *quantiles, ordered[-1], fmean(ordered), pstdev(ordered)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share lies, between the neighbours; of sorted values."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def accuracy(classes: Sequence[Sequence[Sequence[float]]], *, seed: int = 1, folds: int = 5) -> Estimate:
    """How well the observations of these classes can be told apart: balanced accuracy.

    Each observation is guessed once, by the classifier that did best, in a validation of its own, on what it
    learned from: observations of other folds only.
    """
    chance = random.Random(seed)
    rows: list[tuple[Vector, int]] = []
    fold_of: list[int] = []
    for label, observations in enumerate(classes):
        order = list(range(len(observations)))
        chance.shuffle(order)
        for place, number in enumerate(order):
            rows.append((features(observations[number]), label))
            fold_of.append(place % folds)
    guesses = [0] * len(rows)
    by: dict[str, int] = {}
    for fold in range(folds):
        known = [row for row, place in zip(rows, fold_of, strict=True) if place != fold]
        name, guess = _best(known, chance)
        by[name] = by.get(name, 0) + 1
        for number, (vector, _) in enumerate(rows):
            if fold_of[number] == fold:
                guesses[number] = guess(vector)
    truths = [label for _, label in rows]
    count = len(classes)
    low, high = _interval(truths, guesses, count, chance)
    return Estimate(
        _balanced(truths, guesses, count), low, high, len(rows), _bits(truths, guesses, count), by
    )


def accuracy_of_rows(
    groups: Sequence[Sequence[Row]], *, seed: int = 1, most: int = 4000
) -> tuple[float, float, float]:
    """Balanced accuracy of rows that belong together in groups (days), with its 95 % interval.

    Each group is guessed by what was learned from the others; the bootstrap draws whole groups, since rows of one
    are no independent witnesses.
    """
    chance = random.Random(seed)
    hits: list[list[tuple[int, int]]] = []
    for number, group in enumerate(groups):
        known = [row for other, rows in enumerate(groups) if other != number for row in rows]
        if len(known) > most:
            known = chance.sample(known, most)
        guess = learn_lda([v for v, _ in known], [label for _, label in known])
        hits.append([(label, int(guess(vector) == label)) for vector, label in group])

    def balanced(chosen: Sequence[Sequence[tuple[int, int]]]) -> float:
        shares = []
        for c in (0, 1):
            right = [hit for group in chosen for label, hit in group if label == c]
            if right:
                shares.append(fmean(right))
        return fmean(shares)

    found = sorted(balanced(chance.choices(hits, k=len(hits))) for _ in range(200))
    return balanced(hits), quantile(found, 0.025), quantile(found, 0.975)


def share_interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share; also where nothing or everything hit."""
    if not of:
        return 0.0, 1.0
    z = 1.96
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile_interval(values: Sequence[float], share: float, *, seed: int = 1) -> tuple[float, float, float]:
    """A quantile and its 95 % bootstrap interval."""
    ordered = sorted(values)
    chance = random.Random(seed)
    found = sorted(quantile(sorted(chance.choices(ordered, k=len(ordered))), share) for _ in range(500))
    return quantile(ordered, share), quantile(found, 0.025), quantile(found, 0.975)


def same_source(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Kolmogorov and Smirnov's distance of two samples, and how likely so great a one is if both have one source."""
    left, right = sorted(ours), sorted(others)
    i = j = 0
    distance = 0.0
    while i < len(left) and j < len(right):
        value = min(left[i], right[j])
        while i < len(left) and left[i] <= value:
            i += 1
        while j < len(right) and right[j] <= value:
            j += 1
        distance = max(distance, abs(i / len(left) - j / len(right)))
    root = math.sqrt(len(left) * len(right) / (len(left) + len(right)))
    wide = (root + 0.12 + 0.11 / root) * distance
    if wide < 0.3:
        return distance, 1.0
    chance = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * wide * wide) for k in range(1, 101))
    return distance, min(max(chance, 0.0), 1.0)


# ── Classifiers ────────────────────────────────────────────────────────────────────────────────


def learn_threshold(vectors: list[Vector], labels: list[int]) -> Guess:
    """The single feature that tells most, by the nearest class mean; for two classes that is a threshold."""
    count = max(labels) + 1
    best: tuple[float, int, list[float]] = (-1.0, 0, [])
    for column in range(len(vectors[0])):
        means = [
            fmean(v[column] for v, known in zip(vectors, labels, strict=True) if known == c)
            for c in range(count)
        ]
        guesses = [_nearest(vector[column], means) for vector in vectors]
        right = _balanced(labels, guesses, count)
        if right > best[0]:
            best = (right, column, means)
    _, column, means = best
    return lambda vector: _nearest(vector[column], means)


def learn_lda(vectors: list[Vector], labels: list[int]) -> Guess:
    """Linear discriminant analysis over all features, with a pooled covariance that is shrunk a little."""
    count, width = max(labels) + 1, len(vectors[0])
    scale = _scaling(vectors)
    scaled = [_scaled(vector, scale) for vector in vectors]
    means = [
        [fmean(v[k] for v, known in zip(scaled, labels, strict=True) if known == c) for k in range(width)]
        for c in range(count)
    ]
    pooled = [[0.0] * width for _ in range(width)]
    for vector, label in zip(scaled, labels, strict=True):
        off = [vector[k] - means[label][k] for k in range(width)]
        for i in range(width):
            for j in range(i, width):
                pooled[i][j] += off[i] * off[j]
    for i in range(width):
        for j in range(i, width):
            pooled[i][j] /= len(scaled)
            if i != j:
                pooled[i][j] *= 1 - _SHRINK
            pooled[j][i] = pooled[i][j]
        pooled[i][i] += 1e-6
    weights = [_solve(pooled, mean) for mean in means]
    offsets = [-0.5 * sum(w * m for w, m in zip(weights[c], means[c], strict=True)) for c in range(count)]

    def guess(vector: Vector) -> int:
        point = _scaled(vector, scale)
        scores = [
            sum(w * x for w, x in zip(weights[c], point, strict=True)) + offsets[c] for c in range(count)
        ]
        return scores.index(max(scores))

    return guess


def learn_neighbours(vectors: list[Vector], labels: list[int]) -> Guess:
    """The majority among the nearest known observations; each class weighs the same however many it has.

    Of many observations some are remembered.
    """
    scale = _scaling(vectors)
    known = [(_scaled(vector, scale), label) for vector, label in zip(vectors, labels, strict=True)]
    if len(known) > _REMEMBERED:
        known = random.Random(len(known)).sample(known, _REMEMBERED)
    labels = [label for _, label in known]
    count = max(labels) + 1
    sizes = [labels.count(c) for c in range(count)]

    def guess(vector: Vector) -> int:
        point = _scaled(vector, scale)
        near = sorted(known, key=lambda one: sum((a - b) ** 2 for a, b in zip(one[0], point, strict=True)))
        votes = [0.0] * count
        for _, label in near[:_NEIGHBOURS]:
            votes[label] += 1 / sizes[label]
        return votes.index(max(votes))

    return guess


LEARNERS: dict[str, Learn] = {
    "threshold": learn_threshold,
    "lda": learn_lda,
    "neighbours": learn_neighbours,
}


def _best(known: list[tuple[Vector, int]], chance: random.Random) -> tuple[str, Guess]:
    """The classifier that does best on a third that it has not seen, then taught all that is known."""
    mixed = known[:]
    chance.shuffle(mixed)
    cut = max(len(mixed) // 3, 1)
    held, taught = mixed[:cut], mixed[cut:]
    count = max(label for _, label in known) + 1
    if {label for _, label in taught} != set(range(count)) or {label for _, label in held} != set(
        range(count)
    ):
        held = taught = mixed
    scores = {}
    for name, learn in LEARNERS.items():
        guess = learn([v for v, _ in taught], [label for _, label in taught])
        scores[name] = _balanced([label for _, label in held], [guess(v) for v, _ in held], count)
    name = max(scores, key=lambda each: scores[each])
    return name, LEARNERS[name]([v for v, _ in known], [label for _, label in known])


# ── Arithmetic ─────────────────────────────────────────────────────────────────────────────────


def _nearest(value: float, means: Sequence[float]) -> int:
    return min(range(len(means)), key=lambda c: abs(value - means[c]))


def _scaling(vectors: list[Vector]) -> list[tuple[float, float]]:
    columns = list(zip(*vectors, strict=True))
    return [(fmean(column), pstdev(column) or 1.0) for column in columns]


def _scaled(vector: Vector, scale: list[tuple[float, float]]) -> Vector:
    return [(value - mean) / spread for value, (mean, spread) in zip(vector, scale, strict=True)]


def _solve(matrix: list[list[float]], right: Vector) -> Vector:
    """Gauss with pivots; the matrix is small, symmetric and regular."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, size):
            factor = rows[r][i] / rows[i][i]
            for k in range(i, size + 1):
                rows[r][k] -= factor * rows[i][k]
    found = [0.0] * size
    for i in reversed(range(size)):
        rest = sum(rows[i][k] * found[k] for k in range(i + 1, size))
        found[i] = (rows[i][size] - rest) / rows[i][i]
    return found


def _balanced(truths: Sequence[int], guesses: Sequence[int], count: int) -> float:
    """The mean of the classes' own shares of right guesses."""
    hits, sizes = [0] * count, [0] * count
    for truth, guess in zip(truths, guesses, strict=True):
        sizes[truth] += 1
        hits[truth] += truth == guess
    return fmean(hit / size for hit, size in zip(hits, sizes, strict=True) if size)


def _interval(
    truths: Sequence[int], guesses: Sequence[int], count: int, chance: random.Random
) -> tuple[float, float]:
    """Bootstrap over observations, class by class, made wider by ``_SHARED``."""
    right = [
        [int(truth == guess) for truth, guess in zip(truths, guesses, strict=True) if truth == c]
        for c in range(count)
    ]
    found = sorted(
        fmean(sum(chance.choices(each, k=len(each))) / len(each) for each in right if each)
        for _ in range(_ROUNDS)
    )
    middle = fmean(sum(each) / len(each) for each in right if each)
    low, high = (middle + _SHARED * (quantile(found, share) - middle) for share in (0.025, 0.975))
    return max(low, 0.0), min(high, 1.0)


def _bits(truths: Sequence[int], guesses: Sequence[int], count: int) -> float:
    total = len(truths)
    joint = [[0] * count for _ in range(count)]
    for truth, guess in zip(truths, guesses, strict=True):
        joint[truth][guess] += 1
    bits = 0.0
    for truth in range(count):
        for guess in range(count):
            both = joint[truth][guess] / total
            if both:
                alone = sum(joint[truth]) / total * sum(row[guess] for row in joint) / total
                bits += both * math.log2(both / alone)
    return max(bits, 0.0)
