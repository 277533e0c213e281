"""Law 3: what was worked out and not kept is not remembered either."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from tandem_core.crypto import drain
from tandem_core.crypto.olm import Opened
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.test_olm import whisper
from tests.core.crypto.world import Device, user

BOTH = {user("alice"), user("bob")}


class PowerCut(Exception):
    """Between the work and its commit."""


def _cut_after_drain(device: Device) -> None:
    def drained_then_cut(txn: Any) -> None:
        assert drain.drain(txn, device.state, 0)
        raise PowerCut

    with pytest.raises(PowerCut):
        device.write(drained_then_cut)


def test_a_key_used_up_in_a_step_that_was_rolled_back_is_there_again(friends: tuple[Device, Device]) -> None:
    """One event, so that nothing of the account reaches the file: memory alone knows that its key is gone."""
    alice, bob = friends
    bob.put_inbox(whisper(alice, bob))
    _cut_after_drain(bob)
    bob.drain()
    assert bob.rows("SELECT state, error FROM inbox") == [(1, None)]


def test_a_rolled_back_generation_is_not_taken_for_the_other_programs(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    """The number that memory got and lost is given to what the other program keeps next."""
    alice, bob = friends
    bob.put_inbox(whisper(alice, bob, 1), whisper(alice, bob, 2))
    _cut_after_drain(bob)
    notifier = bob.other_program()
    try:
        server.one_time[me_key(bob.me)].clear()
        notifier.hear_counts()
        asyncio.run(notifier.keys.upload())
        alice.write(lambda txn: txn.execute("DELETE FROM olm_session"))
        asyncio.run(alice.keys.claim(alice.devices(bob)))
        bob.put_inbox(copy.deepcopy(whisper(alice, bob, 3)))
        bob.drain()
        assert bob.inbox_errors() == []
    finally:
        notifier.close()


def test_the_first_message_of_a_session_breaks_and_the_next_ones_open(
    friends: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one-time key that the broken one took is given back with its step: the next one needs it."""
    alice, bob = friends
    bob.put_inbox(*(whisper(alice, bob, number, "m.room_key") for number in range(3)))

    def keep(txn: Any, state: Any, found: Opened, now_ms: int) -> str | None:
        if found.content["n"] == 0:
            raise RuntimeError
        return None

    monkeypatch.setattr(drain.megolm, "keep_room_key", keep)
    bob.drain()
    assert [row[0] for row in bob.rows("SELECT state FROM inbox ORDER BY seq")] == [2, 1, 1]
