"""The explorer itself: what it must find is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.explorer import Goal, Step, TooMany, explore

Jugs = tuple[int, int]
EMPTY: Jugs = (0, 0)


def _pour(jugs: Jugs) -> Iterator[Step[Jugs]]:
    """Two jugs of three and five litres and a tap: the riddle has 16 states and the answer in six steps."""
    three, five = jugs
    yield Step("three", "is filled", None, (3, five))
    yield Step("five", "is filled", None, (three, 5))
    yield Step("three", "is emptied", None, (0, five))
    yield Step("five", "is emptied", None, (three, 0))
    to_five, to_three = min(three, 5 - five), min(five, 3 - three)
    yield Step("three", "is poured over", to_five, (three - to_five, five + to_five))
    yield Step("five", "is poured over", to_three, (three + to_three, five - to_three))


def test_the_shortest_counter_example_is_the_known_one() -> None:
    found = explore(EMPTY, _pour, {"never four": lambda jugs: "four litres" if jugs[1] == 4 else None})
    assert found.broken is not None
    assert found.broken.promise == "never four"
    assert found.depth == 6
    assert [step.then for step in found.broken.trace] == [(0, 5), (3, 2), (0, 2), (2, 0), (2, 5), (3, 4)]
    assert str(found.broken).splitlines()[1] == "  2. five is poured over: 3"


def test_all_states_are_visited_once_where_nothing_breaks() -> None:
    found = explore(EMPTY, _pour, {"never nine": lambda jugs: "nine" if sum(jugs) == 9 else None})
    assert found.broken is None
    assert (found.states, found.transitions) == (16, 16 * 6)
    assert found.taken == {"is filled": 32, "is emptied": 32, "is poured over": 32}


def test_the_depth_is_the_distance_of_the_farthest_state() -> None:
    def walk(at: Jugs) -> Iterator[Step[Jugs]]:
        if at[0] < 7:
            yield Step("east", "goes", None, (at[0] + 1, at[1]))
        if at[1] < 4:
            yield Step("north", "goes", None, (at[0], at[1] + 1))

    found = explore((0, 0), walk, {})
    assert (found.states, found.depth) == (8 * 5, 7 + 4)


Counter = tuple[int, int | None, int | None]


def test_a_planted_race_is_found_with_its_interleaving() -> None:
    """Two programs read, add one and write without a lock; what each has written is its sign."""

    def count(state: Counter) -> Iterator[Step[Counter]]:
        value, *seen = state
        for me, name in enumerate("ab"):
            if seen[me] is None:
                now = [*seen]
                now[me] = value
                yield Step(name, "reads", value, (value, now[0], now[1]))
            elif seen[me] != -1:
                now = [*seen]
                written = (seen[me] or 0) + 1
                now[me] = -1
                yield Step(name, "writes", written, (written, now[0], now[1]))

    def lost(state: Counter) -> str | None:
        return "one was lost" if state == (1, -1, -1) else None

    begin: Counter = (0, None, None)
    found = explore(begin, count, {"two": lost})
    assert found.broken is not None
    assert [str(step) for step in found.broken.trace] == [
        "a reads: 0",
        "b reads: 0",
        "a writes: 1",
        "b writes: 1",
    ]


def _to_a_trap(at: int) -> Iterator[Step[int]]:
    if at in (0, 1):
        yield Step("fox", "walks", None, at + 1)
        yield Step("bear", "walks home", None, 10)
    elif at == 2:
        yield Step("bear", "walks home", None, 10)
        yield Step("fox", "falls", None, 3)
    elif at == 3:
        yield Step("fox", "turns", None, 4)
    elif at == 4:
        yield Step("fox", "turns", None, 3)


def test_a_circle_without_a_way_home_is_found_by_the_shortest_way_into_it() -> None:
    home = Goal[int]("home", lambda at: True, lambda at: at == 10)
    found = explore(0, _to_a_trap, {}, [home])
    assert found.broken is not None
    assert (found.broken.promise, [step.then for step in found.broken.trace]) == ("home", [1, 2, 3])


def test_a_goal_counts_only_the_steps_of_those_who_may_act() -> None:
    without_the_bear = Goal[int]("home", lambda at: at < 2, lambda at: at == 10, lambda who: who != "bear")
    found = explore(0, _to_a_trap, {}, [without_the_bear])
    assert found.broken is not None
    assert found.broken.trace == ()


def test_a_state_that_does_not_owe_a_goal_may_be_without_it() -> None:
    home = Goal[int]("home", lambda at: at < 3, lambda at: at == 10)
    assert explore(0, _to_a_trap, {}, [home]).broken is None


def test_an_endless_model_is_given_up_and_not_called_sound() -> None:
    with pytest.raises(TooMany):
        explore(0, lambda at: [Step("it", "grows", None, at + 1)], {}, most=1000)


def test_a_broken_start_needs_no_step() -> None:
    found = explore(0, _to_a_trap, {"never nought": lambda at: None if at else "nought"})
    assert found.broken is not None
    assert found.broken.trace == ()
