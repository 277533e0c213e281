"""Restarts at random of the window and the notifier, with a new key for every message: drawn by a seed, replayable."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tandem_demo.device import PROCESSES, wait_for
from tests.scenarios.stage import Stage
from tests.support.proxy.scene import LINKS

_SETTLE_EVERY = 10
_HASTE = 0.2
_ONE_KEY_EACH = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 1}
_SESSIONS = "SELECT count(*) FROM megolm_inbound WHERE room_id = ?"
_SIGNALS = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL}


@dataclass
class Report:
    """What happened, and what was found wrong; the books are compared every ten iterations and at the end."""

    iterations: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    """By program and signal."""
    sent: Counter[str] = field(default_factory=Counter)
    """By who wrote and which programs were told."""
    compared: int = 0
    """Messages compared in both of Alice's views, in Bob's, and on the server."""
    sessions: int = 0
    unusable: int = 0
    mended: int = 0


def run(
    stage: Stage, iterations: int, seed: int, tell: Callable[[str], object] = lambda words: None
) -> Report:
    """Play so many iterations; raises where something is lost, doubled, out of order or cannot be read."""
    chance = random.Random(seed)
    report = Report()
    stage.alice_raw.set_state(stage.room, "m.room.encryption", _ONE_KEY_EACH)
    stage.exchange()
    before = _one(stage, _SESSIONS, stage.room)
    for number in range(iterations):
        _iterate(stage, chance, report)
        if number % _SETTLE_EVERY == _SETTLE_EVERY - 1 or number == iterations - 1:
            stage.start()
            stage.settle()
            tell(f"{number + 1} of {iterations}; {sum(report.restarts.values())} restarts; all readable")
    report.compared = sum(report.sent.values())
    report.sessions = _one(stage, _SESSIONS, stage.room) - before
    report.unusable = _one(stage, "SELECT count(*) FROM inbox WHERE state = 2")
    report.mended = _one(stage, "SELECT count(*) FROM unwedge")
    return report


def _iterate(stage: Stage, chance: random.Random, report: Report) -> None:
    """Some of: programs end, people write, programs start, people write; in a drawn order."""
    report.iterations += 1
    ends = chance.choice([["app"], ["notifier"], ["app", "notifier"], ["notifier", "app"]])
    blows = [(link, chance.choice(sorted(_SIGNALS))) for link in ends]
    starts = chance.sample(ends, len(ends))
    early = [_draw(chance) for _ in range(chance.randint(0, 2))]
    absent = [_draw(chance) for _ in range(chance.randint(1, 2))]
    between = [_draw(chance) for _ in range(chance.randint(0, 1))]
    for author, told in early:
        _write(stage, report, author, told)
    time.sleep(chance.uniform(0, 0.15))
    for link, blow in blows:
        stage.alice.stop(PROCESSES[link], _SIGNALS[blow])
        report.restarts[f"{PROCESSES[link]}, SIG{blow}"] += 1
    for author, told in absent:
        _write(stage, report, author, told)
    for link in starts:
        stage.launch(link)
        for author, told in between:
            _write(stage, report, author, told)
    if chance.random() < _HASTE:
        return  # the next end comes in the middle of a start
    stage.ready(*starts)
    # One that both views must show before the next end, as a person would wait to see it.
    if chance.random() < 0.5:
        stage.start()
        body = _write(stage, report, "bob", "notifier")
        for link in LINKS:
            wait_for(f"words in the {link} view", partial(_is_in, stage, link, body), every_s=0.05)


def _draw(chance: random.Random) -> tuple[str, str]:
    author = chance.choice(["alice", "bob"])
    return author, chance.choice(["app", "notifier", "both"]) if author == "alice" else "notifier"


def _write(stage: Stage, report: Report, author: str, told: str) -> str:
    """One message with a key of its own; the word that it waits goes to the programs drawn, if they run."""
    body = f"{author} {len(stage.said[author])} of the restarts"
    stage.said[author].append(body)
    device = stage.alice if author == "alice" else stage.bob
    stage.queue(device, stage.room, body, list(LINKS) if told == "both" else [told], new_key=False)
    report.sent[f"{author}, {told}"] += 1
    return body


def _is_in(stage: Stage, link: str, body: str) -> bool:
    return body in stage.bodies(stage.alice, link)


def _one(stage: Stage, sql: str, *values: str) -> int:
    return int(stage.alice.ask(sql, values)[0][0])
