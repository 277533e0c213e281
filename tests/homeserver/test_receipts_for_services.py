"""An application service gets the receipts for what its own users wrote, and no others (MSC4089, MSC2409)."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from aiohttp import web

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, sliding
from tests.support.served import Served

pytestmark = pytest.mark.synapse

PASSWORD = "a long password"


class Service(Served):
    """Takes transactions and writes down their ephemeral events."""

    def __init__(self, id_: str, namespaces: Json) -> None:
        super().__init__(id_)
        self.registration: Json = {
            "id": id_,
            "as_token": secrets.token_urlsafe(16),
            "hs_token": secrets.token_urlsafe(16),
            "sender_localpart": f"{id_}-bot",
            "rate_limited": False,
            "receive_ephemeral": True,
            "namespaces": namespaces,
        }
        self._heard: list[Json] = []
        self._news = threading.Condition()

    def receipts(self, kind: str) -> set[tuple[str, str, str]]:
        """(room, event, user) of the receipts of this kind that were heard so far."""
        with self._news:
            return {
                (each["room_id"], event, user)
                for each in self._heard
                for event, types in each["content"].items()
                for user in types.get(kind, {})
            }

    def times_told(self, event: str, kind: str) -> int:
        """In how many ephemeral events this one was named."""
        with self._news:
            return sum(kind in each["content"].get(event, {}) for each in self._heard)

    def wait_for(self, is_enough: Callable[[Service], bool], within_s: float = 20.0) -> None:
        end = time.monotonic() + within_s
        while not is_enough(self):
            left = end - time.monotonic()
            assert left > 0, "the service was never told"
            with self._news:
                self._news.wait(min(left, 0.2))

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[web.BaseRunner]:
        app = web.Application()
        app.router.add_put("/_matrix/app/v1/transactions/{txn}", self._put)
        yield web.AppRunner(app, access_log=None)

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.json()
        with self._news:
            self._heard += [each for each in body.get("ephemeral", []) if each["type"] == "m.receipt"]
            self._news.notify_all()
        return web.json_response({})


@dataclass
class World:
    server: SynapseServer
    ghosts: Service
    watchers: Service
    ghost: RawClient
    alice: RawClient
    bob: RawClient
    room: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("services")
    users = {"users": [{"exclusive": True, "regex": "@ghost_.*"}]}
    rooms = {"rooms": [{"exclusive": False, "regex": "!.*"}]}
    with ExitStack() as stack:
        ghosts, watchers = (
            stack.enter_context(Service(id_, namespaces))
            for id_, namespaces in (("ghosts", users), ("watchers", rooms))
        )
        files = []
        for service in (ghosts, watchers):
            file = folder / f"{service.registration['id']}.yaml"
            file.write_text(json.dumps({**service.registration, "url": service.base_url}), "utf-8")
            files.append(str(file))
        server = SynapseServer.create(
            folder / "synapse",
            extra={"modules": modules(coalesce_seconds=0), "app_service_config_files": files},
        )
        server.start()
        stack.callback(server.stop)
        server.wait_ready()
        yield _meet(server, ghosts, watchers)


def _meet(server: SynapseServer, ghosts: Service, watchers: Service) -> World:
    ghost = RawClient(server.base_url, str(ghosts.registration["as_token"]))
    registered = ghost.ok(
        "POST", f"{CLIENT}/register", {"type": "m.login.application_service", "username": "ghost_one"}
    )
    ghost = RawClient(
        server.base_url, registered["access_token"], registered["user_id"], registered["device_id"]
    )
    people = []
    for name in ("alice", "bob"):
        server.register(name, PASSWORD)
        people.append(RawClient(server.base_url).login(name, PASSWORD))
    alice, bob = people
    room = alice.create_room(preset="public_chat")
    for client in (ghost, bob):
        client.join(room)
    return World(server, ghosts, watchers, ghost, alice, bob, room)


def test_a_service_is_told_of_receipts_for_its_own_users_and_of_no_others(world: World) -> None:
    own, foreign = world.ghost.say(world.room, "from the ghost"), world.alice.say(world.room, "from Alice")
    assert world.bob.receipt(world.room, UNSTABLE, foreign)[0] == 200
    assert world.bob.receipt(world.room, UNSTABLE, own)[0] == 200
    wanted = (world.room, own, world.bob.user_id)
    world.ghosts.wait_for(lambda service: wanted in service.receipts(UNSTABLE))
    # A read receipt after them: when that has come, what was to be told before it has been told.
    assert world.bob.receipt(world.room, "m.read", own)[0] == 200
    for service in (world.ghosts, world.watchers):
        service.wait_for(lambda each: wanted in each.receipts("m.read"))
    assert {event for _, event, _ in world.ghosts.receipts(UNSTABLE)} & {own, foreign} == {own}
    assert world.watchers.receipts(UNSTABLE) == set()


def test_each_receipt_is_told_once_and_a_local_author_has_hers_from_sync(world: World) -> None:
    event = world.alice.say(world.room, "confirmed by the ghost")
    path = f"{CLIENT}/rooms/{quote(world.room)}/receipt/{UNSTABLE}/{quote(event)}"
    assert world.ghost.request("POST", path, {})[0] == 200
    assert set(receipts_in(sliding(world.alice), world.room)[event]) == {world.ghost.user_id}
    own = [world.ghost.say(world.room, str(number)) for number in range(3)]
    for each in own:
        assert world.bob.receipt(world.room, UNSTABLE, each)[0] == 200
    world.ghosts.wait_for(lambda service: {event for _, event, _ in service.receipts(UNSTABLE)} >= set(own))
    assert event not in {event for _, event, _ in world.ghosts.receipts(UNSTABLE)}
    heard = [
        each for each in world.ghosts._heard if each["type"] == "m.receipt" and own[0] in json.dumps(each)
    ]
    assert len([each for each in heard if UNSTABLE in each["content"].get(own[0], {})]) == 1


def test_a_service_gets_its_deliveries_after_the_server_was_killed(world: World) -> None:
    event = world.ghost.say(world.room, "before the crash")
    assert world.bob.receipt(world.room, UNSTABLE, event)[0] == 200
    world.server.kill()
    world.server.start()
    world.server.wait_ready()
    later = world.ghost.say(world.room, "after the crash")
    assert world.bob.receipt(world.room, UNSTABLE, later)[0] == 200
    world.ghosts.wait_for(lambda service: later in {event for _, event, _ in service.receipts(UNSTABLE)})
