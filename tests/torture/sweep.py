"""Kill a program at crash point after crash point, and hold what is left against the ledger."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from functools import partial

from tandem_demo.device import PROCESSES, DemoFailed
from tests.torture.aims import Aim, aims
from tests.torture.report import AFTER_POINTS, Report
from tests.torture.scene import Scene
from tests.torture.stages import STAGES, excuse, stages_for

_PATIENCE_S = 12.0
_FOR_RECEIPTS_S = 30.0
"""A confirmation is drawn up to 19 s ahead, and later where another went out a moment before."""
_CHECK_EVERY = 12
_WALKS = 3


def sweep(
    scene: Scene,
    chosen: Iterable[Aim],
    report: Report,
    tell: Callable[[str], object] = lambda words: None,
    *,
    until_s: float = math.inf,
) -> None:
    """Shoot at every aim once, until the monotonic clock says ``until_s``.

    Stops at the first finding, which names the aims since the last comparison.
    """
    since: list[str] = []
    for number, aim in enumerate(chosen, start=1):
        if time.monotonic() > until_s:
            break
        shoot(scene, aim, report)
        place = f"{aim.program}: {aim.step}{f' x{aim.times}' * (aim.times > 1)}"
        since.append(place)
        tell(f"{number}: {place}: {'hit' if aim in report.hit else 'not reached'}")
        if len(since) == _CHECK_EVERY:
            recover(scene, report, "; ".join(since), AFTER_POINTS)
            compare(scene, report, "; ".join(since))
            if report.wrong:
                return
            since.clear()
    if since:
        recover(scene, report, "; ".join(since), AFTER_POINTS)
        compare(scene, report, "; ".join(since))


def walk(scene: Scene, program: str) -> list[str]:
    """Lead a program through all stages without killing it; returns the steps that it was not led to."""
    wanted = {aim for aim in aims(program) if excuse(aim) is None}
    for _ in range(_WALKS):
        for stage in [None, *STAGES]:
            missing = {aim for aim in wanted if aim.step not in scene.reached(program)}
            led = [
                aim
                for aim in sorted(missing)
                if stage in stages_for(aim) or (stage, stages_for(aim)) == (None, [])
            ]
            if not led:
                continue
            for name in PROCESSES:
                scene.bury(name)
            if stage is not None and stage.before is not None:
                stage.before(scene, led[0])
            scene.start(program)
            scene.stir()
            if stage is not None and stage.after is not None and scene.outlives_start(program):
                scene.attempt(partial(stage.after, scene, led[0]))
            end = time.monotonic() + max(map(_patience_s, led))
            while time.monotonic() < end and not {aim.step for aim in led} <= scene.reached(program):
                time.sleep(0.1)
    return sorted({aim.step for aim in wanted} - scene.reached(program))


def shoot(scene: Scene, aim: Aim, report: Report) -> None:
    """Start the program with its place to die at, and lead it there.

    The other one is killed first: it would do what both may do, and the step would not be reached.
    """
    for program in PROCESSES:
        report.kills[f"{PROCESSES[program]}, to be led to a crash point"] += not scene.is_dead(program)
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
    end = time.monotonic() + _patience_s(aim)
    while not scene.is_dead(aim.program) and time.monotonic() < end:
        time.sleep(0.02)
    if scene.is_dead(aim.program):
        report.kills[f"{PROCESSES[aim.program]}, at a crash point"] += 1
        report.hit.append(aim)
    else:
        report.missed.append(aim)
    scene.bury(aim.program)


def _patience_s(aim: Aim) -> float:
    return (
        _FOR_RECEIPTS_S
        if re.search(r"receipts\.outbox|/receipt/|tandem\.delivery", aim.step)
        else _PATIENCE_S
    )


def compare(scene: Scene, report: Report, after: str) -> None:
    """Hold everything against the server's book, once it has come to rest."""
    try:
        report.take(scene.compare(), after)
    except DemoFailed as stuck:
        report.note_stuck(str(stuck), after)


def recover(
    scene: Scene,
    report: Report,
    after: str,
    kind: str,
    requests: Callable[[float], str] = lambda since_s: "",
) -> None:
    """Start what is down and take the time from the first program being ready to Alice having all; then all run.

    A wait in vain is a finding. ``requests`` says what was asked since a moment of the monotonic clock.
    """
    try:
        scene.await_first()
        started = time.monotonic()
        waiting = scene.catch_up()
        took_s = time.monotonic() - started
        words = f"after {after}, at the last for: {waiting}"
        report.note_recovery(kind, took_s, words, lambda: requests(started))
        scene.make_ready()
    except DemoFailed as stuck:
        report.note_stuck(str(stuck), after)
