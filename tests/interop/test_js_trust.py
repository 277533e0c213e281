"""What Tandem and matrix-js-sdk believe of each other's people and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tandem_demo.device import wait_for
from tandem_demo.synapse import SynapseServer
from tests.interop.peer import Peer, Person
from tests.interop.tandem import Tandem, tandem

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

UNVERIFIED_IDENTITY = 1
"""The SDK's reason to mark a message: all is well, but these people have not verified each other."""


@pytest.fixture(autouse=True)
def notifier_alone(alice: Tandem) -> None:
    alice.only("notifier")


def meet(alice: Tandem, person: Person) -> str:
    """A room in which both have said something, so that each follows the other one's devices."""
    room = alice.create(person.user_id)
    person.join(room)
    person.knows_members(room, alice.user_id)
    alice.say(room, "hello")
    person.message(room, "hello")
    return room


def is_signed(person: Person, alice: Tandem) -> bool:
    """Whether a person sees that Alice signed her device."""
    seen = person.do("trust", user=alice.user_id)
    return bool(seen["has_identity"] and seen["devices"].get(alice.device_id, {}).get("signed"))


@pytest.mark.complete
def test_tandems_device_is_signed_by_its_owner_in_their_eyes(alice: Tandem, bob: Person) -> None:
    meet(alice, bob)
    wait_for("alice's signature", lambda: is_signed(bob, alice), every_s=0.3)
    seen = bob.do("trust", user=alice.user_id)
    assert seen["devices"][alice.device_id] == {"signed": True, "verified": False}
    assert not seen["verified"]


@pytest.mark.complete
def test_their_device_is_signed_by_its_owner_in_tandems_eyes(alice: Tandem, bob: Person) -> None:
    meet(alice, bob)
    wait_for("bob's identity", lambda: alice.trusts(bob.user_id) == "seen")
    assert alice.trusts_device(bob.user_id, bob.device_id) == "signed_by_owner"


def test_a_client_that_excludes_unsigned_devices_reads_tandem_and_is_read(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    strict = peer.sign_up(synapse, "strict")
    room = meet(alice, strict)
    strict.do("isolation", only_signed=True)
    wait_for("alice's signature", lambda: is_signed(strict, alice), every_s=0.3)
    alice.say(room, "signed, as you like it")
    row = strict.message(room, "signed, as you like it")
    assert (row["shield"], row["shield_reason"]) in ((0, None), (1, UNVERIFIED_IDENTITY))
    strict.say(room, "so am I")
    alice.reads(room, "so am I")


@pytest.mark.complete
def test_they_notice_that_tandem_replaced_its_identity(
    synapse: SynapseServer, peer: Peer, tmp_path: Path
) -> None:
    bob = peer.sign_up(synapse, "bob")
    with tandem(synapse, tmp_path / "gerd", "gerd") as gerd:
        gerd.only("notifier")
        room = meet(gerd, bob)
        wait_for("his signature", lambda: is_signed(bob, gerd), every_s=0.3)
        gerd.ctl("identity", "reset", "--yes", "--password-file", "-", secret=f"{gerd.login[1]}\n")
        wait_for("their notice", lambda: bob.do("trust", user=gerd.user_id)["needs_approval"], every_s=0.3)
        bob.do("pin", user=gerd.user_id)
        wait_for("his new signature", lambda: is_signed(bob, gerd), every_s=0.3)
        gerd.say(room, "after")
        bob.message(room, "after")


@pytest.mark.complete
def test_tandem_notices_that_they_replaced_their_identity(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    bob = peer.sign_up(synapse, "bob")
    room = meet(alice, bob)
    wait_for("bob's identity", lambda: alice.trusts(bob.user_id) == "seen")
    bob.do("cross_sign", anew=True)
    wait_for("the notice", lambda: alice.trusts(bob.user_id) == "changed")
    # He was never verified: it is told, and the talk goes on.
    alice.say(room, "hello again")
    bob.message(room, "hello again")
    alice.ctl("identity", "accept", bob.user_id)
    assert alice.trusts(bob.user_id) == "seen"


@pytest.mark.complete
def test_their_unsigned_device_gets_no_key_and_is_told_why(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    bob = peer.sign_up(synapse, "bob")
    key = bob.do("set_up_recovery")
    tablet = peer.sign_in(synapse, bob.login, name="tablet")
    room = alice.create(bob.user_id)
    bob.join(room)
    alice.ctl("settings", "set", "encryption.exclude_unsigned", "on")
    kept_from_it = alice.say(room, "for signed devices")
    bob.message(room, "for signed devices")
    row = wait_for("the event on the tablet", lambda: unread(tablet, room, kept_from_it))
    assert row["why_not"] == "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
    tablet.do("recover", key=key)
    wait_for("the signature", lambda: alice.trusts_device(bob.user_id, tablet.device_id) == "signed_by_owner")
    alice.say(room, "for the tablet, too")
    tablet.message(room, "for the tablet, too")


def unread(person: Person, room: str, event_id: str) -> dict[str, Any] | None:
    """The row of an event that has come and cannot be read, once the reason is known."""
    rows = [row for row in person.messages(room) if row["event_id"] == event_id]
    return rows[0] if rows and "WITHHELD" in (rows[0]["why_not"] or "") else None


@pytest.mark.complete
def test_tandems_unsigned_device_gets_no_key_and_shows_why(
    synapse: SynapseServer, alice: Tandem, peer: Peer, tmp_path: Path
) -> None:
    strict = peer.sign_up(synapse, "strict")
    room = meet(alice, strict)
    strict.do("isolation", only_signed=True)
    wait_for("alice's signature", lambda: is_signed(strict, alice), every_s=0.3)
    with tandem(synapse, tmp_path / "tablet", "tablet", alice.login) as tablet:
        tablet.only("notifier")
        wait_for("the tablet", lambda: tablet.device_id in strict.do("trust", user=alice.user_id)["devices"])
        event_id = strict.say(room, "for signed devices")
        alice.reads(room, "for signed devices")
        wait_for("the reason", lambda: (event_id, "withheld:m.unverified") in tablet.sealed(room))
