"""Receipts that an author asked to have kept: as to-device events from the server, until acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.listening import inbox, to_server
from tests.homeserver.tables import edit, rows
from tests.homeserver.test_delivery_receipts import UNSTABLE
from tests.homeserver.two_servers import soon

pytestmark = pytest.mark.synapse

MakeUser = Callable[..., RawClient]
SETTINGS, EVENT = "im.tandem.delivery_settings", "im.tandem.delivery"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """With the pace that receipts are released at by default."""
    made = SynapseServer.create(tmp_path_factory.mktemp("durable"))
    with made.running():
        yield made


@pytest.fixture
def make_user(server: SynapseServer) -> MakeUser:
    def make(name: str = "user") -> RawClient:
        return RawClient(server.base_url).login(*new_user(server, name))

    return make


def set_durable(client: RawClient, settings: Json) -> None:
    client.ok("PUT", f"{CLIENT}/user/{quote(client.user_id)}/account_data/{SETTINGS}", settings)


def receipts(client: RawClient, since: str | None = None) -> Json:
    """Room to event to receipts, of all to-device events from the server that this device has not acknowledged."""
    found: Json = {}
    for event in inbox(client, since)[0]:
        if event["type"] == EVENT:
            assert event["sender"] == "@:localhost"
            for room, content in event["content"]["rooms"].items():
                found.setdefault(room, {}).update(content)
    return found


def confirmed(client: RawClient, room: str) -> set[str]:
    return set(receipts(client).get(room, {}))


def in_a_room(alice: RawClient, bob: RawClient) -> str:
    room = alice.create_room(invite=[bob.user_id], preset="private_chat")
    bob.join(room)
    return room


def test_receipts_wait_for_each_device_of_an_author_who_asks_until_it_acknowledges_them(
    server: SynapseServer, make_user: MakeUser
) -> None:
    name, password = new_user(server, "alice")
    phone, laptop = (RawClient(server.base_url).login(name, password) for _ in range(2))
    bob = make_user("bob")
    room = in_a_room(phone, bob)
    set_durable(phone, {"durable": True})
    event = phone.say(room, "kept for me")
    assert bob.receipt(room, UNSTABLE, event, {"im.tandem.share": "device"})[0] == 200
    soon(lambda: confirmed(phone, room) == {event})
    receipt = receipts(phone)[room][event][UNSTABLE][bob.user_id]
    assert receipt["ts"] % 60_000 == 0
    assert list(receipt["im.tandem.devices"]) == [bob.device_id]
    _, token = inbox(phone)
    assert receipts(phone, token) == {}
    assert confirmed(phone, room) == set()
    # The other device has them still.
    assert confirmed(laptop, room) == {event}


def test_an_author_who_does_not_ask_gets_none_and_one_who_no_longer_asks_no_more(make_user: MakeUser) -> None:
    alice, dora, bob = make_user("alice"), make_user("dora"), make_user("bob")
    rooms = {person.user_id: in_a_room(person, bob) for person in (alice, dora)}
    set_durable(alice, {"durable": True})
    first = alice.say(rooms[alice.user_id], "asked")
    assert bob.receipt(rooms[alice.user_id], UNSTABLE, first)[0] == 200
    soon(lambda: confirmed(alice, rooms[alice.user_id]) == {first})
    set_durable(alice, {"durable": False})
    for person in (alice, dora):
        room = rooms[person.user_id]
        event = person.say(room, "not asked")
        assert bob.receipt(room, UNSTABLE, event)[0] == 200
    set_durable(alice, {"durable": True})
    # The last receipt comes behind all that would have come before it.
    last = alice.say(rooms[alice.user_id], "asked again")
    assert bob.receipt(rooms[alice.user_id], UNSTABLE, last)[0] == 200
    soon(lambda: last in confirmed(alice, rooms[alice.user_id]))
    assert receipts(dora) == {}


def test_a_batch_comes_in_few_events(make_user: MakeUser) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    room = in_a_room(alice, bob)
    set_durable(alice, {"durable": True})
    events = [alice.say(room, str(number)) for number in range(30)]
    status, _ = to_server(
        bob, "@:localhost", "im.tandem.delivery.batch", {"": {"rooms": {room: events}}}, "batch"
    )
    assert status == 200
    soon(lambda: confirmed(alice, room) == set(events))
    assert len([event for event in inbox(alice)[0] if event["type"] == EVENT]) < len(events)


def test_receipts_that_a_crash_kept_from_the_inboxes_come_after_it(
    server: SynapseServer, make_user: MakeUser
) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    room = in_a_room(alice, bob)
    set_durable(alice, {"durable": True})
    begun = _position(server, alice)
    event = alice.say(room, "kept through the crash")
    assert bob.receipt(room, UNSTABLE, event)[0] == 200
    soon(lambda: confirmed(alice, room) == {event})
    soon(lambda: _position(server, alice) > begun)
    server.kill()
    # Died after the receipt was released and before it came into the inboxes.
    edit(server.folder, "DELETE FROM device_inbox WHERE user_id = ?", alice.user_id)
    edit(server.folder, "UPDATE im_tandem_durable SET stream_id = ? WHERE author = ?", begun, alice.user_id)
    server.start()
    server.wait_ready()
    soon(lambda: confirmed(alice, room) == {event})
    # And it comes no second time.
    later = alice.say(room, "after the crash")
    _, token = inbox(alice)
    assert bob.receipt(room, UNSTABLE, later)[0] == 200
    soon(lambda: set(receipts(alice, token).get(room, {})) == {later})


def _position(server: SynapseServer, author: RawClient) -> int:
    found = rows(server.folder, "SELECT stream_id FROM im_tandem_durable WHERE author = ?", author.user_id)
    return int(found[0][0])
