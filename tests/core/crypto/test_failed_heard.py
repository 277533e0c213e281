"""An author hears what cannot be decrypted, from devices that were to have the key; and what heals it takes it back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from vodozemac import InboundGroupSession

from tandem_core.codec import dumps
from tandem_core.crypto import megolm
from tandem_core.crypto.key_again import send_key_again
from tandem_core.receipts import failed_heard
from tandem_core.receipts.failed import Code
from tandem_core.store import crypto as rows
from tandem_core.store import members
from tandem_core.store import session as sessions
from tandem_core.types import DeviceId, EventId, Json
from tests.core.crypto.failed_kit import DAY, HOUR, MINUTE, Talk, change
from tests.core.crypto.own_devices import verify
from tests.core.crypto.world import NOW, ROOM, Device

ONE = DeviceId("ONE")


# ── Hearing ────────────────────────────────────────────────────────────────────────────────────


def entry(talk: Talk, event_id: str, **other: Any) -> Json:
    return {"session": talk.session(event_id), "first": event_id, "n": 1, "code": "no_key"} | other


def accept(talk: Talk, *entries: Any, device: Device | None = None) -> int:
    """Alice's device opens reports of Bob's."""
    by = device or talk.bob
    (known,) = [d for d in talk.alice.devices(by) if d.device_id == by.me.device_id]
    return int(
        talk.alice.write(
            failed_heard.accept, talk.alice.me, by.me.user_id, known, list(entries), talk.clock.now_ms()
        )
    )


def confirmed(talk: Talk, event_id: str, via: str) -> None:
    """Bob's device has this message, by that way."""
    now_ms = talk.clock.now_ms()
    change(
        talk.alice,
        "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
        " VALUES (?, ?, 'ONE', 'delivered', ?, ?, ?)",
        event_id,
        talk.bob.me.user_id,
        now_ms,
        now_ms,
        via,
    )


def test_the_author_hears_which_device_cannot_decrypt_what(talk: Talk) -> None:
    before = talk.say("before")
    event_id, after = talk.say("first"), talk.say("after")
    assert accept(talk, entry(talk, event_id, n=2)) == 1
    heard = talk.heard(before, event_id, after, "$unknown")
    assert sorted(heard) == sorted([event_id, after])
    (device,) = heard[event_id]
    now_ms = talk.clock.now_ms()
    assert device == failed_heard.FailedDevice(
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
    confirmed(talk, event_id, via)
    assert (talk.heard(event_id) == {}) is is_over


def test_a_later_message_that_arrives_says_nothing_of_an_earlier_one(talk: Talk) -> None:
    event_id, later = talk.say("lost"), talk.say("readable")
    accept(talk, entry(talk, event_id))
    talk.wait(MINUTE)
    confirmed(talk, later, "olm")
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
    assert talk.alice.one("SELECT count(*) FROM receipt_failed") == failed_heard.MOST_HEARD_A_DAY
    talk.wait(DAY + MINUTE)
    assert accept(talk, *entries[-3:]) == 3


def test_thousands_of_made_up_reports_change_nothing(talk: Talk) -> None:
    """Every one is wrong in at least one thing: the session, the message, its number or its code."""
    draw = random.Random(6)
    mine, elsewhere = talk.say("words"), talk.say("more words")
    talk.rotate()
    other = talk.session(talk.say("in another session"))
    right = entry(talk, mine)
    wrong: dict[str, list[Any]] = {
        "session": [other, "", "x", None, 0, [], {}, "s" * 256, talk.session(mine) + "="],
        "first": ["$unknown", "", mine[1:], None, 1, [mine], "$" + "e" * 255, "@bob:example.org"],
        "n": [-1, 1001, True, None, "1", 1.0, 2**63, []],
        "code": ["", "NO_KEY", None, 0, ["no_key"], "m.unverified"],
    }
    for _ in range(700):
        entries = []
        for _ in range(8):
            made = right | {"first": draw.choice([mine, elsewhere]), "n": draw.randint(0, 1000)}
            for name in draw.sample(sorted(wrong), draw.randint(1, 4)):
                made[name] = draw.choice(wrong[name])
            if draw.random() < 0.1:
                made.pop(draw.choice(sorted(made)))
            entries.append(made)
        assert accept(talk, *entries) == 0
    assert talk.alice.rows("SELECT * FROM receipt_failed") == []
    assert accept(talk, right) == 1


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


@hypothesis_settings(max_examples=100)
@given(st.one_of(scalars, st.lists(st.one_of(scalars, entries), max_size=30)))
def test_whatever_is_said_is_read_or_left_out(said: Any) -> None:
    found = failed_heard.parse(said)
    assert len(found) <= failed_heard.MOST_ENTRIES
    for known in found:
        assert failed_heard.parse([known.json()]) == [known]
