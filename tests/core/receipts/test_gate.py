"""The gate owes a receipt only where nothing speaks against it, and never raises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tandem_core.receipts import gate
from tandem_core.receipts.gate import (
    Facts,
    Owe,
    Reason,
    ReceiptSettings,
    Refuse,
    RoomFacts,
    SenderFacts,
    Share,
    decide,
    still_owed,
)
from tandem_core.store.rooms import RoomKind
from tandem_core.types import Origin, Seal, UserId

NOW = 1_800_000_000_000
DAY = 24 * 3600 * 1000
BOB = UserId("@bob:example.org")
EVENT = Facts(
    sender=BOB,
    type="m.room.message",
    content={"msgtype": "m.text", "body": "hello"},
    is_state=False,
    row_kind="text",
    seal=Seal.OPENED,
    origin=Origin.LIVE,
    sent_at=NOW - 2000,
    received_at=NOW - 1000,
    opened_at=NOW - 500,
    redacted=False,
)
DIRECT = RoomFacts(
    kind=RoomKind.DIRECT, encrypted=True, joined=True, joined_at=NOW - DAY, accepted=True, others=1
)
GROUP = replace(DIRECT, kind=RoomKind.PRIVATE_GROUP, others=5)
PLAIN = replace(DIRECT, kind=RoomKind.PRIVATE_PLAIN, encrypted=False, others=5)
PUBLIC = replace(DIRECT, kind=RoomKind.PUBLIC, encrypted=False, others=50)
SENDER = SenderFacts(is_me=False, ignored=False, joined=True)
DEFAULTS = ReceiptSettings()


def ask(
    event: Facts = EVENT,
    room: RoomFacts = DIRECT,
    sender: SenderFacts = SENDER,
    settings: ReceiptSettings = DEFAULTS,
) -> Owe | Refuse:
    return decide(event, room, sender, settings, NOW)


def refusal(**facts: Any) -> Reason:
    decision = ask(**facts)
    assert isinstance(decision, Refuse), decision
    return decision.reason


def message(**content: Any) -> Facts:
    return replace(EVENT, content={"msgtype": "m.text", "body": "hello"} | content)


times = st.integers(min_value=0, max_value=2 * NOW)
events = st.builds(
    Facts,
    sender=st.just(BOB),
    type=st.sampled_from(["m.room.message", "m.sticker", "m.poll.start", "m.reaction", "m.room.member", "x"]),
    content=st.dictionaries(
        st.sampled_from(["msgtype", "body", "m.relates_to", "m.new_content", "url"]),
        st.one_of(
            st.sampled_from(["m.text", "m.notice", "m.image", "hello", "", " ", "\u200b"]),
            st.none(),
            st.integers(),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(
                st.just("rel_type"), st.sampled_from(["m.replace", "m.thread", "m.annotation", None, 3])
            ),
        ),
    ),
    is_state=st.booleans(),
    row_kind=st.sampled_from(
        ["text", "image", "notice", "none", "state", "sealed", "redacted", "sticker", "poll"]
    ),
    seal=st.sampled_from(list(Seal)),
    origin=st.sampled_from([*Origin, None]),
    sent_at=st.one_of(times, st.integers(NOW - 8 * DAY, NOW + DAY)),
    received_at=st.one_of(times, st.integers(NOW - 8 * DAY, NOW + DAY)),
    opened_at=st.one_of(st.none(), times, st.integers(NOW - DAY, NOW + DAY)),
    redacted=st.booleans(),
    is_proven=st.booleans(),
)
rooms = st.builds(
    RoomFacts,
    kind=st.sampled_from(list(RoomKind)),
    encrypted=st.booleans(),
    joined=st.booleans(),
    joined_at=st.one_of(st.none(), st.integers(NOW - 9 * DAY, NOW + DAY)),
    accepted=st.booleans(),
    others=st.one_of(st.none(), st.integers(0, 200)),
)
senders = st.builds(
    SenderFacts, is_me=st.booleans(), ignored=st.booleans(), joined=st.booleans(), verified=st.booleans()
)
choices = st.builds(
    ReceiptSettings,
    direct=st.booleans(),
    groups=st.booleans(),
    groups_max=st.integers(1, 100),
    plain=st.booleans(),
    device_detail=st.sampled_from(["nobody", "verified", "accepted", "else"]),
    room=st.sampled_from(["default", "on", "never", "else"]),
    person=st.sampled_from(["default", "never", "else"]),
    paused_until=st.sampled_from([0, NOW - DAY, NOW - 1000, NOW, NOW + DAY]),
    is_sound=st.booleans(),
)
# What is owed is rare among arbitrary facts, so half of the cases begin with what is owed and vary a part.
good_or_any_event = st.one_of(st.just(EVENT), events)
good_or_any_room = st.one_of(st.sampled_from([DIRECT, GROUP, PLAIN, PUBLIC]), rooms)
good_or_any_sender = st.one_of(st.just(SENDER), senders)
good_or_any_choices = st.one_of(st.just(DEFAULTS), choices)


def test_a_message_in_an_accepted_encrypted_direct_chat_is_confirmed() -> None:
    assert ask() == Owe(Share.USER)


@pytest.mark.parametrize(
    "kind", ["m.text", "m.image", "m.file", "m.audio", "m.video", "m.location", "m.emote"]
)
def test_each_kind_of_message_row_is_confirmed(kind: str) -> None:
    row = kind.removeprefix("m.")
    assert isinstance(ask(replace(message(msgtype=kind), row_kind=row)), Owe)


def test_a_sticker_and_a_poll_are_confirmed() -> None:
    assert isinstance(
        ask(replace(EVENT, type="m.sticker", content={"body": "a cat"}, row_kind="sticker")), Owe
    )
    poll = {"m.poll": {"question": {"m.text": "?"}}}
    assert isinstance(ask(replace(EVENT, type="m.poll.start", content=poll, row_kind="poll")), Owe)


def test_a_reply_and_a_thread_message_are_confirmed() -> None:
    assert isinstance(ask(message(**{"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}})), Owe)
    assert isinstance(ask(message(**{"m.relates_to": {"rel_type": "m.thread", "event_id": "$a"}})), Owe)


@pytest.mark.parametrize(
    "type_",
    [
        "m.reaction",
        "m.room.redaction",
        "m.poll.response",
        "m.poll.end",
        "m.call.invite",
        "m.beacon",
        "m.room.encrypted",
        "m.key.verification.request",
        "org.example.unknown",
        "",
    ],
)
def test_a_silent_kind_is_never_confirmed(type_: str) -> None:
    assert refusal(event=replace(EVENT, type=type_)) is Reason.NOT_A_MESSAGE


@pytest.mark.parametrize(
    "msgtype", ["m.notice", "m.bad.encrypted", "m.key.verification.request", None, 3, []]
)
def test_a_message_without_a_visible_kind_is_never_confirmed(msgtype: object) -> None:
    assert ask(message(msgtype=msgtype)) == Refuse(Reason.NOT_A_MESSAGE)


def test_an_edit_is_never_confirmed() -> None:
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}}
    assert refusal(event=message(**edit)) is Reason.AN_EDIT
    assert refusal(event=message(**{"m.new_content": {"body": "x"}})) is Reason.AN_EDIT
    assert refusal(event=message(**{"m.relates_to": {"rel_type": "m.annotation"}})) is Reason.AN_EDIT
    assert refusal(event=message(**{"m.relates_to": "garbage"})) is Reason.AN_EDIT


@pytest.mark.parametrize("body", ["", "   ", "\n\t", "\u200b\u200d", "\u3164", None, 7, {"a": 1}])
def test_a_message_that_shows_nothing_is_never_confirmed(body: object) -> None:
    assert refusal(event=message(body=body)) is Reason.EMPTY


def test_a_public_room_is_confirmed_only_by_its_own_choice() -> None:
    assert refusal(room=PUBLIC) is Reason.PUBLIC_ROOM
    assert isinstance(
        ask(
            replace(EVENT, seal=Seal.PLAIN), replace(PUBLIC, others=20), settings=replace(DEFAULTS, room="on")
        ),
        Owe,
    )


def test_a_private_room_without_encryption_is_off_until_chosen() -> None:
    plain = replace(EVENT, seal=Seal.PLAIN, opened_at=None)
    assert refusal(event=plain, room=PLAIN) is Reason.KIND_OFF
    assert isinstance(ask(plain, PLAIN, settings=replace(DEFAULTS, plain=True)), Owe)
    assert isinstance(ask(plain, PLAIN, settings=replace(DEFAULTS, room="on")), Owe)


def test_a_group_above_the_chosen_size_is_off_and_a_huge_one_always() -> None:
    assert isinstance(ask(room=replace(GROUP, others=20)), Owe)
    assert refusal(room=replace(GROUP, others=21)) is Reason.TOO_MANY_PEOPLE
    on = replace(DEFAULTS, room="on")
    asking = replace(EVENT, is_asking=True)
    assert isinstance(ask(asking, replace(GROUP, others=100), settings=on), Owe)
    assert refusal(event=asking, room=replace(GROUP, others=21)) is Reason.TOO_MANY_PEOPLE
    assert refusal(room=replace(GROUP, others=101), settings=on) is Reason.TOO_MANY_PEOPLE


@pytest.mark.parametrize("settings", [replace(DEFAULTS, room="on"), replace(DEFAULTS, groups_max=100)])
def test_in_a_large_group_only_who_asks_is_told(settings: ReceiptSettings) -> None:
    assert refusal(room=replace(GROUP, others=21), settings=settings) is Reason.NOT_ASKED
    assert isinstance(ask(room=replace(GROUP, others=20), settings=settings), Owe)
    assert isinstance(ask(replace(EVENT, is_asking=True), replace(GROUP, others=21), settings=settings), Owe)


def test_never_beats_on() -> None:
    assert refusal(settings=replace(DEFAULTS, room="on", person="never")) is Reason.PERSON_NEVER
    assert refusal(settings=replace(DEFAULTS, room="never", direct=True)) is Reason.ROOM_NEVER


@pytest.mark.parametrize(
    ("detail", "verified", "share"),
    [
        ("nobody", True, Share.USER),
        ("verified", False, Share.USER),
        ("verified", True, Share.DEVICE),
        ("accepted", False, Share.DEVICE),
        ("garbage", True, Share.USER),
    ],
)
def test_the_device_is_told_only_to_whom_the_setting_names(detail: str, verified: bool, share: Share) -> None:
    decision = ask(
        sender=replace(SENDER, verified=verified), settings=replace(DEFAULTS, device_detail=detail)
    )
    assert isinstance(decision, Owe)
    assert decision.share is share


def test_the_device_is_never_told_in_a_group() -> None:
    decision = ask(room=GROUP, settings=replace(DEFAULTS, device_detail="accepted"))
    assert isinstance(decision, Owe)
    assert decision.share is Share.USER


def test_a_broken_fact_refuses_instead_of_raising(caplog: pytest.LogCaptureFixture) -> None:
    assert refusal(event=replace(EVENT, sent_at="yesterday")) is Reason.DOUBT  # type: ignore[arg-type]
    assert "hello" not in caplog.text


@given(good_or_any_event, good_or_any_room, good_or_any_sender, good_or_any_choices)
def test_whatever_is_owed_has_nothing_against_it(
    event: Facts, room: RoomFacts, sender: SenderFacts, settings: ReceiptSettings
) -> None:
    decision = ask(event, room, sender, settings)
    if isinstance(decision, Refuse):
        return
    assert event.type in ("m.room.message", "m.sticker", "m.poll.start")
    assert event.content.get("msgtype") != "m.notice"
    assert event.row_kind not in ("none", "state", "sealed", "redacted", "notice")
    assert not event.is_state
    assert not event.redacted
    assert event.origin in (Origin.LIVE, Origin.GAP)
    assert event.seal is Seal.OPENED or (event.seal is Seal.PLAIN and not room.encrypted)
    if event.seal is Seal.OPENED:
        assert event.opened_at is not None
        assert event.opened_at - event.received_at <= 5 * 60 * 1000
    assert NOW - event.sent_at <= 7 * DAY
    assert event.sent_at <= NOW + gate.MOST_AHEAD_MS
    assert room.joined_at is not None
    assert event.sent_at >= room.joined_at
    assert room.joined
    assert room.accepted
    assert sender.joined
    assert not sender.is_me
    assert not sender.ignored
    assert settings.is_sound
    assert settings.person == "default"
    assert settings.room in ("default", "on")
    assert room.others is not None
    assert room.kind is not RoomKind.UNKNOWN
    assert room.kind is not RoomKind.PUBLIC or settings.room == "on"
    assert room.others <= 100
    if decision.share is Share.DEVICE:
        assert room.kind is RoomKind.DIRECT
        assert settings.device_detail == "accepted" or (
            settings.device_detail == "verified" and sender.verified
        )
    assert event.is_proven or event.seal is Seal.PLAIN
    assert min(event.received_at, NOW) >= settings.paused_until


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"redacted": True}, Reason.REDACTED),
        ({"origin": Origin.BACK}, Reason.NOT_LIVE),
        ({"origin": None}, Reason.NOT_LIVE),
        ({"seal": Seal.SEALED}, Reason.SEALED),
        ({"seal": Seal.REFUSED}, Reason.SEALED),
        ({"seal": Seal.PLAIN}, Reason.PLAIN_IN_ENCRYPTED_ROOM),
        ({"sent_at": NOW - 7 * DAY - 1}, Reason.TOO_OLD),
        ({"opened_at": NOW - 1000 + 5 * 60 * 1000 + 1}, Reason.OPENED_LATE),
        ({"sent_at": NOW + 11 * 60 * 1000}, Reason.CLOCK),
        ({"received_at": NOW + 11 * 60 * 1000}, Reason.CLOCK),
        ({"is_state": True}, Reason.NOT_A_MESSAGE),
        ({"is_proven": False}, Reason.UNPROVEN),
        ({"row_kind": "none"}, Reason.NOT_A_MESSAGE),
    ],
)
def test_one_fact_against_the_event_is_enough(change: dict[str, Any], reason: Reason) -> None:
    assert refusal(event=replace(EVENT, **change)) is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joined_at": None}, Reason.BEFORE_JOIN),
        ({"joined_at": NOW}, Reason.BEFORE_JOIN),
        ({"joined": False}, Reason.NOT_JOINED),
        ({"accepted": False}, Reason.NOT_ACCEPTED),
        ({"kind": RoomKind.UNKNOWN}, Reason.UNKNOWN_ROOM),
        ({"others": None}, Reason.UNKNOWN_ROOM),
    ],
)
def test_one_fact_against_the_room_is_enough(change: dict[str, Any], reason: Reason) -> None:
    assert refusal(room=replace(DIRECT, **change)) is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_me": True}, Reason.OWN_EVENT),
        ({"ignored": True}, Reason.IGNORED),
        ({"joined": False}, Reason.NOT_JOINED),
    ],
)
def test_one_fact_against_the_sender_is_enough(change: dict[str, Any], reason: Reason) -> None:
    assert refusal(sender=replace(SENDER, **change)) is reason


def test_settings_that_cannot_be_understood_refuse() -> None:
    assert refusal(settings=replace(DEFAULTS, is_sound=False)) is Reason.SETTINGS_UNSOUND


@given(good_or_any_room, good_or_any_sender, good_or_any_choices)
def test_what_is_not_owed_any_more_when_due_would_not_be_owed_anew(
    room: RoomFacts, sender: SenderFacts, settings: ReceiptSettings
) -> None:
    assume(still_owed(room, sender, settings) is not None)
    assert isinstance(ask(EVENT, room, sender, settings), Refuse)


def test_what_arrives_in_a_pause_is_never_confirmed_not_even_when_it_opens_after_it() -> None:
    paused = replace(DEFAULTS, paused_until=NOW + 1)
    assert refusal(settings=paused) is Reason.PAUSED
    over = replace(DEFAULTS, paused_until=NOW - 700)
    assert refusal(settings=over) is Reason.PAUSED  # it came 300 ms before the end, and opened 200 ms after
    assert isinstance(ask(replace(EVENT, received_at=NOW - 700), settings=over), Owe)


def test_a_message_that_came_in_clear_needs_no_key_of_its_senders() -> None:
    plain = replace(EVENT, seal=Seal.PLAIN, opened_at=None, is_proven=False)
    assert isinstance(ask(plain, PLAIN, settings=replace(DEFAULTS, plain=True)), Owe)


@given(events)
def test_what_is_silent_is_never_owed_and_asking_needs_no_other_fact(event: Facts) -> None:
    if gate.silent(event) is not None:
        assert isinstance(ask(event), Refuse)
