"""Many receipts in one message to the server (``im.tandem.delivery.batch``), over plain HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tandem_synapse.batch import BATCH_TYPE, MAX_EVENTS
from tests.homeserver.listening import to_server
from tests.homeserver.tables import rows
from tests.homeserver.test_delivery_receipts import receipts_in, sliding
from tests.homeserver.two_servers import soon

pytestmark = pytest.mark.synapse

MakeUser = Callable[..., RawClient]


@dataclass
class People:
    """Bob is in both of Alice's rooms; ``before`` was said before he joined the first."""

    alice: RawClient
    bob: RawClient
    rooms: tuple[str, str]
    before: str


@pytest.fixture
def people(make_user: MakeUser) -> People:
    alice, bob = make_user("alice"), make_user("bob")
    first, second = (alice.create_room(invite=[bob.user_id], preset="private_chat") for _ in range(2))
    before = alice.say(first, "before")
    bob.join(first)
    bob.join(second)
    return People(alice, bob, (first, second), before)


def confirm(client: RawClient, rooms: object, **others: object) -> tuple[int, Json]:
    return to_server(
        client, "@:localhost", BATCH_TYPE, {"": {"rooms": rooms, **others}}, secrets.token_hex(8)
    )


def kept(server: SynapseServer, reader: RawClient) -> set[str]:
    """The events whose receipts from this person are committed."""
    found = rows(server.folder, "SELECT event_id FROM im_tandem_delivery WHERE user_id = ?", reader.user_id)
    return {str(event_id) for (event_id,) in found}


def seen(client: RawClient, *rooms: str) -> Json:
    """What a device that starts is shown, event to receipts."""
    answer = sliding(client, conn=secrets.token_hex(4))
    return {event: users for room in rooms for event, users in receipts_in(answer, room).items()}


def test_one_request_confirms_events_in_several_rooms(synapse: SynapseServer, people: People) -> None:
    events = {room: [people.alice.say(room, str(number)) for number in range(3)] for room in people.rooms}
    named = {event for ids in events.values() for event in ids}
    assert confirm(people.bob, events) == (200, {})
    assert kept(synapse, people.bob) == named
    soon(lambda: set(seen(people.alice, *people.rooms)) == named)
    receipts = seen(people.alice, *people.rooms)
    assert {user for users in receipts.values() for user in users} == {people.bob.user_id}
    assert {tuple(receipt) for users in receipts.values() for receipt in users.values()} == {("ts",)}


def test_a_batch_shows_the_device_when_its_owner_says_so(people: People) -> None:
    room = people.rooms[0]
    event = people.alice.say(room, "hello")
    assert confirm(people.bob, {room: [event]}, share="device")[0] == 200
    soon(lambda: event in seen(people.alice, room))
    (receipt,) = seen(people.alice, room)[event].values()
    assert list(receipt["im.tandem.devices"]) == [people.bob.device_id]


def test_what_may_not_be_confirmed_is_skipped_without_a_word(
    synapse: SynapseServer, people: People, make_user: MakeUser
) -> None:
    carol = make_user("carol")
    elsewhere = carol.create_room()
    hidden = carol.say(elsewhere, "not for Bob")
    first, second = people.rooms
    good = people.alice.say(first, "good")
    own = people.bob.say(first, "Bob's own")
    batch = {
        first: ["$unknown", "no event", people.before, own, good],
        second: [good, hidden],
        elsewhere: [hidden, "$unknown"],
        "no room": ["$unknown"],
    }
    assert confirm(people.bob, batch) == (200, {})
    assert kept(synapse, people.bob) == {good}
    # Each alone is answered like one that is kept: nobody finds out what exists.
    for room, ids in batch.items():
        for event in ids:
            assert confirm(people.bob, {room: [event]}) == (200, {})
    assert kept(synapse, people.bob) == {good}


def test_the_most_that_is_taken_at_once_is_taken_and_one_more_is_not(
    synapse: SynapseServer, people: People
) -> None:
    room = people.rooms[0]
    event = people.alice.say(room, "one of many")
    ids = [f"$unknown{number}" for number in range(MAX_EVENTS - 1)]
    status, refusal = confirm(people.bob, {room: [*ids, event, "$more"]})
    assert (status, refusal["errcode"]) == (400, "M_INVALID_PARAM")
    assert kept(synapse, people.bob) == set()
    assert confirm(people.bob, {room: [*ids, event]})[0] == 200
    assert kept(synapse, people.bob) == {event}


def test_a_batch_that_comes_again_changes_nothing(people: People) -> None:
    room = people.rooms[0]
    event = people.alice.say(room, "twice")
    assert confirm(people.bob, {room: [event]})[0] == 200
    soon(lambda: event in seen(people.alice, room))
    pos = sliding(people.alice)["pos"]
    assert confirm(people.bob, {room: [event]}) == (200, {})
    assert receipts_in(sliding(people.alice, pos), room) == {}


def test_a_guest_cannot_send_a_batch(synapse: SynapseServer, people: People) -> None:
    plain = RawClient(synapse.base_url)
    answer = plain.ok("POST", f"{CLIENT}/register?kind=guest", {})
    guest = RawClient(synapse.base_url, answer["access_token"], answer["user_id"])
    status, refusal = confirm(guest, {people.rooms[0]: [people.before]})
    assert (status, refusal["errcode"]) == (403, "M_GUEST_ACCESS_FORBIDDEN")


def test_each_event_of_a_batch_counts_for_the_limit_of_receipts(people: People) -> None:
    batch = {"!nowhere": [f"$unknown{number}" for number in range(MAX_EVENTS)]}
    sent = 0
    while (answer := confirm(people.bob, batch))[0] == 200:
        sent += 1
        assert sent < 50
    assert answer[1]["errcode"] == "M_LIMIT_EXCEEDED"
    # The batches are far fewer than the messages that the server takes from one person.
    assert people.bob.receipt(people.rooms[0], "m.delivery", people.before)[0] in (403, 429)
    status, _ = to_server(people.bob, "@:localhost", "org.example.other", {"": {}}, "other")
    assert status == 200
