"""A content repository, and people who talk in an encrypted room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.core.crypto.world import ROOM, Device, StillClock, named
from tests.core.media.media_server import MediaKeyServer, MediaServer, Repository


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def media_url(repository: Repository) -> Iterator[str]:
    with MediaServer(repository) as server:
        yield server.base_url


@pytest.fixture
def server(media_url: str) -> MediaKeyServer:
    made = MediaKeyServer()
    made.media_url = media_url
    return made


@pytest.fixture
def make_device(tmp_path: Path, server: MediaKeyServer) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []
    clock = StillClock()

    def make(name: str, *, is_new: bool = False) -> Device:
        device = Device(tmp_path / name, named(name, "ONE"), server, clock)
        made.append(device)
        if is_new:
            return device
        asyncio.run(device.keys.upload())
        device.hear_counts()
        return device

    yield make
    for device in made:
        device.close()


@pytest.fixture
def talk(make_device: Callable[..., Device]) -> tuple[Device, Device]:
    """Alice and Bob in an encrypted room that both know."""
    alice, bob = make_device("alice"), make_device("bob")
    alice.knows(bob)
    bob.knows(alice)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    alice.is_in(ROOM, bob.me.user_id)
    bob.is_in(ROOM, alice.me.user_id)
    return alice, bob


@pytest.fixture
def alone(make_device: Callable[..., Device]) -> Device:
    """Alice in an encrypted room, before she has keys: for what ends before anything is encrypted for others."""
    alice = make_device("alice", is_new=True)
    alice.is_in(ROOM)
    return alice
