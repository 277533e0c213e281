"""What the author reads: how far a message of ours got, as a state and words. Pure.

Absence is not failure (DESIGN law 9): nobody is called offline because nothing came. More receipts never
move the state backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.types import UserId


class State(StrEnum):
    """How far a message of ours got, in the order of the way it goes."""

    FAILED = "failed"
    QUEUED = "queued"
    SENDING = "sending"
    UNTRACKED = "untracked"
    SENT = "sent"
    DELIVERED_SOME = "delivered_some"
    DELIVERED_ALL = "delivered_all"
    READ_SOME = "read_some"
    READ_ALL = "read_all"


@dataclass(frozen=True, slots=True)
class DeviceDelivery:
    """One device; ``delivered_at`` is None while nothing was heard of it.

    ``counted``: it got the message's key when the message was sent. Other devices are shown, not counted.
    """

    device_id: str
    name: str
    delivered_at: int | None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class PersonDelivery:
    """One person the message was for.

    ``tracked``: whether confirmations can be expected here at all. ``counted``: joined when it was sent; a
    person who confirmed or read without having been counted is shown, not counted.
    """

    user_id: UserId
    name: str
    devices: tuple[DeviceDelivery, ...]
    delivered_at: int | None
    read_at: int | None
    tracked: bool
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """What is known of one message of ours. ``send_state``: queued, sending, sent or failed."""

    send_state: str
    tracked: bool
    why_untracked: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The mark's state, its counts, a short text, and a sentence for a screen reader."""

    state: State
    people_total: int
    people_delivered: int
    people_read: int
    devices_total: int
    devices_delivered: int
    text: str
    accessible: str


def summarise(message: Message, people: Sequence[PersonDelivery]) -> Summary:
    """One line for many people. Read outranks delivered, but fills in no missing delivery."""
    counted = [person for person in people if person.counted]
    read = sum(person.read_at is not None for person in counted)
    delivered = sum(person.delivered_at is not None for person in counted)
    devices = [device for person in counted for device in person.devices if device.counted]
    heard = sum(device.delivered_at is not None for device in devices)
    state = _state(message, len(counted), delivered, read)
    text = _words(state, message, counted, delivered, read, heard, len(devices))
    return Summary(
        state=state,
        people_total=len(counted),
        people_delivered=delivered,
        people_read=read,
        devices_total=len(devices),
        devices_delivered=heard,
        text=text,
        accessible=_spoken(state, text, delivered, read, len(counted)),
    )


def _state(message: Message, total: int, delivered: int, read: int) -> State:
    match message.send_state:
        case "failed":
            return State.FAILED
        case "queued":
            return State.QUEUED
        case "sending":
            return State.SENDING
    if total and read == total:
        return State.READ_ALL
    if read:
        return State.READ_SOME
    if total and delivered == total:
        return State.DELIVERED_ALL
    if delivered:
        return State.DELIVERED_SOME
    return State.SENT if message.tracked else State.UNTRACKED


def _words(
    state: State,
    message: Message,
    counted: Sequence[PersonDelivery],
    delivered: int,
    read: int,
    heard: int,
    devices: int,
) -> str:
    total = len(counted)
    whom = counted[0].name if total == 1 else "everyone"
    match state:
        case State.FAILED:
            return "Not sent. Try again or delete"
        case State.QUEUED:
            return "Waiting for connection"
        case State.SENDING:
            return "Sending"
        case State.SENT:
            return "Sent to your server"
        case State.UNTRACKED:
            why = f" ({message.why_untracked})" if message.why_untracked else ""
            return f"Sent. Delivery is not tracked here{why}"
        case State.DELIVERED_ALL if total == 1 and heard and devices > 1:
            return f"Delivered to {whom} ({heard} of {_count(devices, 'device')})"
        case State.DELIVERED_ALL:
            return f"Delivered to {whom}"
        case State.DELIVERED_SOME:
            return f"Delivered to {delivered} of {_count(total, 'person', 'people')}"
        case State.READ_ALL:
            return f"Read by {whom}"
        case State.READ_SOME:
            return f"Read by {read} of {_count(total, 'person', 'people')}"


def _spoken(state: State, text: str, delivered: int, read: int, total: int) -> str:
    """The text, with what the mark's number alone would hide."""
    if state is State.READ_SOME and delivered > read:
        return f"{text}, delivered to {delivered} of {_count(total, 'person', 'people')}"
    return text


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
