"""Sending to rooms: who gets the key, when it is replaced, and that no place of a ratchet is used twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from vodozemac import MegolmMessage

from tandem_core.crypto import group
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.world import ENCRYPTION, NOW, Device, StillClock, user

BOTH = {user("alice"), user("bob")}


def _index(wire: Json) -> int:
    return MegolmMessage.from_base64(wire["ciphertext"]).message_index()


def _places(*wires: Json) -> list[tuple[str, int]]:
    return [(wire["session_id"], _index(wire)) for wire in wires]


def _queued(device: Device) -> list[tuple[Any, ...]]:
    return device.rows("SELECT type FROM to_device_out ORDER BY id")


def test_a_message_is_read_by_the_other_and_by_both_programs_of_its_author(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    wire = alice.seal("hello", BOTH)
    asyncio.run(alice.flush())
    bob.receive()
    assert bob.body(bob.sees(wire, alice)) == "hello"
    assert alice.body(alice.sees(wire, alice)) == "hello"


def test_the_event_has_the_form_of_the_specification(friends: tuple[Device, Device]) -> None:
    alice, _ = friends
    wire = alice.seal("hello", BOTH)
    assert set(wire) == {"algorithm", "ciphertext", "session_id", "sender_key", "device_id"}
    assert wire["algorithm"] == "m.megolm.v1.aes-sha2"
    assert wire["sender_key"] == alice.keys_of()["curve25519:ONE"]
    assert wire["device_id"] == "ONE"


def test_the_key_goes_out_once_and_from_its_place_on(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    wires = [alice.seal(f"line {number}", BOTH) for number in range(3)]
    assert _queued(alice) == [("m.room.encrypted",)]
    assert _places(*wires) == [(wires[0]["session_id"], number) for number in range(3)]
    assert alice.rows(
        "SELECT device_id, message_index, outcome FROM key_share WHERE user_id = ?", bob.me.user_id
    ) == [("ONE", 0, "shared")]


def test_the_session_goes_on_after_a_restart_and_in_the_other_program(
    friends: tuple[Device, Device],
) -> None:
    alice, _ = friends
    first = alice.seal("one", BOTH)
    alice = alice.restarted()
    notifier = alice.other_program()
    try:
        wires = [first]
        for number in range(6):
            wires.append((notifier if number % 2 else alice).seal(f"line {number}", BOTH))
        assert _places(*wires) == [(first["session_id"], index) for index in range(7)]
    finally:
        notifier.close()
        alice.close()


def test_the_two_programs_read_send_and_read_on_one_olm_session(friends: tuple[Device, Device]) -> None:
    """Receive here, send there, receive here: a stale copy in memory would wedge the session."""
    alice, bob = friends
    notifier = bob.other_program()
    try:
        for number in range(4):
            wire = alice.seal(f"to bob {number}", BOTH, room=_room(number))
            asyncio.run(alice.flush())
            bob.receive()
            assert bob.body(bob.sees(wire, alice, room=_room(number))) == f"to bob {number}"
            back = notifier.seal(f"to alice {number}", BOTH, room=_room(10 + number))
            asyncio.run(notifier.flush())
            alice.receive()
            assert alice.body(alice.sees(back, bob, room=_room(10 + number))) == f"to alice {number}"
        assert alice.inbox_errors() == bob.inbox_errors() == []
    finally:
        notifier.close()


def test_a_rolled_back_message_uses_no_place_and_sends_no_key(
    friends: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = friends

    class PowerCut(Exception):
        pass

    def cut(*_: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(group.outbox, "put_audience", cut)  # the last thing before the commit
        with pytest.raises(PowerCut):
            alice.seal("lost", BOTH)
    assert _queued(alice) == []
    assert alice.rows("SELECT * FROM megolm_outbound") == []
    first = alice.seal("one", BOTH)
    with monkeypatch.context() as patch:
        patch.setattr(group.outbox, "put_audience", cut)
        with pytest.raises(PowerCut):
            alice.seal("lost, too", BOTH)
    second = alice.seal("two", BOTH)
    assert _places(first, second) == [(first["session_id"], 0), (first["session_id"], 1)]
    assert len(_queued(alice)) == 1


def test_a_new_device_gets_the_key_from_now_on_and_the_session_stays(
    friends: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = friends
    first = alice.seal("before", BOTH)
    tablet = make_device("bob", "TABLET")
    tablet.knows(alice)
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    second = alice.seal("after", BOTH)
    assert second["session_id"] == first["session_id"]
    asyncio.run(alice.flush())
    tablet.receive()
    assert tablet.body(tablet.sees(second, alice)) == "after"
    old = tablet.sees(first, alice)
    assert (tablet.event(old).seal, tablet.event(old).seal_reason) == ("sealed", "too_early")
    assert ("TABLET", 1) in alice.rows("SELECT device_id, message_index FROM key_share")


@pytest.mark.parametrize("who", ["person", "device", "own device"])
def test_somebody_who_left_cannot_read_on(
    friends: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer, who: str
) -> None:
    alice, bob = friends
    second = make_device("bob" if who == "device" else "alice", "TWO") if who != "person" else None
    alice.knows(bob)
    asyncio.run(alice.keys.claim([*alice.devices(bob), *alice.devices(alice)]))
    first = alice.seal("before", BOTH)
    if second is None:
        later = alice.seal("after", {alice.me.user_id})
    else:
        del server.devices[second.me.user_id][second.me.device_id]
        alice.knows(bob)
        later = alice.seal("after", BOTH)
    assert later["session_id"] != first["session_id"]
    again = alice.seal("again", {alice.me.user_id} if second is None else BOTH)
    assert again["session_id"] == later["session_id"]


@pytest.mark.parametrize(
    ("encryption", "messages"),
    [
        ({}, 100),
        ({"rotation_period_msgs": 3}, 3),
        ({"rotation_period_msgs": 0}, 1),
        ({"rotation_period_msgs": True}, 100),
    ],
)
def test_the_session_is_replaced_after_so_many_messages(
    friends: tuple[Device, Device], encryption: Json, messages: int
) -> None:
    alice, _ = friends
    wires = [alice.seal("x", BOTH, ENCRYPTION | encryption) for _ in range(messages + 1)]
    assert len({wire["session_id"] for wire in wires[:messages]}) == 1
    assert wires[-1]["session_id"] != wires[0]["session_id"]
    assert len(set(_places(*wires))) == messages + 1


@pytest.mark.parametrize(
    ("period_ms", "age_ms"),
    [
        (None, 604_800_000),
        (7_200_000, 7_200_000),
        (1, 3_600_000),
        ("1", 604_800_000),
        (10**15, 2_592_000_000),
    ],
)
def test_the_session_is_replaced_at_its_age(
    friends: tuple[Device, Device], clock: StillClock, period_ms: Any, age_ms: int
) -> None:
    alice, _ = friends
    encryption = ENCRYPTION if period_ms is None else ENCRYPTION | {"rotation_period_ms": period_ms}
    first = alice.seal("one", BOTH, encryption)
    clock.time_ms = NOW + age_ms - 1
    assert alice.seal("two", BOTH, encryption)["session_id"] == first["session_id"]
    clock.time_ms = NOW + age_ms
    assert alice.seal("three", BOTH, encryption)["session_id"] != first["session_id"]


def test_a_device_without_one_time_keys_is_told_once_and_gets_the_key_later(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    taken = server.one_time.pop(me_key(bob.me)), server.fallback.pop(me_key(bob.me))
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    wires = [alice.seal(f"line {number}", BOTH) for number in range(3)]
    assert _queued(alice) == [("m.room_key.withheld",)]
    assert alice.rows("SELECT outcome FROM key_share") == [("no_olm",)]
    asyncio.run(alice.flush())
    told = server.inboxes[me_key(bob.me)]
    assert [event["content"]["code"] for event in told] == ["m.no_olm"]
    assert "session_id" not in told[0]["content"]
    server.one_time[me_key(bob.me)], server.fallback[me_key(bob.me)] = taken
    alice.clock.time_ms += 60_000
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    wires.append(alice.seal("with a key", BOTH))
    asyncio.run(alice.flush())
    bob.receive()
    assert bob.body(bob.sees(wires[-1], alice)) == "with a key"
    assert bob.body(bob.sees(wires[0], alice)) is None


def test_keys_go_in_requests_of_a_hundred(friends: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = friends
    keys = server.devices[bob.me.user_id][bob.me.device_id]

    def many(txn: Any) -> None:
        for number in range(230):
            txn.execute(
                "INSERT INTO device (user_id, device_id, curve25519, ed25519, algorithms, first_seen)"
                " VALUES (?, ?, ?, ?, '[]', 0)",
                (
                    bob.me.user_id,
                    f"D{number:03}",
                    keys["keys"]["curve25519:ONE"],
                    keys["keys"]["ed25519:ONE"],
                ),
            )

    alice.write(many)
    alice.seal("hello", BOTH)
    sizes = [
        len(json.loads(messages)[bob.me.user_id])
        for (messages,) in alice.rows("SELECT messages FROM to_device_out ORDER BY id")
    ]
    assert sizes == [100, 100, 31]


def test_the_audience_is_the_people_and_the_devices_that_can_read(
    friends: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = friends
    mute = make_device("bob", "MUTE")
    server.one_time.pop(me_key(mute.me))
    server.fallback.pop(me_key(mute.me))
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    alice.seal("hello", BOTH)
    assert alice.rows("SELECT user_id, device_id FROM audience ORDER BY device_id") == [
        (bob.me.user_id, ""),
        (bob.me.user_id, "ONE"),
    ]


def test_relations_stay_readable_for_the_server(friends: tuple[Device, Device]) -> None:
    alice, _ = friends
    relation = {"rel_type": "m.thread", "event_id": "$root"}
    wire = alice.seal("in a thread", BOTH, extra={"m.relates_to": relation})
    assert wire["m.relates_to"] == relation


def test_own_other_devices_get_the_key_and_this_one_does_not(
    friends: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = friends
    phone = make_device("alice", "PHONE")
    phone.knows(alice)
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(alice, bob)))
    wire = alice.seal("for me, too", BOTH)
    asyncio.run(alice.flush())
    phone.receive()
    assert phone.body(phone.sees(wire, alice)) == "for me, too"
    assert alice.rows("SELECT user_id, device_id FROM key_share ORDER BY user_id") == [
        (alice.me.user_id, "PHONE"),
        (bob.me.user_id, "ONE"),
    ]


def _room(number: int) -> Any:
    return f"!room{number}:example.org"
