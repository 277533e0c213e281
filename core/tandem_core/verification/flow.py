"""The state of one verification, as one side sees it: a value; ``machine.step`` makes the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from tandem_core.errors import Expected
from tandem_core.types import DeviceId, Json, UserId
from tandem_core.verification import qr
from tandem_core.verification.messages import Code, Kind, Message, Place
from tandem_core.verification.sas import Half, Party, Shared

REQUEST_MS = 600_000
"""A request that nobody has answered for so long is over, as is one that was answered and then left alone."""
STEP_MS = 120_000
"""Once a method has started, so long may pass without any step of either side."""
FUTURE_MS = 300_000
"""A request may be dated so far ahead of our clock."""


class Phase(StrEnum):
    """How far it has got."""

    ASKED = "asked"
    """One side asked; the other has to agree."""
    READY = "ready"
    """Both sides take part; one of them is to choose a method."""
    STARTED = "started"
    """We want to compare; they have to accept."""
    ACCEPTED = "accepted"
    """They want to compare; we promised a key and wait for theirs."""
    KEYED = "keyed"
    """They promised a key; ours is out, theirs has to come."""
    COMPARE = "compare"
    """Both sides show the same emoji, or somebody listens in: a person has to look."""
    CONFIRMED = "confirmed"
    """Our person says that they match; theirs has to, too."""
    SCANNED = "scanned"
    """We read their code; their person has to see that we did."""
    SHOWN = "shown"
    """They read our code; our person has to see that they did."""
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (Phase.DONE, Phase.CANCELLED)


class NotNow(Expected):
    """An act of a person that does not fit the verification as it stands."""

    title = "This cannot be done with the verification now"
    advice = "Look at how it stands, or begin a new one."


@dataclass(frozen=True, slots=True)
class Mine:
    """Our own side: this device's key and the account's master key, where there is one."""

    party: Party
    ed25519: str
    master: str | None
    trusts_master: bool
    """Whether this device knows the published master key for the account's own."""


@dataclass(frozen=True, slots=True)
class Theirs:
    """What our store says of the other side: never what came in the verification itself."""

    ed25519: str | None
    """The key of the device that takes part."""
    master: str | None


@dataclass(frozen=True, slots=True)
class World:
    """All that a step depends on beside the state and the event."""

    now_ms: int
    mine: Mine
    theirs: Theirs
    new_half: Callable[[], Half]
    secret: bytes
    """Fresh random bytes, for a code that is shown."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The other side, or another device of ours, said something."""

    sender: UserId
    message: Message


class Act(StrEnum):
    """What a person does, or time."""

    AGREE = "agree"
    START_SAS = "start_sas"
    CONFIRM = "confirm"
    MISMATCH = "mismatch"
    CANCEL = "cancel"
    TICK = "tick"


@dataclass(frozen=True, slots=True)
class Scan:
    """A person gave us the other side's code."""

    code: qr.Code


Event = Heard | Act | Scan


@dataclass(frozen=True, slots=True)
class Send:
    """One event to send; ``devices`` of the peer in to-device messages, nobody in particular in a room."""

    kind: Kind
    content: Json
    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a completed verification has shown to be true."""

    user: UserId
    device: DeviceId | None
    ed25519: str | None
    master: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """One verification. ``peer`` is who is verified, ``device`` theirs that takes part, once that is known."""

    place: Place
    peer: UserId
    device: DeviceId | None
    we_asked: bool
    asked_at: int
    moved_at: int
    asked: tuple[DeviceId, ...] = ()
    """The devices that our request went to (to-device)."""
    phase: Phase = Phase.ASKED
    methods: frozenset[str] = frozenset()
    """What the other side can."""
    code: Code | str | None = None
    reason: str = ""
    is_theirs: bool = False
    """Whether the other side has ended it."""
    start: Json | None = None
    we_started: bool = False
    half: Half | None = field(default=None, repr=False)
    promise: str | None = None
    their_key: str | None = None
    shared: Shared | None = field(default=None, repr=False)
    emoji: tuple[int, ...] = ()
    decimals: tuple[int, ...] = ()
    found: Verified | None = None
    """What their MACs have shown; it counts once our person has confirmed."""
    shown: qr.Code | None = field(default=None, repr=False)

    @property
    def due_at(self) -> int:
        """When time is over (ms)."""
        is_early = self.phase in (Phase.ASKED, Phase.READY)
        return self.asked_at + REQUEST_MS if is_early else self.moved_at + STEP_MS


@dataclass(frozen=True, slots=True)
class Step:
    """What an event leads to: the next state, what is sent, and what is verified now."""

    flow: Flow
    sends: tuple[Send, ...] = ()
    verified: Verified | None = None


def is_timely(asked_at: int, now_ms: int) -> bool:
    """Whether a request of this date is still to be answered (spec, ``m.key.verification.request``)."""
    return now_ms - REQUEST_MS <= asked_at <= now_ms + FUTURE_MS
