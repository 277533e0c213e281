"""Two honest sides over a network that loses, doubles and reorders, and one with somebody in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tandem_core.types import DeviceId
from tandem_core.verification import sas
from tandem_core.verification.flow import STEP_MS, Act, NotNow, Phase, Scan, Send, Theirs
from tandem_core.verification.messages import Code, Kind
from tests.core.verification.sides import (
    ALICE,
    BOB,
    Side,
    compare,
    exchange,
    get_ready,
    key,
    two_devices,
    two_people,
)

TRUE_KEYS = {key(letter) for letter in "abAB12"}


class _Network(RuleBasedStateMachine):
    """Both persons press what their window offers; the network does what it wants."""

    make: Callable[[], tuple[Side, Side]]

    def __init__(self) -> None:
        super().__init__()
        self.sides = type(self).make()
        self.wire: list[tuple[int, Send]] = []
        self.is_lossy = False

    def _take_up(self) -> None:
        for number, side in enumerate(self.sides):
            while side.out:
                self.wire.append((1 - number, side.out.popleft()))

    def _deliver(self, index: int, *, keep: bool) -> None:
        to, send = self.wire[index] if keep else self.wire.pop(index)
        self.sides[to].hear(self.sides[1 - to].user, send.kind, copy.deepcopy(send.content))
        self._take_up()

    @rule(number=st.integers(0, 1), act=st.sampled_from([Act.AGREE, Act.START_SAS, Act.CONFIRM]))
    def press(self, number: int, act: Act) -> None:
        side, other = self.sides[number], self.sides[1 - number]
        if act is Act.CONFIRM and side.phase is Phase.COMPARE and other.state.emoji:
            assert side.state.emoji == other.state.emoji  # a person would look
        try:
            side.do(act)
        except NotNow:
            return
        self._take_up()

    @rule(number=st.integers(0, 1))
    def scan(self, number: int) -> None:
        reader, shower = self.sides[number], self.sides[1 - number]
        if shower.state.shown is None:
            return
        try:
            reader.do(Scan(shower.state.shown))
        except NotNow:
            return
        self._take_up()

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def arrive_in_order(self, data: st.DataObject) -> None:
        to = data.draw(st.sampled_from(sorted({to for to, _ in self.wire})))
        self._deliver(next(i for i, (who, _) in enumerate(self.wire) if who == to), keep=False)

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), keep=st.booleans())
    def arrive_somehow(self, data: st.DataObject, keep: bool) -> None:
        self._deliver(data.draw(st.integers(0, len(self.wire) - 1)), keep=keep)

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))
        self.is_lossy = True

    @rule(number=st.integers(0, 1), milliseconds=st.sampled_from([1000, STEP_MS]))
    def time_passes(self, number: int, milliseconds: int) -> None:
        self.sides[number].now_ms += milliseconds
        self.sides[number].do(Act.TICK)
        self._take_up()

    @invariant()
    def nobody_is_verified_with_a_wrong_key(self) -> None:
        for side in self.sides:
            assert len(side.verified) <= 1
            for found in side.verified:
                assert found.ed25519 in (None, side.knows.ed25519)
                assert found.master in (None, side.knows.master)
                assert found.ed25519 or found.master
                assert {found.ed25519, found.master} - {None} <= TRUE_KEYS

    @invariant()
    def who_is_verified_was_confirmed_by_both_persons(self) -> None:
        for number, side in enumerate(self.sides):
            if side.verified:
                assert side.phase is Phase.DONE
                other = self.sides[1 - number]
                # All but the last message has arrived: the other one has confirmed, or read the code.
                assert other.phase in (Phase.CONFIRMED, Phase.SCANNED, Phase.DONE) or other.phase.is_over


class People(_Network):
    make = staticmethod(two_people)


class OwnDevices(_Network):
    make = staticmethod(two_devices)


for _machine in (People, OwnDevices):
    _machine.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestPeople = People.TestCase
TestOwnDevices = OwnDevices.TestCase


@pytest.mark.parametrize("lost_at", range(12))
def test_whatever_single_message_is_lost_both_or_neither_end_verified_unless_it_was_a_mac(
    lost_at: int,
) -> None:
    alice, bob = two_people()
    sent = 0

    def carry() -> None:
        nonlocal sent
        while alice.out or bob.out:
            for sender, to in ((alice, bob), (bob, alice)):
                while sender.out:
                    send = sender.out.popleft()
                    sent += 1
                    if sent - 1 != lost_at:
                        to.hear(sender.user, send.kind, send.content)

    acts: list[tuple[Side, Act]] = [
        (bob, Act.AGREE),
        (alice, Act.START_SAS),
        (alice, Act.CONFIRM),
        (bob, Act.CONFIRM),
    ]
    for side, act in acts:
        try:
            side.do(act)
        except NotNow:
            break
        carry()
    for side in (alice, bob):
        side.now_ms += 600_000
        side.do(Act.TICK)
    carry()
    verified = bool(alice.verified), bool(bob.verified)
    # In order: ready, start, accept, key, key, Alice's mac, Bob's mac, done, done. Both persons have confirmed when
    # a mac is lost, so who got the other's is right to be content; nobody is without a mac.
    assert verified == {5: (True, False), 6: (False, True)}.get(lost_at, (lost_at > 6, lost_at > 6))


class InBetween:
    """A server that shows each side a key of its own, in both directions."""

    def __init__(self, alice: Side, bob: Side) -> None:
        self.alice, self.bob = alice, bob
        self.halves = {ALICE: sas.OwnHalf(), BOB: sas.OwnHalf()}

    def carry(self, change: Callable[[Side, Send], Send]) -> None:
        while self.alice.out or self.bob.out:
            for sender, to in ((self.alice, self.bob), (self.bob, self.alice)):
                while sender.out:
                    send = change(sender, sender.out.popleft())
                    to.hear(sender.user, send.kind, send.content)


def test_swapped_keys_are_caught_by_the_promise() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.do(Act.START_SAS)
    between = InBetween(alice, bob)

    def swap(sender: Side, send: Send) -> Send:
        if send.kind is not Kind.KEY:
            return send
        return replace(send, content=send.content | {"key": between.halves[sender.user].public})

    between.carry(swap)
    assert alice.code == Code.MISMATCHED_COMMITMENT
    assert alice.verified == bob.verified == []


def test_swapped_keys_with_a_promise_of_their_own_show_different_emoji() -> None:
    differed = 0
    for _ in range(4):
        alice, bob = two_people()
        get_ready(alice, bob)
        alice.do(Act.START_SAS)
        start = alice.out[0].content
        between = InBetween(alice, bob)

        def swap(
            sender: Side, send: Send, between: InBetween = between, start: dict[str, object] = start
        ) -> Send:
            own = between.halves[sender.user].public
            if send.kind is Kind.ACCEPT:
                return replace(send, content=send.content | {"commitment": sas.commitment(own, start)})
            return replace(send, content=send.content | {"key": own}) if send.kind is Kind.KEY else send

        between.carry(swap)
        assert alice.phase is bob.phase is Phase.COMPARE
        differed += alice.state.emoji != bob.state.emoji
        alice.do(Act.CONFIRM)  # even a person who does not look:
        bob.do(Act.CONFIRM)
        exchange(alice, bob)
        assert alice.code == bob.code == Code.KEY_MISMATCH
        assert alice.verified == bob.verified == []
    assert differed == 4


def test_a_server_that_shows_each_the_wrong_device_is_caught() -> None:
    alice, bob = two_people(has_identities=False)
    alice.knows, bob.knows = Theirs(key("x"), None), Theirs(key("y"), None)
    compare(alice, bob)
    assert alice.state.emoji == bob.state.emoji
    alice.do(Act.CONFIRM)
    bob.do(Act.CONFIRM)
    exchange(alice, bob)
    assert {alice.code, bob.code} == {Code.KEY_MISMATCH}
    assert alice.verified == bob.verified == []


def test_our_own_words_sent_back_to_us_verify_nobody() -> None:
    one, two = two_devices()
    compare(one, two)
    one.do(Act.CONFIRM)
    reflected = one.out[0]
    one.hear(ALICE, reflected.kind, reflected.content)
    assert one.code == Code.KEY_MISMATCH
    again, _ = two_devices()
    again.change(device=DeviceId("DEV2"))
    again.hear(ALICE, Kind.READY, {"from_device": again.device, "methods": ["m.sas.v1"]})
    assert again.phase is Phase.ASKED
