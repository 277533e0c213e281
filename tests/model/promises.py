"""What is promised of every state, and what must stay in reach of every state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.model.explorer import Goal, Property
from tests.model.protocol import NAMES, Bounds, Inbox, Sending, State, bits, readers

LOST = "no event is lost"
TWICE = "each event has its effect once"
ORDER = "events are applied in the server's order"
TOKEN = "no token leads its inbox"
FORK = "the ratchet never loses a step"
INDEX = "no ratchet index is used for two messages"
SENT = "each message is at the server once"
SEQUENCE = "messages reach the server in ratchet order"
DRAINED = "all can still be finished"
ALONE = "{} alone can finish what waits"


def _lost(state: State) -> str | None:
    """What the server has deleted is kept, or has had its effect, in each store that needs it."""
    for crypto, known in readers(state):
        missing = bits(state.deleted) & ~known & ~bits(crypto.effects)
        if missing:
            return f"the server has deleted event {missing.bit_length()}, and a store never had it"
    return None


def _twice(state: State) -> str | None:
    for crypto in state.cryptos:
        if len(set(crypto.effects)) != len(crypto.effects):
            return f"effects {crypto.effects}"
    return None


def _order(state: State) -> str | None:
    for crypto in state.cryptos:
        seen = tuple(dict.fromkeys(crypto.effects))
        if seen != tuple(range(1, len(seen) + 1)):
            return f"effects {crypto.effects}"
    return None


def _token(state: State) -> str | None:
    for me, token in enumerate(state.tokens):
        if bits(token) & ~state.inboxes[me % len(state.inboxes)].known:
            return f"the {NAMES[me]} may acknowledge up to {token}, which is not stored"
    return None


def _fork(state: State) -> str | None:
    """The stored ratchet knows each event that had an effect and is past each index in the outbox."""
    for number, crypto in enumerate(state.cryptos):
        if bits(tuple(set(crypto.effects))) & ~crypto.ratchet.opened:
            return f"the stored ratchet has not opened all of {crypto.effects}"
        for message, row in enumerate(state.outbox):
            own = message % len(state.cryptos) == number
            if own and row is not None and row.key_index >= crypto.ratchet.next_index:
                return f"the stored ratchet would use index {row.key_index} again"
    return None


def _index(state: State) -> str | None:
    by_index: dict[int, int] = {}
    for index, message in _ciphertexts(state):
        if by_index.setdefault(index, message) != message:
            return f"index {index} for messages {by_index[index]} and {message}"
    return None


def _ciphertexts(state: State) -> Iterator[tuple[int, int]]:
    """All that were stored or sent: (index, message)."""
    for message, row in enumerate(state.outbox):
        if row is not None:
            yield row.key_index, message
    for accepted in state.accepted:
        yield accepted.key_index, accepted.message
    if state.late is not None and isinstance(state.late.what, Sending):
        yield state.late.what.key_index, state.late.what.message
    for program in state.programs:
        if program is not None and program.sending is not None:
            yield program.sending.key_index, program.sending.message


def _sent(state: State) -> str | None:
    for message, row in enumerate(state.outbox):
        count = sum(accepted.message == message for accepted in state.accepted)
        if count > 1:
            return f"message {message} is there {count} times"
        if row is not None and row.is_done and count == 0:
            return f"message {message} is noted as sent and is not there"
    return None


def _sequence(state: State) -> str | None:
    indices = [accepted.key_index for accepted in state.accepted]
    return f"indices {indices}" if indices != sorted(indices) else None


PROPERTIES: dict[str, Property[State]] = {
    LOST: _lost,
    TWICE: _twice,
    ORDER: _order,
    TOKEN: _token,
    FORK: _fork,
    INDEX: _index,
    SENT: _sent,
    SEQUENCE: _sequence,
}


def goals(bounds: Bounds) -> list[Goal[State]]:
    """Everything can be finished; and if one program is gone, the other can finish without it.

    The survivor owes all events and all that lies in the outbox, not what the other never came to write.
    """

    def arrived(state: State) -> bool:
        return None not in state.outbox and _is_finished(state, bounds, state.inboxes)

    both = Goal[State](DRAINED, lambda state: True, arrived)
    return [both, *(_alone(bounds, me) for me in (0, 1))]


def _alone(bounds: Bounds, me: int) -> Goal[State]:
    other = 1 - me
    others_name = NAMES[other]

    def is_left(state: State) -> bool:
        return state.programs[other] is None

    def act(who: str) -> bool:
        return who != others_name

    def arrived(state: State) -> bool:
        return is_left(state) and _is_finished(state, bounds, [state.inboxes[me % len(state.inboxes)]])

    return Goal(ALONE.format(f"the {NAMES[me]}"), is_left, arrived, act)


def _is_finished(state: State, bounds: Bounds, inboxes: Iterable[Inbox]) -> bool:
    everything = tuple(range(1, bounds.events + 1))
    return (
        state.arrived == state.deleted == bounds.events
        and all(crypto.effects == everything for crypto in state.cryptos)
        and not any(inbox.waiting for inbox in inboxes)
        and all(row is None or row.is_done for row in state.outbox)
        and all(program is None or program.step is None for program in state.programs)
    )
