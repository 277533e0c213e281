"""A bounded part of the random restarts; ``python -m tests.scenarios --restarts 300`` is the whole."""

from __future__ import annotations

import pytest

from tests.scenarios.restarts import run
from tests.scenarios.stage import Stage

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_ITERATIONS = 12
_SEED = 1415


def test_both_programs_read_everything_however_they_are_restarted(stage: Stage) -> None:
    report = run(stage, _ITERATIONS, _SEED)
    assert report.iterations == _ITERATIONS
    assert {"window, SIGKILL", "window, SIGTERM", "notifier, SIGKILL", "notifier, SIGTERM"} == set(
        report.restarts
    )
    assert report.compared > _ITERATIONS
    assert report.sessions == report.compared
    assert (report.unusable, report.mended) == (0, 0)
