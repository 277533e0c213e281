"""How far a message of ours got, as states of devices, people and the message. Pure.

Absence is not failure (DESIGN law 9): nobody is called offline because nothing came. More receipts only move
forward; what one device cannot decrypt stands beside that way until it is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.types import UserId

MOST_NAMED = 8
"""Up to so many people are shown by name; above it, behind a count."""
MOST_COUNTED = 20
"""Up to so many people are counted one by one; above it, in rounded words."""
SILENT_MS = 30 * 24 * 3600 * 1000
"""Who has been asked for so long and has confirmed nothing meanwhile is not expected to."""


class State(StrEnum):
    """How far a message of ours got, from what is worst to the end of the way."""

    FAILED = "failed"
    NOBODY = "nobody"
    """No device of anybody could decrypt it."""
    TROUBLE = "trouble"
    """It needs attention: a device cannot decrypt it, or a bridge could not pass it on."""
    QUEUED = "queued"
    SENDING = "sending"
    UNTRACKED = "untracked"
    SENT = "sent"
    DELIVERED_SOME = "delivered_some"
    DELIVERED_ALL = "delivered_all"
    READ_SOME = "read_some"
    READ_ALL = "read_all"

    @property
    def rank(self) -> int:
        """The place in this order: what is worse has the lower one."""
        return _RANKS[self]


_RANKS = {state: rank for rank, state in enumerate(State)}


class PersonState(StrEnum):
    """How far it got with one person."""

    UNTRACKED = "untracked"
    PENDING = "pending"
    TROUBLE = "trouble"
    DELIVERED = "delivered"
    READ = "read"


class BridgeState(StrEnum):
    """What a bridge says of a message (``com.beeper.message_send_status``)."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAIL_RETRIABLE = "FAIL_RETRIABLE"
    FAIL_PERMANENT = "FAIL_PERMANENT"


@dataclass(frozen=True, slots=True)
class DeviceDelivery:
    """One device; ``delivered_at`` is None while nothing was heard of it.

    ``counted``: it got the message's key when the message was sent. Other devices are shown, not counted.
    ``failed_at``: since when it is known that it cannot decrypt the message; None once that is resolved.
    ``key_sent_at``: when its key was sent again since.
    ``verified``: None where nobody asked.
    """

    device_id: str
    name: str
    delivered_at: int | None
    counted: bool = True
    failed_at: int | None = None
    code: str = ""
    key_sent_at: int | None = None
    verified: bool | None = None


@dataclass(frozen=True, slots=True)
class PersonDelivery:
    """One person the message was for.

    ``tracked``: whether their confirmations can be expected here at all. ``counted``: joined when it was sent,
    and a person; whoever confirmed or read without being counted is shown, not counted, and ``why_not`` says why.
    ``reported``: whose word it is, where nothing proves it: the server's, of an encrypted message, or the bridge's.
    ``last_heard_at``: their newest confirmation of any message of ours.
    """

    user_id: UserId
    name: str
    devices: tuple[DeviceDelivery, ...]
    delivered_at: int | None
    read_at: int | None
    tracked: bool
    counted: bool = True
    why_not: str = ""
    reported: str = ""
    last_heard_at: int | None = None
    has_left: bool = False

    @property
    def failing(self) -> tuple[DeviceDelivery, ...]:
        """The devices that cannot decrypt it."""
        return tuple(device for device in self.devices if device.failed_at is not None)

    @property
    def state(self) -> PersonState:
        """A marker that has passed a message which nothing of theirs could open says nothing of reading it."""
        read, delivered = self.read_at is not None, self.delivered_at is not None
        if self.failing and not (read and delivered):
            return PersonState.TROUBLE
        if read:
            return PersonState.READ
        if delivered:
            return PersonState.DELIVERED
        return PersonState.PENDING if self.tracked else PersonState.UNTRACKED

    @property
    def has_nothing(self) -> bool:
        """Every device that it was for has said that it cannot decrypt it."""
        meant = [device for device in self.devices if device.counted] or self.devices
        return (
            self.state is PersonState.TROUBLE
            and self.delivered_at is None
            and all(device.failed_at is not None for device in meant)
        )


@dataclass(frozen=True, slots=True)
class Message:
    """What is known of one message of ours. ``send_state``: queued, sending, sent or failed.

    ``bridge``: what the room's bridge says of it, with ``bridge_words`` meant for people.
    """

    send_state: str
    tracked: bool
    why_untracked: str = ""
    bridge: BridgeState | None = None
    bridge_words: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the people who count: how many there are, have it, have read it, cannot; and their devices."""

    people: int
    delivered: int
    read: int
    troubled: int
    devices: int
    heard: int


def count(people: Sequence[PersonDelivery]) -> Counts:
    """Read fills in no missing delivery."""
    counted = [person for person in people if person.counted]
    devices = [device for person in counted for device in person.devices if device.counted]
    states = [person.state for person in counted]
    return Counts(
        people=len(counted),
        delivered=sum(person.delivered_at is not None for person in counted),
        read=states.count(PersonState.READ),
        troubled=states.count(PersonState.TROUBLE),
        devices=len(devices),
        heard=sum(device.delivered_at is not None for device in devices),
    )


def state_of(message: Message, people: Sequence[PersonDelivery], counts: Counts) -> State:
    """One state for many people: what needs attention first, then the furthest that anybody got.

    ``counts`` are those of these people.
    """
    match message.send_state:
        case "failed":
            return State.FAILED
        case "queued":
            return State.QUEUED
        case "sending":
            return State.SENDING
    if message.bridge is BridgeState.FAIL_PERMANENT and not counts.delivered and not counts.read:
        return State.FAILED
    if counts.troubled and all(person.has_nothing for person in people if person.counted):
        return State.NOBODY
    if counts.troubled or message.bridge in (BridgeState.FAIL_RETRIABLE, BridgeState.FAIL_PERMANENT):
        return State.TROUBLE
    return _forward(message, counts)


def _forward(message: Message, counts: Counts) -> State:
    if counts.people and counts.read == counts.people:
        return State.READ_ALL
    if counts.read:
        return State.READ_SOME
    if counts.people and counts.delivered == counts.people:
        return State.DELIVERED_ALL
    if counts.delivered:
        return State.DELIVERED_SOME
    return State.SENT if message.tracked else State.UNTRACKED
