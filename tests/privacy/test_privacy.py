"""What ``make privacy`` measures, in little: every kind of silent probe once, a day, some confirmations."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tandem_core.receipts import schedule
from tandem_core.receipts.schedule import Pace, Profile
from tandem_demo.synapse import SynapseServer
from tests.privacy import day, draws, optimum, silent
from tests.privacy.classify import accuracy, same_source
from tests.privacy.flood import flood
from tests.privacy.memory import make_home, make_server
from tests.privacy.probes import PROBES
from tests.privacy.sampling import engine_delays
from tests.privacy.stepped import LeapingClock
from tests.privacy.table import Line, broken, markdown
from tests.privacy.timing import BASE, CITY, COUNTRIES, DEVICES, IDLE, State
from tests.support.aio import in_loop

_HELD = {Profile.CONTACT: (0.55, 0.40, 0.55), Profile.OTHERS: (0.55, 0.38, 0.45)}
"""The bars: active or idle, three places, three countries."""


def test_there_are_many_kinds_of_probes_and_no_two_are_alike() -> None:
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names))
    assert len(names) >= 60


@pytest.mark.synapse
@pytest.mark.slow
def test_no_kind_of_silent_probe_is_confirmed(synapse: SynapseServer, tmp_path: Path) -> None:
    count = asyncio.run(silent.probe(synapse, tmp_path, len(PROBES), seed=1, within_s=100))
    assert count.confirmed == {}
    assert count.letters == 0
    assert count.controls_confirmed == count.controls > 0
    assert count.kinds >= 60
    assert count.probes >= 0.9 * len(PROBES), count.refused


@pytest.mark.slow
@in_loop
async def test_the_engine_keeps_to_the_schedule(tmp_path: Path) -> None:
    delays = await engine_delays(tmp_path, BASE, cycles=12)
    chance = random.Random(1)
    drawn = [draws.single(Profile.CONTACT, BASE, chance) for _ in range(3000)]
    assert len(delays) == 12 * 12
    assert same_source(delays, drawn)[1] > 1e-4


@pytest.mark.slow
@in_loop
async def test_an_engine_that_holds_nothing_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted leak: the same path, the same engine, no hold."""
    monkeypatch.setitem(schedule.PACES, Profile.CONTACT, Pace((0.0, 0.001), (0.0, 0.001), 0))
    classes = []
    for state in (BASE, IDLE):
        delays = await engine_delays(tmp_path / state.name, state, cycles=15)
        classes.append([delays[at : at + 15] for at in range(0, len(delays), 15)])
    assert accuracy(classes).value > 0.95


@pytest.mark.parametrize("profile", _HELD)
@pytest.mark.parametrize("attack", draws.ATTACKS)
def test_thirty_confirmations_tell_little(profile: Profile, attack: str) -> None:
    """The schedule's own draws; the bars with what chance may add to so many samples."""
    for states, bar in zip(((BASE, IDLE), CITY, COUNTRIES), _HELD[profile], strict=True):
        seen = draws.observations(profile, states, attack=attack, size=30, count=80, seed=7)
        found = accuracy(seen)
        assert found.low <= bar, (profile, attack, states[-1].name, str(found))


@pytest.mark.parametrize("profile", _HELD)
def test_nobody_can_tell_more_from_thirty(profile: Profile) -> None:
    """The best possible attacker; 3,000 guesses in each state are right by chance two in a hundred times more."""
    for states, bar in zip(((BASE, IDLE), CITY, COUNTRIES), _HELD[profile], strict=True):
        found = optimum.accuracy(profile, states, size=30)
        assert max(found.values()) <= bar + 0.02, (profile, states[-1].name, found)


@pytest.mark.parametrize("profile", _HELD)
def test_the_best_possible_attacker_knows_the_schedule(profile: Profile) -> None:
    chance, pace = random.Random(5), schedule.PACES[profile]
    plans = [schedule.draw(profile, 0, chance) for _ in range(4000)]
    for law, drawn in (
        (optimum.hold(pace), [plan.hold_ms / 1000 for plan in plans]),
        (optimum.slack(pace), [plan.slack_ms / 1000 for plan in plans]),
        (optimum.slack(pace, pace.slacks), [plan.slack_ms * pace.slacks / 1000 for plan in plans]),
    ):
        steps = chance.choices(range(len(law)), weights=law, k=4000)
        known = [(step + chance.random()) * optimum.STEP_S for step in steps]
        assert same_source(known, drawn)[1] > 1e-3


def test_the_best_possible_attacker_finds_what_a_sharp_edge_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted leak: a train whose confirmations wait for ten seconds and hardly more."""
    monkeypatch.setitem(schedule.PACES, Profile.CONTACT, Pace((0.0, 14.0), (0.1, 0.2)))
    found = optimum.accuracy(Profile.CONTACT, (BASE, IDLE), size=30)
    assert found["train and interval"] > 0.95
    assert found["single"] < 0.60


def test_the_number_of_devices_does_not_show() -> None:
    found = accuracy(draws.device_observations(DEVICES, size=60, count=100, seed=3))
    assert found.low <= 0.38


def test_devices_that_race_give_their_number_away() -> None:
    """The planted leak: without the server's hold the first device wins."""
    chance = random.Random(4)

    def race(state: State) -> list[float]:
        return [
            min(draws.single(Profile.CONTACT, state, chance) for _ in range(state.devices)) for _ in range(60)
        ]

    assert accuracy([[race(state) for _ in range(60)] for state in DEVICES]).value > 0.8


@pytest.mark.slow
@in_loop
async def test_a_day_unread_tells_nobody_when_the_victim_is_online(tmp_path: Path) -> None:
    days = []
    for number in range(2):
        server = make_server(LeapingClock(), 1)
        side = day.InMemory(server, make_home(server, tmp_path / f"d{number}"))
        days.append(await day.live(side, day.pattern(random.Random(number)), every=8, sync_every=4))
    assert 1 <= day.busiest(days) <= 30
    assert day.online_accuracy(days)[0] <= 0.65


@pytest.mark.slow
@in_loop
async def test_who_comes_back_is_not_seen_at_once(tmp_path: Path) -> None:
    server = make_server(LeapingClock(), 2)
    waits = await day.come_backs(day.InMemory(server, make_home(server, tmp_path)), 4, seed=2)
    assert len(waits) == 8
    assert min(waits) >= 60


@pytest.mark.slow
@in_loop
async def test_a_silent_flood_is_answered_by_nothing(tmp_path: Path) -> None:
    cost = await flood(tmp_path, 100, seed=1)
    assert cost.receipts == 0
    assert cost.events == 100


def test_the_table_says_which_bars_do_not_hold() -> None:
    lines = [
        Line("D1", "a probe", "all", "0", "0", True),
        Line("D2", "a state", "1.00", "0.70", "0.55", False),
        Line("-", "a note", "-", "x", "-", None),
    ]
    assert broken(lines) == [lines[1]]
    told = markdown(lines)
    assert len(told) == 5
    assert len({len(row) for row in told}) == 1
    assert "NO" in told[3]
