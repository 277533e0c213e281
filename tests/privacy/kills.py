"""D10: many messages while the victim's programs are killed, suspended and started, and the server is restarted.

In the end every message that a device of his has opened is confirmed, once known to its author; no other one is.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.privacy.attacker import Watch, Watcher
from tests.privacy.timing import World
from tests.privacy.upkeep import days_go_by

_PROGRAMS = ("notifier", "app")


@dataclass
class Toll:
    """What happened, and what does not fit."""

    sent: int = 0
    confirmed: int = 0
    lost: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    deeds: Counter[str] = field(default_factory=Counter)


async def storm(
    where: World,
    messages: int,
    *,
    seed: int,
    every_s: float = 4.0,
    restarts: int = 2,
    settle_s: float = 240.0,
    tell: Callable[[str], None] = lambda words: None,
) -> Toll:
    """Have all authors write ``messages`` in all, with a misfortune every few seconds; then let it come to rest."""
    chance = random.Random(seed)
    toll = Toll()
    for program in _PROGRAMS:
        await asyncio.to_thread(where.victim.start, 0, program)
    with days_go_by(where.victim.devices):
        return await _storm(where, messages, chance, toll, every_s, restarts, settle_s, tell)


async def _storm(
    where: World,
    messages: int,
    chance: random.Random,
    toll: Toll,
    every_s: float,
    restarts: int,
    settle_s: float,
    tell: Callable[[str], None],
) -> Toll:
    async with Watch(where.authors) as watch:
        written: dict[str, str] = {}
        share = messages // len(watch.watchers)
        writing = [asyncio.create_task(_write(each, share, written, chance)) for each in watch.watchers]
        next_restart = [messages * (number + 1) // (restarts + 1) for number in range(restarts)]
        while not all(task.done() for task in writing):
            await asyncio.sleep(chance.uniform(0.5, 1.5) * every_s)
            if next_restart and len(written) >= next_restart[0]:
                next_restart.pop(0)
                await asyncio.to_thread(where.server.restart)
                deed = "server restarted"
            else:
                deed = await asyncio.to_thread(_misfortune, where, chance)
            toll.deeds[deed] += 1
            tell(f"{len(written)} written; {deed}")
        await asyncio.gather(*writing)
        for program in _PROGRAMS:
            await asyncio.to_thread(where.victim.start, 0, program)
        toll.sent = len(written)
        await _rest(watch.watchers, written, settle_s)
        heard = {each.event_id for watcher in watch.watchers for each in watcher.heard}
    opened = _opened(where)
    taken = where.victim.taken()
    assert taken is not None or where.by_letter
    toll.confirmed = len(heard & set(written))
    toll.lost = sorted((set(written) & opened) - heard) + sorted(set(written) - opened)
    toll.false = sorted(((taken or set()) | heard) - opened)
    return toll


async def _write(watcher: Watcher, count: int, written: dict[str, str], chance: random.Random) -> None:
    for _ in range(count):
        event_id = await watcher.say()
        written[event_id] = watcher.author.user_id
        await asyncio.sleep(chance.uniform(0.2, 1.8))


def _misfortune(where: World, chance: random.Random) -> str:
    """Kill, suspend or start one of the two programs."""
    program = chance.choice(_PROGRAMS)
    child = where.victim.programs.get((0, program))
    if child is None:
        where.victim.start(0, program)
        return f"{program} started"
    if chance.random() < 0.3:
        child.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(1, 3))
        child.send_signal(signal.SIGCONT)
        return f"{program} suspended"
    where.victim.stop(0, program, signal.SIGKILL)
    return f"{program} killed"


async def _rest(watchers: list[Watcher], written: dict[str, str], within_s: float) -> None:
    """Wait until all are confirmed, or time is up."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        heard = {each.event_id for watcher in watchers for each in watcher.heard}
        if set(written) <= heard:
            return
        await asyncio.sleep(1.0)


def _opened(where: World) -> set[str]:
    return {
        row[0]
        for row in where.victim.devices[0].ask("SELECT event_id FROM event WHERE seal IN ('opened', 'plain')")
    }
