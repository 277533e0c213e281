"""What may happen next in a state: the two programs, the server, the network and the hand that kills.

Faults are steps like any other and may happen again and again: a kill at every step (between any two below), an
answer or a request lost, kept back beyond the next one, or delivered twice. One thing at a time is late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.explorer import Step
from tests.model.protocol import (
    NAMES,
    Accepted,
    Answered,
    Asked,
    Bounds,
    Crypto,
    Design,
    Draining,
    Encrypting,
    Half,
    Inbox,
    Late,
    Out,
    Program,
    Ratchet,
    Sending,
    State,
    bits,
    owner,
)

SERVER, NETWORK = "server", "network"
_BATCH = 2
"""So many events are opened in one transaction."""

_PROGRAMS = State._fields.index("programs")

Happening = Iterator[Step[State]]


def stepper(design: Design, bounds: Bounds) -> Callable[[State], Happening]:
    """The model of a design within bounds."""
    model = _Steps(design, bounds)
    return model.all


class _Steps:
    def __init__(self, design: Design, bounds: Bounds) -> None:
        self._design = design
        self._bounds = bounds

    def all(self, state: State) -> Happening:
        if state.arrived < self._bounds.events:
            event = state.arrived + 1
            yield Step(SERVER, "accepts an event for the device", event, state._replace(arrived=event))
        for me, program in enumerate(state.programs):
            if program is None:
                yield Step(NAMES[me], "starts", None, _with(state, me, Program()))
                continue
            # Memory goes, the kernel drops the locks, the open transaction was never there.
            dead = _with(state, me, None)
            if program.step is not None and not self._design.lock_dies:
                dead = dead._replace(is_jammed=True)
            yield Step(NAMES[me], "is killed", None, dead)
            yield from self._syncs(state, me, program)
            yield from self._opens_and_encrypts(state, me, program)
            yield from self._sends(state, me, program)
        if state.late is not None:
            yield from self._late(state, state.late)

    # What was late

    def _late(self, state: State, late: Late) -> Happening:
        gone = state._replace(late=None)
        yield Step(NETWORK, "drops what was late", None, gone)
        match late.what:
            case Asked(since):
                then = gone._replace(deleted=max(gone.deleted, since))
                yield Step(NETWORK, "delivers a late request", late.what, then)
            case Sending():
                yield Step(NETWORK, "delivers a late message", late.what, _accept(gone, late.what))
            case Answered():
                assert late.to is not None
                program = state.programs[late.to]
                if program is not None and not isinstance(program.sync, Half) and self._may_write(state):
                    yield Step(
                        NETWORK,
                        f"makes the {NAMES[late.to]} take a late answer",
                        late.what,
                        self._taken(gone, late.to, program, late.what, program.sync),
                    )

    def _may_keep(self, state: State) -> bool:
        return self._bounds.late and state.late is None

    # Sync (sync.loop, sync.apply, store.inbox)

    def _syncs(self, state: State, me: int, program: Program) -> Happening:
        sync = program.sync
        if sync is None:
            # Without a token: the probe after a start, or a token given up. With the other's: a turn that begins.
            tokens = state.tokens if self._design.shared_inbox else (state.tokens[me],)
            for since in {0, *tokens}:
                asked = Asked(since)
                yield Step(NAMES[me], "asks", asked, _with(state, me, program._replace(sync=asked)))
            return
        if isinstance(sync, Half):
            kept = _kept(state, self._inbox_of(me), sync.events, self._design)
            yield Step(
                NAMES[me],
                "stores the events after the token",
                sync.events,
                _with(kept, me, program._replace(sync=None)),
            )
            return
        given_up = program._replace(sync=None)
        lost = _with(state, me, given_up)
        may_keep = self._may_keep(state)
        if isinstance(sync, Asked):
            answered, answer = self._answer(state, sync.since)
            yield Step(
                SERVER,
                f"deletes what is acknowledged and answers the {NAMES[me]}",
                answer,
                _with(answered, me, program._replace(sync=answer)),
            )
            yield Step(NETWORK, f"loses a request of the {NAMES[me]}", sync, lost)
            if may_keep:
                yield Step(
                    NETWORK,
                    f"keeps back a request of the {NAMES[me]}",
                    sync,
                    lost._replace(late=Late(None, sync)),
                )
            return
        yield Step(NETWORK, f"loses an answer to the {NAMES[me]}", sync, lost)
        if may_keep:
            yield Step(
                NETWORK,
                f"keeps back an answer to the {NAMES[me]}",
                sync,
                lost._replace(late=Late(me, sync)),
            )
        if self._may_write(state):
            what = (
                "stores events and token"
                if self._design.token_with_events
                else "stores the token before the events"
            )
            taken = self._taken(state, me, program, sync, None)
            yield Step(NAMES[me], what, sync, taken)
            if may_keep:
                yield Step(
                    NAMES[me],
                    f"{what}, and a copy of the answer is late",
                    sync,
                    taken._replace(late=Late(me, sync)),
                )

    def _answer(self, state: State, since: int) -> tuple[State, Answered]:
        """Synapse's rule: delete up to ``since`` for the whole device, then a page of the rest."""
        deleted = max(state.deleted, since)
        rest = range(deleted + 1, state.arrived + 1)
        page = tuple(rest[: self._bounds.page])
        next_batch = page[-1] if len(rest) > len(page) else state.arrived
        return state._replace(deleted=deleted), Answered(page, next_batch)

    def _taken(
        self, state: State, me: int, program: Program, answer: Answered, sync: Asked | Answered | None
    ) -> State:
        tokens = (answer.next_batch, state.tokens[1]) if me == 0 else (state.tokens[0], answer.next_batch)
        state = state._replace(tokens=tokens)
        if self._design.token_with_events:
            state = _kept(state, self._inbox_of(me), answer.events, self._design)
            return _with(state, me, program._replace(sync=sync))
        return _with(state, me, program._replace(sync=Half(answer.events)))

    # Crypto steps (crypto.drain, crypto.state)

    def _opens_and_encrypts(self, state: State, me: int, program: Program) -> Happening:
        step = program.step
        crypto_of = me % len(state.cryptos)
        crypto = state.cryptos[crypto_of]
        if step is None:
            if not self._may_write(state):
                return
            loaded = crypto.ratchet
            if not self._design.reload and program.cache is not None:
                loaded = program.cache
            for events in self._choices(state.inboxes[self._inbox_of(me)].waiting):
                open_ = program._replace(step=Draining(loaded, events))
                yield Step(NAMES[me], "loads the ratchet to open", open_.step, _with(state, me, open_))
            for message, row in enumerate(state.outbox):
                if row is None and owner(message) == me and program.sending is None:
                    yield self._encrypts(state, me, program, loaded, message)
            return
        is_stale = self._design.fence and step.loaded != crypto.ratchet
        idle = program._replace(step=None)
        if is_stale:
            yield Step(NAMES[me], "rolls back a step on an old ratchet", step, _with(state, me, idle))
        elif isinstance(step, Draining):
            after = Ratchet(step.loaded.opened | bits(step.events), step.loaded.next_index)
            done = _with_crypto(state, crypto_of, Crypto(after, crypto.effects + step.events))
            done = _done(done, self._inbox_of(me), step.events)
            yield Step(
                NAMES[me],
                "commits effect, ratchet and done-mark",
                step,
                self._left(done, me, idle, after),
            )
        elif self._design.ciphertext_first:
            after = Ratchet(step.loaded.opened, step.loaded.next_index + 1)
            done = _with_crypto(state, crypto_of, crypto._replace(ratchet=after))
            done = _with_row(done, step.message, Out(step.loaded.next_index, False))
            yield Step(
                NAMES[me],
                "commits ciphertext and ratchet",
                step,
                self._left(done, me, idle, after),
            )
        elif program.sending is not None and program.sending.is_accepted:
            after = Ratchet(step.loaded.opened, step.loaded.next_index + 1)
            done = _with_crypto(state, crypto_of, crypto._replace(ratchet=after))
            done = _with_row(done, step.message, Out(step.loaded.next_index, True))
            yield Step(
                NAMES[me],
                "commits the ratchet of a message after its answer",
                step,
                self._left(done, me, idle._replace(sending=None), after),
            )

    def _encrypts(
        self, state: State, me: int, program: Program, loaded: Ratchet, message: int
    ) -> Step[State]:
        program = program._replace(step=Encrypting(loaded, message))
        what = "loads the ratchet to encrypt"
        if not self._design.ciphertext_first:
            sending, state = self._tried(state, message, loaded.next_index)
            program, what = program._replace(sending=sending), "encrypts and sends at once"
        return Step(NAMES[me], what, program.step, _with(state, me, program))

    def _choices(self, waiting: tuple[int, ...]) -> list[tuple[int, ...]]:
        if self._design.in_order:
            return [waiting[:_BATCH]] if waiting else []
        return [(event,) for event in waiting]

    def _left(self, state: State, me: int, program: Program, ratchet: Ratchet) -> State:
        """After a crypto step: what the design forgets, the careless variant keeps in memory."""
        return _with(state, me, program if self._design.reload else program._replace(cache=ratchet))

    # The outbox (crypto.outbox)

    def _sends(self, state: State, me: int, program: Program) -> Happening:
        sending = program.sending
        if sending is None:
            message = self._oldest(state, me)
            if message is None or any(other is not None and other.sending for other in state.programs):
                return  # the network work of a kind has one owner: a kernel lock, held until the answer is noted
            row = state.outbox[message]
            assert row is not None
            sending, state = self._tried(state, message, row.key_index)
            if not self._design.noted_after_answer:
                state = _with_row(state, message, row._replace(is_done=True))
            yield Step(NAMES[me], "sends", sending, _with(state, me, program._replace(sending=sending)))
            return
        gone = program._replace(sending=None)
        if not self._design.ciphertext_first:
            gone = gone._replace(step=None)
        lost = _with(state, me, gone)
        if not sending.is_accepted:
            answered = program._replace(sending=sending._replace(is_accepted=True))
            yield Step(SERVER, "takes a message", sending, _with(_accept(state, sending), me, answered))
            yield Step(NETWORK, "loses a message", sending, lost)
            if self._may_keep(state):
                yield Step(NETWORK, "keeps a message back", sending, lost._replace(late=Late(None, sending)))
            return
        yield Step(NETWORK, "loses the answer to a message", sending, lost)
        if self._design.ciphertext_first and self._may_write(state):
            done = _with_row(state, sending.message, Out(sending.key_index, True))
            yield Step(NAMES[me], "notes that a message is sent", sending, _with(done, me, gone))

    def _oldest(self, state: State, me: int) -> int | None:
        waiting = [
            (row.key_index, message)
            for message, row in enumerate(state.outbox)
            if row is not None and not row.is_done and (self._design.shared_crypto or owner(message) == me)
        ]
        return min(waiting)[1] if waiting else None

    def _tried(self, state: State, message: int, index: int) -> tuple[Sending, State]:
        if self._design.fixed_txn_id:
            return Sending(message, index, message, False), state
        return Sending(message, index, state.tries, False), state._replace(tries=state.tries + 1)

    # The lock

    def _may_write(self, state: State) -> bool:
        """Whether the lock is free: every write to the store takes it, and a crypto step keeps it to its commit."""
        if not self._design.lock:
            return True
        return not state.is_jammed and all(
            program is None or program.step is None for program in state.programs
        )

    def _inbox_of(self, me: int) -> int:
        return 0 if self._design.shared_inbox else me


