"""Kills at random moments, for as long as it is told to: seeded, and of freshly started programs each time."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.torture.scene import NAMES, Scene
from tests.torture.sweep import Report, recover

_ROUND = 12
"""Kills between two comparisons."""
_LONGEST_PAUSE_S = 1.2


def storm(scene: Scene, until_s: float, tell: Callable[[str], object] = lambda words: None) -> Report:
    """Kill until the monotonic clock says ``until_s`` or something is wrong."""
    report = Report()
    while time.monotonic() < until_s and not report.wrong:
        done: list[str] = []
        for _ in range(_ROUND):
            done.append(_strike(scene, report))
        recover(scene, report)
        report.take(scene.compare(), "; ".join(done))
        tell(
            f"{report.kills} kills at random moments, {report.letters} to-device events, {len(report.wrong)} wrong"
        )
    return report


def _strike(scene: Scene, report: Report) -> str:
    """Start what is down, let both sides write, and kill one program or both after a while."""
    drawn = scene.rng
    victims = drawn.choice([["app"], ["notifier"], ["notifier"], list(NAMES)])
    for program in NAMES:
        if scene.is_dead(program):
            scene.bury(program)
            scene.start(program)
    scene.stir(new_keys=drawn.random() < 0.7)
    pause_s = drawn.uniform(0, _LONGEST_PAUSE_S)
    time.sleep(pause_s)
    for program in victims:
        report.kills += not scene.is_dead(program)
        scene.bury(program)
    return f"{'+'.join(victims)} after {pause_s:.2f} s"
