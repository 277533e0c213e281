"""D1 in numbers: the probes that are room events, thousands of them, with a server in memory in Synapse's place.

The kinds are those of ``silent``, which sends each of them to a real server, too; the intake, the gate and the outbox
are the product's own.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from tandem_core.types import Role
from tests.privacy.memory import MemoryServer, Writer, at_home, make_home, make_server
from tests.privacy.probes import PROBES, Clear, Sealed
from tests.privacy.silent import Count
from tests.privacy.stepped import LeapingClock, live_on

_WRITERS = 6
_BATCH = 60
_HOLD_MS = 90_000


async def probe_in_memory(folder: Path, wanted: int, *, seed: int, until: float) -> Count:
    """Send ``wanted`` probes (fewer if ``until``, machine time, comes first) and count what is confirmed."""
    chance = random.Random(seed)
    kinds = [each for each in PROBES if isinstance(each, Sealed | Clear)]
    clock = LeapingClock()
    server = make_server(clock, _WRITERS)
    count = Count()
    controls: set[str] = set()
    kind_of: dict[str, str] = {}
    async with at_home(make_home(server, folder), Role.NOTIFIER, clock) as program:
        while count.probes < wanted and time.monotonic() < until:
            for _ in range(_BATCH):
                clock.at_ms += 50
                probe = chance.choice(kinds)
                kind_of[_send(server, chance.choice(server.writers), probe)] = probe.name
                count.sent[probe.name] += 1
            if count.controls < 3:
                controls.add(server.say(server.writers[count.controls]))
                count.controls += 1
            await program.sync()
            await live_on([program], clock, clock.now_ms() + _HOLD_MS, every_ms=_HOLD_MS)
    confirmed = {event_id for _, event_id, _ in server.posted}
    count.controls_confirmed = len(confirmed & controls)
    for event_id in confirmed - controls:
        count.confirmed[kind_of[event_id]] += 1
    return count


def _send(server: MemoryServer, writer: Writer, probe: Sealed | Clear) -> str:
    match probe:
        case Sealed(_, kind, content, _):
            return server.say(writer, content, kind)
        case Clear(_, kind, content, state_key):
            more = {} if state_key is None else {"state_key": state_key}
            return server.put(writer, {"type": kind, "content": content, **more})
