"""Five thousand hostile receipts, over each way: none is believed, none is answered, and they take up little.

Generated with a fixed seed, from true ones: what would be believed is spoiled in one way or another. That the same
rig believes what is true afterwards shows that nothing was shut for another reason.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.receipts import encrypted_body, encrypted_inbound, inbound, proof, validate
from tandem_core.receipts.encrypted_body import RECEIPT, SYNC, Confirmed, Passed
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, RoomId, UserId
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import befriend, heard, reads, token, writes
from tests.core.crypto.world import ROOM, Device, StillClock

COUNT = 5_400
_AT_ONCE = 60
_STEP_MS = 4_000
"""Slow enough for no device to be shut out for its pace."""


class Cast:
    """Alice, who wrote; Bob and Carol, who are in the room; a tablet of Bob's without the key; Mallory in no room."""

    def __init__(self, alice: Device, bob: Device, make: Callable[..., Device]) -> None:
        self.alice, self.bob = alice, bob
        self._tokens: dict[str, bytes] = {}
        self.carol, self.mallory = make("carol"), make("mallory")
        befriend(alice, bob, self.carol, is_dm=False)
        self.events = [writes(alice, f"line {number}") for number in range(4)]
        for reader in (bob, self.carol):
            for event_id in self.events:
                reads(reader, event_id)
        self.theirs = writes(bob, "Bob's own")
        reads(alice, self.theirs)
        # Whoever comes now has none of the keys.
        self.tablet, self.laptop = make("bob", "TABLET"), make("alice", "LAPTOP")
        alice.knows(bob, self.carol, self.mallory, self.tablet, self.laptop)

    def token(self, event_id: str) -> bytes:
        if event_id not in self._tokens:
            self._tokens[event_id] = token(self.alice, event_id)
        return self._tokens[event_id]

    def key(self, device: Device) -> str:
        return str(device.keys_of()[f"curve25519:{device.me.device_id}"])


