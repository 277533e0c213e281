"""The attacker's statistics find what was planted, and nothing where nothing was."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.privacy.classify import (
    LEARNERS,
    accuracy,
    features,
    quantile,
    quantile_interval,
    same_source,
    share_interval,
)


def immediate(chance: random.Random, *, slower_s: float = 0.0) -> list[float]:
    """Thirty delays of a client that confirms at once, as its server's path lets it."""
    return [0.06 + chance.gammavariate(2, 0.02) + slower_s for _ in range(30)]


def held(chance: random.Random, *, slower_s: float = 0.0) -> list[float]:
    """Thirty delays of a client that waits by the schedule."""
    return [chance.uniform(2, 20) + chance.uniform(0, 15) + slower_s for _ in range(30)]


def test_a_client_that_confirms_at_once_gives_itself_away() -> None:
    chance = random.Random(1)
    quick = [immediate(chance) for _ in range(60)]
    slow = [immediate(chance, slower_s=0.1) for _ in range(60)]
    found = accuracy([quick, slow])
    assert found.value >= 0.99
    assert found.low > 0.95
    assert found.bits > 0.9


def test_where_there_is_no_difference_none_is_found() -> None:
    """Noise, many times: the interval holds one half nearly always, and the figure is none too far."""
    found = []
    for seed in range(12):
        chance = random.Random(100 + seed)
        found.append(accuracy([[held(chance) for _ in range(60)] for _ in range(2)], seed=seed))
    assert sum(each.low <= 0.5 <= each.high for each in found) >= 11
    assert 0.45 < fmean(each.value for each in found) < 0.55
    assert all(each.high - each.low < 0.4 for each in found)


def test_a_long_hold_hides_what_a_short_delay_adds() -> None:
    chance = random.Random(3)
    quick, slow = [held(chance) for _ in range(120)], [held(chance, slower_s=0.05) for _ in range(120)]
    assert accuracy([quick, slow]).value < 0.62


def test_three_places_are_told_apart_if_nothing_is_held() -> None:
    chance = random.Random(4)
    places = [[immediate(chance, slower_s=2 * way) for _ in range(40)] for way in (0.01, 0.045, 0.12)]
    found = accuracy(places)
    assert found.value > 0.98
    assert 1.3 < found.bits <= math.log2(3) + 0.01


def test_a_leak_in_the_spread_alone_is_found() -> None:
    """The means are the same, so that no single mean gives it away."""
    chance = random.Random(5)
    narrow = [[chance.uniform(9, 11) for _ in range(30)] for _ in range(40)]
    wide = [[chance.uniform(5, 15) for _ in range(30)] for _ in range(40)]
    assert accuracy([narrow, wide]).value > 0.97


@pytest.mark.parametrize("name", LEARNERS)
def test_every_classifier_learns_a_plain_difference(name: str) -> None:
    chance = random.Random(6)
    rows = [(features(immediate(chance, slower_s=0.2 * label)), label) for label in (0, 1) for _ in range(30)]
    guess = LEARNERS[name]([vector for vector, _ in rows], [label for _, label in rows])
    fresh = [
        (features(immediate(chance, slower_s=0.2 * label)), label) for label in (0, 1) for _ in range(30)
    ]
    assert sum(guess(vector) == label for vector, label in fresh) >= 58


def test_linear_discriminants_see_what_no_single_feature_tells() -> None:
    chance = random.Random(7)

    def row(label: int) -> list[float]:
        common = chance.gauss(0, 1)
        return [common + 0.5 * label + chance.gauss(0, 0.05), common]

    rows = [(row(label), label) for label in (0, 1) for _ in range(50)]
    vectors, labels = [vector for vector, _ in rows], [label for _, label in rows]
    fresh = [(row(label), label) for label in (0, 1) for _ in range(50)]

    def right(name: str) -> float:
        guess = LEARNERS[name](vectors, labels)
        return sum(guess(vector) == label for vector, label in fresh) / len(fresh)

    assert right("lda") > 0.9
    assert right("threshold") < 0.7


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 1))
def test_a_quantile_lies_within_its_values(values: list[float], share: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= quantile(ordered, share) <= ordered[-1]


@given(st.integers(1, 20_000), st.data())
def test_the_interval_of_a_share_holds_the_share(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    low, high = share_interval(hits, of)
    assert 0 <= low <= hits / of + 1e-12
    assert hits / of - 1e-12 <= high <= 1
    assert high > 0


def test_nothing_in_ten_thousand_is_less_than_one_in_two_thousand() -> None:
    assert share_interval(0, 10_000) == (0.0, pytest.approx(0.000384, rel=0.01))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_one_source_is_seldom_taken_for_two(seed: int) -> None:
    chance = random.Random(seed)
    one, other = ([chance.gauss(0, 1) for _ in range(200)] for _ in range(2))
    assert same_source(one, other)[1] > 1e-5


def test_two_sources_are_told_apart() -> None:
    chance = random.Random(9)
    one = [chance.gauss(0, 1) for _ in range(300)]
    other = [chance.gauss(1, 1) for _ in range(300)]
    distance, likely = same_source(one, other)
    assert distance > 0.25
    assert likely < 1e-6


def test_a_quantile_s_interval_holds_it_and_grows_narrow() -> None:
    chance = random.Random(10)
    few, many = ([chance.uniform(0, 1) for _ in range(count)] for count in (30, 1000))
    value, low, high = quantile_interval(many, 0.5)
    assert low <= value <= high
    assert high - low < quantile_interval(few, 0.5)[2] - quantile_interval(few, 0.5)[1]
