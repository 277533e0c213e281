"""A verification as the two sides see it: what is verified, and every way in which it ends early."""

from __future__ import annotations

import dataclasses

import pytest

from tandem_core.types import DeviceId
from tandem_core.verification import messages
from tandem_core.verification.flow import (
    Act,
    Phase,
    Scan,
    Theirs,
    Verified,
)
from tandem_core.verification.messages import Code, Kind
from tandem_core.verification.qr import BadCode
from tests.core.verification.sides import (
    ALICE,
    BOB,
    compare,
    exchange,
    get_ready,
    key,
    scan,
    two_devices,
    two_people,
)


def test_two_people_who_see_the_same_emoji_have_verified_each_other() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    assert alice.phase is bob.phase is Phase.COMPARE
    assert len(alice.state.emoji) == 7
    assert len(alice.state.decimals) == 3
    assert (alice.state.emoji, alice.state.decimals) == (bob.state.emoji, bob.state.decimals)
    assert all(1000 <= number <= 9191 for number in alice.state.decimals)
    alice.do(Act.CONFIRM)
    exchange(alice, bob)
    assert (alice.phase, bob.phase) == (Phase.CONFIRMED, Phase.COMPARE)
    assert alice.verified == bob.verified == []
    bob.do(Act.CONFIRM)
    exchange(alice, bob)
    assert alice.phase is bob.phase is Phase.DONE
    assert alice.verified == [Verified(BOB, DeviceId("BBBB"), key("b"), key("B"))]
    assert bob.verified == [Verified(ALICE, DeviceId("AAAA"), key("a"), key("A"))]


def test_each_side_may_start_whoever_asked() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    bob.do(Act.START_SAS)
    exchange(alice, bob)
    assert alice.state.emoji == bob.state.emoji != ()
    assert alice.phase is bob.phase is Phase.COMPARE


def test_the_account_key_is_vouched_for_only_by_a_device_that_knows_it() -> None:
    old, new = two_devices()
    compare(old, new)
    old.do(Act.CONFIRM)
    new.do(Act.CONFIRM)
    exchange(old, new)
    assert old.verified == [Verified(ALICE, DeviceId("DEV2"), key("2"), None)]
    assert new.verified == [Verified(ALICE, DeviceId("DEV1"), key("1"), key("A"))]


@pytest.mark.parametrize("starts_too", [True, False])
def test_of_two_starts_the_smaller_one_counts(starts_too: bool) -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    bob.do(Act.START_SAS)
    alice.do(Act.START_SAS)
    if starts_too:  # Bob's arrives first, otherwise Alice's
        alice.hear_all(bob)
    exchange(alice, bob)
    assert alice.phase is bob.phase is Phase.COMPARE
    assert alice.state.we_started
    assert not bob.state.we_started
    assert alice.state.emoji == bob.state.emoji


def test_a_start_that_lost_may_come_after_the_answer_to_the_one_that_won() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    bob.do(Act.START_SAS)
    late = bob.out.popleft()
    alice.do(Act.START_SAS)
    bob.hear_all(alice)
    alice.hear_all(bob)
    alice.hear(BOB, late.kind, late.content)
    assert alice.phase is Phase.KEYED
    exchange(alice, bob)
    assert alice.state.emoji == bob.state.emoji != ()


def test_two_devices_of_one_person_are_told_apart_by_their_ids() -> None:
    one, two = two_devices()
    get_ready(one, two)
    one.do(Act.START_SAS)
    two.do(Act.START_SAS)
    exchange(one, two)
    assert one.state.we_started
    assert not two.state.we_started
    assert one.state.emoji == two.state.emoji != ()


def test_starts_of_different_methods_end_it() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.do(Act.START_SAS)
    assert alice.state.shown is not None
    bob.do(Scan(alice.state.shown))
    alice.hear_all(bob)
    assert (alice.phase, alice.code) == (Phase.CANCELLED, Code.UNEXPECTED_MESSAGE)


# ── Codes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_code_of_a_person_verifies_both() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    scan(bob, alice)
    assert (alice.phase, bob.phase) == (Phase.SHOWN, Phase.SCANNED)
    assert alice.verified == bob.verified == []
    alice.do(Act.CONFIRM)
    exchange(alice, bob)
    assert alice.phase is bob.phase is Phase.DONE
    assert alice.verified == [Verified(BOB, None, None, key("B"))]
    assert bob.verified == [Verified(ALICE, None, None, key("A"))]


@pytest.mark.parametrize("new_one_shows", [True, False])
def test_a_code_between_own_devices_verifies_the_new_one_and_the_account(new_one_shows: bool) -> None:
    old, new = two_devices()
    get_ready(old, new)
    shower, reader = (new, old) if new_one_shows else (old, new)
    scan(reader, shower)
    shower.do(Act.CONFIRM)
    exchange(old, new)
    assert old.verified == [Verified(ALICE, DeviceId("DEV2"), key("2"), None)]
    assert new.verified == [Verified(ALICE, None, None, key("A"))]


def test_a_code_with_other_keys_than_ours_ends_it() -> None:
    alice, bob = two_people()
    alice.knows = Theirs(key("b"), key("X"))
    get_ready(alice, bob)
    scan(bob, alice)
    assert bob.code == alice.code == Code.KEY_MISMATCH
    assert alice.verified == bob.verified == []


def test_a_code_of_another_verification_changes_nothing() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    shown = alice.state.shown
    assert shown is not None
    with pytest.raises(BadCode):
        bob.do(Scan(dataclasses.replace(shown, flow="$another")))
    assert bob.phase is Phase.READY


def test_who_did_not_read_our_code_does_not_know_its_secret() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    content = alice.place.wrap(messages.starts_reciprocate(bob.device, b"guessed secret"))
    alice.hear(BOB, Kind.START, content)
    assert alice.code == Code.KEY_MISMATCH


def test_no_code_is_shown_that_would_vouch_for_an_account_key_nobody_knows() -> None:
    alice, bob = two_people()
    alice.trusts_master = False
    get_ready(alice, bob)
    assert alice.state.shown is None
    alice.hear(BOB, Kind.START, alice.place.wrap(messages.starts_reciprocate(bob.device, bytes(16))))
    assert alice.code == Code.UNKNOWN_METHOD


def test_the_person_who_shows_a_code_has_the_last_word() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    scan(bob, alice)
    alice.do(Act.MISMATCH)
    exchange(alice, bob)
    assert bob.code == Code.USER
    assert alice.verified == bob.verified == []
