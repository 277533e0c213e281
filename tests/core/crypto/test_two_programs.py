"""Two programs, one device: what one of them got or changed, the other one works with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tandem_core.crypto import keys
from tandem_core.netlock import netlock
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.world import Device, user

BOTH = {user("alice"), user("bob")}


def test_what_one_program_fetched_the_other_opens_when_it_dies(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    notifier = bob.other_program()
    wire = alice.seal("hello", BOTH)
    asyncio.run(alice.flush())
    notifier.fetch()  # and with it the server has forgotten the key
    notifier.close()
    event_id = bob.sees(wire, alice, drain_too=False)
    asyncio.run(bob.opener.step())
    assert bob.body(event_id) == "hello"


def test_a_key_that_the_other_program_fetched_opens_what_waits_here(friends: tuple[Device, Device]) -> None:
    """The notifier does no more than fetch and ring; the window, asleep until then, opens its message."""
    alice, bob = friends
    window, notifier = bob, bob.other_program()
    event_id = window.sees(alice.seal("hello", BOTH), alice, drain_too=False)
    asyncio.run(alice.flush())

    async def fetch_and_ring() -> None:
        loop = asyncio.get_running_loop()
        notifier.db.listen(lambda changes: loop.call_soon_threadsafe(window.opener.wake, changes))
        working = asyncio.create_task(window.opener.run())
        await _until(lambda: window.event(event_id).seal_reason == "no_key")
        await asyncio.to_thread(notifier.fetch)
        await _until(lambda: window.body(event_id) == "hello")
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    try:
        asyncio.run(fetch_and_ring())
    finally:
        notifier.close()


async def _until(holds: Callable[[], bool]) -> None:
    """Well before the worker would look by itself."""
    end = time.monotonic() + 12
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.01)


def test_the_account_goes_on_in_whichever_program_uses_it_next(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    """The window has its account in memory; the notifier makes new keys; the window is written to with one of them."""
    window, notifier = bob, bob.other_program()
    try:
        server.one_time[me_key(bob.me)].clear()
        notifier.hear_counts()
        asyncio.run(notifier.keys.upload())
        alice.knows(bob)
        bob.knows(alice)
        asyncio.run(alice.keys.claim(alice.devices(bob)))
        wire = alice.seal("with a new key", BOTH)
        asyncio.run(alice.flush())
        window.receive()
        assert window.inbox_errors() == []
        assert window.body(window.sees(wire, alice)) == "with a new key"
        server.one_time[me_key(bob.me)].clear()
        window.hear_counts()
        asyncio.run(
            window.keys.upload()
        )  # with an account of before, these would be other keys under old ids
        notifier.drain()
        ids = [list(request.body.get("one_time_keys", {})) for request in server.asked("/keys/upload")]
        every = [key_id for batch in ids for key_id in batch if server.one_time[me_key(bob.me)].get(key_id)]
        assert len(every) == len(set(every)) == 50
    finally:
        notifier.close()


def test_a_key_that_both_programs_saw_missing_is_claimed_once(
    alice: Device, bob: Device, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = alice.other_program()
    alice.knows(bob)
    wanted = alice.devices(bob)

    async def both() -> None:
        has_seen = asyncio.Barrier(2)

        @asynccontextmanager
        async def once_both_saw_it(*args: Any) -> AsyncIterator[None]:
            await asyncio.wait_for(has_seen.wait(), 30)
            async with netlock(*args):
                yield

        monkeypatch.setattr(keys, "netlock", once_both_saw_it)
        await asyncio.gather(alice.keys.claim(wanted), notifier.keys.claim(wanted))

    try:
        asyncio.run(both())
        assert len(server.asked("/keys/claim")) == 1
        assert len(alice.rows("SELECT 1 FROM olm_session")) == 1
    finally:
        notifier.close()