def _with(state: State, me: int, program: Program | None) -> State:
    app, notifier = state.programs
    programs = (program, notifier) if me == 0 else (app, program)
    return State._make((*state[:_PROGRAMS], programs, *state[_PROGRAMS + 1 :]))  # faster than _replace


def _with_crypto(state: State, number: int, crypto: Crypto) -> State:
    return state._replace(cryptos=(*state.cryptos[:number], crypto, *state.cryptos[number + 1 :]))


def _with_inbox(state: State, number: int, inbox: Inbox) -> State:
    return state._replace(inboxes=(*state.inboxes[:number], inbox, *state.inboxes[number + 1 :]))


def _with_row(state: State, message: int, row: Out) -> State:
    return state._replace(outbox=(*state.outbox[:message], row, *state.outbox[message + 1 :]))


def _kept(state: State, number: int, events: tuple[int, ...], design: Design) -> State:
    inbox = state.inboxes[number]
    fresh = tuple(event for event in events if not design.digests or not inbox.known & bits((event,)))
    return _with_inbox(state, number, Inbox(inbox.known | bits(events), inbox.waiting + fresh))


def _done(state: State, number: int, events: tuple[int, ...]) -> State:
    inbox = state.inboxes[number]
    left = list(inbox.waiting)
    for event in events:
        if event in left:
            left.remove(event)
    return _with_inbox(state, number, inbox._replace(waiting=tuple(left)))


def _accept(state: State, sending: Sending) -> State:
    """The server takes a message once for each transaction id."""
    if any(accepted.txn_id == sending.txn_id for accepted in state.accepted):
        return state
    new = Accepted(sending.txn_id, sending.message, sending.key_index)
    return state._replace(accepted=(*state.accepted, new))
