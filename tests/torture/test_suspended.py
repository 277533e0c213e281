"""A program that is suspended while it holds the lock: the other says so, loses nothing, and goes on afterwards."""

from __future__ import annotations

import signal

import pytest

from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.window import WindowDriver
from tests.torture.aims import Aim
from tests.torture.scene import Scene

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_WORDS = "holds the message store"


@pytest.mark.parametrize(
    ("held_by", "point"),
    [
        ("notifier", "commit tandem_core.sync.apply.apply"),
        ("notifier", "commit tandem_core.crypto.drain.drain"),
        ("app", "commit tandem_core.sync.apply.apply"),
    ],
)
def test_the_other_program_says_what_it_waits_for_and_goes_on(scene: Scene, held_by: str, point: str) -> None:
    other = next(program for program in PROCESSES if program != held_by)
    for program in PROCESSES:
        scene.bury(program)
    scene.start(held_by, Aim(held_by, point, "inside", 1, "STOP"))
    scene.write_from_afar()
    wait_for("the suspended program", lambda: scene.is_stopped(held_by), every_s=0.02)
    scene.start(other)
    body = scene.write_from_afar()
    wait_for("word of it", lambda: _says_stuck(scene, other))
    assert scene.is_stopped(held_by)

    scene.alice.running[PROCESSES[held_by]].send_signal(signal.SIGCONT)
    scene.await_event(body)
    if other == "app":
        wait_for("the end of it", lambda: not _says_stuck(scene, other))
    scene.make_ready()
    assert scene.compare().wrong() == []


def _says_stuck(scene: Scene, program: str) -> bool:
    """In the window a person hears it; the notifier can only note it in its log, for the store is held."""
    if program == "app":
        return any(_WORDS in str(name) for name in WindowDriver(scene.alice).do("names"))
    return _WORDS in (scene.alice.paths.log / "notifier.log").read_text("utf-8")
