"""What cannot be decrypted is told to its author, rarely, to verified people in direct chats only, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from vodozemac import InboundGroupSession

from tandem_core import settings
from tandem_core.codec import dumps
from tandem_core.crypto import megolm, olm
from tandem_core.crypto.key_again import send_key_again
from tandem_core.receipts import encrypted_body, failed
from tandem_core.receipts.failed import Code
from tandem_core.store import crypto as rows
from tandem_core.store import events, members, rooms, timeline
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, EventId, Json
from tests.core.crypto.failed_kit import AFTER_ALL, DAY, HOUR, MINUTE, Talk, make_talk, restored
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_gossip import verify
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

ONE = DeviceId("ONE")
_PUT_DELIVERY = (
    "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
    " VALUES (?, ?, 'ONE', 'delivered', ?, ?, ?)"
)


@pytest.fixture
def talk(alice: Device, bob: Device, server: KeyServer, clock: StillClock) -> Talk:
    made = make_talk(alice, bob, server, clock)
    made.see(made.say("hello"))
    return made


def told(talk: Talk) -> list[Json]:
    """The reports that Bob has sent and Alice has not taken yet, opened as her device would."""
    found: list[Json] = []

    def look(txn: Transaction) -> None:
        for event in talk.server.inboxes.get((talk.alice.me.user_id, talk.alice.me.device_id), []):
            if event["type"] == olm.SEALED:
                opened = olm.open_event(txn, talk.alice.state, event["sender"], event["content"], NOW)
                if opened.type == encrypted_body.RECEIPT:
                    assert len(dumps(opened.content)) == encrypted_body.SIZES[0]
                    body = encrypted_body.parse(opened.content)
                    assert body is not None
                    found.extend(body.failed)
        raise LookedOnly

    with pytest.raises(LookedOnly):
        talk.alice.write(look)
    return found


class LookedOnly(Exception):
    """The transaction is rolled back."""


def change(device: Device, sql: str, *values: object) -> None:
    device.write(lambda txn: txn.execute(sql, values) and None)


def choose(device: Device, key: str, value: settings.Value, **scope: Any) -> None:
    device.write(settings.set_value, key, value, now_ms=NOW, **scope)


# ── Telling ────────────────────────────────────────────────────────────────────────────────────


def test_the_author_is_told_after_five_minutes_of_grace_and_not_before(talk: Talk) -> None:
    event_id = talk.lost()
    talk.work()
    talk.wait(failed.GRACE_MS)
    talk.work()
    assert told(talk) == []
    talk.wait(AFTER_ALL - failed.GRACE_MS)
    talk.work()
    assert told(talk) == [{"session": talk.session(event_id), "first": event_id, "n": 1, "code": "no_key"}]
    assert talk.owed() == [("sent", "no_key", 1, None)]


def test_one_report_says_it_for_all_messages_of_a_session(talk: Talk) -> None:
    first = talk.lost("one")
    for body in ("two", "three"):
        talk.see(talk.say(body))
    talk.tell()
    assert told(talk) == [{"session": talk.session(first), "first": first, "n": 3, "code": "no_key"}]
    talk.see(talk.say("four"))
    talk.tell()
    assert len(told(talk)) == 1


def test_a_key_that_comes_within_the_grace_leaves_nothing_to_tell(talk: Talk) -> None:
    talk.rotate()
    event_id = talk.say("early")
    talk.bob.sees(talk.wire(event_id), talk.alice, event_id=event_id, ts=talk.clock.now_ms())
    assert talk.owed() == [("waiting", None, None, None)]
    talk.wait(MINUTE)
    talk.bob.receive()
    assert talk.bob.body(event_id) == "early"
    talk.tell()
    assert talk.owed() == []
    assert told(talk) == []


def test_both_programs_tell_once(talk: Talk) -> None:
    talk.lost()
    other = talk.other_program()
    try:
        talk.wait(AFTER_ALL)
        talk.work(other)
        talk.work()
        assert len(told(talk)) == 1
    finally:
        other.close()


def test_the_notifier_says_nothing_where_it_may_not_confirm(talk: Talk) -> None:
    choose(talk.bob, "receipts.notifier", False)
    talk.lost()
    other = talk.other_program()
    try:
        talk.wait(AFTER_ALL)
        talk.work(other)
        assert told(talk) == []
    finally:
        other.close()


def test_all_codes_look_alike(talk: Talk) -> None:
    """The length is checked wherever a report is opened; the times are drawn from one range."""
    for reason in ("no_key", "withheld:m.unavailable", "bad_key"):
        talk.rotate()
        event_id = talk.lost(reason)
        change(talk.bob, "UPDATE event SET seal_reason = ? WHERE event_id = ?", reason, event_id)
    waits = talk.bob.rows("SELECT due_at - decided_at FROM failed_owed")
    assert all(failed.GRACE_MS + 5_000 <= wait <= failed.GRACE_MS + 60_000 for (wait,) in waits)
    talk.tell()
    assert {entry["code"] for entry in told(talk)} == {"no_key", "withheld", "other"}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("no_key", Code.NO_KEY),
        ("too_early", Code.NO_KEY),
        ("withheld:m.no_olm", Code.NO_KEY),
        ("withheld:m.unavailable", Code.WITHHELD),
        ("withheld:org.example.whim", Code.WITHHELD),
        ("bad_key", Code.OTHER),
        ("malformed", Code.OTHER),
        ("withheld:m.unverified", None),
        ("withheld:m.blacklisted", None),
        ("withheld:m.unauthorised", None),
        ("forged", None),
        ("replay", None),
        ("unknown_algorithm", None),
        (None, None),
    ],
)
def test_a_report_says_little_of_why_and_nothing_of_what_others_did(
    word: str | None, code: Code | None
) -> None:
    assert failed.code_of(word) is code


# ── Not telling ────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_told_of_a_key_that_was_refused_on_purpose(talk: Talk) -> None:
    talk.rotate()
    event_id = talk.say("not for you")
    talk.server.inboxes.clear()
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "code": "m.unverified"}
    notice = {
        "type": "m.room_key.withheld",
        "sender": talk.alice.me.user_id,
        "content": content | {"session_id": talk.session(event_id)},
    }
    talk.bob.put_inbox(notice)
    talk.see(event_id)
    assert talk.bob.event(event_id).seal_reason == "withheld:m.unverified"
    assert talk.owed() == []


def test_a_refusal_that_comes_within_the_grace_silences_the_report(talk: Talk) -> None:
    event_id = talk.lost()
    change(talk.bob, "UPDATE event SET seal_reason = 'withheld:m.blacklisted' WHERE event_id = ?", event_id)
    talk.tell()
    assert told(talk) == []
    assert talk.owed() == [("dropped", None, None, "refused_on_purpose")]


def _group(talk: Talk) -> None:
    talk.bob.write(rooms.set_room, talk.bob.role, ROOM, {"is_dm": 0})


def _off(talk: Talk) -> None:
    choose(talk.bob, failed.SETTING, False)


def _new_login(talk: Talk) -> None:
    change(talk.bob, "UPDATE session SET signed_in_at = ?", talk.clock.now_ms() - HOUR + MINUTE)


@pytest.mark.parametrize("spoil", [_group, _off, _new_login])
def test_what_does_not_hold_when_the_message_comes_is_not_even_kept(
    talk: Talk, spoil: Callable[[Talk], None]
) -> None:
    spoil(talk)
    talk.lost()
    assert talk.owed() == []


def _unverified(talk: Talk) -> None:
    change(talk.bob, "UPDATE identity SET signed_by = NULL WHERE user_id = ?", talk.alice.me.user_id)


def _not_accepted(talk: Talk) -> None:
    change(talk.bob, "UPDATE room_fact SET accepted = NULL")


def _ignored(talk: Talk) -> None:
    change(
        talk.bob,
        "INSERT INTO account_data VALUES ('m.ignored_user_list', ?)",
        dumps({"ignored_users": {talk.alice.me.user_id: {}}}),
    )


def _never(talk: Talk) -> None:
    choose(talk.bob, "receipts.person", "never", user_id=talk.alice.me.user_id)


def _receipts_off(talk: Talk) -> None:
    choose(talk.bob, "receipts.direct", "off")


def _gone(talk: Talk) -> None:
    talk.bob.leaves(talk.alice.me.user_id)


def _unsigned(talk: Talk) -> None:
    change(talk.bob, "UPDATE device SET signed_by = NULL WHERE user_id = ?", talk.bob.me.user_id)


def _no_session(talk: Talk) -> None:
    change(talk.bob, "DELETE FROM olm_session")


def _unsigned_author(talk: Talk) -> None:
    change(talk.bob, "UPDATE device SET signed_by = NULL WHERE user_id = ?", talk.alice.me.user_id)


def test_what_does_not_hold_any_more_when_it_is_due_is_dropped_with_its_reason(talk: Talk) -> None:
    talk.lost()
    talk.wait(AFTER_ALL)
    reasons: list[tuple[Callable[[Talk], None], str]] = [
        (_off, "switched_off"),
        (_group, "not_direct"),
        (_unverified, "not_verified"),
        (_not_accepted, "not_accepted"),
        (_ignored, "ignored"),
        (_never, "person_never"),
        (_receipts_off, "kind_off"),
        (_gone, "not_joined"),
        (_unsigned, "unsigned_device"),
        (_no_session, "no_session"),
        (_unsigned_author, "no_session"),
        (_new_login, "new_device"),
    ]
    for spoil, reason in reasons:
        with restored(talk.bob):
            spoil(talk)
            talk.work()
            assert talk.owed() == [("dropped", None, None, reason)]
    assert told(talk) == []
    talk.work()
    assert len(told(talk)) == 1, "nothing else speaks against it"


def test_no_one_time_key_is_claimed_for_a_report(talk: Talk) -> None:
    before = len(talk.server.asked("keys/claim"))
    talk.lost()
    talk.tell()
    assert len(told(talk)) == 1
    assert len(talk.server.asked("keys/claim")) == before


def test_nothing_is_told_of_history(talk: Talk) -> None:
    event_id = talk.say("long ago")
    talk.bob.receive()
    talk.lose_keys()
    raw = {
        "event_id": event_id,
        "sender": talk.alice.me.user_id,
        "type": "m.room.encrypted",
        "origin_server_ts": talk.clock.now_ms(),
        "content": talk.wire(event_id),
    }
    change(talk.bob, "UPDATE room SET back_token = 't1', back_done = 0")
    talk.bob.write(timeline.prepend_back, talk.bob.role, ROOM, "t1", [raw], None, now_ms=NOW)
    talk.bob.drain()
    assert talk.bob.event(event_id).seal_reason == "no_key"
    assert talk.owed() == []


def test_nothing_is_told_of_what_makes_no_row(talk: Talk) -> None:
    event_id = talk.say("words")
    talk.bob.receive()
    talk.lose_keys()
    edit = talk.wire(event_id) | {"m.relates_to": {"rel_type": "m.replace", "event_id": "$other"}}
    talk.see(event_id, content=edit)
    assert talk.owed() == []


def test_nothing_is_told_of_a_message_that_was_deleted(talk: Talk) -> None:
    event_id = talk.lost()
    talk.bob.write(events.redact, ROOM, event_id, "$redaction")
    talk.tell()
    assert told(talk) == []
    assert talk.owed() == []


def test_a_session_that_somebody_else_names_does_not_silence_the_authors_own(talk: Talk) -> None:
    """The id of a session is in clear: anybody can write it into an event of their own."""
    event_id = talk.say("words")
    talk.bob.receive()
    talk.lose_keys()
    talk.bob.sees(talk.wire(event_id) | {"ciphertext": "AwgA"}, user("mallory"), event_id="$trap")
    talk.see(event_id)
    talk.tell()
    assert [entry["first"] for entry in told(talk)] == [event_id]


# ── First everything else ──────────────────────────────────────────────────────────────────────


def test_nothing_is_told_before_it_is_known_whether_there_is_a_backup(talk: Talk) -> None:
    change(talk.bob, "DELETE FROM backup")
    talk.lost()
    talk.tell()
    assert told(talk) == []
    asyncio.run(talk.bob.backups.step())
    talk.tell()
    assert len(told(talk)) == 1


def test_nothing_is_told_before_the_backup_was_asked(talk: Talk) -> None:
    asyncio.run(talk.bob.backup.create())
    talk.lost()
    talk.tell()
    assert told(talk) == []
    asyncio.run(talk.bob.backups.step())
    talk.tell()
    assert len(told(talk)) == 1


def test_nothing_is_told_before_our_other_devices_had_time_to_answer(
    talk: Talk, make_device: Callable[..., Device]
) -> None:
    from tests.core.crypto.test_key_requests import work

    phone = make_device("bob", "PHONE")
    talk.bob.knows()
    phone.knows()
    verify(talk.bob, phone)
    talk.lost()
    talk.tell()
    assert told(talk) == []
    work(talk.bob)
    talk.work()
    assert told(talk) == []
    talk.tell()
    assert len(told(talk)) == 1


# ── Budget ─────────────────────────────────────────────────────────────────────────────────────


def test_one_author_is_told_three_times_an_hour_and_six_times_a_day(talk: Talk) -> None:
    for number in range(9):
        talk.rotate()
        talk.lost(f"line {number}")
    talk.tell()
    assert len(told(talk)) == 3
    talk.wait(30 * MINUTE)
    talk.work()
    assert len(told(talk)) == 3
    talk.wait(HOUR)
    talk.work()
    assert len(told(talk)) == 6
    for _ in range(10):
        talk.wait(2 * HOUR)
        talk.work()
    assert len(told(talk)) == 6
    talk.wait(4 * HOUR)
    talk.work()
    assert len(told(talk)) == 9


# ── Hearing ────────────────────────────────────────────────────────────────────────────────────


def entry(talk: Talk, event_id: str, **other: Any) -> Json:
    return {"session": talk.session(event_id), "first": event_id, "n": 1, "code": "no_key"} | other


def accept(talk: Talk, *entries: Any, device: Device | None = None) -> int:
    """Alice's device opens reports of Bob's."""
    by = device or talk.bob
    (known,) = [d for d in talk.alice.devices(by) if d.device_id == by.me.device_id]
    return int(
        talk.alice.write(
            failed.accept, talk.alice.me, by.me.user_id, known, list(entries), talk.clock.now_ms()
        )
    )


def test_the_author_hears_which_device_cannot_decrypt_what(talk: Talk) -> None:
    before = talk.say("before")
    event_id, after = talk.say("first"), talk.say("after")
    assert accept(talk, entry(talk, event_id, n=2)) == 1
    heard = talk.heard(before, event_id, after, "$unknown")
    assert sorted(heard) == sorted([event_id, after])
    (device,) = heard[event_id]
    now_ms = talk.clock.now_ms()
    assert device == failed.FailedDevice(
        talk.bob.me.user_id, ONE, Code.NO_KEY, now_ms, now_ms + 10 * MINUTE, None
    )


def test_saying_it_again_changes_nothing(talk: Talk) -> None:
    event_id = talk.say("words")
    accept(talk, entry(talk, event_id))
    talk.wait(HOUR)
    assert accept(talk, entry(talk, event_id, n=40), entry(talk, event_id, code="other")) == 0
    assert [device.code for device in talk.heard(event_id)[event_id]] == [Code.NO_KEY]


def test_what_a_device_takes_back_is_over(talk: Talk) -> None:
    event_id = talk.say("words")
    assert accept(talk, entry(talk, event_id, n=0)) == 0
    accept(talk, entry(talk, event_id))
    assert accept(talk, entry(talk, event_id, n=0)) == 1
    assert talk.heard(event_id) == {}


@pytest.mark.parametrize(("via", "is_over"), [("olm", True), ("server", False)])
def test_only_what_its_device_encrypted_takes_a_failure_back(talk: Talk, via: str, is_over: bool) -> None:
    event_id = talk.say("words")
    accept(talk, entry(talk, event_id))
    talk.wait(MINUTE)
    put = _PUT_DELIVERY
    now_ms = talk.clock.now_ms()
    change(talk.alice, put, event_id, talk.bob.me.user_id, now_ms, now_ms, via)
    assert (talk.heard(event_id) == {}) is is_over


def test_a_later_message_that_arrives_says_nothing_of_an_earlier_one(talk: Talk) -> None:
    event_id, later = talk.say("lost"), talk.say("readable")
    accept(talk, entry(talk, event_id))
    talk.wait(MINUTE)
    put = _PUT_DELIVERY
    now_ms = talk.clock.now_ms()
    change(talk.alice, put, later, talk.bob.me.user_id, now_ms, now_ms, "olm")
    assert list(talk.heard(event_id, later)) == [event_id]


def test_a_report_that_does_not_fit_is_dropped(talk: Talk) -> None:
    event_id = talk.say("words")
    others: list[Json] = [
        {"session": "another"},
        {"session": ""},
        {"session": 7},
        {"session": "x" * 300},
        {"first": "$unknown"},
        {"first": "words"},
        {"first": None},
        {"n": -1},
        {"n": True},
        {"n": 1.5},
        {"n": 10**9},
        {"code": "because"},
        {"code": None},
        {"code": ["no_key"]},
    ]
    for other in others:
        assert accept(talk, entry(talk, event_id, **other), None, [], "no_key") == 0
    assert talk.heard(event_id) == {}
    assert accept(talk, entry(talk, event_id)) == 1


def test_a_report_on_somebody_elses_message_is_dropped(talk: Talk) -> None:
    event_id = talk.say("words")
    change(talk.alice, "UPDATE event SET sender = ? WHERE event_id = ?", talk.bob.me.user_id, event_id)
    assert accept(talk, entry(talk, event_id)) == 0


def test_a_device_that_was_not_to_have_the_key_is_not_heard(
    talk: Talk, make_device: Callable[..., Device]
) -> None:
    event_id = talk.say("before the tablet")
    tablet = make_device("bob", "TABLET")
    talk.bob.knows()
    tablet.knows()
    verify(talk.bob, tablet)
    talk.alice.knows(talk.bob)
    assert accept(talk, entry(talk, event_id), device=tablet) == 0
    later = talk.say("with the tablet")
    assert talk.session(later) == talk.session(event_id)
    assert accept(talk, entry(talk, event_id), device=tablet) == 0
    assert accept(talk, entry(talk, later), device=tablet) == 1
    assert list(talk.heard(event_id, later)) == [later]


def test_a_device_without_its_owners_signature_is_not_heard(talk: Talk) -> None:
    event_id = talk.say("words")
    change(talk.alice, "UPDATE device SET signed_by = NULL WHERE user_id = ?", talk.bob.me.user_id)
    assert accept(talk, entry(talk, event_id)) == 0


def test_who_left_or_is_ignored_is_not_heard(talk: Talk) -> None:
    event_id = talk.say("words")
    talk.alice.leaves(talk.bob.me.user_id)
    assert accept(talk, entry(talk, event_id)) == 0
    talk.alice.write(
        members.set_member, talk.alice.role, ROOM, talk.bob.me.user_id, {"membership": "join"}, NOW + 2
    )
    ignored = dumps({"ignored_users": {talk.bob.me.user_id: {}}})
    change(talk.alice, "INSERT INTO account_data VALUES ('m.ignored_user_list', ?)", ignored)
    assert accept(talk, entry(talk, event_id)) == 0


def test_a_flood_of_reports_is_bounded(talk: Talk) -> None:
    entries = []
    for number in range(20):
        talk.rotate()
        entries.append(entry(talk, talk.say(f"line {number}")))
    for start in range(0, 20, 8):
        accept(talk, *entries[start : start + 8])
    assert talk.alice.one("SELECT count(*) FROM receipt_failed") == failed.MOST_HEARD_A_DAY
    talk.wait(DAY + MINUTE)
    assert accept(talk, *entries[-3:]) == 3


def test_old_reports_are_forgotten(talk: Talk) -> None:
    accept(talk, entry(talk, talk.say("words")))
    talk.wait(31 * DAY)
    talk.rotate()
    accept(talk, entry(talk, talk.say("other words")))
    assert talk.alice.one("SELECT count(*) FROM receipt_failed") == 1


# ── Healing ────────────────────────────────────────────────────────────────────────────────────


def test_from_the_loss_to_the_tick(talk: Talk) -> None:
    """Bob's device loses a key; its report comes, Alice sends the key again, and the row opens."""
    event_id = talk.lost()
    talk.tell()
    talk.hear()
    (device,) = talk.heard(event_id)[event_id]
    assert device.key_sent_at is None
    talk.wait(HOUR)
    talk.alice.write(
        send_key_again, talk.alice.state, event_id, device.user_id, device.device_id, talk.clock.now_ms()
    )
    asyncio.run(talk.alice.flush())
    assert talk.heard(event_id)[event_id][0].key_sent_at == talk.clock.now_ms()
    talk.wait(MINUTE)
    talk.bob.receive()
    assert talk.bob.body(event_id) == "lost"
    # An hour late by the clock; but it has arrived only when its author sent the key: the tick is owed.
    owed = "SELECT state FROM receipt_owed WHERE event_id = ?"
    assert talk.bob.rows(owed, event_id) == [("owed",)]
    # And what was reported is taken back over Olm, after a hold of its own.
    talk.work()
    assert talk.owed()[0][0] == "sent"
    talk.wait(MINUTE + 1000)
    talk.work()
    assert talk.owed()[0][0] == "taken_back"
    talk.hear()
    assert talk.heard(event_id) == {}


