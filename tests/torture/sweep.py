"""Kill a program at crash point after crash point, and hold what is left against the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from tests.torture.ledger import Findings
from tests.torture.scene import NAMES, Aim, Scene, aims
from tests.torture.stages import STAGES, excuse, stages_for

_PATIENCE_S = 12.0
_CHECK_EVERY = 12
_WALKS = 2


@dataclass
class Report:
    """What was done and what was found."""

    kills: int = 0
    hit: list[Aim] = field(default_factory=list)
    missed: list[Aim] = field(default_factory=list)
    """Aims that the program did not come by while it was waited for."""
    recovered_s: list[float] = field(default_factory=list)
    """From a program being ready again to the last queue being empty."""
    letters: int = 0
    events: int = 0
    repeated_popups: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, found: Findings, after: str) -> None:
        """Note a comparison; the sentences say after what."""
        self.letters, self.events = found.letters, found.events
        self.repeated_popups = found.repeated_popups
        self.wrong += [f"after {after}: {words}" for words in found.wrong()]


def sweep(
    scene: Scene,
    chosen: Iterable[Aim],
    tell: Callable[[str], object] = lambda words: None,
    *,
    until_s: float = math.inf,
) -> Report:
    """Shoot at every aim once, until the monotonic clock says ``until_s``.

    Stops at the first finding, which names the aims since the last comparison.
    """
    report = Report()
    since: list[str] = []
    for number, aim in enumerate(chosen, start=1):
        if time.monotonic() > until_s:
            break
        shoot(scene, aim, report)
        since.append(f"{aim.program}: {aim.step}")
        tell(f"{number}: {aim.program} {aim.step}: {'hit' if aim in report.hit else 'not reached'}")
        if len(since) == _CHECK_EVERY:
            recover(scene, report)
            report.take(scene.compare(), "; ".join(since))
            if report.wrong:
                return report
            since.clear()
    recover(scene, report)
    report.take(scene.compare(), "; ".join(since))
    return report


def walk(scene: Scene, program: str) -> list[str]:
    """Lead a program through all stages without killing it; returns the steps that it was not led to."""
    wanted = {aim for aim in aims(program) if excuse(aim) is None}
    for _ in range(_WALKS):
        for stage in [None, *STAGES]:
            missing = {aim for aim in wanted if aim.step not in scene.reached(program)}
            led = [aim for aim in sorted(missing) if stage is None or stage in stages_for(aim)]
            if not led:
                continue
            for name in NAMES:
                scene.bury(name)
            if stage is not None and stage.before is not None:
                stage.before(scene, led[0])
            scene.start(program)
            scene.stir()
            if stage is not None and stage.after is not None and scene.outlives_start(program):
                scene.attempt(partial(stage.after, scene, led[0]))
            end = time.monotonic() + _PATIENCE_S
            while time.monotonic() < end and not {aim.step for aim in led} <= scene.reached(program):
                time.sleep(0.1)
    return sorted({aim.step for aim in wanted} - scene.reached(program))


def shoot(scene: Scene, aim: Aim, report: Report) -> None:
    """Start the program with its place to die at, and lead it there.

    The other one is killed first: it would do what both may do, and the step would not be reached.
    """
    for program in NAMES:
        report.kills += not scene.is_dead(program)
        scene.bury(program)
    stages = stages_for(aim)
    for stage in stages:
        if stage.before is not None:
            stage.before(scene, aim)
    scene.start(aim.program, aim)
    scene.stir()
    for stage in stages:
        if stage.after is not None and scene.outlives_start(aim.program):
            scene.attempt(partial(stage.after, scene, aim))
    end = time.monotonic() + _PATIENCE_S
    while not scene.is_dead(aim.program) and time.monotonic() < end:
        time.sleep(0.02)
    if scene.is_dead(aim.program):
        report.kills += 1
        report.hit.append(aim)
    else:
        report.missed.append(aim)
    scene.bury(aim.program)


def recover(scene: Scene, report: Report) -> None:
    """Start what is down and take the time from there until every queue is empty."""
    scene.make_ready()
    started = time.monotonic()
    scene.empty_queues()
    report.recovered_s.append(time.monotonic() - started)
