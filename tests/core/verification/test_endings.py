"""Every way in which a verification ends early, and what changes nothing."""

from __future__ import annotations

import pytest

from tandem_core.types import DeviceId, UserId
from tandem_core.verification import messages, sas
from tandem_core.verification.flow import (
    REQUEST_MS,
    STEP_MS,
    Act,
    Heard,
    NotNow,
    Phase,
    Theirs,
    Verified,
    is_timely,
)
from tandem_core.verification.messages import Code, Kind
from tests.core.verification.sides import (
    ALICE,
    BOB,
    NOW,
    Side,
    compare,
    exchange,
    get_ready,
    key,
    two_devices,
    two_people,
)

CAROL = UserId("@carol:example.org")


def ended(side: Side, code: Code) -> bool:
    """Cancelled for this reason, nothing verified, no secret kept."""
    state = side.state
    kept = (state.half, state.shared, state.shown, state.found)
    return side.phase is Phase.CANCELLED and side.code == code and not side.verified and not any(kept)


@pytest.mark.parametrize("how_far", ["asked", "ready", "started", "compare", "confirmed"])
def test_either_person_may_cancel_at_any_time(how_far: str) -> None:
    for who in (0, 1):
        sides = two_people()
        alice, bob = sides
        if how_far != "asked":
            get_ready(alice, bob)
        if how_far in ("started", "compare", "confirmed"):
            alice.do(Act.START_SAS)
        if how_far in ("compare", "confirmed"):
            exchange(alice, bob)
        if how_far == "confirmed":
            alice.do(Act.CONFIRM)
            exchange(alice, bob)
        sides[who].do(Act.CANCEL)
        exchange(alice, bob)
        assert ended(alice, Code.USER)
        assert ended(bob, Code.USER)
        assert sides[1 - who].state.is_theirs
        with pytest.raises(NotNow):
            alice.do(Act.CONFIRM)


def test_different_emoji_end_it_on_both_sides() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    bob.do(Act.MISMATCH)
    exchange(alice, bob)
    assert ended(alice, Code.MISMATCHED_SAS)
    assert ended(bob, Code.MISMATCHED_SAS)


def test_a_key_that_is_not_the_promised_one_ends_it() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.do(Act.START_SAS)
    bob.hear_all(alice)
    alice.hear_all(bob)
    alice.hear(BOB, Kind.KEY, alice.place.wrap({"key": sas.OwnHalf().public}))
    assert ended(alice, Code.MISMATCHED_COMMITMENT)


@pytest.mark.parametrize("what", ["ed25519", "master"])
def test_a_key_other_than_the_store_has_ends_it(what: str) -> None:
    alice, bob = two_people()
    compare(alice, bob)
    alice.do(Act.CONFIRM)
    setattr(bob, what, key("X"))  # Bob has another key than the server has told Alice
    bob.do(Act.CONFIRM)
    if what == "master":
        alice.knows = Theirs(key("b"), key("X"))
        send = bob.out[0]
        macs = send.content["mac"]
        macs[f"ed25519:{key('X')}"] = macs[f"ed25519:{bob.device}"]
    exchange(alice, bob)
    assert ended(alice, Code.KEY_MISMATCH)


def test_an_account_key_that_we_do_not_know_is_not_verified() -> None:
    alice, bob = two_people()
    alice.knows = Theirs(key("b"), key("Y"))
    compare(alice, bob)
    alice.do(Act.CONFIRM)
    bob.do(Act.CONFIRM)
    exchange(alice, bob)
    assert alice.verified == [Verified(BOB, DeviceId("BBBB"), key("b"), None)]


def test_a_device_with_the_name_of_an_account_key_is_no_account_key() -> None:
    alice, bob = two_people()
    bob.device = DeviceId(key("B"))
    alice.knows = Theirs(key("b"), key("B"))
    compare(alice, bob)
    alice.do(Act.CONFIRM)
    bob.do(Act.CONFIRM)
    exchange(alice, bob)
    assert alice.verified == [Verified(BOB, bob.device, key("b"), None)]


