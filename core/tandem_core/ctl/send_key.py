"""``tandemctl receipts EVENT --send-key-again USER DEVICE``: a person has a message's key sent once more."""

from __future__ import annotations

import asyncio

from tandem_core.clock import SystemClock
from tandem_core.ctl import world
from tandem_core.types import Change, DeviceId, EventId, Topic, UserId


def send_again(here: world.World, event_id: str, user_id: str, device_id: str) -> None:
    """Send it with a door of our own; the programs that run learn of it. Raises as ``key_again.send``."""
    from tandem_core.crypto import key_again
    from tandem_core.crypto.keys import Keys
    from tandem_core.crypto.state import CryptoState
    from tandem_core.vault import pickle_key

    async def go() -> None:
        async with here.door() as http:
            key, _ = await asyncio.to_thread(pickle_key, here.paths)
            state = CryptoState(here.db, here.session.me, key)
            clock = SystemClock()
            keys = Keys(here.paths, here.db, http, state, clock=clock)
            who = (EventId(event_id), UserId(user_id), DeviceId(device_id))
            await key_again.send(here.paths, here.db, http, keys, state, *who, clock=clock)

    asyncio.run(go())
    world.ring(here, Change(Topic.DELIVERY), Change(Topic.OUTBOX))
