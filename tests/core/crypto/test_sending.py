"""From the queue to the server, whatever is lost on the way: each message once, the same bytes, keys first (law 6)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from vodozemac import MegolmMessage

from tandem_core.errors import Offline
from tandem_core.sending import enqueue
from tandem_core.store import rooms
from tandem_core.store.codec import loads
from tandem_core.types import RoomId
from tests.core.crypto.key_server import KeyServer, Request, me_key
from tests.core.crypto.world import NOW, ROOM, Device

SEND = "/send/"
SEND_KEYS = "/sendToDevice/"


@pytest.fixture
def talk(friends: tuple[Device, Device]) -> tuple[Device, Device]:
    """Alice and Bob in an encrypted room that both know."""
    alice, bob = friends
    alice.is_in(ROOM, bob.me.user_id)
    bob.is_in(ROOM, alice.me.user_id)
    return alice, bob


def write(device: Device, body: str) -> str:
    content = {"msgtype": "m.text", "body": body}
    txn_id = device.write(enqueue, ROOM, "m.room.message", content, body=body, now_ms=device.clock.now_ms())
    assert isinstance(txn_id, str)
    return txn_id


def send(device: Device) -> None:
    asyncio.run(device.sender.step())


def sent(server: KeyServer) -> list[Request]:
    return [request for request in server.asked(SEND) if request.method == "PUT"]


def read_by(device: Device, server: KeyServer, sender: Device) -> list[str | None]:
    """What this device can read of all that lies in the room."""
    device.receive()
    return [device.body(device.sees(event["content"], sender)) for event in server.events[ROOM]]


def places(server: KeyServer) -> list[tuple[str, int]]:
    """The places of ratchets that the room's events use."""
    contents: list[Any] = [event["content"] for event in server.events[ROOM]]
    return [
        (content["session_id"], MegolmMessage.from_base64(content["ciphertext"]).message_index())
        for content in contents
    ]


@pytest.mark.parametrize("where", ["lose_request", "lose_answer"])
def test_a_lost_answer_is_followed_by_the_same_bytes(
    talk: tuple[Device, Device], server: KeyServer, where: str
) -> None:
    """After a restart, the room's history may tell that the server has them; then nothing is repeated."""
    alice, bob = talk
    write(alice, "one")
    send(alice)
    write(alice, "two")
    getattr(server, where).append(SEND)
    with pytest.raises(Offline):
        send(alice)
    alice = alice.restarted()
    notifier = alice.other_program()
    try:
        send(notifier)
        write(alice, "three")
        send(alice)
        _, first_try, *tries, _ = sent(server)
        assert len(tries) == (1 if where == "lose_request" else 0)
        assert [(again.path, again.body) for again in tries] == [(first_try.path, first_try.body)] * len(
            tries
        )
        assert alice.rows("SELECT 1 FROM send_queue WHERE state != 'sent'") == []
        assert read_by(bob, server, alice) == ["one", "two", "three"]
        used = places(server)
        assert len(used) == len(set(used)) == 3
    finally:
        notifier.close()
        alice.close()


def test_what_was_encrypted_goes_out_as_it_is_whoever_leaves_meanwhile(
    talk: tuple[Device, Device], server: KeyServer
) -> None:
    """The server may have it already: other bytes under the same id would be ours alone."""
    alice, bob = talk
    write(alice, "one")
    send(alice)
    write(alice, "two")
    server.lose_answer.append(SEND)
    with pytest.raises(Offline):
        send(alice)
    alice.leaves(bob.me.user_id)
    send(alice)
    _, first_try, second_try = sent(server)
    assert first_try.body == second_try.body
    write(alice, "not for Bob")
    send(alice)
    assert len(places(server)) == len(set(places(server))) == 3
    assert read_by(bob, server, alice) == ["one", "two", None]


@pytest.mark.parametrize("where", ["lose_request", "lose_answer"])
def test_keys_whose_answer_is_lost_arrive_once_and_before_the_message(
    talk: tuple[Device, Device], server: KeyServer, where: str
) -> None:
    alice, bob = talk
    write(alice, "hello")
    getattr(server, where).append(SEND_KEYS)
    with pytest.raises(Offline):
        send(alice)
    assert sent(server) == []
    alice = alice.restarted()
    try:
        send(alice)
        first_try, second_try = server.asked(SEND_KEYS)
        assert (first_try.path, first_try.body) == (second_try.path, second_try.body)
        assert len(server.inboxes[me_key(bob.me)]) == 1
        assert read_by(bob, server, alice) == ["hello"]
    finally:
        alice.close()


def test_a_room_whose_server_is_slow_keeps_no_other_room_waiting(
    talk: tuple[Device, Device], server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = talk
    other = RoomId("!other:example.org")
    alice.is_in(other, bob.me.user_id)
    bodies = ["slow", "one", "two"]
    for room, body in zip([ROOM, other, other], bodies, strict=True):
        content = {"msgtype": "m.text", "body": body}
        alice.write(enqueue, room, "m.room.message", content, body=body, now_ms=NOW)
    ask = alice.sender._http.request

    async def request(method: str, path: str, *rest: Any, **options: Any) -> Any:
        if SEND in path and quote(ROOM) in path:
            while len(server.events.get(other, ())) < 2:
                await asyncio.sleep(0.01)
        return await ask(method, path, *rest, **options)

    monkeypatch.setattr(alice.sender._http, "request", request)
    asyncio.run(asyncio.wait_for(alice.sender.step(), 60))
    assert [len(server.events[room]) for room in (ROOM, other)] == [1, 2]
    assert alice.rows("SELECT 1 FROM send_queue WHERE state != 'sent'") == []


def test_keys_that_wait_go_out_in_the_order_they_were_made(
    talk: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = talk
    for number in range(3):
        room = RoomId(f"!room{number}:example.org")
        alice.seal("with a key of its own", {alice.me.user_id, bob.me.user_id}, room=room)
    made = [messages for (messages,) in alice.rows("SELECT messages FROM to_device_out ORDER BY id")]
    asyncio.run(alice.flush())
    assert [request.body["messages"] for request in server.asked(SEND_KEYS)] == [loads(text) for text in made]
    bob.receive()
    assert bob.inbox_errors() == []


def test_nothing_goes_out_in_clear_where_the_server_says_encrypted(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    fields = {"membership": "join", "join_rule": "invite", "history_visibility": "shared", "joined_count": 2}
    alice.write(rooms.set_room, alice.role, ROOM, fields)
    server.members[ROOM] = {alice.me.user_id: "join", bob.me.user_id: "join"}
    server.encrypted.add(ROOM)
    write(alice, "not for the server")
    send(alice)
    assert [event["type"] for event in server.events[ROOM]] == ["m.room.encrypted"]
    assert read_by(bob, server, alice) == ["not for the server"]


def test_the_two_programs_send_a_message_once(talk: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = talk
    notifier = alice.other_program()
    notifier.is_in(ROOM, bob.me.user_id)

    async def both() -> None:
        await asyncio.gather(alice.sender.step(), notifier.sender.step())

    try:
        for number in range(5):
            write(alice, f"line {number}")
        asyncio.run(both())
        assert len(sent(server)) == 5
        assert read_by(bob, server, alice) == [f"line {number}" for number in range(5)]
        assert alice.clock.now_ms() == NOW
    finally:
        notifier.close()
