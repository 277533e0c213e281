"""D5: how many of a person's devices are online, from confirmations that name none of them.

Three people with three devices each, of which one, two and three run. Their own server holds and merges; on a stock
one the devices agree among themselves which of them answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from tests.privacy.attacker import Plan, measure
from tests.privacy.clockwork import Rate
from tests.privacy.rig import Author, Victim, lateness, make_friends, make_victim, path_to, synapse
from tests.privacy.timing import DEVICES, Collected
from tests.privacy.upkeep import days_go_by


def collect_devices(
    folder: Path,
    *,
    scale: float,
    authors: int,
    flushes: int,
    seed: int,
    within_s: float,
    module: bool = True,
    tell: Callable[[str], None] = lambda words: None,
) -> Collected:
    """Delays for each number of devices; all three people at the same time, ``authors`` for each."""
    server = synapse(folder / "synapse", scale=scale, module=module)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = Collected()
    victims: list[Victim] = []
    with server.running(), path_to(server, scale, folder / "path.out", seed=seed) as way:
        way.be(one_way_ms=19.0)
        rate = Rate.starting_now(scale)
        try:
            everybody: list[Author] = []
            for state in DEVICES:
                victim = make_victim(server, folder / f"of-{state.devices}", rate)
                victims.append(victim)
                for _ in range(len(DEVICES)):
                    victim.add_device(way.base_url)
                everybody += make_friends(victim, authors)
                for number in range(state.devices):
                    victim.start(number, "notifier")
            tell("all devices run")
            running = [device for victim in victims for device in victim.devices]
            time.sleep(5.0 / scale)
            with days_go_by(running):
                if not module:
                    # Which device answers is settled once, with the first confirmations of all: no part of a budget.
                    asyncio.run(
                        measure(everybody, Plan(1, by_letter=True), scale, seed=seed, within_s=within_s)
                    )
                plan = Plan(flushes, by_letter=not module)
                delays = asyncio.run(measure(everybody, plan, scale, seed=seed, within_s=within_s))
            for number, state in enumerate(DEVICES):
                found.add(state, delays[number * authors : (number + 1) * authors])
                tell(f"{state.name}: {len(found.delays[state.name])} confirmations")
        finally:
            for victim in victims:
                victim.stop_all()
    found.late_ms = lateness(victims)
    return found
