"""Who gets the keys of what we write: settings, devices without their owner's signature, changed identities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product

import pytest

from tandem_core import sending, setting_list, settings
from tandem_core.crypto.sending_rules import Rules, refusal, rules
from tandem_core.crypto.trust import DeviceTrust, PersonTrust
from tandem_core.store import crypto as rows
from tandem_core.store import identities
from tandem_core.types import Json, RoomId
from tests.core.crypto.identity_kit import Identity
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.world import NOW, ROOM, Device, user

BOTH = {user("alice"), user("bob")}


@pytest.fixture
def pair(friends: tuple[Device, Device]) -> tuple[Device, Device]:
    """Alice and Bob in a room, each with an identity that vouches for their device."""
    alice, bob = friends
    for device in friends:
        asyncio.run(device.cross_signing.keep_up())
    for device, other in ((alice, bob), (bob, alice)):
        device.knows(other)
        device.is_in(ROOM, other.me.user_id)
    return alice, bob


def _choose(device: Device, key: str, value: setting_list.Value, room: RoomId | None = None) -> None:
    device.write(settings.set_value, key, value, now_ms=NOW, room_id=room)


def _verify(device: Device, other: Device) -> None:
    master = device.read(identities.identity, other.me.user_id).master
    asyncio.run(device.cross_signing.confirm_person(other.me.user_id, master))


def _as_shipped(device: Device, key: str) -> None:
    """What holds for somebody who has never chosen."""
    device.write(lambda txn: txn.execute("DELETE FROM setting WHERE key = ?", (key,)) and None)


def _withheld(server: KeyServer, device: Device) -> list[Json]:
    """What this device was told about keys that it does not get."""
    waiting = server.inboxes.get(me_key(device.me), [])
    return [event["content"] for event in waiting if event["type"] == "m.room_key.withheld"]


def _send(device: Device, body: str) -> str:
    """Write in the room and let the sender work; returns the state of the message."""
    content = {"msgtype": "m.text", "body": body}
    txn_id = device.write(sending.enqueue, ROOM, "m.room.message", content, body=body, now_ms=NOW)
    asyncio.run(device.sender.step())
    return str(device.one("SELECT state FROM send_queue WHERE txn_id = ?", txn_id))


def test_the_whole_table_of_who_is_refused() -> None:
    switches = (False, True)
    for verified_only, exclude_unsigned, device, owner, is_own in product(
        switches, switches, DeviceTrust, PersonTrust, switches
    ):
        code = refusal(Rules(verified_only, exclude_unsigned), device, owner, is_own=is_own)
        is_foreign = is_own and owner is PersonTrust.VIOLATED
        may = device is DeviceTrust.VERIFIED or (
            not verified_only
            and not is_foreign
            and (device is DeviceTrust.SIGNED_BY_OWNER or not exclude_unsigned)
        )
        assert code == (None if may else "m.unverified")


def test_the_room_overrides_the_account_and_nonsense_is_strict(alice: Device) -> None:
    assert alice.read(rules, ROOM) == Rules(False, False)
    _choose(alice, "encryption.verified_only", True)
    assert alice.read(rules, ROOM).verified_only
    _choose(alice, "encryption.room", "everyone", ROOM)
    assert not alice.read(rules, ROOM).verified_only
    _choose(alice, "encryption.room", "verified", ROOM)
    _choose(alice, "encryption.verified_only", False)
    assert alice.read(rules, ROOM).verified_only
    _choose(alice, "encryption.room", "default", ROOM)
    alice.write(lambda txn: txn.execute("UPDATE setting SET value = '7'"))
    assert alice.read(rules, ROOM).verified_only


def test_a_device_that_its_owner_did_not_sign_is_left_out_and_told_once(
    pair: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = pair
    injected = make_device("bob", "TWO")
    alice.knows(bob)
    _as_shipped(alice, "encryption.exclude_unsigned")
    wires = [alice.seal(body, BOTH) for body in ("one", "two")]
    asyncio.run(alice.flush())
    (told,) = _withheld(server, injected)
    assert told == {
        "algorithm": "m.megolm.v1.aes-sha2",
        "code": "m.unverified",
        "room_id": ROOM,
        "session_id": wires[0]["session_id"],
        "sender_key": alice.keys_of()["curve25519:ONE"],
        "reason": "The sender has disabled encrypting to unverified devices.",
    }
    assert _withheld(server, bob) == []
    for device, body in ((bob, "one"), (injected, None)):
        device.receive()
        event = device.sees(wires[0], alice)
        assert device.body(event) == body
    assert injected.event(event).seal_reason == "withheld:m.unverified"


def test_a_device_that_is_signed_later_gets_the_key_from_then_on(
    pair: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = pair
    two = make_device("bob", "TWO")
    alice.knows(bob)
    _choose(alice, "encryption.exclude_unsigned", True)
    before = alice.seal("before", BOTH)
    asyncio.run(bob.cross_signing.confirm_own_device(two.me.device_id, two.keys_of()["ed25519:TWO"]))
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    after = alice.seal("after", BOTH)
    assert before["session_id"] == after["session_id"]
    asyncio.run(alice.flush())
    two.receive()
    assert [two.body(two.sees(wire, alice)) for wire in (before, after)] == [None, "after"]


def test_only_verified_devices_get_the_key_where_that_is_chosen(
    pair: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = pair
    _choose(alice, "encryption.room", "verified", ROOM)
    first = alice.seal("first", BOTH)
    _verify(alice, bob)
    second = alice.seal("second", BOTH)
    asyncio.run(alice.flush())
    assert [told["code"] for told in _withheld(server, bob)] == ["m.unverified"]
    bob.receive()
    assert [bob.body(bob.sees(wire, alice)) for wire in (first, second)] == [None, "second"]


def test_a_session_is_replaced_when_who_has_its_key_may_have_it_no_more(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    first = alice.seal("first", BOTH)
    _choose(alice, "encryption.verified_only", True)
    second, third = alice.seal("second", BOTH), alice.seal("third", BOTH)
    assert first["session_id"] != second["session_id"] == third["session_id"]
    asyncio.run(alice.flush())
    bob.receive()
    assert [bob.body(bob.sees(wire, alice)) for wire in (first, second)] == ["first", None]


def test_no_one_time_key_is_claimed_of_a_device_that_is_left_out(
    pair: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = pair
    make_device("bob", "TWO")
    _choose(alice, "encryption.exclude_unsigned", True)
    alice.knows(bob)
    assert _send(alice, "hello") == "sent"
    claimed = [request.body["one_time_keys"] for request in server.asked("/keys/claim")]
    assert not any("TWO" in devices.get(bob.me.user_id, {}) for devices in claimed)


def test_nothing_is_sent_while_somebody_verified_shows_another_identity(
    pair: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = pair
    _verify(alice, bob)
    assert _send(alice, "before") == "sent"
    Identity.make(bob.me.user_id, 9).publish(server)
    alice.knows(bob)
    sent = len(server.asked("/send/"))
    assert _send(alice, "secret") == "failed"
    words = alice.one("SELECT error FROM send_queue WHERE state = 'failed'")
    assert bob.me.user_id in words
    assert "changed" in words
    assert len(server.asked("/send/")) == sent


@pytest.mark.parametrize("way", ["accept", "verify", "back"])
def test_the_person_decides_and_the_message_goes_out(
    pair: tuple[Device, Device], server: KeyServer, way: str
) -> None:
    alice, bob = pair
    _verify(alice, bob)
    kept = server.identities[bob.me.user_id]
    other = Identity.make(bob.me.user_id, 9)
    other.publish(server)
    alice.knows(bob)
    assert _send(alice, "secret") == "failed"
    if way == "accept":
        asyncio.run(alice.cross_signing.accept_change(bob.me.user_id))
    elif way == "verify":
        asyncio.run(alice.cross_signing.confirm_person(bob.me.user_id, other.master.public))
    else:
        server.identities[bob.me.user_id] = kept
        alice.knows(bob)
    (txn_id,) = (row[0] for row in alice.rows("SELECT txn_id FROM send_queue WHERE state = 'failed'"))
    assert alice.write(sending.retry, txn_id)
    asyncio.run(alice.sender.step())
    assert alice.one("SELECT state FROM send_queue WHERE txn_id = ?", txn_id) == "sent"


def test_a_changed_identity_of_somebody_never_verified_does_not_stop_sending(
    pair: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = pair
    other = Identity.make(bob.me.user_id, 9)
    other.publish(server)
    other.sign_device(server, bob.me.device_id)
    alice.knows(bob)
    assert _send(alice, "hello") == "sent"


def test_who_swaps_our_own_identity_gets_nothing_for_devices_of_theirs(
    pair: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = pair
    planted = make_device("alice", "PLANTED")
    swapped = Identity.make(alice.me.user_id, 9)
    swapped.publish(server)
    swapped.sign_device(server, planted.me.device_id)
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(alice, bob)))
    wire = alice.seal("mine", BOTH)
    asyncio.run(alice.flush())
    planted.receive()
    bob.receive()
    assert planted.body(planted.sees(wire, alice)) is None
    assert bob.body(bob.sees(wire, alice)) == "mine"


def test_a_device_under_the_name_of_a_deleted_one_gets_a_new_session(
    pair: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = pair
    first = alice.seal("first", BOTH)
    del server.devices[bob.me.user_id][bob.me.device_id]
    alice.knows(bob)
    heir = make_device("heir")
    heir.me = heir.state.me = bob.me
    server.devices[bob.me.user_id][bob.me.device_id] = heir.write(heir.state.device_keys)
    server.one_time[me_key(bob.me)] = server.one_time.pop((user("heir"), bob.me.device_id))
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    second = alice.seal("second", BOTH)
    assert first["session_id"] != second["session_id"]
    (key,) = alice.rows("SELECT curve25519 FROM key_share WHERE session_id = ?", second["session_id"])
    assert key == (heir.read(rows.identity)["curve25519"],)
