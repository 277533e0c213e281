"""Delays of the whole engine with a server in memory, for one state of the victim."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path

from tandem_core.types import Role
from tests.privacy.memory import at_home, make_home, make_server
from tests.privacy.stepped import LeapingClock, run_until
from tests.privacy.timing import State
from tests.privacy.upkeep import forget_flushes

_CYCLE_MS = 60_000


async def engine_delays(
    folder: Path, state: State, *, cycles: int, writers: int = 12, direct: bool = True, seed: int = 1
) -> list[float]:
    """Seconds from each message to its confirmation; every author writes once a minute. At most 19 authors.

    The path is added as the state says: on the way in for all that come in one answer, on the way out for each.
    With the window open, both programs run on the one store.
    """
    chance = random.Random(f"{seed} {state.name}")

    clock = LeapingClock()
    server = make_server(clock, writers, direct=direct)
    sent: dict[str, int] = {}
    home = make_home(server, folder)
    roles = (Role.NOTIFIER, Role.APP) if state.window else (Role.NOTIFIER,)
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(at_home(home, role, clock)) for role in roles]
        for _ in range(cycles):
            began_ms = clock.now_ms()
            for writer in server.writers:
                sent[server.say(writer)] = began_ms
            clock.at_ms += round(state.travel_ms(chance))
            chance.shuffle(programs)
            for program in programs:
                await program.sync()
            await run_until(programs, clock, began_ms + _CYCLE_MS)
            await programs[0].engine.db.write(forget_flushes)
    return [(at - sent[event_id] + state.travel_ms(chance)) / 1000 for at, event_id, _ in server.posted]
