"""Receipts that go with their reason to be: redacted events, purged rooms and histories, closed accounts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.tables import confirmed
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, sliding

pytestmark = pytest.mark.synapse

MakeUser = Callable[..., RawClient]
ADMIN = "/_synapse/admin"


@dataclass
class Confirmed:
    """Alice's event in a room with Bob and Carol, confirmed by both."""

    alice: RawClient
    bob: RawClient
    carol: RawClient
    room: str
    event: str


@pytest.fixture
def world(make_user: MakeUser) -> Confirmed:
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    room = alice.create_room(preset="public_chat")
    for client in (bob, carol):
        client.join(room)
    event = alice.say(room, "hello")
    for client in (bob, carol):
        assert client.receipt(room, UNSTABLE, event)[0] == 200
    return Confirmed(alice, bob, carol, room, event)


@pytest.fixture(scope="module")
def admin(synapse: SynapseServer) -> RawClient:
    return RawClient(synapse.base_url).login(*new_user(synapse, "admin", admin=True))


def redact(client: RawClient, room: str, event: str) -> None:
    client.ok("PUT", f"{CLIENT}/rooms/{quote(room)}/redact/{quote(event)}/t", {})


@pytest.mark.parametrize("version", ["2", "10", "11"])
def test_receipts_of_a_redacted_event_go_and_no_new_ones_come(
    synapse: SynapseServer, make_user: MakeUser, version: str
) -> None:
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    room = alice.create_room(preset="public_chat", room_version=version)
    for client in (bob, carol):
        client.join(room)
    event, kept = alice.say(room, "a slip"), alice.say(room, "stays")
    for each in (event, kept):
        assert bob.receipt(room, UNSTABLE, each)[0] == 200
    redact(alice, room, event)
    assert confirmed(synapse.folder, event) == set()
    assert confirmed(synapse.folder, kept) == {bob.user_id}
    assert set(receipts_in(sliding(alice), room)) == {kept}
    status, refusal = carol.receipt(room, UNSTABLE, event)
    assert (status, refusal["errcode"]) == (404, "M_NOT_FOUND")


def test_somebody_who_leaves_takes_nothing_back(synapse: SynapseServer, world: Confirmed) -> None:
    world.bob.leave(world.room)
    assert confirmed(synapse.folder, world.event) == {world.bob.user_id, world.carol.user_id}
    assert set(receipts_in(sliding(world.alice), world.room)[world.event]) == {
        world.bob.user_id,
        world.carol.user_id,
    }


def test_receipts_of_a_purged_room_go(synapse: SynapseServer, world: Confirmed, admin: RawClient) -> None:
    other = world.alice.create_room(invite=[world.bob.user_id])
    world.bob.join(other)
    kept = world.alice.say(other, "elsewhere")
    assert world.bob.receipt(other, UNSTABLE, kept)[0] == 200
    started = admin.ok("DELETE", f"{ADMIN}/v2/rooms/{quote(world.room)}", {"purge": True})
    _wait(admin, f"{ADMIN}/v2/rooms/delete_status/{started['delete_id']}")
    assert confirmed(synapse.folder, world.event) == set()
    assert confirmed(synapse.folder, kept) == {world.bob.user_id}


def test_receipts_of_a_purged_history_go(synapse: SynapseServer, world: Confirmed, admin: RawClient) -> None:
    newer = world.alice.say(world.room, "from here on")
    assert world.bob.receipt(world.room, UNSTABLE, newer)[0] == 200
    path = f"{ADMIN}/v1/purge_history/{quote(world.room)}/{quote(newer)}"
    started = admin.ok("POST", path, {"delete_local_events": True})
    _wait(admin, f"{ADMIN}/v1/purge_history_status/{started['purge_id']}")
    assert confirmed(synapse.folder, world.event) == set()
    assert confirmed(synapse.folder, newer) == {world.bob.user_id}


@pytest.mark.parametrize("erase", [True, False])
def test_a_reader_s_closed_account_takes_its_receipts_with_it(
    synapse: SynapseServer, world: Confirmed, admin: RawClient, erase: bool
) -> None:
    admin.ok("POST", f"{ADMIN}/v1/deactivate/{quote(world.bob.user_id)}", {"erase": erase})
    assert confirmed(synapse.folder, world.event) == {world.carol.user_id}


def test_an_author_s_closed_account_takes_the_receipts_for_it_along(
    synapse: SynapseServer, world: Confirmed, admin: RawClient
) -> None:
    event = world.bob.say(world.room, "Bob's own")
    assert world.carol.receipt(world.room, UNSTABLE, event)[0] == 200
    admin.ok("POST", f"{ADMIN}/v1/deactivate/{quote(world.alice.user_id)}", {"erase": True})
    assert confirmed(synapse.folder, world.event) == set()
    assert confirmed(synapse.folder, event) == {world.carol.user_id}


def _wait(admin: RawClient, path: str) -> None:
    """Synapse purges in the background."""
    end = time.monotonic() + 30
    while (state := _state(admin, path)) not in ("complete", "failed"):
        assert time.monotonic() < end, state
        time.sleep(0.05)
    assert state == "complete"


def _state(admin: RawClient, path: str) -> Any:
    return admin.ok("GET", path)["status"]
