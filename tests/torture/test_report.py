"""The table says what was done and found, by class, and makes no promise where something was found."""

from __future__ import annotations

import json
import random

from tests.torture import blows, network
from tests.torture.ledger import Findings
from tests.torture.report import AFTER_KILLS, AFTER_SERVER, Report, p99


def _report() -> Report:
    report = Report()
    report.kills.update({"window": 200, "notifier": 100})
    report.recovered_s[AFTER_KILLS] += [0.5, 1.5, 1.0]
    report.recovered_s[AFTER_SERVER] += [4.0]
    return report


def test_a_clean_run_tells_its_bound_and_keeps_recoveries_apart() -> None:
    report = _report()
    report.take(Findings(letters=1000, events=2000), "round 1")
    told = report.as_json()
    assert told["kills"]["in all"] == 300
    assert told["bound_95"] == {"per kill": 0.01, "per event": 0.003}
    assert told["recovery_s"][AFTER_KILLS]["p50"] == 1.0
    assert told["recovery_s"][AFTER_SERVER]["p99"] == 4.0
    lines = [" ".join(line.split()) for line in report.lines()]
    assert "95 % bound per kill, if none of these < 1.000%" in lines
    assert json.loads(json.dumps(told)) == told


def test_a_finding_is_told_once_under_its_class_and_takes_the_bound_away() -> None:
    report = _report()
    for number in (1, 2):
        report.take(Findings(letters=9, doubled=["alice: twice"]), f"round {number}")
    report.note_stuck("no rest", "round 3")
    assert report.wrong == ["after round 1: alice: twice", "after round 3: no rest"]
    told = report.as_json()
    assert {name: times for name, times in told["findings"].items() if times} == {
        "doubled": 1,
        "not caught up": 1,
    }
    assert told["bound_95"] is None
    assert "WRONG after round 1: alice: twice" in list(report.lines())


def test_of_a_hundred_values_one_may_exceed_the_p99() -> None:
    assert p99([float(value) for value in range(200)]) == 198.0
    assert p99([7.0]) == 7.0


def test_the_same_seed_draws_the_same_blows_and_all_kinds_come() -> None:
    drawn = [
        [blows.draw(chance) for _ in range(300)] for chance in (random.Random("1/2"), random.Random("1/2"))
    ]
    assert drawn[0] == drawn[1]
    assert {blow.kind for blow in drawn[0]} == set(blows.KINDS)
    chance = random.Random(3)
    bursts = [burst for _ in range(60) for burst in network.draw(chance)]
    assert {burst.kind for burst in bursts} == set(network.KINDS)
