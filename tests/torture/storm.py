"""Blows at random moments, for as long as it is told to: drawn from a seed by round, so that any can be had again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count

from tandem_demo.synapse import SynapseError
from tests.support.proxy.proxy import FaultProxy
from tests.torture import blows, network
from tests.torture.report import AFTER_KILLS, AFTER_NETWORK, AFTER_SERVER, Report
from tests.torture.scene import Scene
from tests.torture.sweep import compare, recover

_BLOWS = 5
"""Before everything is given the time to recover."""
_PARTS = (AFTER_KILLS, AFTER_NETWORK, AFTER_KILLS)
"""Of a round, before a comparison."""
_SERVER_EVERY = 6
"""Rounds from one end of the server to the next."""
_SERVER_FIRST = 3
_MOST_WRONG = 20
_MOST_LINES = 200


def storm(
    scene: Scene,
    proxy: FaultProxy,
    seed: int,
    until_s: float,
    report: Report,
    tell: Callable[[str], object] = lambda words: None,
    *,
    first: int = 1,
) -> None:
    """Strike until the monotonic clock says ``until_s`` or too much is wrong, beginning with this round."""
    scene.put_between(proxy.base_url)
    for number in count(first):
        if time.monotonic() > until_s or len(report.wrong) >= _MOST_WRONG:
            return
        try:
            _round(scene, proxy, random.Random(f"{seed}/{number}"), number, report)
        except SynapseError as error:
            report.note_stuck(str(error), f"round {number}")
            return
        tell(
            f"round {number}: {report.kills.total()} kills, {report.faults.total()} other faults,"
            f" {report.last.letters} to-device events, {len(report.wrong)} wrong"
        )


def _round(scene: Scene, proxy: FaultProxy, chance: random.Random, number: int, report: Report) -> None:
    done = [f"round {number}"]
    requests = partial(_requests, proxy)
    for kind in _PARTS:
        with ExitStack() as stack:
            if kind == AFTER_NETWORK:
                bursts = network.draw(chance)
                done += [str(burst) for burst in bursts]
                stack.enter_context(network.broken(proxy, bursts, report))
            for _ in range(_BLOWS):
                _deal(scene, blows.draw(chance), report, done)
        recover(scene, report, "; ".join([done[0], *done[-_BLOWS:]]), kind, requests)
    if number % _SERVER_EVERY == _SERVER_FIRST:
        _deal(scene, blows.draw_outage(chance), report, done)
        recover(scene, report, "; ".join([done[0], done[-1]]), AFTER_SERVER, requests)
    compare(scene, report, "; ".join(done))


def _requests(proxy: FaultProxy, since_s: float) -> str:
    """What Alice's programs have asked the server since then: when, for how long, and with what success."""
    told = []
    for line in proxy.log[-_MOST_LINES:]:
        if line.at >= since_s:
            took = "" if line.answered_at is None else f" {line.answered_at - line.at:.2f}"
            who = "" if line.conn_id is None else f" of the {line.conn_id}"
            told.append(f"{line.at - since_s:.2f}: {line.method} {line.path}{who}{took} {line.status or '-'}")
    return "".join(f"\n    {words}" for words in told)


def _deal(scene: Scene, blow: blows.Blow, report: Report, done: list[str]) -> None:
    blows.deal(scene, blow, report)
    done.append(str(blow))
