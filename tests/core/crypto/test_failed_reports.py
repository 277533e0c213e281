"""What cannot be decrypted is told to its author, rarely, and to verified people in direct chats only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tandem_core.codec import dumps
from tandem_core.receipts import failed, why
from tandem_core.receipts.failed import Code, Unsaid
from tandem_core.receipts.gate import Reason
from tandem_core.store import events, rooms, timeline
from tandem_core.types import EventId
from tests.core.crypto.failed_kit import AFTER_ALL, DAY, HOUR, MINUTE, Talk, change, choose, restored, told
from tests.core.crypto.own_devices import verify
from tests.core.crypto.world import NOW, ROOM, Device, user

# ── Telling ────────────────────────────────────────────────────────────────────────────────────


def test_the_author_is_told_after_five_minutes_of_grace_and_not_before(talk: Talk) -> None:
    event_id = talk.lost()
    talk.work()
    talk.wait(5 * MINUTE)
    talk.work()
    assert told(talk) == []
    talk.wait(MINUTE + 1000)
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


def _unverified(talk: Talk) -> None:
    change(talk.bob, "UPDATE identity SET signed_by = NULL WHERE user_id = ?", talk.alice.me.user_id)


@pytest.mark.parametrize("spoil", [_group, _off, _new_login, _unverified])
def test_what_does_not_hold_when_the_message_comes_is_not_even_kept(
    talk: Talk, spoil: Callable[[Talk], None]
) -> None:
    spoil(talk)
    event_id = talk.lost()
    assert talk.owed() == []
    assert "Its author is not told so. " in said(talk, event_id)


def said(talk: Talk, event_id: EventId) -> str:
    """What Bob is told of why a message is not confirmed."""
    return str(talk.bob.read(why.why, talk.bob.me, event_id, talk.clock.now_ms()).text)


def test_a_person_can_read_whether_the_author_is_told_and_why_not(talk: Talk) -> None:
    event_id = talk.lost()
    cannot = "It is not confirmed. This device cannot decrypt it."
    assert said(talk, event_id) == f"{cannot} Its author will be told so, unless its key comes meanwhile."
    with restored(talk.bob):
        talk.wait(AFTER_ALL)
        _unverified(talk)
        talk.work()
        words = "That is told only to people whom you have verified."
        assert said(talk, event_id) == f"{cannot} Its author is not told so. {words}"
    talk.tell()
    assert said(talk, event_id) == f"{cannot} Its author was told so, and can send its key again."


def test_every_reason_for_which_an_author_is_not_told_has_its_own_words() -> None:
    words = [why._not_told(reason) for reason in (*Unsaid, *Reason)]
    assert len(set(words)) == len(words)


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
        (_off, "failures_off"),
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


def test_a_flood_of_what_cannot_be_read_is_bounded(talk: Talk) -> None:
    """The id of a session is in clear: a contact can make up as many as they like."""
    wire = talk.wire(talk.say("words"))
    for number in range(60):
        talk.bob.sees(wire | {"session_id": f"made up {number}"}, talk.alice)
    assert len(talk.owed()) == failed.MOST_WAITING
    talk.wait(31 * DAY)
    event_id = talk.lost()
    assert talk.bob.rows("SELECT first_event FROM failed_owed") == [(event_id,)]
