"""A Synapse with a worker, PostgreSQL and Redis, its people, and polls that a receipt is to wake."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem_demo.deployment import WORKER, Deployment
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.conftest import new_user
from tests.homeserver.remote_server import RemoteServer
from tests.homeserver.test_delivery_receipts import receipts_in, receipts_in_v2, sliding
from tests.homeserver.two_servers import soon

LONG_MS = 150_000
"""How long a poll stays open when nothing wakes it: longer than the test waits for it."""


@dataclass
class Place:
    """A deployment, and another server that listens to what its worker sends."""

    deployment: Deployment
    remote: RemoteServer

    @property
    def main(self) -> SynapseServer:
        return self.deployment.main

    @property
    def worker(self) -> SynapseServer:
        return self.deployment.worker

    def person(self, name: str) -> RawClient:
        """A fresh account, signed in at the main process."""
        localpart, password = new_user(self.main, name)
        return RawClient(self.main.base_url).login(localpart, password)

    def pair(self) -> Pair:
        """Two people in a room in which one wrote, as both processes know."""
        alice, bob = self.person("alice"), self.person("bob")
        room = alice.create_room(invite=[bob.user_id], preset="private_chat")
        bob.join(room)
        event = alice.say(room, "hello")
        soon(lambda: event in shown(sliding(at(self.worker, bob)), room))
        return Pair(alice, bob, room, event)


@dataclass
class Pair:
    """Alice wrote; Bob is in the room, too."""

    alice: RawClient
    bob: RawClient
    room: str
    event: str


@contextlib.contextmanager
def running(folder: Path, *, receipts_at: str) -> Iterator[Place]:
    """All of it, started; the worker sends federation, and the named process writes receipts."""
    with RemoteServer(folder) as remote:
        settings = {
            "modules": modules(coalesce_seconds=0),
            # Would wake polls now and then, which then find the receipt by chance.
            "presence": {"enabled": False},
            "federation_sender_instances": [WORKER],
            "federation_domain_whitelist": [remote.name],
            "federation_verify_certificates": False,
            "ip_range_blacklist": [],
        }
        with Deployment(folder / "synapse", extra=settings, receipts_at=receipts_at) as deployment:
            yield Place(deployment, remote)


def at(server: SynapseServer, client: RawClient) -> RawClient:
    """The same device, speaking to another process."""
    return RawClient(server.base_url, client.token, client.user_id, client.device_id)


def shown(answer: dict[str, Any], room: str) -> set[str]:
    """The ids of the room's events in a sliding sync response."""
    return {event["event_id"] for event in answer["rooms"].get(room, {}).get("timeline", [])}


class Polls:
    """Long polls in the background, by both kinds of sync, until each has brought a receipt."""

    def __init__(self, client: RawClient, room: str) -> None:
        self._room = room
        self._pool = ThreadPoolExecutor(2)
        pos = sliding(client, conn="poll")["pos"]
        # Synapse gives a device the same first answer for two minutes; another filter, another answer.
        another = {"room": {"timeline": {"limit": 10 + secrets.randbelow(90)}}}
        since = client.sync_v2(filter=json.dumps(another))["next_batch"]
        self._found = [
            self._pool.submit(self._sliding, client, pos),
            self._pool.submit(self._v2, client, since),
        ]

    def bring(self) -> list[dict[str, Any]]:
        """Event id to {user: receipt}, of each poll; fails when one was not woken."""
        found: list[Future[dict[str, Any]]] = self._found
        try:
            return [each.result(60) for each in found]
        finally:
            self._pool.shutdown(wait=False)

    def _sliding(self, client: RawClient, pos: str) -> dict[str, Any]:
        while True:
            answer = sliding(client, pos, conn="poll", timeout_ms=LONG_MS)
            if found := receipts_in(answer, self._room):
                return found
            pos = answer["pos"]

    def _v2(self, client: RawClient, since: str) -> dict[str, Any]:
        while True:
            answer = client.sync_v2(since, timeout_ms=LONG_MS)
            if found := receipts_in_v2(answer, self._room):
                return found
            since = answer["next_batch"]
