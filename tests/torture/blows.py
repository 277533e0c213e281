"""What befalls the programs in a storm: each blow is drawn with its moments, and counted when it is dealt."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tandem_demo.device import PROCESSES
from tests.torture.report import Report
from tests.torture.scene import Scene

_LONGEST_PAUSE_S = 1.2
_LONGEST_START_S = 0.3
_LONGEST_STOP_S = 2.0
_LONGEST_OUTAGE_S = 1.5
_STOP_WITHIN_S = 15.0
_NEW_KEYS = 0.85


@dataclass(frozen=True, slots=True)
class Blow:
    """``pause_s`` after traffic has begun, a deed; ``length_s`` is what its kind needs of time."""

    kind: str
    pause_s: float
    length_s: float
    new_keys: bool

    def __str__(self) -> str:
        return f"{self.kind} ({self.pause_s:.2f} s, {self.length_s:.2f} s)"


def draw(chance: random.Random) -> Blow:
    """One blow of those that befall programs."""
    kind = chance.choices(list(KINDS), [deed[0] for deed in KINDS.values()])[0]
    length_s = chance.uniform(0, KINDS[kind][1])
    return Blow(kind, chance.uniform(0, _LONGEST_PAUSE_S), length_s, chance.random() < _NEW_KEYS)


def draw_outage(chance: random.Random) -> Blow:
    """The blow that befalls the server."""
    return Blow(
        "server", chance.uniform(0, _LONGEST_PAUSE_S), chance.uniform(0, _LONGEST_OUTAGE_S), new_keys=True
    )


def deal(scene: Scene, blow: Blow, report: Report) -> None:
    """Start what is down, have everybody write, and strike."""
    scene.revive()
    scene.stir(new_keys=blow.new_keys)
    time.sleep(blow.pause_s)
    if blow.kind == "server":
        _end_server(scene, blow, report)
    else:
        KINDS[blow.kind][2](scene, blow, report)


def _kill(scene: Scene, blow: Blow, report: Report) -> None:
    program = blow.kind.split()[0]
    _count_and_kill(scene, report, program, PROCESSES[program])


def _kill_both(scene: Scene, blow: Blow, report: Report) -> None:
    """At once: neither hears of the other's end."""
    for name in PROCESSES.values():
        if scene.alice.runs(name):
            report.kills["both programs at once"] += 1
            scene.alice.running[name].kill()
    for program in PROCESSES:
        scene.bury(program)


def _kill_twice(scene: Scene, blow: Blow, report: Report) -> None:
    """Once more while it starts, and looks after what the first kill has left."""
    program = blow.kind.split()[0]
    _count_and_kill(scene, report, program, PROCESSES[program])
    scene.start(program)
    time.sleep(blow.length_s)
    _count_and_kill(scene, report, program, f"{PROCESSES[program]}, while it starts")


def _suspend(scene: Scene, blow: Blow, report: Report) -> None:
    """Stopped in the middle of whatever it does, perhaps with the lock; others go on."""
    program = blow.kind.split()[0]
    if scene.is_dead(program):
        return
    child = scene.alice.running[PROCESSES[program]]
    child.send_signal(signal.SIGSTOP)
    try:
        scene.write_from_afar()
        time.sleep(blow.length_s)
    finally:
        child.send_signal(signal.SIGCONT)
    report.faults[f"{PROCESSES[program]} suspended for a moment"] += 1


def _end(scene: Scene, blow: Blow, report: Report) -> None:
    """As a session manager ends programs; it has to go."""
    program = blow.kind.split()[0]
    if scene.is_dead(program):
        return
    child = scene.alice.running[PROCESSES[program]]
    scene.alice.stop(PROCESSES[program], signal.SIGTERM, within_s=_STOP_WITHIN_S)
    report.faults[f"{PROCESSES[program]} ended with SIGTERM"] += 1
    if child.returncode == -signal.SIGKILL:
        report.note_stuck(f"the {PROCESSES[program]} did not end within {_STOP_WITHIN_S:.0f} s", str(blow))


def _kill_other_side(scene: Scene, blow: Blow, report: Report) -> None:
    device = scene.world.phone if blow.kind == "phone killed" else scene.world.laptop
    if device.runs("notifier"):
        report.kills[f"{device.name}'s notifier"] += 1
    device.stop("notifier", signal.SIGKILL)


def _end_server(scene: Scene, blow: Blow, report: Report) -> None:
    """Synapse is killed, everybody goes on writing, and it is back; raises SynapseError if it is not."""
    server = scene.world.server
    server.kill()
    scene.ledger.note_start()
    scene.stir(new_keys=blow.new_keys)
    time.sleep(blow.length_s)
    server.start()
    server.wait_ready()
    report.server_restarts += 1


def _count_and_kill(scene: Scene, report: Report, program: str, kind: str) -> None:
    report.kills[kind] += not scene.is_dead(program)
    scene.bury(program)


_Deed = Callable[[Scene, Blow, Report], None]
KINDS: dict[str, tuple[int, float, _Deed]] = {
    "app killed": (5, 0, _kill),
    "notifier killed": (6, 0, _kill),
    "both killed": (4, 0, _kill_both),
    "app killed twice": (3, _LONGEST_START_S, _kill_twice),
    "notifier killed twice": (3, _LONGEST_START_S, _kill_twice),
    "app suspended": (1, _LONGEST_STOP_S, _suspend),
    "notifier suspended": (1, _LONGEST_STOP_S, _suspend),
    "app ended": (1, 0, _end),
    "notifier ended": (1, 0, _end),
    "phone killed": (1, 0, _kill_other_side),
    "laptop killed": (1, 0, _kill_other_side),
}
"""How often of 27, how long at most, and what is done."""