@pytest.mark.parametrize("damage", ["keys", "mac", "fewer"])
def test_macs_that_do_not_hold_end_it(damage: str) -> None:
    alice, bob = two_people()
    compare(alice, bob)
    bob.do(Act.CONFIRM)
    content = bob.out.popleft().content
    if damage == "keys":
        content["keys"] = key("x")
    elif damage == "mac":
        content["mac"][f"ed25519:{bob.device}"] = key("x")
    else:
        del content["mac"][f"ed25519:{key('B')}"]  # what is left is true, but not what was signed for
    alice.hear(BOB, Kind.MAC, content)
    assert ended(alice, Code.KEY_MISMATCH)


def test_macs_without_the_device_itself_end_it() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    assert bob.state.shared is not None
    content = sas.macs(
        bob.state.shared,
        bob.world.mine.party,
        alice.world.mine.party,
        "$request",
        {f"ed25519:{key('B')}": key("B")},
    )
    alice.hear(BOB, Kind.MAC, content)
    assert ended(alice, Code.KEY_MISMATCH)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "m.unheard_of"},
        {"key_agreement_protocols": ["curve25519"]},
        {"hashes": ["md5"]},
        {"message_authentication_codes": ["hmac-sha256"]},
        {"short_authentication_string": ["emoji"]},
    ],
)
def test_a_start_with_nothing_in_common_ends_it(change: dict[str, object]) -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    bob.hear(ALICE, Kind.START, bob.place.wrap(messages.starts_sas(alice.device) | change))
    assert ended(bob, Code.UNKNOWN_METHOD)


def test_a_request_or_an_answer_with_nothing_in_common_ends_it() -> None:
    alice, bob = two_people()
    bob.change(methods=frozenset({"m.unheard_of", messages.RECIPROCATE}))
    bob.do(Act.AGREE)
    assert ended(bob, Code.UNKNOWN_METHOD)
    alice.hear(BOB, Kind.READY, {"from_device": "BBBB", "methods": ["m.unheard_of"]})
    assert ended(alice, Code.UNKNOWN_METHOD)


@pytest.mark.parametrize(
    "change",
    [
        {"key_agreement_protocol": "curve25519"},
        {"hash": "md5"},
        {"message_authentication_code": "hmac-sha256"},
        {"short_authentication_string": ["song"]},
    ],
)
def test_an_accept_of_what_was_not_offered_ends_it(change: dict[str, object]) -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.do(Act.START_SAS)
    bob.hear_all(alice)
    alice.hear(BOB, Kind.ACCEPT, bob.out[0].content | change)
    assert ended(alice, Code.UNKNOWN_METHOD)


@pytest.mark.parametrize("kind", [Kind.READY, Kind.START, Kind.ACCEPT, Kind.KEY, Kind.MAC])
def test_a_malformed_message_ends_it(kind: Kind) -> None:
    alice, bob = two_people()
    compare(alice, bob)
    alice.hear(BOB, kind, alice.place.wrap({}))
    assert ended(alice, Code.INVALID_MESSAGE)


def test_a_key_that_gives_no_secret_ends_it() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.do(Act.START_SAS)
    bob.hear_all(alice)
    zero = key("\0")
    bob.hear(ALICE, Kind.KEY, bob.place.wrap({"key": zero}))
    assert ended(bob, Code.INVALID_MESSAGE)


@pytest.mark.parametrize("kind", [Kind.ACCEPT, Kind.KEY, Kind.MAC, Kind.DONE])
def test_a_message_at_the_wrong_time_ends_it(kind: Kind) -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    said = {
        Kind.ACCEPT: {
            "key_agreement_protocol": messages.AGREEMENT,
            "hash": messages.HASH,
            "message_authentication_code": messages.MAC,
            "short_authentication_string": ["decimal"],
            "commitment": "x",
        },
        Kind.KEY: {"key": sas.OwnHalf().public},
        Kind.MAC: {"mac": {"ed25519:BBBB": "x"}, "keys": "x"},
        Kind.DONE: {},
    }[kind]
    alice.hear(BOB, kind, alice.place.wrap(said))
    assert ended(alice, Code.UNEXPECTED_MESSAGE)
    assert alice.sent() == [Kind.CANCEL]


def test_a_start_before_anybody_agreed_ends_it() -> None:
    alice, bob = two_people()
    alice.hear(BOB, Kind.START, alice.place.wrap(messages.starts_sas(bob.device)))
    assert ended(alice, Code.UNEXPECTED_MESSAGE)
    bob.hear(ALICE, Kind.START, bob.place.wrap(messages.starts_sas(alice.device)))
    assert ended(bob, Code.UNEXPECTED_MESSAGE)


def test_a_second_start_of_another_content_ends_it() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    changed = messages.starts_sas(alice.device) | {"hashes": ["sha256", "md5"]}
    bob.hear(ALICE, Kind.START, bob.place.wrap(changed))
    assert ended(bob, Code.UNEXPECTED_MESSAGE)


def test_a_start_of_another_device_ends_it() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.hear(BOB, Kind.START, alice.place.wrap(messages.starts_sas(DeviceId("OTHER"))))
    assert ended(alice, Code.USER_MISMATCH)


def test_an_answer_of_a_device_that_nobody_knows_ends_it() -> None:
    alice, bob = two_people()
    alice.knows = Theirs(None, key("B"))
    get_ready(alice, bob)
    assert ended(alice, Code.USER_MISMATCH)
    _, bob = two_people()
    bob.knows = Theirs(None, None)
    with pytest.raises(NotNow):
        bob.do(Act.AGREE)


def test_nobody_else_in_the_room_has_a_say() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    before = alice.state
    for kind, content in (
        (Kind.CANCEL, messages.cancels(Code.USER)),
        (Kind.KEY, {"key": sas.OwnHalf().public}),
        (Kind.DONE, {}),
        (Kind.START, {}),
    ):
        alice.hear(CAROL, kind, alice.place.wrap(content))
    assert alice.state == before
    assert not alice.out


def test_another_device_of_ours_that_answers_or_declines_takes_it_from_us() -> None:
    _, bob = two_people()
    bob.hear(BOB, Kind.READY, {"from_device": "PHONE", "methods": [messages.SAS]})
    assert ended(bob, Code.ACCEPTED)
    _, bob = two_people()
    bob.hear(BOB, Kind.CANCEL, messages.cancels(Code.USER))
    assert ended(bob, Code.USER)
    assert not bob.out
    alice, bob = two_people()
    get_ready(alice, bob)
    bob.hear(BOB, Kind.CANCEL, messages.cancels(Code.USER))
    assert bob.phase is Phase.READY


def test_the_first_device_that_answers_is_the_one_and_the_others_are_told() -> None:
    one, two = two_devices()
    one.change(asked=(DeviceId("DEV2"), DeviceId("DEV3"), DeviceId("DEV4")))
    two.do(Act.AGREE)
    one.hear_all(two)
    [send] = one.out
    assert (send.kind, send.content["code"]) == (Kind.CANCEL, Code.ACCEPTED)
    assert send.devices == (DeviceId("DEV3"), DeviceId("DEV4"))
    one.hear(ALICE, Kind.READY, {"from_device": "DEV3", "methods": [messages.SAS]})
    assert (one.phase, one.state.device) == (Phase.READY, DeviceId("DEV2"))


def test_a_device_that_was_not_asked_cannot_answer() -> None:
    one, _ = two_devices()
    one.hear(ALICE, Kind.READY, {"from_device": "DEV9", "methods": [messages.SAS]})
    assert one.phase is Phase.ASKED


