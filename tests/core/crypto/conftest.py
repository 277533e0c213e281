"""People with devices on one homeserver in memory."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tandem_core.types import Json
from tests.core.crypto.failed_kit import Talk, make_talk, since_yesterday
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import befriend
from tests.core.crypto.world import Device, StillClock, named


@pytest.fixture
def server() -> KeyServer:
    return KeyServer()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def make_device(tmp_path: Path, server: KeyServer, clock: StillClock) -> Iterator[Callable[..., Device]]:
    """Make a device with its keys on the server (unless ``is_new``)."""
    made: list[Device] = []

    def make(name: str, device_id: str = "ONE", *, is_new: bool = False) -> Device:
        device = Device(tmp_path / f"{name}-{device_id}", named(name, device_id), server, clock)
        made.append(device)
        if not is_new:
            asyncio.run(device.keys.upload())
            device.hear_counts()
        return device

    yield make
    for device in made:
        device.close()


@pytest.fixture
def alice(make_device: Callable[..., Device]) -> Device:
    return make_device("alice")


@pytest.fixture
def bob(make_device: Callable[..., Device]) -> Device:
    return make_device("bob")


@pytest.fixture
def friends(alice: Device, bob: Device) -> tuple[Device, Device]:
    """Alice and Bob, who know each other's devices; Alice has a session towards Bob."""
    alice.knows(bob)
    bob.knows(alice)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    return alice, bob


@pytest.fixture
def chat(alice: Device, bob: Device) -> tuple[Device, Device]:
    """Alice writes to Bob in a direct chat; their server knows nothing of receipts."""
    befriend(alice, bob)
    return alice, bob


@pytest.fixture
def written(alice: Device, bob: Device) -> tuple[Device, list[Json]]:
    """Bob wrote three lines, which Alice's first device can read."""
    asyncio.run(alice.cross_signing.keep_up())
    alice.knows(bob)
    bob.knows(alice)
    asyncio.run(bob.keys.claim(bob.devices(alice)))
    wires = [bob.seal(f"line {number}", {alice.me.user_id, bob.me.user_id}) for number in range(3)]
    asyncio.run(bob.flush())
    alice.receive()
    return alice, wires


@pytest.fixture
def phone(written: tuple[Device, list[Json]], make_device: Callable[..., Device]) -> Device:
    """A new login of hers, which has looked for a backup and found none."""
    made = make_device("alice", "PHONE")
    made.knows()
    written[0].knows()
    asyncio.run(made.backups.step())
    return made


@pytest.fixture
def history(friends: tuple[Device, Device]) -> tuple[Device, Device, list[Json]]:
    """Alice wrote to Bob, whose phone has all keys in the backup; and what she wrote."""
    alice, bob = friends
    asyncio.run(bob.backup.create())
    wires = []
    for number in range(3):
        alice.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1"))
        wires.append(alice.seal(f"line {number}", {alice.me.user_id, bob.me.user_id}))
    asyncio.run(alice.flush())
    bob.receive()
    asyncio.run(bob.backups.step())
    return alice, bob, wires


@pytest.fixture
def tablet(history: tuple[Device, Device, list[Json]], make_device: Callable[..., Device]) -> Device:
    """Bob's new device, which has nothing yet."""
    return make_device("bob", "TABLET")


@pytest.fixture(scope="session")
def talk_as_made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KeyServer]:
    """The stores of Alice and Bob, who have verified each other, and their server; copied for each test."""
    folder, server, clock = tmp_path_factory.mktemp("talk"), KeyServer(), StillClock()
    alice, bob = (Device(folder / name, named(name, "ONE"), server, clock) for name in ("alice", "bob"))
    for device in (alice, bob):
        asyncio.run(device.keys.upload())
        device.hear_counts()
    talk = make_talk(alice, bob, server, clock)
    talk.see(talk.say("hello"))
    for device in (alice, bob):
        device.close()
    return folder, server


@pytest.fixture
def talk(
    talk_as_made: tuple[Path, KeyServer], tmp_path: Path, server: KeyServer, clock: StillClock
) -> Iterator[Talk]:
    """A direct chat of two verified people, in which Bob has read the first message."""
    folder, as_made = talk_as_made
    shutil.copytree(folder, tmp_path / "talk")
    vars(server).update(copy.deepcopy(vars(as_made)))
    alice, bob = (
        Device(tmp_path / "talk" / name, named(name, "ONE"), server, clock) for name in ("alice", "bob")
    )
    since_yesterday(alice)
    since_yesterday(bob)
    yield Talk(alice, bob, server, clock)
    for device in (alice, bob):
        device.close()
