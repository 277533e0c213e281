"""Two sides of a verification in memory: the pure machine, and nothing else."""

from __future__ import annotations

import base64
import dataclasses
from collections import deque
from dataclasses import dataclass, field

from tandem_core.types import DeviceId, Json, RoomId, UserId
from tandem_core.verification import machine, messages
from tandem_core.verification.flow import (
    Act,
    Event,
    Flow,
    Heard,
    Mine,
    Phase,
    Scan,
    Send,
    Theirs,
    Verified,
    World,
)
from tandem_core.verification.messages import METHODS, Kind, Place
from tandem_core.verification.sas import OwnHalf, Party

NOW = 1_800_000_000_000
ALICE, BOB = UserId("@alice:example.org"), UserId("@bob:example.org")
ROOM = RoomId("!room:example.org")


def key(letter: str) -> str:
    """A key that is told by its letter: 32 bytes of it."""
    return base64.b64encode(letter.encode() * 32).decode().rstrip("=")


@dataclass
class Side:
    """One device with its verification; ``out`` is what it has sent and nobody has got yet."""

    user: UserId
    device: DeviceId
    ed25519: str
    master: str | None
    place: Place
    trusts_master: bool = True
    knows: Theirs = field(default_factory=lambda: Theirs(None, None))
    flow: Flow | None = None
    out: deque[Send] = field(default_factory=deque)
    verified: list[Verified] = field(default_factory=list)
    now_ms: int = NOW

    @property
    def world(self) -> World:
        mine = Mine(Party(self.user, self.device), self.ed25519, self.master, self.trusts_master)
        return World(self.now_ms, mine, self.knows, OwnHalf, self.device.encode() * 2)

    @property
    def state(self) -> Flow:
        assert self.flow is not None
        return self.flow

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def code(self) -> str | None:
        return self.state.code

    def do(self, event: Event) -> None:
        """One step."""
        step = machine.step(self.state, event, self.world)
        self.flow = step.flow
        self.out.extend(step.sends)
        if step.verified is not None:
            self.verified.append(step.verified)

    def hear(self, sender: UserId, kind: Kind, content: Json) -> None:
        """Something comes from the wire."""
        self.do(Heard(sender, messages.read(kind, content)))

    def hear_all(self, other: Side) -> None:
        """Everything that the other side has sent arrives, in order."""
        while other.out:
            send = other.out.popleft()
            self.hear(other.user, send.kind, send.content)

    def sent(self) -> list[Kind]:
        return [send.kind for send in self.out]

    def change(self, **fields: object) -> None:
        self.flow = dataclasses.replace(self.state, **fields)  # type: ignore[arg-type]


def two_people(*, has_identities: bool = True) -> tuple[Side, Side]:
    """Alice asked Bob in a room; each knows the other's true keys."""
    place = Place("$request", ROOM)
    alice = Side(ALICE, DeviceId("AAAA"), key("a"), key("A") if has_identities else None, place)
    bob = Side(BOB, DeviceId("BBBB"), key("b"), key("B") if has_identities else None, place)
    return _asked(alice, bob)


def two_devices(*, asker_is_new: bool = False) -> tuple[Side, Side]:
    """One of Alice's devices asked another; the new one of them does not know whether the master key is true."""
    place = Place("txn1")
    one = Side(ALICE, DeviceId("DEV1"), key("1"), key("A"), place, trusts_master=not asker_is_new)
    two = Side(ALICE, DeviceId("DEV2"), key("2"), key("A"), place, trusts_master=asker_is_new)
    return _asked(one, two)


def _asked(asker: Side, asked: Side) -> tuple[Side, Side]:
    asker.knows = Theirs(asked.ed25519, asked.master)
    asked.knows = Theirs(asker.ed25519, asker.master)
    reached = (asked.device,) if asker.place.room_id is None else ()
    asker.flow = Flow(asker.place, asked.user, None, True, NOW, NOW, asked=reached)
    asked.flow = Flow(asked.place, asker.user, asker.device, False, NOW, NOW, methods=frozenset(METHODS))
    return asker, asked


def exchange(one: Side, two: Side) -> None:
    """Everything arrives, until nobody has anything to say."""
    while one.out or two.out:
        two.hear_all(one)
        one.hear_all(two)


def get_ready(one: Side, two: Side) -> None:
    """The asked side agrees, and both know."""
    two.do(Act.AGREE)
    exchange(one, two)


def compare(one: Side, two: Side) -> None:
    """The asker starts, and both show the string."""
    get_ready(one, two)
    one.do(Act.START_SAS)
    exchange(one, two)


def scan(reader: Side, shower: Side) -> None:
    """The reader scans what the other one shows."""
    from tandem_core.verification.qr import Code

    assert shower.state.shown is not None
    reader.do(Scan(Code.from_bytes(shower.state.shown.to_bytes())))
    exchange(reader, shower)
