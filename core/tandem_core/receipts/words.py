"""What the author reads of a message: its state with counts, in words. Pure.

Numbers up to twenty people, rounded words above; never "offline", and never "failed" because nothing came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.receipts.states import (
    MOST_COUNTED,
    MOST_NAMED,
    BridgeState,
    Counts,
    DeviceDelivery,
    Message,
    PersonDelivery,
    PersonState,
    State,
    count,
    state_of,
)

__all__ = ["DeviceDelivery", "Message", "PersonDelivery", "PersonState", "State", "Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The mark's state, its counts, a short text, and a sentence for a screen reader.

    ``number``: what stands beside the mark, where it is for some of a few. ``names``: who those are, where all are
    few enough to be named.
    """

    state: State
    people_total: int
    people_delivered: int
    people_read: int
    devices_total: int
    devices_delivered: int
    text: str
    accessible: str
    people_troubled: int = 0
    number: str = ""
    names: str = ""

    @property
    def progress(self) -> tuple[int, int]:
        """How far it is: of two messages, the one with the lower value is in the worse state."""
        match self.state:
            case State.READ_SOME:
                return self.state.rank, self.people_read
            case State.DELIVERED_SOME | State.TROUBLE:
                return self.state.rank, self.people_delivered
        return self.state.rank, 0


def summarise(message: Message, people: Sequence[PersonDelivery]) -> Summary:
    """One line for many people. Read outranks delivered, but fills in no missing delivery."""
    counted = [person for person in people if person.counted]
    counts = count(people)
    state = state_of(message, people, counts)
    text = _text(state, message, counted, counts)
    return Summary(
        state=state,
        people_total=counts.people,
        people_delivered=counts.delivered,
        people_read=counts.read,
        devices_total=counts.devices,
        devices_delivered=counts.heard,
        text=text,
        accessible=_spoken(state, text, counts),
        people_troubled=counts.troubled,
        number=_number(state, counts),
        names=_names(state, counted),
    )


def portion(some: int, total: int) -> str:
    """``3 of 5 people``; of more than twenty a rounded word, which never takes anything back as more come."""
    if some == total:
        return "everyone"
    if total <= MOST_COUNTED:
        return f"{some} of {quantity(total, 'person', 'people')}"
    share = some / total
    if share < 0.1:
        return "a few people"
    if share < 0.4:
        return "some people"
    if share <= 0.6:
        return "about half of the people"
    return "most people" if share < 0.9 else "nearly everyone"


def quantity(number: int, one: str, many: str | None = None) -> str:
    """``1 device``, ``2 devices``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """``Bob``, ``Bob and Carol``, ``Bob, Carol and Dan``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _text(state: State, message: Message, counted: Sequence[PersonDelivery], counts: Counts) -> str:
    whom = counted[0].name if counts.people == 1 else "everyone"
    match state:
        case State.FAILED if message.send_state != "failed":
            return _with_reason("Not sent: the bridge could not pass it on", message.bridge_words)
        case State.FAILED:
            return "Not sent. Try again or delete"
        case State.NOBODY:
            them = f"No device of {whom}" if counts.people == 1 else "Nobody"
            return f"{them} could decrypt it. Send the key again"
        case State.TROUBLE:
            return _needs_attention(message, counted, counts)
        case State.QUEUED:
            return "Waiting for connection"
        case State.SENDING:
            return "Sending"
        case State.SENT:
            return _sent(message)
        case State.UNTRACKED:
            why = f" ({message.why_untracked})" if message.why_untracked else ""
            return f"Sent. Delivery is not tracked here{why}"
        case State.DELIVERED_ALL if counts.people == 1 and counts.heard and counts.devices > 1:
            return f"Delivered to {whom} ({counts.heard} of {quantity(counts.devices, 'device')})"
        case State.DELIVERED_ALL:
            return f"Delivered to {whom}"
        case State.DELIVERED_SOME:
            return f"Delivered to {portion(counts.delivered, counts.people)}"
        case State.READ_ALL:
            return f"Read by {whom}"
        case State.READ_SOME:
            return f"Read by {portion(counts.read, counts.people)}"


def _sent(message: Message) -> str:
    match message.bridge:
        case BridgeState.PENDING:
            return "Sent to your server. The bridge is passing it on"
        case BridgeState.SUCCESS:
            return "Sent. The bridge has passed it on"
    return "Sent to your server"


def _needs_attention(message: Message, counted: Sequence[PersonDelivery], counts: Counts) -> str:
    troubled = [person for person in counted if person.state is PersonState.TROUBLE]
    if troubled:
        trouble = _cannot(troubled)
    else:
        later = message.bridge is BridgeState.FAIL_RETRIABLE
        what = (
            "the bridge could not pass it on yet" if later else "the bridge could not pass it on to everybody"
        )
        trouble = _with_reason(what, message.bridge_words)
    if not counts.delivered:
        return trouble[0].upper() + trouble[1:]
    whom = "" if counts.people == 1 else f" to {portion(counts.delivered, counts.people)}"
    return f"Delivered{whom}, but {trouble}"


def _cannot(troubled: Sequence[PersonDelivery]) -> str:
    if len(troubled) > 1:
        return f"{len(troubled)} people have devices that cannot decrypt it"
    person = troubled[0]
    if len(person.failing) == 1:
        return f'{person.name}\'s "{person.failing[0].name}" cannot decrypt it'
    return f"{len(person.failing)} devices of {person.name} cannot decrypt it"


def _with_reason(what: str, reason: str) -> str:
    return f"{what} ({reason})" if reason else what


def _spoken(state: State, text: str, counts: Counts) -> str:
    """The text, with what the mark's number alone would hide."""
    if state is State.READ_SOME and counts.delivered > counts.read:
        return f"{text}, delivered to {portion(counts.delivered, counts.people)}"
    return text


def _number(state: State, counts: Counts) -> str:
    if not 2 <= counts.people <= MOST_COUNTED:
        return ""
    match state:
        case State.DELIVERED_SOME:
            return f"{counts.delivered}/{counts.people}"
        case State.READ_SOME:
            return f"{counts.read}/{counts.people}"
    return ""


def _names(state: State, counted: Sequence[PersonDelivery]) -> str:
    if not 2 <= len(counted) <= MOST_NAMED:
        return ""
    match state:
        case State.DELIVERED_SOME:
            return listed([person.name for person in counted if person.delivered_at is not None])
        case State.READ_SOME:
            return listed([person.name for person in counted if person.state is PersonState.READ])
    return ""