def test_a_late_opening_that_is_not_the_authors_doing_earns_no_tick(talk: Talk) -> None:
    """The key comes from a file: the gate's rule on late openings stands, and nothing is taken back."""
    event_id = talk.lost()
    talk.tell()
    row = talk.alice.read(rows.inbound, ROOM, talk.session(event_id))
    session = InboundGroupSession.from_pickle(row.pickle, talk.alice.state.pickle_key)
    talk.bob.write(
        megolm.keep_copy,
        talk.bob.state.pickle_key,
        ROOM,
        session,
        row.sender_key,
        row.claimed_ed25519,
        "import",
        talk.clock.now_ms(),
    )
    talk.bob.drain()
    assert talk.bob.body(event_id) == "lost"
    assert talk.bob.rows("SELECT state FROM receipt_owed WHERE event_id = ?", event_id) in (
        [],
        [("refused",)],
    )
    talk.tell()
    assert talk.owed()[0][0] == "sent"


def test_a_key_that_opens_nothing_more_takes_nothing_back(talk: Talk) -> None:
    event_id = talk.lost("first")
    later = talk.say("second")
    talk.see(later)
    talk.tell()
    talk.hear()
    talk.alice.write(
        send_key_again, talk.alice.state, EventId(later), talk.bob.me.user_id, ONE, talk.clock.now_ms()
    )
    asyncio.run(talk.alice.flush())
    talk.bob.receive()
    assert (talk.bob.body(event_id), talk.bob.body(later)) == (None, "second")
    for _ in range(3):
        talk.tell()
    talk.hear()
    assert talk.owed()[0][0] == "sent"
    assert event_id in talk.heard(event_id)
    talk.alice.write(
        send_key_again, talk.alice.state, event_id, talk.bob.me.user_id, ONE, talk.clock.now_ms()
    )
    asyncio.run(talk.alice.flush())
    talk.bob.receive()
    assert talk.bob.body(event_id) == "first"
    for _ in range(3):
        talk.tell()
    talk.hear()
    assert talk.heard(event_id, later) == {}


def test_a_new_device_starts_with_no_failures_of_the_old_one(talk: Talk) -> None:
    talk.lost()
    talk.bob.write(sessions.become_new_device)
    assert talk.owed() == []


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(["$first", "no_key", "", 1, 0.5, "x" * 300]),
)
entries = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(scalars, st.lists(scalars, max_size=2)) for name in ("session", "first", "n", "code")
    },
)


@hypothesis_settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(scalars, st.lists(st.one_of(scalars, entries), max_size=30)))
def test_whatever_is_said_is_read_or_left_out(said: Any) -> None:
    found = failed.parse(said)
    assert len(found) <= failed.MOST_ENTRIES
    for known in found:
        assert failed.parse([known.json()]) == [known]