class Forger:
    """Makes receipts that must not be believed, and says how each is spoiled."""

    def __init__(self, cast: Cast, rng: random.Random) -> None:
        self.cast = cast
        self.rng = rng
        self.made: Counter[str] = Counter()

    def next(self) -> Callable[[Transaction, int], int]:
        """A hostile receipt, as what it does to the author's store when it comes in."""
        kind = self.rng.choice(
            [
                "token",
                "who",
                "room",
                "event",
                "proof",
                "shape",
                "size",
                "scope",
                "sync",
                "server",
                "durable",
                "other",
            ]
        )
        self.made[kind] += 1
        return getattr(self, f"_{kind}")()  # type: ignore[no-any-return]

    def _body(
        self, writer: Device, event_id: str, *, tok: bytes | None = None, room: str = ROOM, named: str = ""
    ) -> Json:
        token = self.cast.token(event_id) if tok is None else tok
        said = proof.prove(token, event_id, writer.me.user_id, named)
        one = Confirmed(RoomId(room), EventId(event_id), said)
        [body] = encrypted_body.build([one], shares_device=bool(named), now_ms=writer.clock.now_ms())
        return body

    def _comes(self, writer: Device, body: Any, kind: str = RECEIPT) -> Callable[[Transaction, int], int]:
        key, sender, me = self.cast.key(writer), writer.me.user_id, self.cast.alice.me
        content = json.loads(json.dumps(body))
        return lambda txn, now_ms: encrypted_inbound.take(txn, me, sender, key, kind, content, now_ms)

    def _event_id(self) -> str:
        return self.rng.choice(self.cast.events)

    def _insider(self) -> Device:
        return self.rng.choice([self.cast.bob, self.cast.carol])

    def _token(self) -> Callable[[Transaction, int], int]:
        """Not decrypted: the token is guessed, or is that of another message."""
        event_id = self._event_id()
        others = [self.cast.token(other) for other in self.cast.events if other != event_id]
        tok = self.rng.choice([self.rng.randbytes(16), bytes(16), *others])
        return self._comes(self._insider(), self._body(self._insider(), event_id, tok=tok))

    def _who(self) -> Callable[[Transaction, int], int]:
        """Somebody who did not get the key from us writes, though with the right token."""
        event_id = self._event_id()
        writer = self.rng.choice([self.cast.tablet, self.cast.mallory, self.cast.laptop])
        named = self.rng.choice(["", writer.me.device_id])
        return self._comes(writer, self._body(writer, event_id, named=named))

    def _room(self) -> Callable[[Transaction, int], int]:
        """The right event in another room."""
        writer = self._insider()
        return self._comes(
            writer, self._body(writer, self._event_id(), room=f"!r{self.rng.random()}:example.org")
        )

    def _event(self) -> Callable[[Transaction, int], int]:
        """An event that is unknown, or somebody else's."""
        writer = self._insider()
        event_id = self.rng.choice([f"$unknown{self.rng.random()}", self.cast.theirs])
        return self._comes(writer, self._body(writer, event_id, tok=self.cast.token(self.cast.events[0])))

    def _proof(self) -> Callable[[Transaction, int], int]:
        """A proof that was changed, made for another person, event or device, or is no proof."""
        writer, event_id = self._insider(), self._event_id()
        body = self._body(writer, event_id)
        entry = body["rooms"][ROOM]["ok"][0]
        other = self.cast.carol if writer is self.cast.bob else self.cast.bob
        token = self.cast.token(event_id)
        entry[1] = self.rng.choice(
            [
                _flipped(entry[1], self.rng),
                proof.prove(token, event_id, other.me.user_id, ""),
                proof.prove(token, event_id, writer.me.user_id, writer.me.device_id),
                proof.prove(token, event_id + "x", writer.me.user_id, ""),
                proof.prove(token, event_id, self.cast.alice.me.user_id, ""),
                entry[1].lower() if entry[1] != entry[1].lower() else entry[1].upper(),
                "",
                None,
                entry[1] + "=",
                [entry[1]],
            ]
        )
        return self._comes(writer, body)

    def _shape(self) -> Callable[[Transaction, int], int]:
        """A true receipt with something in it that is not as it must be."""
        writer = self._insider()
        body = self._body(writer, self._event_id())
        junk = self.rng.choice([None, True, -1, 2.5, 2**60, "", "x", [], {}, [[]], {"": {}}])
        part = self.rng.choice(["v", "batch", "scope", "ts", "rooms", "failed", "room", "ok", "entry"])
        match part:
            case "room":
                body["rooms"] = {ROOM: junk if junk != {} else 7}
            case "ok":
                body["rooms"][ROOM]["ok"] = junk if junk != [] else {}
            case "entry":
                body["rooms"][ROOM]["ok"] = [junk]
            case "batch" if junk == "x":
                body["batch"] = "x" * 65
            case "failed" if junk == []:
                body["failed"] = [{}] * 9
            case "failed" if junk is None:
                body["failed"] = {"a": 1}
            case "rooms" if junk == {}:
                body["rooms"] = {"nonsense": body["rooms"][ROOM]}
            case _:
                body[part] = junk
        return self._comes(writer, body)

    def _size(self) -> Callable[[Transaction, int], int]:
        """Too many, or too much."""
        writer = self._insider()
        body = self._body(writer, self._event_id())
        entry = body["rooms"][ROOM]["ok"][0]
        match self.rng.randrange(3):
            case 0:
                body["rooms"][ROOM]["ok"] = [entry] * self.rng.randrange(65, 80)
            case 1:
                body["rooms"][ROOM]["again"] = [entry] * self.rng.randrange(33, 50)
            case _:
                body["pad"] = "0" * self.rng.randrange(8_200, 60_000)
        return self._comes(writer, body)

    def _scope(self) -> Callable[[Transaction, int], int]:
        """The device is told without being proven, or another one is proven."""
        writer, event_id = self._insider(), self._event_id()
        body = self._body(writer, event_id, named=self.rng.choice(["", "GHOST", "TABLET"]))
        body["scope"] = "device"
        return self._comes(writer, body)

    def _sync(self) -> Callable[[Transaction, int], int]:
        """Passed on by a device that is not ours, or by one of ours without a proof."""
        event_id = self._event_id()
        who = self._insider().me.user_id
        said = proof.prove(self.cast.token(event_id), event_id, who, "")
        if self.rng.random() < 0.5:
            writer = self._insider()
        else:
            writer, said = self.cast.laptop, _flipped(said, self.rng)
        [body] = encrypted_body.build_sync([Passed(ROOM, EventId(event_id), who, "", 1, said)])
        return self._comes(writer, body, SYNC)

    def _server(self) -> Callable[[Transaction, int], int]:
        """The server's way: strangers, ourselves, other rooms and events, times and shapes that make no sense."""
        event_id, now_ms = self._event_id(), self.cast.alice.clock.now_ms()
        name = self.rng.choice(["m.delivery", "org.matrix.msc4089.delivery"])
        bob, me = self.cast.bob.me.user_id, self.cast.alice.me.user_id
        good: Json = {"ts": now_ms}
        room: str = ROOM
        match self.rng.randrange(7):
            case 0:
                content: Any = {event_id: {name: {self.cast.mallory.me.user_id: good}}}
            case 1:
                content = {event_id: {name: {me: good}}}
            case 2:
                content, room = {event_id: {name: {bob: good}}}, "!other:example.org"
            case 3:
                content = {self.cast.theirs: {name: {self.cast.carol.me.user_id: good}}}
            case 4:
                bad = self.rng.choice([None, "soon", -1, 2**60, True, 1.5, [], {}])
                content = {event_id: {name: {bob: {"ts": bad}}}}
            case 5:
                content = {
                    event_id: {self.rng.choice(["m.read", "m.deliver", "M.DELIVERY", ""]): {bob: good}}
                }
            case _:
                content = self.rng.choice(
                    [
                        None,
                        [],
                        7,
                        {event_id: None},
                        {event_id: {name: [bob]}},
                        {event_id: {name: {"bob": good}}},
                    ]
                )
        alice = self.cast.alice.me
        return lambda txn, at_ms: inbound.accept(txn, alice, RoomId(room), copy.deepcopy(content), at_ms)

    def _durable(self) -> Callable[[Transaction, int], int]:
        """Kept for us by somebody who is not our server."""
        event_id = self._event_id()
        word = {event_id: {"m.delivery": {self.cast.bob.me.user_id: {"ts": 1}}}}
        sender = self.rng.choice(
            ["@bob:example.org", "@:evil.example", "@", "@server:example.org", "@:example.org:8448"]
        )
        alice = self.cast.alice.me

        def come(txn: Transaction, now_ms: int) -> int:
            said = inbound.take_durable(txn, alice, UserId(sender), {"rooms": {ROOM: word}}, now_ms)
            assert said is not None
            return 0

        return come

    def _other(self) -> Callable[[Transaction, int], int]:
        """A device that nobody knows, with everything else as it must be."""
        bob = self.cast.bob
        body, key = self._body(bob, self._event_id()), f"key{self.rng.random()}"
        me = self.cast.alice.me
        return lambda txn, now_ms: encrypted_inbound.take(txn, me, bob.me.user_id, key, RECEIPT, body, now_ms)


