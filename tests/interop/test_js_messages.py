"""Encrypted messages between Tandem and matrix-js-sdk, whichever programs run, and while they are killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tandem_demo.device import wait_for
from tandem_demo.synapse import SynapseServer
from tests.interop.peer import Peer, Person
from tests.interop.tandem import LINKS, Tandem, tandem

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

NOTIFIER_ALONE = ("notifier",)
BOTH = ("app", "notifier")
WINDOW_ALONE = pytest.param(("app",), marks=pytest.mark.complete)


@pytest.mark.parametrize("links", [NOTIFIER_ALONE, BOTH, WINDOW_ALONE], ids="+".join)
def test_a_conversation_is_read_on_both_sides(alice: Tandem, bob: Person, links: tuple[str, ...]) -> None:
    alice.only(*links)
    begun_by_alice = alice.create(bob.user_id)
    bob.join(begun_by_alice)
    begun_by_bob = bob.create(alice.user_id)
    alice.accept(begun_by_bob)
    for room in (begun_by_alice, begun_by_bob):
        bob.knows_members(room, alice.user_id)
        said = []
        for number in range(2):
            said += [f"Tandem {number} {room}", f"js {number} {room}"]
            alice.say(room, said[-2])
            row = bob.message(room, said[-2])
            assert (row["encrypted"], row["sender"]) == (True, alice.user_id)
            bob.say(room, said[-1])
            alice.reads(room, *said)
        assert bob.bodies(room) == said
        for link in links:
            assert alice.bodies(room, link) == said
        assert alice.sealed(room) == []


@pytest.mark.complete
def test_what_comes_while_nothing_runs_is_read_afterwards(alice: Tandem, bob: Person) -> None:
    alice.only("notifier")
    room = alice.create(bob.user_id)
    bob.join(room)
    alice.say(room, "before")
    bob.message(room, "before")
    alice.only()
    said = [f"while away {number}" for number in range(3)]
    for body in said:
        bob.do("discard", room=room)
        bob.say(room, body)
    alice.start("notifier")
    alice.reads(room, *said)
    assert alice.bodies(room, "notifier") == ["before", *said]


@pytest.mark.complete
def test_words_of_every_script_arrive_whole(alice: Tandem, bob: Person) -> None:
    alice.only("notifier")
    room = bob.create(alice.user_id)
    alice.accept(room)
    bob.knows_members(room, alice.user_id)
    words = 'first *line* <b>&amp;</b> ünï 日本語 שלום 🎉 \\ "quoted"\nsecond line\u2028third ' + "x" * 9000
    alice.say(room, words)
    bob.message(room, words)
    bob.say(room, f"back: {words}")
    alice.reads(room, f"back: {words}")


@pytest.mark.complete
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_at_random_points_leave_the_history_complete_on_both_sides(
    synapse: SynapseServer, peer: Peer, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with tandem(synapse, tmp_path / "alice", f"alice-{seed}") as alice:
        bob = peer.sign_up(synapse, "bob")
        alice.only(*LINKS)
        rooms = [alice.create(bob.user_id) for _ in range(2)]
        for room in rooms:
            bob.join(room)
            bob.knows_members(room, alice.user_id)
        said: dict[str, list[str]] = {room: [] for room in rooms}
        kills = dict.fromkeys(LINKS, 0)
        for number in range(60):
            room = rng.choice(rooms)
            body = f"line {number} {rng.getrandbits(32):08x}"
            said[room].append(body)
            if rng.random() < 0.5:
                if rng.random() < 0.3:
                    bob.do("discard", room=room)
                bob.say(room, body)
            else:
                if rng.random() < 0.3:
                    alice.new_key(room)
                alice.queue(room, body)
            time.sleep(rng.uniform(0.0, 0.2))
            if number % 8 == 5:
                link = rng.choice(LINKS)
                if link in alice.running():
                    alice.kill(link)
                    kills[link] += 1
            elif number % 8 == 1:
                for link in LINKS:
                    alice.start(link)
        for link in LINKS:
            alice.start(link)
        assert sum(kills.values()) >= 4
        for room in rooms:
            alice.reads(room, *said[room], within_s=120)
            wait_for(
                "everything at bob",
                lambda room=room: set(said[room]) <= set(bob.bodies(room)),
                within_s=120,
                every_s=0.5,
            )
            for seen in (bob.bodies(room), *(alice.bodies(room, link) for link in LINKS)):
                assert sorted(map(str, seen)) == sorted(said[room])
            assert alice.sealed(room) == []
