"""Recovery that is cut off at each of its requests: nothing is lost, and the next attempt ends it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.crypto import secrets
from tandem_core.crypto.recovery import WrongRecoveryKey
from tandem_core.crypto.recovery_state import CROSS_SIGNING, DEFAULT_KEY, KEY_PREFIX, NAMES, Standing
from tandem_core.errors import Offline
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.recovery_kit import ALICE, SECRETS, recovery, set_up
from tests.core.crypto.world import Device

BACKUP = NAMES[-1]


@pytest.fixture
def phone(make_device: Callable[..., Device]) -> Device:
    """A new login of Alice's that has no secrets yet."""
    return make_device("alice", "PHONE")


@pytest.fixture
def laptop(alice: Device) -> Device:
    """Alice's first device, which has all secrets."""
    for name, secret in SECRETS.items():
        alice.write(secrets.keep, alice.state, name, secret, alice.clock.now_ms())
    return alice


class Dies:
    """A door through which the program dies at the n-th request that writes, or with its answer on the way."""

    def __init__(self, device: Device, number: int, *, arrives: bool) -> None:
        self._door = device.http
        self._left = number
        self._arrives = arrives

    async def request(self, method: str, path: str, body: Json | None = None, **more: Any) -> Json:
        if method == "PUT":
            self._left -= 1
            if self._left < 0:
                if self._arrives and self._left == -1:
                    await self._door.request(method, path, body, **more)
                raise Offline("the program died")
        answer: Json = await self._door.request(method, path, body, **more)
        return answer


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("act", ["set_up", "change"])
def test_wherever_it_dies_a_key_that_was_shown_opens_everything(
    act: str, arrives: bool, laptop: Device, phone: Device, server: KeyServer
) -> None:
    shown: list[str] = []

    async def show(text: str) -> None:
        shown.append(text)

    start: dict[str, Json] = {}
    if act == "change":
        shown.append(set_up(laptop))
        start = copy.deepcopy(server.account_data[ALICE])
    first = list(shown)
    number = 0
    while True:
        server.account_data[ALICE] = copy.deepcopy(start)
        shown[:] = first
        dying = recovery(laptop, Dies(laptop, number, arrives=arrives))
        try:
            asyncio.run(getattr(dying, act)(show=show))
            break
        except Offline:
            pass
        if server.account_data[ALICE].get(DEFAULT_KEY):
            assert any(_opens_all(phone, text) for text in shown), f"lost after {number} writes"
        again = recovery(laptop)
        standing = asyncio.run(again.refresh()).standing
        redo = again.set_up if standing is Standing.NOT_SET_UP else again.change
        text = asyncio.run(redo())
        assert _opens_all(phone, text)
        data = server.account_data[ALICE]
        assert len([kind for kind, value in data.items() if KEY_PREFIX in kind and value]) == 1
        assert {len(data[name]["encrypted"]) for name in NAMES} == {1}
        number += 1
    assert number >= 6


def _opens_all(device: Device, text: str) -> bool:
    """Whether a device without any secret gets all of them with this key."""
    device.write(secrets.forget, *NAMES)
    try:
        return asyncio.run(recovery(device).unlock(text)).found == NAMES
    except WrongRecoveryKey:
        return False


@pytest.mark.parametrize("arrives", [False, True])
def test_a_deletion_that_was_cut_off_is_ended_by_the_next_one(
    arrives: bool, laptop: Device, server: KeyServer
) -> None:
    number = 0
    while True:
        set_up(laptop)
        try:
            asyncio.run(recovery(laptop, Dies(laptop, number, arrives=arrives)).delete())
            break
        except Offline:
            asyncio.run(recovery(laptop).delete())
        assert not any(server.account_data[ALICE].values())
        number += 1
    assert number == 6


def test_every_write_of_an_unlock_may_be_repeated(laptop: Device, phone: Device, server: KeyServer) -> None:
    text = set_up(laptop)
    server.account_data[ALICE][BACKUP] = {}
    server.account_data[ALICE][CROSS_SIGNING[1]] = {}
    for arrives in (False, True):
        with pytest.raises(Offline):
            asyncio.run(recovery(laptop, Dies(laptop, 0, arrives=arrives)).unlock(text))
    asyncio.run(recovery(laptop).unlock(text))
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES
