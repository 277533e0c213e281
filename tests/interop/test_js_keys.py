"""When keys change, run out or are lost between Tandem and matrix-js-sdk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tandem_demo.device import wait_for
from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.interop.peer import Peer, Person
from tests.interop.tandem import Tandem, tandem

pytestmark = [pytest.mark.synapse, pytest.mark.slow]


@pytest.fixture(autouse=True)
def notifier_alone(alice: Tandem) -> None:
    """Everything here is done with the window closed."""
    alice.only("notifier")


@pytest.fixture
def thief(synapse: SynapseServer) -> RawClient:
    """Somebody who takes other people's one-time keys."""
    user, password = new_user(synapse, "thief")
    return RawClient(synapse.base_url).login(user, password)


def take_all_keys(thief: RawClient, user_id: str, device_id: str) -> int:
    """Claim a device's one-time keys until only the fallback key is left; returns how many there were."""
    wish = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    for count in range(200):
        answer = thief.ok("POST", f"{CLIENT}/keys/claim", wish)
        (key,) = answer["one_time_keys"][user_id][device_id].values()
        if key.get("fallback"):
            return count
    raise AssertionError("there is no end of one-time keys")


def room_of(alice: Tandem, *people: Person) -> str:
    """A room of Alice's in which all know of all."""
    room = alice.create(*(person.user_id for person in people))
    for person in people:
        person.join(room)
    for person in people:
        person.knows_members(room, alice.user_id, *(other.user_id for other in people))
    return room


def session(person: Person, room: str, body: str) -> str:
    return str(person.message(room, body)["session"])


def unread(person: Person, room: str, event_id: str) -> dict[str, Any] | None:
    """The row of an event that has come and cannot be read."""
    rows = [row for row in person.messages(room) if row["event_id"] == event_id]
    return rows[0] if rows and rows[0]["why_not"] else None


def test_both_begin_a_new_session_when_somebody_leaves(
    synapse: SynapseServer, alice: Tandem, bob: Person, peer: Peer
) -> None:
    carol = peer.sign_up(synapse, "carol")
    room = room_of(alice, bob, carol)
    alice.say(room, "alice, with carol")
    bob.say(room, "bob, with carol")
    for body in ("alice, with carol", "bob, with carol"):
        carol.message(room, body)
    alice.reads(room, "bob, with carol")
    carol.do("leave", room=room)
    gone = "SELECT 1 FROM member WHERE room_id = ? AND user_id = ? AND membership = 'leave'"
    wait_for("carol's leaving at alice", lambda: alice.device.ask(gone, (room, carol.user_id)))
    wait_for("carol's leaving at bob", lambda: carol.user_id not in bob.do("members", room=room))
    kept_from_her = alice.say(room, "alice, without carol")
    bob.say(room, "bob, without carol")
    alice.reads(room, "bob, without carol")
    assert session(bob, room, "alice, with carol") != session(bob, room, "alice, without carol")
    assert alice.session_of("bob, with carol") != alice.session_of("bob, without carol")
    # She comes back, and the server gives her what was said meanwhile; its key she never gets.
    alice.ctl("invite", room, carol.user_id)
    carol.join(room)
    wait_for("what carol missed", lambda: unread(carol, room, kept_from_her))
    alice.say(room, "carol is back")
    carol.message(room, "carol is back")
    assert unread(carol, room, kept_from_her)


