"""The two programs, their store, the server and the network, as states; and what the design promises of them.

What is modelled is ``store.inbox.put_batch``, ``crypto.drain``, ``crypto.state``, ``crypto.outbox`` and the turnstile.
To-device events are the numbers 1, 2, 3... in the server's order. A ratchet is what it has opened (a bit for each
event) and the next index it will encrypt with. Anything held by a ``Program`` is gone when it is killed; all the rest
is on a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

NAMES = ("app", "notifier")


@dataclass(frozen=True)
class Design:
    """Tandem's choices, each with the choice that the field's bugs are made of."""

    shared_inbox: bool = True
    """One inbox for both programs; otherwise each reads only what it fetched itself."""
    shared_crypto: bool = True
    """One ratchet for the device; otherwise each program has its own copy, as two ordinary clients would."""
    token_with_events: bool = True
    """Events and token in one transaction; otherwise the token is stored first."""
    reload: bool = True
    """Each crypto step loads the ratchet from the store; otherwise a program trusts what it had in memory."""
    in_order: bool = True
    """The inbox is processed by number; otherwise any waiting event may come next."""
    lock: bool = True
    """A kernel lock around a crypto step; otherwise none, or a lease that runs out under a stalled holder."""
    lock_dies: bool = True
    """The lock goes with the program that held it; otherwise it is a file or a row that stays."""
    fence: bool = False
    """A step commits only over the ratchet it loaded (needed only where there is no such lock)."""
    ciphertext_first: bool = True
    """Ciphertext and ratchet are stored before the ciphertext is sent; otherwise after the server's answer."""
    fixed_txn_id: bool = True
    """A retry has the transaction id of the first try; otherwise a new one."""
    noted_after_answer: bool = True
    """A message counts as sent when the server has said so; otherwise when it is handed to the network."""
    digests: bool = True
    """An event that the inbox had before is not taken again."""


@dataclass(frozen=True)
class Bounds:
    """How much happens: events for the device, messages by it, and the server's page. Faults are not counted out."""

    events: int
    messages: int
    page: int = 2
    late: bool = True
    """Whether something may be late or come twice, one thing at a time."""


class Ratchet(NamedTuple):
    """A session: which events it has opened, and the index of its next ciphertext."""

    opened: int = 0
    next_index: int = 0


class Crypto(NamedTuple):
    """A ratchet in the store and, beside it, the effects of the events in the order they were opened."""

    ratchet: Ratchet = Ratchet()
    effects: tuple[int, ...] = ()


class Inbox(NamedTuple):
    """Rows of the inbox: digests of all it ever had (as bits), and those that wait, by ``seq``."""

    known: int = 0
    waiting: tuple[int, ...] = ()


class Out(NamedTuple):
    """A message in the outbox: the index it is encrypted with, and whether the server's answer is noted."""

    key_index: int
    is_done: bool


class Asked(NamedTuple):
    """A sync request under way."""

    since: int

    def __str__(self) -> str:
        return f"since {self.since}"


class Answered(NamedTuple):
    """A sync answer under way: its events and the token after them."""

    events: tuple[int, ...]
    next_batch: int

    def __str__(self) -> str:
        return f"events {self.events}, next {self.next_batch}"


class Half(NamedTuple):
    """The token is stored and these events are not yet (only where the token goes first)."""

    events: tuple[int, ...]


class Draining(NamedTuple):
    """An open transaction that opens these events with the ratchet it loaded."""

    loaded: Ratchet
    events: tuple[int, ...]

    def __str__(self) -> str:
        return f"events {self.events}"


class Encrypting(NamedTuple):
    """An open transaction that encrypts this message with the ratchet it loaded."""

    loaded: Ratchet
    message: int

    def __str__(self) -> str:
        return f"message {self.message} at index {self.loaded.next_index}"


class Sending(NamedTuple):
    """A message under way to the server, or the server's answer to it under way back."""

    message: int
    key_index: int
    txn_id: int
    is_accepted: bool

    def __str__(self) -> str:
        return f"message {self.message} at index {self.key_index}, transaction {self.txn_id}"


class Program(NamedTuple):
    """What a running program has in memory: three tasks that wait for each other only at the lock."""

    sync: Asked | Answered | Half | None = None
    step: Draining | Encrypting | None = None
    sending: Sending | None = None
    cache: Ratchet | None = None


class Late(NamedTuple):
    """Something the network kept back or copied, and may deliver at any later time."""

    to: int | None
    """The program, or None for the server."""
    what: Asked | Answered | Sending


class Accepted(NamedTuple):
    """A message as the server has it."""

    txn_id: int
    message: int
    key_index: int


class State(NamedTuple):
    """Everything, everywhere."""

    arrived: int
    """The server has accepted events 1 to this..."""
    deleted: int
    """...and has deleted 1 to this, as acknowledged."""
    accepted: tuple[Accepted, ...]
    tokens: tuple[int, int]
    inboxes: tuple[Inbox, ...]
    cryptos: tuple[Crypto, ...]
    outbox: tuple[Out | None, ...]
    programs: tuple[Program | None, Program | None]
    late: Late | None = None
    tries: int = 0
    """Transaction ids drawn so far (only where each try draws one)."""
    is_jammed: bool = False
    """A dead program holds the lock (only where the lock outlives it)."""


def start(design: Design, bounds: Bounds) -> State:
    """A device that has never synced, with both programs not yet started."""
    return State(
        arrived=0,
        deleted=0,
        accepted=(),
        tokens=(0, 0),
        inboxes=(Inbox(),) * (1 if design.shared_inbox else 2),
        cryptos=(Crypto(),) * (1 if design.shared_crypto else 2),
        outbox=(None,) * bounds.messages,
        programs=(None, None),
    )


def owner(message: int) -> int:
    """Which program writes this message: they take turns, the app first."""
    return message % 2


def bits(events: int | tuple[int, ...]) -> int:
    """A set of events as bits; a number stands for all events up to it."""
    if isinstance(events, int):
        return (1 << events) - 1
    return sum(1 << (event - 1) for event in events)


def readers(state: State) -> Iterator[tuple[Crypto, int]]:
    """Each crypto store with what waits, or was ever kept, in the inboxes that are opened with it."""
    if len(state.cryptos) == 1:
        known = 0
        for inbox in state.inboxes:
            known |= inbox.known
        yield state.cryptos[0], known
    else:
        for program, crypto in enumerate(state.cryptos):
            yield crypto, state.inboxes[program % len(state.inboxes)].known
