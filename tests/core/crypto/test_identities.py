"""Identities as servers show them: read, checked, pinned; what is hidden, swapped or forged gains nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.crypto import trust
from tandem_core.crypto.trust import DeviceTrust, PersonTrust
from tandem_core.receipts import facts
from tandem_core.store import identities, session
from tandem_core.types import DeviceId
from tests.core.crypto.identity_kit import Identity, key_object
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import ROOM, Device

ALICE, BOB = 1, 2
ONE = DeviceId("ONE")


@pytest.fixture
def bobs(bob: Device, server: KeyServer) -> Identity:
    """Bob has an identity, and it vouches for his device."""
    made = Identity.make(bob.me.user_id, BOB)
    made.publish(server)
    made.sign_device(server, bob.me.device_id)
    return made


@pytest.fixture
def alices(alice: Device, server: KeyServer) -> Identity:
    """Alice has an identity, too, which her device has confirmed."""
    made = Identity.make(alice.me.user_id, ALICE)
    made.publish(server)
    made.sign_device(server, alice.me.device_id)
    alice.knows()
    assert alice.write(identities.confirm_own, alice.me.user_id, made.master.public)
    return made


def _person(device: Device, other: Device) -> PersonTrust:
    found: PersonTrust = device.read(trust.person, device.me, other.me.user_id)
    return found


def _device(device: Device, other: Device) -> DeviceTrust:
    found: DeviceTrust = device.read(trust.device, device.me, other.me.user_id, other.me.device_id)
    return found


def test_a_person_without_identity_has_none_and_unsigned_devices(alice: Device, bob: Device) -> None:
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.NO_IDENTITY
    assert _device(alice, bob) is DeviceTrust.UNSIGNED


def test_an_identity_is_pinned_when_it_is_first_seen(alice: Device, bob: Device, bobs: Identity) -> None:
    alice.knows(bob)
    found = alice.read(identities.identity, bob.me.user_id)
    assert (found.master, found.pinned, found.self_signing, found.user_signing) == (
        bobs.master.public,
        bobs.master.public,
        bobs.self_signing.public,
        None,
    )
    assert _person(alice, bob) is PersonTrust.SEEN
    assert _device(alice, bob) is DeviceTrust.SIGNED_BY_OWNER


def test_a_device_that_its_owner_did_not_sign_is_told_apart(
    alice: Device, bob: Device, bobs: Identity, make_device: Callable[..., Device]
) -> None:
    two = make_device("bob", "TWO")
    alice.knows(bob)
    assert (_device(alice, bob), _device(alice, two)) == (
        DeviceTrust.SIGNED_BY_OWNER,
        DeviceTrust.UNSIGNED,
    )


def test_our_signature_on_a_persons_key_verifies_them_and_their_signed_devices(
    alice: Device,
    bob: Device,
    alices: Identity,
    bobs: Identity,
    server: KeyServer,
    make_device: Callable[..., Device],
) -> None:
    two = make_device("bob", "TWO")
    alices.sign_person(server, bobs)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.VERIFIED
    assert (_device(alice, bob), _device(alice, two)) == (DeviceTrust.VERIFIED, DeviceTrust.UNSIGNED)


def test_a_signature_counts_once_our_own_identity_is_confirmed_whichever_comes_first(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer
) -> None:
    own = Identity.make(alice.me.user_id, ALICE)
    own.sign_person(server, bobs)
    alice.knows(bob)
    own.publish(server)
    alice.knows()
    assert _person(alice, bob) is PersonTrust.SEEN
    alice.write(identities.confirm_own, alice.me.user_id, own.master.public)
    assert _person(alice, bob) is PersonTrust.VERIFIED
    assert alice.read(identities.identity, bob.me.user_id).verified_master == bobs.master.public


def test_our_own_identity_is_believed_if_this_device_signed_it(alice: Device, server: KeyServer) -> None:
    own = Identity.make(alice.me.user_id, ALICE)
    own.publish(server)
    alice.knows()
    assert _person(alice, alice) is PersonTrust.SEEN
    signed = alice.write(alice.state.sign, server.identities[alice.me.user_id]["master"])
    server.identities[alice.me.user_id]["master"] = signed
    alice.knows()
    assert _person(alice, alice) is PersonTrust.VERIFIED


def test_a_swapped_identity_of_somebody_seen_is_a_change_that_can_be_accepted(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer
) -> None:
    alice.knows(bob)
    other = Identity.make(bob.me.user_id, 9)
    other.publish(server)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.CHANGED
    assert _device(alice, bob) is DeviceTrust.UNSIGNED
    (notice,) = alice.read(trust.notices, alice.me)
    assert (notice.user_id, notice.trust, notice.at) == (
        bob.me.user_id,
        PersonTrust.CHANGED,
        alice.clock.now_ms(),
    )
    assert alice.write(identities.accept, bob.me.user_id)
    assert _person(alice, bob) is PersonTrust.SEEN
    bobs.publish(server)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.CHANGED


def test_a_swapped_identity_of_somebody_verified_is_a_violation_until_the_old_one_is_back(
    alice: Device, bob: Device, alices: Identity, bobs: Identity, server: KeyServer
) -> None:
    alices.sign_person(server, bobs)
    alice.knows(bob)
    Identity.make(bob.me.user_id, 9).publish(server)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.VIOLATED
    assert [notice.trust for notice in alice.read(trust.notices, alice.me)] == [PersonTrust.VIOLATED]
    bobs.publish(server)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.VERIFIED
    assert alice.read(trust.notices, alice.me) == []


def test_a_violation_ends_when_it_is_accepted_or_the_new_identity_is_verified(
    alice: Device, bob: Device, alices: Identity, bobs: Identity, server: KeyServer
) -> None:
    alices.sign_person(server, bobs)
    alice.knows(bob)
    other = Identity.make(bob.me.user_id, 9)
    other.publish(server)
    alice.knows(bob)
    alice.write(identities.accept, bob.me.user_id)
    assert _person(alice, bob) is PersonTrust.SEEN
    alices.sign_person(server, other)
    alice.knows(bob)
    assert _person(alice, bob) is PersonTrust.VERIFIED


def test_an_identity_that_the_server_hides_stays_known(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer, make_device: Callable[..., Device]
) -> None:
    alice.knows(bob)
    del server.identities[bob.me.user_id]
    two = make_device("bob", "TWO")
    alice.knows(bob)
    found = alice.read(identities.identity, bob.me.user_id)
    assert (found.master, found.is_hidden) == (bobs.master.public, True)
    assert _person(alice, bob) is PersonTrust.SEEN
    assert (_device(alice, bob), _device(alice, two)) == (
        DeviceTrust.SIGNED_BY_OWNER,
        DeviceTrust.UNSIGNED,
    )
    bobs.publish(server)
    alice.knows(bob)
    assert not alice.read(identities.identity, bob.me.user_id).is_hidden


def test_a_self_signing_key_that_the_server_hides_stays_known(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer
) -> None:
    alice.knows(bob)
    del server.identities[bob.me.user_id]["self_signing"]
    alice.knows(bob)
    assert alice.read(identities.identity, bob.me.user_id).self_signing == bobs.self_signing.public


def test_a_new_device_under_an_old_name_does_not_inherit_the_signature(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer, make_device: Callable[..., Device]
) -> None:
    alice.knows(bob)
    kept = server.devices[bob.me.user_id].pop(ONE)
    alice.knows(bob)
    other = make_device("mallory")
    other.state.me = bob.me
    server.devices[bob.me.user_id][ONE] = other.write(other.state.device_keys)
    alice.knows(bob)
    assert _device(alice, bob) is DeviceTrust.UNSIGNED
    assert alice.devices(bob)[0].ed25519 != kept["keys"]["ed25519:ONE"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: keys.update(master="no object"),
        lambda keys: keys["master"].update(user_id="@mallory:example.org"),
        lambda keys: keys["master"].update(usage=["self_signing"]),
        lambda keys: keys["master"].update(usage=["master", "self_signing"]),
        lambda keys: keys["master"].update(usage=None),
        lambda keys: keys["master"].update(keys={}),
        lambda keys: keys["master"].update(keys=["ed25519:A"]),
        lambda keys: keys["master"]["keys"].update({"ed25519:B": "B"}),
        lambda keys: keys["master"].update(keys={"ed25519:!!": "!!"}),
        lambda keys: keys["master"].update(keys={"ed25519:" + "é" * 43: "é" * 43}),
        lambda keys: keys["master"].update(keys={"ed25519:A": 7}),
        lambda keys: keys["master"].update(keys={"ed25519:" + "A" * 44: "A" * 44}),
        lambda keys: keys["master"].update(filling="x" * 70_000),
    ],
)
def test_a_master_key_that_is_not_sound_counts_as_left_out(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer, spoil: Callable[[Any], None]
) -> None:
    alice.knows(bob)
    sound = copy.deepcopy(server.identities[bob.me.user_id])
    server.signatures.clear()
    spoiled = copy.deepcopy(sound)
    spoil(spoiled)
    server.serve_raw = {bob.me.user_id: spoiled}
    alice.knows(bob)
    found = alice.read(identities.identity, bob.me.user_id)
    assert (found.master, found.is_hidden) == (bobs.master.public, True)
    assert _device(alice, bob) is DeviceTrust.SIGNED_BY_OWNER


def test_a_self_signing_key_without_the_masters_signature_vouches_for_nothing(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    made = Identity.make(bob.me.user_id, BOB)
    made.publish(server)
    forged = Identity.make(bob.me.user_id, 9)
    server.identities[bob.me.user_id]["self_signing"] = forged.objects()["self_signing"]
    forged.sign_device(server, bob.me.device_id)
    alice.knows(bob)
    assert alice.read(identities.identity, bob.me.user_id).self_signing is None
    assert _device(alice, bob) is DeviceTrust.UNSIGNED


def test_one_key_in_two_roles_is_not_taken(alice: Device, bob: Device, server: KeyServer) -> None:
    made = Identity.make(bob.me.user_id, BOB)
    made.publish(server)
    same = made.master.sign(key_object(bob.me.user_id, "self_signing", made.master), bob.me.user_id)
    server.identities[bob.me.user_id]["self_signing"] = same
    alice.knows(bob)
    assert alice.read(identities.identity, bob.me.user_id).self_signing is None


def test_a_device_named_like_its_owners_key_is_no_device(
    alice: Device, bobs: Identity, make_device: Callable[..., Device], bob: Device
) -> None:
    make_device("bob", bobs.self_signing.public)
    alice.knows(bob)
    assert [device.device_id for device in alice.devices(bob)] == [ONE]


def test_nobody_elses_user_signing_key_is_kept(
    alice: Device, bob: Device, bobs: Identity, server: KeyServer
) -> None:
    server.serve_raw = {bob.me.user_id: server.identities[bob.me.user_id]}
    alice.knows(bob)
    assert alice.read(identities.identity, bob.me.user_id).user_signing is None


def test_a_new_device_keeps_the_pins_and_confirms_its_owner_anew(
    alice: Device, bob: Device, alices: Identity, bobs: Identity, server: KeyServer
) -> None:
    alices.sign_person(server, bobs)
    alice.knows(bob)
    alice.write(session.become_new_device)
    assert (_person(alice, alice), _person(alice, bob)) == (PersonTrust.SEEN, PersonTrust.SEEN)
    alice.write(identities.confirm_own, alice.me.user_id, alices.master.public)
    assert _person(alice, bob) is PersonTrust.VERIFIED


def test_receipts_see_who_is_verified(
    alice: Device, bob: Device, alices: Identity, bobs: Identity, server: KeyServer
) -> None:
    alice.knows(bob)
    assert not alice.read(facts.sender_facts, alice.me, ROOM, bob.me.user_id).verified
    alices.sign_person(server, bobs)
    alice.knows(bob)
    assert alice.read(facts.sender_facts, alice.me, ROOM, bob.me.user_id).verified
