"""What a person is said to see is what becomes of their message; and a pause ends when it was said to."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest

from tandem_core import setting_list, settings
from tandem_core.errors import BadInput
from tandem_core.judge import judge
from tandem_core.receipts import pause, planning, schedule
from tandem_core.receipts.preview import in_room, preview
from tandem_core.store import receipt_log
from tandem_core.types import Role, UserId
from tests.core.receipts.conftest import ASKING, BOB, CAROL, HOUR, ME, NOW, ROOM, Account


def words(account: Account) -> str:
    """What Bob is said to see of Alice in the room."""
    return account.read(in_room, ME, ROOM, BOB, account.now).words  # type: ignore[no-any-return]


def choose(account: Account, key: str, value: setting_list.Value, **target: Any) -> None:
    account.write(settings.set_value, key, value, now_ms=account.now, **target)


_ROOMS: list[dict[str, Any]] = [
    {},
    {"is_dm": 0, "people": (BOB, CAROL)},
    {"is_dm": 0, "people": (BOB, *(f"@p{n}:example.org" for n in range(25)))},
    {"encrypted": False},
    {"join_rule": "public"},
    {"accepted": False},
]


@pytest.mark.parametrize("room", _ROOMS)
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"receipts.direct": "off"},
        {"receipts.groups": "off"},
        {"receipts.plain": "on"},
        {"receipts.enabled": False},
        {"receipts.answered": False},
        {"receipts.device_detail": "accepted"},
        {"receipts.person": "never"},
        {"receipts.room": "never"},
        {"receipts.room": "on"},
    ],
)
def test_the_preview_says_what_the_gate_does(
    account: Account, room: dict[str, Any], chosen: dict[str, setting_list.Value]
) -> None:
    account.room(**room)
    for key, value in chosen.items():
        target = {"receipts.person": {"user_id": BOB}, "receipts.room": {"room_id": ROOM}}.get(key, {})
        choose(account, key, value, **target)
    [seen] = account.read(preview, ME, Role.APP, BOB, account.now)
    event = account.message(BOB, sealed=room.get("encrypted", True), **ASKING)
    account.write(judge, ME, Role.APP, event, now_ms=account.now, chance=random.Random(1))
    owed = account.rows("SELECT share FROM receipt_owed WHERE state = 'owed'")
    assert (seen.share is not None) is bool(owed)
    assert [(str(seen.share),)] == owed or not owed
    assert seen.words.startswith("Nothing: ") is not bool(owed)
    assert "in doubt" not in seen.words


def test_it_says_how_soon_and_whether_devices_are_named(account: Account) -> None:
    account.room()

    assert words(account) == "“Delivered”, to the minute, and nothing of your devices; within 19 seconds."
    choose(account, "receipts.timing", "slower")
    choose(account, "receipts.device_detail", "accepted")
    assert (
        words(account)
        == "“Delivered”, to the minute, and which of your devices has it; after 1 to 10 minutes."
    )
    choose(account, "receipts.timing", "quick")
    assert words(account).endswith("; within 6 seconds.")
    account.write(pause.pause, account.now + HOUR, account.now)
    assert words(account) == "Nothing: you have paused confirmations."


def test_it_says_what_of_the_schedule_holds_back_and_what_lets_go(account: Account) -> None:
    account.room()

    for number in range(5):
        account.write(planning.note_flush, BOB, account.now - (5 - number) * HOUR)
    assert words(account).endswith(
        "; once you write, or read in public, since they were told several times while you did not show up."
    )
    account.write(planning.attend, ROOM, account.now - HOUR // 2, account.now)
    assert words(account).endswith("; within 19 seconds.")
    account.write(planning.attend, ROOM, account.now - 1000, account.now)
    assert words(account).endswith("; within 8 seconds."), "they see that you are there"


def test_in_a_group_it_takes_longer_and_after_too_much_of_it_until_the_day_is_over(account: Account) -> None:
    account.room(people=(BOB, CAROL), is_dm=0)
    assert words(account).endswith("; within 40 seconds.")
    for number in range(schedule.MOST_IN_ALL):
        account.write(planning.note_flush, CAROL, account.now - HOUR + number)
    assert words(account).endswith(
        "; in 24 hours at the latest, since enough was confirmed in the last day, to all people together."
    )


def test_nobody_sees_anything_before_the_question_is_answered(account: Account) -> None:
    account.room()
    account.run("DELETE FROM setting")
    seen = account.read(in_room, ME, ROOM, BOB, account.now)
    assert (seen.share, seen.words) == (None, "Nothing: you have not chosen yet whether to confirm.")


def test_direct_chats_come_first_and_strangers_are_not_offered(account: Account) -> None:
    account.room(people=(BOB, CAROL), is_dm=0)
    assert account.read(receipt_log.people, Role.APP, ME.user_id, 9) == [BOB, CAROL]
    assert account.read(receipt_log.people, Role.APP, ME.user_id, 1) == [BOB]
    assert account.read(preview, ME, Role.APP, UserId("@eve:example.org"), NOW) == []
    account.run("UPDATE room_fact SET accepted = NULL")
    assert account.read(receipt_log.people, Role.APP, ME.user_id, 9) == []


def test_the_log_has_what_was_sent_and_nothing_that_was_not(account: Account) -> None:
    for number, state in enumerate(("sent", "owed", "dropped", "sent")):
        account.run(
            "INSERT INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state,"
            " transport, done_at) VALUES (?, ?, ?, 'app', 1, 1, 'user', ?, 'server', ?)",
            f"$e{number}", ROOM, BOB, state, NOW - number * HOUR,
        )  # fmt: skip
    found = account.read(receipt_log.confirmed_since, NOW - 2 * HOUR)
    assert [(one.event_id, one.done_at) for one in found] == [("$e0", NOW)]
    assert [one.event_id for one in account.read(receipt_log.confirmed_since, 0)] == ["$e0", "$e3"]


def test_a_pause_holds_until_its_end_and_can_be_ended_before(account: Account) -> None:
    def until() -> int | None:
        return account.read(pause.paused_until, account.now)  # type: ignore[no-any-return]

    assert until() is None
    account.write(pause.pause, pause.end_of("hour", account.now), account.now)
    assert until() == account.now + HOUR
    account.now += HOUR - 1
    assert until() is not None
    account.now += 1
    assert until() is None
    account.write(pause.pause, pause.end_of("tomorrow", account.now), account.now)
    assert until() is not None
    account.write(pause.resume, account.now)
    assert until() is None


def test_tomorrow_begins_at_six_in_the_morning() -> None:
    until = datetime.fromtimestamp(pause.end_of("tomorrow", NOW) / 1000)
    assert (until.hour, until.minute) == (6, 0)
    assert (until.date() - datetime.fromtimestamp(NOW / 1000).date()).days == 1
    with pytest.raises(BadInput, match="next year"):
        pause.end_of("next year", NOW)
