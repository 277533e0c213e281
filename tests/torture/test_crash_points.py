"""kill -9 at the steps of both programs, on real processes and a real Synapse; the ledger says what became of it."""

from __future__ import annotations

import random

import pytest

from tandem_demo.device import PROCESSES
from tests.torture.aims import Aim, aims, later_aims
from tests.torture.report import Report
from tests.torture.scene import Scene
from tests.torture.stages import excuse
from tests.torture.sweep import sweep, walk

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_SAMPLE = 6
"""Steps of each program that are killed at in every run; ``make torture`` kills at all of them."""


@pytest.mark.timeout(420)
@pytest.mark.parametrize("program", PROCESSES)
def test_both_programs_are_led_to_every_step_that_has_no_excuse(scene: Scene, program: str) -> None:
    """A step that is new in the code fails here until traffic, a stage or an excuse is found for it."""
    missing = walk(scene, program)
    assert missing == []


@pytest.mark.timeout(420)
def test_kills_at_steps_of_both_programs_lose_nothing_and_double_nothing(
    scene: Scene, request: pytest.FixtureRequest
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    chosen: list[Aim] = []
    for program in PROCESSES:
        chosen += drawn.sample([aim for aim in aims(program) if excuse(aim) is None], _SAMPLE)
        chosen.append(drawn.choice(later_aims(program)))
    drawn.shuffle(chosen)
    report = Report()
    sweep(scene, chosen, report)
    assert report.wrong == [], f"seed {seed}"
    assert len(report.missed) <= len(chosen) // 4, f"seed {seed}: not reached: {report.missed}"
    assert report.last.letters > 0
    assert report.last.events > 0
