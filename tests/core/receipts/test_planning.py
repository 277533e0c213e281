"""Plans in the store: one per author for both programs, moved only by what others can see, and nothing forgotten."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tandem_core import capabilities, setting_list, settings
from tandem_core.errors import Offline
from tandem_core.receipts import pause, schedule
from tandem_core.store import devices, receipts, rooms, timeline
from tandem_core.store import receipt_plans as plans
from tandem_core.store import session as sessions
from tandem_core.store.receipt_plans import ComeBack
from tandem_core.sync import rooms_api
from tandem_core.sync.apply import apply
from tandem_core.sync.response import Response
from tandem_core.types import DeviceId, Role, RoomId, UserId
from tests.core.receipts.conftest import ASKING, BOB, CAROL, HOUR, ME, MINUTE, NOW, ROOM
from tests.core.receipts.outbox_kit import LONGER_THAN_A_HOLD_MS, Rig, owe_one
from tests.support.aio import in_loop

ELSEWHERE = RoomId("!elsewhere:example.org")


def plan_of(rig: Rig, author: UserId = BOB) -> plans.Plan:
    plan = rig.account.read(plans.plan, author)
    assert isinstance(plan, plans.Plan)
    return plan


def pass_time(rig: Rig, ms: int = LONGER_THAN_A_HOLD_MS) -> None:
    rig.account.now += ms
    rig.step()


def answered(rig: Rig, link: Role = Role.APP, **parts: Any) -> None:
    """The server answers a sync of one program."""
    response = Response(**({"pos": "1"} | parts))
    rig.account.write(apply, link, ME, response, now_ms=rig.account.now, chance=random.Random(1))


def read(rig: Rig, *, is_private: bool = False) -> None:
    """We read in this room, on whatever device; the server tells by sync."""
    kind = "m.read.private" if is_private else "m.read"
    answered(rig, receipts=((ROOM, {"$seen": {kind: {ME.user_id: {"ts": rig.account.now}}}}),))


def write(rig: Rig) -> None:
    """We write in the room, on whatever device."""
    rig.judge(rig.account.message(ME.user_id, sealed=False))


class Line:
    """A server that takes what is asked of it, or does not."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self._trouble = trouble
        self.asked: list[str] = []

    async def request(self, method: str, path: str, body: object) -> dict[str, object]:
        if self._trouble is not None:
            raise self._trouble
        self.asked.append(path)
        return {}


def stop(rig: Rig) -> None:
    """Bob was told as often as may go unanswered."""
    for number in range(schedule.MOST_UNANSWERED):
        rig.account.run(
            "INSERT INTO receipt_flush VALUES (?, ?, 0)", BOB, rig.account.now - 2 * HOUR + number
        )


def test_one_plan_holds_for_an_author_whichever_program_opens_what(rig: Rig) -> None:
    rig.judge(rig.account.message(BOB), Role.APP)
    plan = plan_of(rig)
    rig.account.now += 500
    rig.judge(rig.account.message(BOB), Role.NOTIFIER)
    assert plan_of(rig) == plan
    assert rig.account.rows("SELECT DISTINCT due_at FROM receipt_owed") == [(plan.flush_at,)]


def test_the_same_chance_gives_the_same_times_whatever_the_programs_do_meanwhile(rig: Rig) -> None:
    owe_one(rig)
    plan = plan_of(rig)
    for role in (Role.NOTIFIER, Role.APP, Role.NOTIFIER):
        rig.account.now += 200
        rig.step(role)
        rig.account.write(sessions.note_program, role, "starting", "", rig.account.now)
    assert plan_of(rig) == plan
    rig.account.now = plan.flush_at - 1
    rig.step()
    assert rig.server.posted == []
    rig.account.now = plan.flush_at
    rig.step(Role.NOTIFIER)
    assert len(rig.server.posted) == 1


def test_what_came_shortly_before_a_flush_waits_for_the_next_one(rig: Rig) -> None:
    first = owe_one(rig)
    plan = plan_of(rig)
    rig.account.now = plan.flush_at - plan.hold_ms + 1
    second = owe_one(rig)
    rig.account.now = plan.flush_at
    rig.step()
    assert [row[:2] for row in rig.owed()] == [(first, "sent"), (second, "owed")]
    later = plan_of(rig)
    assert later.drawn_at == rig.account.now
    rig.account.now = later.flush_at
    wait_s = rig.step()
    assert wait_s is not None
    assert rig.account.now + wait_s * 1000 >= plan.flush_at + schedule.SPACING_MS
    pass_time(rig)
    assert {row[1] for row in rig.owed()} == {"sent"}
    assert rig.account.read(plans.plan, BOB) is None