def _flipped(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) - 1)  # the last letter holds fewer bits
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@pytest.fixture
def cast(alice: Device, bob: Device, make_device: Callable[..., Device]) -> Cast:
    return Cast(alice, bob, make_device)


def test_of_thousands_of_hostile_receipts_none_is_believed_and_none_answered(
    cast: Cast, server: KeyServer, clock: StillClock
) -> None:
    alice, rng = cast.alice, random.Random(4089)
    forger = Forger(cast, rng)
    before = {
        table: alice.one(f"SELECT count(*) FROM {table}") for table in ("event", "to_device_out", "device")
    }
    server.requests.clear()
    done = 0
    while done < COUNT:
        hostile = [forger.next() for _ in range(_AT_ONCE)]

        def come(txn: Transaction, hostile: list[Callable[[Transaction, int], int]] = hostile) -> int:
            fresh = 0
            for one in hostile:
                clock.time_ms += _STEP_MS
                fresh += one(txn, clock.time_ms)
            return fresh

        assert alice.write(come) == 0
        done += len(hostile)
    assert sum(forger.made.values()) >= 5_000
    assert len(forger.made) == 12
    assert min(forger.made.values()) > 300, "each kind has its share"
    assert heard(alice) == []
    assert alice.rows("SELECT 1 FROM receipt_forward") == []
    assert server.requests == []
    after = {table: alice.one(f"SELECT count(*) FROM {table}") for table in before}
    assert after == before
    people = alice.rows("SELECT user_id, count(*) FROM delivery_early GROUP BY 1")
    assert all(count <= validate.MOST_EARLY for _, count in people)
    assert alice.one("SELECT count(*) FROM receipt_peer") <= 5
    assert alice.one("SELECT max(length(last)) FROM receipt_peer") < 32 * 68
    assert alice.rows("SELECT 1 FROM receipt_peer WHERE muted_until > 0") == [], (
        "none was dropped for its pace"
    )
    for reader in (cast.bob, cast.carol):
        for event_id in cast.events:
            clock.time_ms += _STEP_MS
            true = forger._comes(reader, forger._body(reader, event_id))
            assert alice.write(lambda txn, true=true: true(txn, clock.time_ms)) == 1
    assert len(heard(alice)) == 8


def test_a_flood_of_early_receipts_by_many_people_stays_within_bounds(lonely: Device) -> None:
    alice = lonely
    now_ms = alice.clock.now_ms()

    def flood(txn: Transaction) -> None:
        for person in range(18):
            users = {f"@p{person}:example.org": {"ts": now_ms}}
            content = {f"$e{person}-{number}": {"m.delivery": users} for number in range(300)}
            inbound.accept(txn, alice.me, ROOM, content, now_ms)

    alice.write(flood)
    assert alice.one("SELECT count(*) FROM delivery_early") == validate.MOST_EARLY_OF_ALL


@pytest.fixture
def lonely(alice: Device) -> Device:
    alice.is_in(ROOM)
    return alice