def test_tandem_begins_a_new_session_when_a_device_of_theirs_signs_out(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    bob = peer.sign_up(synapse, "bob")
    key = bob.do("set_up_recovery", backup=False)
    tablet = peer.sign_in(synapse, bob.login, name="tablet")
    tablet.do("recover", key=key)
    room = room_of(alice, bob)
    alice.say(room, "to both")
    tablet.message(room, "to both")
    tablet.do("logout")
    alice.misses_device(bob.user_id, tablet.device_id)
    alice.say(room, "to one")
    assert session(bob, room, "to both") != session(bob, room, "to one")


@pytest.mark.complete
def test_they_begin_a_new_session_when_a_device_of_tandems_signs_out(
    synapse: SynapseServer, alice: Tandem, bob: Person, tmp_path: Path
) -> None:
    room = room_of(alice, bob)
    with tandem(synapse, tmp_path / "tablet", "tablet", alice.login) as tablet:
        wait_for("the tablet at bob", lambda: tablet.device_id in devices(bob, alice.user_id))
        bob.say(room, "to her two")
        tablet.only("notifier")
        tablet.reads(room, "to her two")
        alice.reads(room, "to her two")
        tablet.ctl("logout")
    wait_for("the tablet gone at bob", lambda: tablet.device_id not in devices(bob, alice.user_id))
    bob.say(room, "to her one")
    alice.reads(room, "to her one")
    assert alice.session_of("to her two") != alice.session_of("to her one")


def devices(person: Person, user_id: str) -> set[str]:
    return set(person.do("trust", user=user_id)["devices"])


def test_tandems_fallback_key_serves_when_its_one_time_keys_ran_out(
    synapse: SynapseServer, alice: Tandem, peer: Peer, thief: RawClient
) -> None:
    people = [peer.sign_up(synapse, name) for name in ("dave", "erin")]
    alice.only()
    assert take_all_keys(thief, alice.user_id, alice.device_id) > 10
    rooms = [person.create(alice.user_id) for person in people]
    for person, room in zip(people, rooms, strict=True):
        alice.raw.join(room)
        person.knows_members(room, alice.user_id)
        person.say(room, f"by the fallback key, {person.user_id}")
    alice.start("notifier")
    for person, room in zip(people, rooms, strict=True):
        alice.reads(room, f"by the fallback key, {person.user_id}")
        alice.say(room, "read")
        person.message(room, "read")


@pytest.mark.complete
def test_their_fallback_key_serves_when_their_one_time_keys_ran_out(
    synapse: SynapseServer, alice: Tandem, peer: Peer, thief: RawClient
) -> None:
    bob = peer.sign_in(synapse, new_user(synapse, "bob"), kept=True)
    bob.do("cross_sign")
    room = alice.create(bob.user_id)
    bob.join(room)
    bob.do("pause")
    take_all_keys(thief, bob.user_id, bob.device_id)
    alice.say(room, "to one who is away")
    bob.do("resume")
    bob.message(room, "to one who is away")
    bob.say(room, "back")
    alice.reads(room, "back")


def test_tandem_mends_its_side_after_it_lost_its_olm_sessions(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    bob = peer.sign_up(synapse, "bob")
    room = room_of(alice, bob)
    bob.say(room, "before")
    alice.reads(room, "before")
    alice.say(room, "answered")  # so that Bob knows that his session is in use
    bob.message(room, "answered")
    alice.only()
    theirs = "sender_key IN (SELECT curve25519 FROM device WHERE user_id = ?)"
    alice.change(lambda txn: txn.execute(f"DELETE FROM olm_session WHERE {theirs}", (bob.user_id,)))
    alice.start("notifier")
    bob.do("discard", room=room)
    lost = bob.say(room, "with a key that she cannot get")
    wait_for("a reason for it", lambda: lost in dict(alice.sealed(room)))
    wait_for(
        "a new Olm session",
        lambda: alice.device.ask(f"SELECT 1 FROM olm_session WHERE {theirs}", (bob.user_id,)),
    )
    wait_until_readable(bob, alice, room)
    alice.say(room, "mended")
    bob.message(room, "mended")


def wait_until_readable(bob: Person, alice: Tandem, room: str) -> None:
    """Bob writes until Alice reads him again: his client goes over to the new session when it has heard of it."""
    said: list[str] = []

    def look() -> bool:
        said.append(f"attempt {len(said)}")
        bob.say(room, said[-1])
        return bool(set(said) & set(alice.bodies(room, "notifier")))

    wait_for("words that alice reads", look, every_s=0.5, within_s=30)
    alice_reads_all_after(bob, alice, room)


def alice_reads_all_after(bob: Person, alice: Tandem, room: str) -> None:
    """From the first one that she reads, she reads every one."""
    bob.say(room, "the last one")
    alice.reads(room, "the last one")
    theirs = [str(body) for body in bob.bodies(room)]
    hers = alice.bodies(room, "notifier")
    first = next(body for body in theirs if body.startswith("attempt") and body in hers)
    assert hers[hers.index(first) :] == theirs[theirs.index(first) :]


@pytest.mark.complete
def test_they_mend_their_side_after_they_lost_their_olm_sessions(
    synapse: SynapseServer, alice: Tandem, peer: Peer
) -> None:
    bob = peer.sign_up(synapse, "bob", kept=True)
    room = room_of(alice, bob)
    alice.say(room, "before")
    bob.message(room, "before")
    bob.say(room, "answered")
    alice.reads(room, "answered")
    assert bob.do("lose_sessions") > 0
    alice.new_key(room)
    lost = alice.say(room, "with a key that he cannot get")
    assert wait_for("a reason for it", lambda: unread(bob, room, lost))["why_not"]
    # With no session left his client mends nothing by itself; his next key goes over a new one, and hers follows.
    bob.do("discard", room=room)
    bob.say(room, "with a new key of his")
    alice.reads(room, "with a new key of his")
    session = alice.session_of("with a key that he cannot get")
    alice.say(room, "with hers again")
    assert bob.message(room, "with hers again")["session"] == session
