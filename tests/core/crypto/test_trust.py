"""Whom to trust: the rules for people and devices on every kind of row, and what is said of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.crypto import secrets, trust
from tandem_core.crypto.trust import DeviceTrust, EventTrust, PersonTrust, of_device, of_person
from tandem_core.store import events
from tandem_core.store.identities import Identity as Row
from tandem_core.types import DeviceId, EventId, Json, UserId
from tests.core.crypto.identity_kit import Identity
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import Device, user

ME, BOB = UserId("@me:example.org"), UserId("@bob:example.org")
BOTH = {user("alice"), user("bob")}
KEYS = st.sampled_from(["A", "B", "C"])


def _row(user_id: UserId) -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        user_id=st.just(user_id),
        master=KEYS,
        self_signing=st.none() | KEYS,
        user_signing=st.none() | KEYS,
        pinned=KEYS,
        verified_master=st.none() | KEYS,
        signed_by=st.none() | KEYS,
        published_json=st.just("{}"),
        is_hidden=st.booleans(),
        changed_at=st.none() | st.integers(0, 10),
    )


OWN, THEIRS = st.none() | _row(ME), _row(BOB)


@given(OWN, THEIRS)
def test_nobody_is_verified_without_a_confirmed_identity_of_ours_and_its_signature(
    own: Row | None, theirs: Row
) -> None:
    is_verified = of_person(own, theirs) is PersonTrust.VERIFIED
    assert is_verified == (
        own is not None
        and own.verified_master == own.master
        and own.user_signing is not None
        and theirs.signed_by == own.user_signing
    )


@given(OWN, THEIRS)
def test_who_was_verified_with_another_key_is_never_merely_seen(own: Row | None, theirs: Row) -> None:
    found = of_person(own, theirs)
    if theirs.verified_master not in (None, theirs.master):
        assert found in (PersonTrust.VIOLATED, PersonTrust.VERIFIED)
    elif theirs.pinned != theirs.master:
        assert found in (PersonTrust.CHANGED, PersonTrust.VERIFIED)
    else:
        assert found in (PersonTrust.SEEN, PersonTrust.VERIFIED)


@given(OWN, THEIRS)
def test_what_a_server_hides_changes_nothing(own: Row | None, theirs: Row) -> None:
    assert of_person(own, replace(theirs, is_hidden=True)) is of_person(own, replace(theirs, is_hidden=False))


@given(_row(ME))
def test_our_own_identity_is_verified_just_when_this_device_confirmed_it(own: Row) -> None:
    found = of_person(own, own)
    assert (found is PersonTrust.VERIFIED) == (own.verified_master == own.master)
    if own.verified_master not in (None, own.master):
        assert found is PersonTrust.VIOLATED


@given(st.sampled_from(PersonTrust), st.none() | THEIRS, st.none() | KEYS)
def test_a_device_is_worth_what_its_owners_present_key_says(
    owner: PersonTrust, theirs: Row | None, signed_by: str | None
) -> None:
    found = of_device(owner, theirs, signed_by)
    is_signed = theirs is not None and signed_by is not None and signed_by == theirs.self_signing
    assert (found is not DeviceTrust.UNSIGNED) == is_signed
    assert (found is DeviceTrust.VERIFIED) == (is_signed and owner is PersonTrust.VERIFIED)


def test_nobody_has_no_identity() -> None:
    assert of_person(None, None) is PersonTrust.NO_IDENTITY


@pytest.fixture
def pair(friends: tuple[Device, Device]) -> tuple[Device, Device]:
    """Alice, who writes to Bob; both have an identity that vouches for their device."""
    alice, bob = friends
    for device in friends:
        asyncio.run(device.cross_signing.keep_up())
    alice.knows(bob)
    bob.knows(alice)
    return alice, bob


def _read(reader: Device, event_id: str) -> EventTrust:
    found: EventTrust = reader.read(trust.of_event, reader.me, EventId(event_id))
    return found


def _receive(alice: Device, bob: Device, wire: Json | None = None) -> str:
    wire = wire or alice.seal("hello", BOTH)
    asyncio.run(alice.flush())
    bob.receive()
    return bob.sees(wire, alice)


def test_nothing_speaks_against_a_message_from_a_signed_device(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    event = _receive(alice, bob)
    assert bob.body(event) == "hello"
    assert (_read(bob, event), EventTrust.GOOD.words) == (EventTrust.GOOD, "")


def test_our_own_message_is_good(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    assert _read(alice, alice.sees(alice.seal("hello", BOTH), alice)) is EventTrust.GOOD


def test_a_message_that_is_not_open_says_nothing_of_its_sender(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    assert _read(bob, bob.sees(alice.seal("hello", BOTH), alice)) is EventTrust.SEALED
    assert _read(bob, "$nowhere") is EventTrust.SEALED


def test_a_device_that_its_owner_did_not_sign_is_told(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    assert _read(bob, _receive(alice, bob)) is EventTrust.UNSIGNED_DEVICE


def test_what_is_said_follows_when_the_owner_signs_the_device(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    event = _receive(alice, bob)
    asyncio.run(alice.cross_signing.keep_up())
    bob.knows(alice)
    assert _read(bob, event) is EventTrust.GOOD


@pytest.mark.parametrize(
    ("is_signed", "told"), [(True, EventTrust.GOOD), (False, EventTrust.UNLISTED_DEVICE)]
)
def test_a_device_that_is_gone_keeps_its_owners_word(
    friends: tuple[Device, Device], server: KeyServer, is_signed: bool, told: EventTrust
) -> None:
    alice, bob = friends
    if is_signed:
        asyncio.run(alice.cross_signing.keep_up())
        bob.knows(alice)
    event = _receive(alice, bob)
    del server.devices[alice.me.user_id][alice.me.device_id]
    bob.knows(alice)
    assert _read(bob, event) is told


def test_a_device_that_was_never_listed_is_known_by_the_keys_that_it_showed(
    alice: Device, bob: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    asyncio.run(alice.cross_signing.keep_up())
    bob.knows(alice)
    two = make_device("alice", "TWO")
    held = {
        name: alice.read(secrets.read, alice.state, name)
        for name in (secrets.MASTER, secrets.SELF_SIGNING, secrets.USER_SIGNING)
    }
    three = make_device("alice", "THREE")
    asyncio.run(three.cross_signing.adopt(held))
    sent = {}
    for device in (two, three):
        device.knows(bob)
        asyncio.run(device.keys.claim(device.devices(bob)))
        sent[device.me.device_id] = _receive(device, bob)
        del server.devices[alice.me.user_id][device.me.device_id]
    assert _read(bob, sent[DeviceId("TWO")]) is EventTrust.UNLISTED_DEVICE
    assert _read(bob, sent[DeviceId("THREE")]) is EventTrust.GOOD
    assert [device.device_id for device in bob.devices(alice)] == ["ONE"]
    bob.knows(alice)
    assert _read(bob, sent[DeviceId("THREE")]) is EventTrust.GOOD


def test_a_sender_whom_nobody_knows_is_told(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    event = _receive(alice, bob)
    bob.write(lambda txn: txn.execute("DELETE FROM device WHERE user_id = ?", (alice.me.user_id,)))
    assert _read(bob, event) is EventTrust.UNKNOWN_DEVICE


@pytest.mark.parametrize("source", ["import", "forward", "backup"])
def test_a_key_that_proves_no_sender_is_told(pair: tuple[Device, Device], source: str) -> None:
    alice, bob = pair
    event = _receive(alice, bob)
    bob.write(lambda txn: txn.execute("UPDATE megolm_inbound SET source = ?", (source,)))
    assert _read(bob, event) is EventTrust.UNSAFE_SOURCE


def test_a_violated_identity_is_told_with_every_message(
    pair: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = pair
    event = _receive(alice, bob)
    master = next(iter(server.identities[alice.me.user_id]["master"]["keys"].values()))
    asyncio.run(bob.cross_signing.confirm_person(alice.me.user_id, master))
    Identity.make(alice.me.user_id, 9).publish(server)
    bob.knows(alice)
    assert _read(bob, event) is EventTrust.CHANGED_IDENTITY


def test_a_message_in_clear_is_told_where_messages_are_encrypted(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    content = {"msgtype": "m.text", "body": "in clear"}

    def clear(event_id: str) -> None:
        raw = {"event_id": event_id, "sender": alice.me.user_id, "type": "m.room.message", "content": content}
        bob.write(events.put_event, raw | {"origin_server_ts": 1}, "!room:example.org", now_ms=1)

    clear("$before")
    assert _read(bob, "$before") is EventTrust.GOOD
    bob.is_in()
    assert _read(bob, "$before") is EventTrust.NOT_ENCRYPTED


@pytest.mark.parametrize(
    "what", [kind for kind in EventTrust if kind not in (EventTrust.GOOD, EventTrust.SEALED)]
)
def test_all_that_speaks_against_a_sender_has_words(what: EventTrust) -> None:
    assert what.words.endswith(".")
