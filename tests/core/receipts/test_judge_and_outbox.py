"""From a message that can be read to the receipt at the server: once, only while nothing speaks against it."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core.errors import Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.receipts import schedule
from tandem_core.store import account_data, rooms
from tandem_core.store.shared_settings import DELIVERY_SETTINGS
from tandem_core.types import Role
from tests.core.receipts.conftest import BOB, CAROL, HOUR, ME, MINUTE, ROOM
from tests.core.receipts.outbox_kit import LONGER_THAN_A_HOLD_MS, UNSTABLE, Rig, owe_one


def test_a_readable_message_owes_one_receipt_whoever_judges_it_and_how_often(rig: Rig) -> None:
    event = rig.account.message(BOB)
    rig.judge(event)
    rig.judge(event, Role.NOTIFIER)
    assert rig.owed() == [(event.event_id, "owed", "user", None)]


def test_a_receipt_is_posted_once_when_it_is_due(rig: Rig) -> None:
    event_id = owe_one(rig)
    wait_s = rig.step()
    assert wait_s is not None
    assert 1 <= wait_s <= 18
    assert rig.server.posted == []
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    rig.step(Role.NOTIFIER)
    path = f"/_matrix/client/v3/rooms/%21room%3Aexample.org/receipt/{UNSTABLE}/%24event1"
    assert rig.server.posted == [(path, {"im.tandem.share": "user"})]
    assert rig.owed() == [(event_id, "sent", "user", None)]


def test_a_sealed_message_is_never_receipted_until_it_opens(rig: Rig) -> None:
    event = rig.account.message(BOB)
    rig.account.run("UPDATE event SET seal = 'sealed', opened_type = NULL, opened_content = NULL")
    from tandem_core.store import timeline

    sealed = rig.account.read(timeline.get, event.event_id)
    rig.judge(sealed)
    assert rig.owed() == []
    assert rig.account.rows("SELECT * FROM notification") == []


def test_a_message_in_clear_in_an_encrypted_room_is_never_receipted(rig: Rig) -> None:
    rig.judge(rig.account.message(BOB, sealed=False))
    assert rig.owed() == []


def test_the_device_is_told_in_an_accepted_direct_chat_if_so_chosen_and_until_it_is_taken_back(
    rig: Rig,
) -> None:
    rig.choose("receipts.device_detail", "accepted")
    owe_one(rig)
    owe_one(rig)
    assert {row[2] for row in rig.owed()} == {"device"}
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.choose("receipts.device_detail", "nobody")
    rig.step()
    assert [body for _, body in rig.server.posted] == [{"im.tandem.share": "user"}] * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE event SET redacted_by = '$r', kind = 'redacted'", "redacted"),
        ("UPDATE member SET membership = 'leave' WHERE user_id = '@bob:example.org'", "not_joined"),
        ("UPDATE room SET membership = 'leave'", "not_joined"),
        ("UPDATE room SET join_rule = 'public'", "public_room"),
        (
            "INSERT INTO setting VALUES ('person', '@bob:example.org', 'receipts.person', '\"never\"', 1)",
            "person_never",
        ),
        ("INSERT INTO setting VALUES ('account', '', 'receipts.direct', 'nonsense', 1)", "settings_unsound"),
        (
            "INSERT INTO account_data VALUES ('m.ignored_user_list', '{\"ignored_users\":{\"@bob:example.org\":{}}}')",
            "ignored",
        ),
        ("INSERT INTO account_data VALUES ('m.ignored_user_list', '{\"ignored_users\":7}')", "ignored"),
        (
            "INSERT INTO account_data VALUES ('im.tandem.delivery_settings', '{\"enabled\":false}')",
            "switched_off",
        ),
        (
            "INSERT INTO account_data VALUES ('im.tandem.delivery_settings', '{\"enabled\":\"no\"}')",
            "settings_unsound",
        ),
    ],
)
def test_what_changes_until_it_is_due_takes_a_receipt_back(rig: Rig, change: str, reason: str) -> None:
    event_id = owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.account.run(change)
    rig.step()
    assert rig.server.posted == []
    assert rig.owed() == [(event_id, "dropped", "user", reason)]


def test_the_switch_in_account_data_beats_a_room_that_is_on_and_says_nothing_when_it_is_left_out(
    rig: Rig,
) -> None:
    rig.choose("receipts.room", "on", room_id=ROOM)
    rig.account.write(account_data.put, DELIVERY_SETTINGS, {"durable": True})
    owed = owe_one(rig)
    rig.account.write(account_data.put, DELIVERY_SETTINGS, {"enabled": False})
    owe_one(rig)
    assert [row[0] for row in rig.owed()] == [owed]


def test_a_room_about_which_the_programs_disagree_waits_and_is_dropped_in_the_end(rig: Rig) -> None:
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.account.room(Role.NOTIFIER, join_rule="public")
    rig.step()
    assert rig.owed()[0][1] == "owed"
    rig.account.now += 11 * MINUTE
    rig.step()
    assert rig.owed()[0][1:] == ("dropped", "user", "unknown_room")
    assert rig.server.posted == []


def test_the_programs_agreeing_again_lets_it_go(rig: Rig) -> None:
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.account.room(Role.NOTIFIER, join_rule="public")
    rig.step()
    rig.account.room(Role.NOTIFIER)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    assert len(rig.server.posted) == 1


def test_offline_keeps_a_receipt_and_a_definite_refusal_ends_it(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.server.troubles = [Offline(), RateLimited(3.0), ServerRefused(403, "M_FORBIDDEN", "no")]
    with pytest.raises(Offline):
        rig.step()
    with pytest.raises(RateLimited):
        rig.step()
    assert rig.owed() == [(event_id, "owed", "user", None)]
    rig.step()
    assert rig.owed() == [(event_id, "dropped", "user", "M_FORBIDDEN")]


def test_a_receipt_survives_signing_out_softly(rig: Rig) -> None:
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.server.troubles = [SignedOut(soft=True)]
    with pytest.raises(SignedOut):
        rig.step()
    assert rig.owed()[0][1] == "owed"


def test_a_server_without_support_gets_none_but_is_asked_afresh_first(rig: Rig) -> None:
    rig.server.features = {"org.matrix.simplified_msc3575": True}
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    assert rig.server.asked_versions == 1
    assert rig.server.posted == []
    assert rig.owed()[0][1:] == ("dropped", "user", "no_way")


def test_a_server_that_learned_it_meanwhile_gets_it(rig: Rig) -> None:
    from tandem_core import capabilities

    rig.account.write(capabilities.keep, capabilities.Capabilities(True, False, False, None), rig.account.now)
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    assert len(rig.server.posted) == 1


def test_the_notifier_leaves_receipts_to_the_window_if_so_chosen(rig: Rig) -> None:
    rig.choose("receipts.notifier", False)
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    assert rig.step(Role.NOTIFIER) is None
    assert rig.server.posted == []
    rig.step(Role.APP)
    assert len(rig.server.posted) == 1


def test_all_that_is_due_to_one_author_is_one_flush_and_the_next_one_waits(rig: Rig) -> None:
    owe_one(rig)
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    assert len(rig.server.posted) == 2
    assert len(rig.account.rows("SELECT * FROM receipt_flush")) == 1
    owe_one(rig)
    wait_s = rig.step()
    assert wait_s is not None
    assert schedule.SPACING_MS / 1000 <= wait_s <= 28
    assert len(rig.server.posted) == 2


def flushed(rig: Rig, author: str, count: int, since: int) -> None:
    """That many flushes to an author that nobody was there for."""
    for number in range(count):
        rig.account.run("INSERT INTO receipt_flush VALUES (?, ?, 0)", author, since + number)


def test_what_exceeds_an_hours_budget_waits_for_the_next(rig: Rig) -> None:
    since = rig.account.now - 30 * MINUTE
    flushed(rig, BOB, schedule.MOST_AN_HOUR, since)
    rig.account.run("INSERT INTO attendance VALUES (?, ?, ?)", ROOM, since + 3, since + 3)
    owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    wait_s = rig.step()
    assert wait_s is not None
    assert 29 * 60 <= wait_s <= 29 * 60 + 10
    assert rig.server.posted == []
    rig.account.now += 31 * MINUTE
    rig.step()
    assert len(rig.server.posted) == 1


def test_one_author_at_budget_does_not_hold_up_another(rig: Rig) -> None:
    rig.account.room(people=(BOB, CAROL))
    flushed(rig, BOB, schedule.MOST_UNANSWERED, rig.account.now)
    owe_one(rig)
    rig.judge(rig.account.message(CAROL))
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    assert len(rig.server.posted) == 1


def test_a_receipt_that_waited_a_week_is_dropped(rig: Rig) -> None:
    owe_one(rig)
    rig.account.now += 8 * 24 * HOUR
    rig.step()
    assert rig.owed()[0][1:] == ("dropped", "user", "too_old")


def test_a_message_before_our_join_is_never_receipted(rig: Rig) -> None:
    rig.account.now -= 2 * HOUR
    event = rig.account.message(BOB)
    rig.account.now += 2 * HOUR
    rig.judge(event)
    assert rig.owed() == []


def test_a_sender_about_whom_the_programs_disagree_gets_nothing(rig: Rig) -> None:
    rig.account.room(Role.NOTIFIER)
    rig.account.run("UPDATE member SET membership = 'leave' WHERE conn = 'notifier' AND user_id = ?", BOB)
    owe_one(rig)
    assert rig.owed() == []


def test_the_word_of_a_program_that_sleeps_is_not_asked_for(rig: Rig) -> None:
    rig.account.room(Role.NOTIFIER, join_rule="public")
    now = rig.account.now
    rig.account.run(
        "INSERT INTO connection (conn, synced_at) VALUES ('app', ?), ('notifier', ?)", now, now - HOUR
    )
    owe_one(rig)
    assert len(rig.owed()) == 1


def notifications(rig: Rig) -> list[tuple[Any, ...]]:
    return rig.account.rows("SELECT event_id, state FROM notification")


def test_a_message_notifies_once_and_a_silent_one_not(rig: Rig) -> None:
    event = rig.account.message(BOB)
    rig.judge(event)
    rig.judge(event, Role.NOTIFIER)
    rig.judge(rig.account.message(BOB, msgtype="m.notice"))
    assert notifications(rig) == [(event.event_id, "due")]


def test_my_own_message_from_another_device_neither_notifies_nor_owes(rig: Rig) -> None:
    rig.judge(rig.account.message(ME.user_id))
    assert notifications(rig) == []
    assert rig.owed() == []


def test_what_is_read_already_does_not_notify(rig: Rig) -> None:
    first = rig.account.message(BOB)
    second = rig.account.message(BOB)
    third = rig.account.message(BOB)
    rig.account.run(
        "INSERT INTO read_marker (room_id, user_id, event_id, read_at) VALUES (?, ?, ?, 1)",
        ROOM,
        ME.user_id,
        second.event_id,
    )
    for event in (first, second, third):
        rig.judge(event)
    assert notifications(rig) == [(third.event_id, "due")]


def test_a_room_can_be_muted_or_limited_to_mentions(rig: Rig) -> None:
    rig.choose("notifications.room", "mute", room_id=ROOM)
    rig.judge(rig.account.message(BOB))
    rig.choose("notifications.room", "mentions", room_id=ROOM)
    rig.judge(rig.account.message(BOB))
    assert notifications(rig) == []
    mention = rig.account.message(BOB, **{"m.mentions": {"user_ids": [ME.user_id]}})
    rig.judge(mention)
    assert notifications(rig) == [(mention.event_id, "due")]
    assert rig.account.rows("SELECT verdict FROM event WHERE event_id = ?", mention.event_id) == [(2,)]


def test_ignored_people_do_not_notify(rig: Rig) -> None:
    rig.account.run(
        "INSERT INTO account_data VALUES ('m.ignored_user_list', ?)", f'{{"ignored_users":{{"{BOB}":{{}}}}}}'
    )
    rig.judge(rig.account.message(BOB))
    assert notifications(rig) == []
    assert rig.owed() == []


def test_with_notifications_off_a_message_still_counts_as_unread(rig: Rig) -> None:
    rig.choose("notifications.enabled", False)
    rig.judge(rig.account.message(BOB))
    assert notifications(rig) == []
    assert rig.account.rows("SELECT verdict FROM event") == [(1,)]
    room = rig.account.read(rooms.room, Role.APP, ROOM)
    assert room.unread == 1