@pytest.mark.parametrize(
    ("timing", "facts", "profile"),
    [
        ("protected", {}, "contact"),
        ("protected", {"is_dm": 0}, "others"),
        ("slower", {}, "slower"),
        ("quick", {"is_dm": 0}, "quick"),
    ],
)
def test_the_room_and_the_setting_choose_the_profile(
    rig: Rig, timing: str, facts: dict[str, Any], profile: str
) -> None:
    rig.account.room(**facts)
    rig.choose("receipts.timing", timing)
    owe_one(rig)
    assert plan_of(rig).profile == profile


def test_where_the_server_holds_for_several_devices_this_one_speaks_in_time(rig: Rig) -> None:
    others = [
        (devices.Device(ME.user_id, DeviceId(name), name, name, name), []) for name in ("ALICE1", "PHONE")
    ]
    rig.account.write(devices.track, [ME.user_id])
    rig.account.write(devices.put_list, ME.user_id, others, 1, rig.account.now)
    owe_one(rig)
    assert plan_of(rig).profile == "contact"  # what the server does is not known
    rig.account.write(capabilities.keep, capabilities.parse({"versions": [], "unstable_features": {
        "org.matrix.msc4089": True, "im.tandem.delivery.v1": True}}), rig.account.now)  # fmt: skip
    pass_time(rig)
    owe_one(rig)
    assert plan_of(rig).profile == "merged"
    pass_time(rig)
    rig.choose("receipts.device_detail", "accepted")
    owe_one(rig)
    assert plan_of(rig).profile == "contact"  # the server does not hold what names a device


def test_it_is_fast_only_while_everybody_sees_that_the_owner_is_active(rig: Rig) -> None:
    def next_profile() -> str:
        owe_one(rig)
        profile = plan_of(rig).profile
        pass_time(rig)
        return profile

    assert next_profile() == "contact"
    write(rig)
    assert next_profile() == "active"
    rig.account.now += 2 * MINUTE
    assert next_profile() == "contact"
    read(rig)
    assert next_profile() == "active"
    rig.choose("typing.send", False)
    rig.choose("reads.mode", "private")
    assert next_profile() == "contact"


def test_a_long_presence_is_fast_for_its_first_flushes_only(rig: Rig) -> None:
    write(rig)
    for number in range(schedule.MOST_ACTIVE):
        rig.account.run("INSERT INTO receipt_flush VALUES (?, ?, 1)", BOB, rig.account.now + number)
    rig.account.now += MINUTE
    write(rig)
    owe_one(rig)
    assert plan_of(rig).profile == "contact"


@pytest.mark.parametrize("show_up", [write, read])
def test_who_was_told_five_times_is_told_again_once_we_write_or_read(rig: Rig, show_up: Any) -> None:
    stop(rig)
    owe_one(rig)
    pass_time(rig)
    pass_time(rig, 6 * HOUR)
    assert rig.server.posted == []
    assert rig.step() is None
    show_up(rig)
    pass_time(rig)
    assert len(rig.server.posted) == 1


def test_reading_in_private_stays_private(rig: Rig) -> None:
    stop(rig)
    owe_one(rig)
    read(rig, is_private=True)
    pass_time(rig)
    assert rig.server.posted == []


def test_showing_up_where_the_author_is_not_says_nothing_to_them(rig: Rig) -> None:
    stop(rig)
    owe_one(rig)
    rig.account.run("INSERT INTO attendance VALUES (?, ?, ?)", ELSEWHERE, rig.account.now, rig.account.now)
    pass_time(rig)
    assert rig.server.posted == []


def test_our_own_old_messages_are_no_attendance(rig: Rig) -> None:
    stop(rig)
    owe_one(rig)
    rig.account.now -= 3 * HOUR
    write(rig)
    rig.account.now += 3 * HOUR
    pass_time(rig)
    assert rig.server.posted == []


def test_without_an_answer_of_the_server_nothing_is_sent_and_coming_back_is_not_told(rig: Rig) -> None:
    answered(rig)
    owe_one(rig)
    rig.account.now += 10 * MINUTE
    assert rig.step() is None  # whatever woke the program: it has not heard of the server yet
    answered(rig, Role.NOTIFIER)
    hold = rig.account.read(plans.come_back)
    assert MINUTE <= hold.until - rig.account.now <= 15 * MINUTE
    wait_s = rig.step()
    assert wait_s is not None
    assert wait_s >= 60
    answered(rig)
    assert rig.account.read(plans.come_back) == hold  # the other program has come back with it
    while rig.account.now < hold.until:
        rig.account.now += MINUTE
        answered(rig)
        assert rig.server.posted == []
        if rig.account.now < hold.until:
            rig.step()
    pass_time(rig)
    assert len(rig.server.posted) == 1