def test_cancelling_a_request_tells_all_that_were_asked() -> None:
    one, _ = two_devices()
    one.change(asked=(DeviceId("DEV2"), DeviceId("DEV3")))
    one.do(Act.CANCEL)
    assert one.out[0].devices == (DeviceId("DEV2"), DeviceId("DEV3"))


# ── Time ────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_over_after_ten_minutes() -> None:
    alice, bob = two_people()
    for side in (alice, bob):
        side.now_ms = NOW + REQUEST_MS - 1
        side.do(Act.TICK)
        assert side.phase is Phase.ASKED
        side.now_ms += 1
        side.do(Act.TICK)
        assert ended(side, Code.TIMEOUT)
    assert alice.sent() == [Kind.CANCEL]
    assert bob.sent() == []  # nobody here took part


def test_a_started_method_is_over_after_two_minutes_of_silence() -> None:
    alice, bob = two_people()
    get_ready(alice, bob)
    alice.now_ms = NOW + 300_000
    alice.do(Act.START_SAS)
    alice.now_ms += STEP_MS - 1
    alice.do(Act.TICK)
    assert alice.phase is Phase.STARTED
    alice.now_ms += 1
    alice.do(Act.TICK)
    assert ended(alice, Code.TIMEOUT)
    exchange(alice, bob)
    assert ended(bob, Code.TIMEOUT)


@pytest.mark.parametrize(
    ("age_ms", "expected"),
    [(0, True), (REQUEST_MS, True), (REQUEST_MS + 1, False), (-300_000, True), (-300_001, False)],
)
def test_a_request_is_answered_only_near_its_date(age_ms: int, expected: bool) -> None:
    assert is_timely(NOW - age_ms, NOW) is expected


# ── Repetition ──────────────────────────────────────────────────────────────────────────────────


def test_whatever_comes_twice_changes_nothing() -> None:
    alice, bob = two_people()
    bob.do(Act.AGREE)
    _twice(alice, bob)
    alice.do(Act.START_SAS)
    for _ in range(3):
        _twice(bob, alice)
        _twice(alice, bob)
    assert alice.state.emoji == bob.state.emoji != ()
    alice.do(Act.CONFIRM)
    _twice(bob, alice)
    bob.do(Act.CONFIRM)
    _twice(alice, bob)
    _twice(bob, alice)
    assert alice.phase is bob.phase is Phase.DONE
    assert len(alice.verified) == len(bob.verified) == 1


def _twice(to: Side, sender: Side) -> None:
    while sender.out:
        send = sender.out.popleft()
        for _ in range(2):
            to.hear(sender.user, send.kind, send.content)


def test_the_messages_of_one_verification_are_worth_nothing_in_another() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    bob.do(Act.CONFIRM)
    old_mac = bob.out[0]
    again, bobs = two_people()
    compare(again, bobs)
    again.do(Act.CONFIRM)
    again.hear(BOB, old_mac.kind, old_mac.content)
    assert ended(again, Code.KEY_MISMATCH)


def test_what_is_over_hears_nothing_more() -> None:
    alice, bob = two_people()
    compare(alice, bob)
    alice.do(Act.CANCEL)
    alice.out.clear()
    bob.do(Act.CONFIRM)
    alice.hear_all(bob)
    alice.do(Act.TICK)
    assert ended(alice, Code.USER)
    assert not alice.out


@pytest.mark.parametrize("act", [Act.START_SAS, Act.CONFIRM, Act.MISMATCH])
def test_an_act_at_the_wrong_time_changes_nothing(act: Act) -> None:
    alice, bob = two_people()
    for side in (alice, bob):
        before = side.state
        with pytest.raises(NotNow):
            side.do(act)
        assert side.state == before
    with pytest.raises(NotNow):
        alice.do(Act.AGREE)
    assert bob.state.shown is None


def test_a_repeated_request_changes_nothing() -> None:
    _, bob = two_people()
    before = bob.state
    bob.do(Heard(ALICE, messages.Request(DeviceId("AAAA"), ("m.sas.v1",))))
    assert bob.state == before