def test_who_shows_up_after_coming_back_need_not_wait(rig: Rig) -> None:
    answered(rig)
    owe_one(rig)
    rig.account.now += HOUR
    answered(rig)
    rig.account.now += 1000
    write(rig)
    pass_time(rig)
    assert len(rig.server.posted) == 1


def test_a_first_sync_and_a_short_silence_are_no_coming_back(rig: Rig) -> None:
    answered(rig)
    rig.account.now += 4 * MINUTE
    answered(rig)
    assert rig.account.read(plans.come_back) is None


def test_an_account_that_is_fed_by_transactions_is_never_away(rig: Rig) -> None:
    answered(rig, pos=None)
    owe_one(rig)
    rig.account.now += HOUR
    answered(rig, pos=None)
    rig.step()
    assert len(rig.server.posted) == 1
    answered(rig)
    rig.account.now += HOUR
    answered(rig)
    assert rig.account.read(plans.come_back) is not None  # it syncs again


def test_in_a_pause_nothing_is_sent_and_what_arrives_is_never_confirmed(rig: Rig) -> None:
    before = owe_one(rig)
    rig.choose("receipts.paused_until", rig.account.now + HOUR)
    inside = owe_one(rig)
    pass_time(rig)
    assert rig.server.posted == []
    assert rig.refused() == [(inside, "paused")]
    pass_time(rig, HOUR)
    assert rig.owed() == [(before, "sent", "user", None)]
    assert owe_one(rig) in [row[0] for row in rig.owed()]


def test_what_came_in_a_pause_that_was_ended_early_is_not_confirmed_when_it_opens(rig: Rig) -> None:
    rig.account.write(pause.pause, rig.account.now + HOUR, rig.account.now)
    rig.account.now += MINUTE
    event = rig.account.message(BOB)
    rig.account.now += MINUTE
    rig.account.write(pause.resume, rig.account.now)
    rig.judge(event)
    assert rig.refused() == [(event.event_id, "paused")]
    assert owe_one(rig) in [row[0] for row in rig.owed()]


def test_a_setting_of_the_timing_that_makes_no_sense_confirms_nothing(rig: Rig) -> None:
    rig.account.run("INSERT INTO setting VALUES ('account', '', 'receipts.timing', '\"at once\"', 1)")
    assert rig.refused() == []
    event_id = owe_one(rig)
    assert rig.refused() == [(event_id, "settings_unsound")]


def test_what_is_refused_is_kept_with_its_reason_and_what_is_silent_is_not(rig: Rig) -> None:
    rig.choose("receipts.direct", "off")
    event_id = owe_one(rig)
    owe_one(rig, msgtype="m.notice")
    owe_one(rig, body=" ")
    assert rig.refused() == [(event_id, "kind_off")]
    rig.choose("receipts.direct", "on")
    rig.judge(rig.account.read(timeline.get, event_id))
    assert rig.owed() == []


def test_a_room_that_was_not_known_well_enough_is_the_one_refusal_that_may_be_taken_back(rig: Rig) -> None:
    rig.account.room(Role.NOTIFIER, join_rule="public")
    event_id = owe_one(rig)
    assert rig.refused() == [(event_id, "unknown_room")]
    rig.account.room(Role.NOTIFIER)
    rig.judge(rig.account.read(timeline.get, event_id), Role.NOTIFIER)
    assert rig.refused() == []
    assert rig.owed() == [(event_id, "owed", "user", None)]


@pytest.mark.parametrize("source", ["backup", "forward", "import", "own"])
def test_a_message_whose_key_came_from_elsewhere_is_not_confirmed(rig: Rig, source: str) -> None:
    event = rig.account.message(BOB, key_from=source)
    rig.judge(event)
    assert rig.refused() == [(event.event_id, "unproven")]


def test_a_message_whose_key_is_somebody_elses_is_not_confirmed(rig: Rig) -> None:
    event = rig.account.message(BOB)
    rig.account.run("UPDATE megolm_inbound SET sender = ?", CAROL)
    rig.judge(event)
    assert rig.refused() == [(event.event_id, "unproven")]


def test_of_very_many_that_wait_for_one_author_the_oldest_are_dropped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_WAITING", 3)
    events = []
    for _ in range(5):
        rig.account.now += 1
        events.append(owe_one(rig))
    states = dict(row[:2] for row in rig.owed())
    assert [states[event] for event in events] == ["dropped", "dropped", "owed", "owed", "owed"]


def test_at_most_twenty_authors_are_told_at_a_time_and_the_others_soon_after(rig: Rig) -> None:
    people = tuple(f"@p{number}:example.org" for number in range(25))
    rig.account.room(people=people)
    rig.choose("receipts.groups_max", 30)
    for person in people:
        rig.judge(rig.account.message(person, **ASKING))
    pass_time(rig)
    assert len(rig.server.posted) == 20
    wait_s = rig.step()
    assert wait_s is not None
    assert wait_s >= schedule.SPACING_MS / 1000
    pass_time(rig)
    assert len(rig.server.posted) == 25


def test_what_became_of_a_receipt_is_forgotten_in_time(rig: Rig) -> None:
    first = owe_one(rig)
    pass_time(rig)
    rig.account.now += receipts.KEPT_MS
    second = owe_one(rig)
    assert [row[0] for row in rig.owed()] == [first, second]
    rig.account.now += LONGER_THAN_A_HOLD_MS
    third = owe_one(rig)
    assert [row[0] for row in rig.owed()] == [second, third]


def test_flushes_are_forgotten_in_time_but_for_those_that_stop_more(rig: Rig) -> None:
    for number in range(9):
        rig.account.run("INSERT INTO receipt_flush VALUES (?, ?, 0)", BOB, NOW - 48 * HOUR + number)
    rig.account.write(
        plans.note_flush, CAROL, rig.account.now, attended=True, forget_before_ms=NOW - 24 * HOUR
    )
    assert len(rig.account.read(plans.flushes, BOB)) == schedule.MOST_UNANSWERED
    owe_one(rig)
    pass_time(rig)
    assert rig.server.posted == []


@pytest.mark.parametrize("back_ms", [2 * MINUTE, HOUR, 400 * 24 * HOUR])
def test_a_clock_that_is_set_back_loses_nothing_and_sends_nothing_early(rig: Rig, back_ms: int) -> None:
    answered(rig)
    event_id = owe_one(rig)
    rig.account.write(plans.set_come_back, ComeBack(rig.account.now, rig.account.now + MINUTE))
    rig.account.now -= back_ms
    answered(rig)
    rig.step()
    assert rig.server.posted == []
    for _ in range(30):
        rig.account.now += MINUTE
        answered(rig)
        rig.step()
    assert rig.owed() == [(event_id, "sent", "user", None)]


def test_a_clock_that_jumps_ahead_and_back_loses_nothing(rig: Rig) -> None:
    answered(rig)
    event_id = owe_one(rig)
    rig.account.now += 30 * 24 * HOUR
    rig.step()
    rig.account.now -= 30 * 24 * HOUR
    pass_time(rig)
    assert rig.owed() == [(event_id, "sent", "user", None)]


def test_plans_of_another_device_are_forgotten_with_what_it_owed(rig: Rig) -> None:
    owe_one(rig)
    rig.account.write(sessions.become_new_device)
    assert rig.account.read(plans.plan, BOB) is None


def test_a_restricted_room_is_off_until_it_is_turned_on(rig: Rig) -> None:
    rig.account.room(join_rule="restricted")
    refused = owe_one(rig)
    assert rig.refused() == [(refused, "public_room")]
    rig.choose("receipts.room", "on", room_id=ROOM)
    event_id = owe_one(rig)
    assert rig.owed()[0][:2] == (event_id, "owed")
    assert rig.account.read(rooms.kind, ROOM) is rooms.RoomKind.PUBLIC


def test_the_timing_is_a_setting(rig: Rig) -> None:
    assert rig.account.read(settings.get, "receipts.timing") == "protected"
    assert setting_list.declared("receipts.paused_until").parsed(str(NOW)) == NOW


@in_loop
async def test_typing_shows_others_that_the_owner_is_there_once_the_server_was_told(rig: Rig) -> None:
    rig.account.write(sessions.set_session, ME, "http://127.0.0.1:9", "token-of-a-test", NOW)
    line, now = Line(), rig.account.now

    async def type_in_the_room(line: Line, is_typing: bool = True) -> None:
        clock = SimpleNamespace(now_ms=lambda: now)
        await rooms_api.typing(line, rig.account.db, ROOM, is_typing, clock=clock)  # type: ignore[arg-type]

    with pytest.raises(Offline):
        await type_in_the_room(Line(Offline()))
    await type_in_the_room(line, False)
    rig.account.write(settings.set_value, "typing.send", False, now_ms=now)
    await type_in_the_room(line)
    assert rig.account.read(plans.attendance, ROOM) is None
    assert len(line.asked) == 1
    rig.account.write(settings.set_value, "typing.send", True, now_ms=now)
    await type_in_the_room(line)
    assert len(line.asked) == 2
    assert rig.account.read(plans.attendance, ROOM).at == now
