"""From due notifications to popups: each once, none for what was seen, nothing said that is to be hidden."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tandem_core.clock import SystemClock
from tandem_core.doorbell import Focus
from tandem_core.store import notifications
from tandem_core.types import RoomId, UserId
from tandem_notifier.focus import WindowFocus
from tandem_notifier.popup import Click, Popup, PopupsUnavailable, ignore
from tandem_notifier.worker import NotificationWorker
from tests.support.account import BOB, ME, Account
from tests.support.aio import in_loop

CAROL = UserId("@carol:example.org")


class Shelf:
    """Keeps popups as a desktop does: one a room, in the order shown; can be out of order."""

    def __init__(self) -> None:
        self.on_click: Callable[[Click], None] = ignore
        self.on_gone: Callable[[RoomId], None] = ignore
        self.shown: list[Popup] = []
        self.open: dict[RoomId, Popup] = {}
        self.is_broken = False

    async def run(self) -> None: ...

    async def show(self, popup: Popup) -> None:
        if self.is_broken:
            raise PopupsUnavailable()
        self.shown.append(popup)
        self.open[popup.room_id] = popup

    async def close(self, room_id: RoomId) -> None:
        self.open.pop(room_id, None)

    async def notice(self, title: str, body: str) -> None: ...


class Desk:
    """A worker over an account's store; ``look`` is one step of it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.shelf = Shelf()
        self.focus: Focus | None = None
        self.worker = self.new_worker()

    def new_worker(self) -> NotificationWorker:
        shows = WindowFocus(lambda: self.focus).shows
        return NotificationWorker(
            self.account.db, ME.user_id, self.shelf, shows, clock=SystemClock(), chance=random.Random(1)
        )

    def look(self) -> None:
        asyncio.run(self.worker.step())

    @property
    def bodies(self) -> list[str]:
        return [popup.body for popup in self.shelf.shown]


@pytest.fixture
def desk(account: Account) -> Desk:
    return Desk(account)


def test_a_direct_message_pops_up_once(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    event_id = desk.account.message(room, "hello")
    desk.look()
    desk.look()
    [popup] = desk.shelf.shown
    assert (popup.title, popup.body, popup.event_id) == ("Bob", "hello", event_id)
    assert desk.account.outcome(event_id) == ("shown", None)


def test_a_group_message_names_person_and_room(desk: Desk) -> None:
    room = desk.account.room("Family", people={BOB: "Bob\u202e", CAROL: "Carol"})
    desk.account.message(room, "dinner\nis ready")
    desk.look()
    assert [(popup.title, popup.body) for popup in desk.shelf.shown] == [("Bob in Family", "dinner is ready")]


def test_messages_of_a_room_gather_in_its_popup(desk: Desk) -> None:
    room = desk.account.room("Family", people={BOB: "Bob", CAROL: "Carol"})
    other = desk.account.room("Bob", direct=True)
    desk.account.message(room, "one")
    desk.account.message(other, "elsewhere")
    desk.account.message(room, "two", sender=CAROL)
    desk.look()
    assert desk.shelf.open[room].together == ("Family", "Bob: one\nCarol: two")
    assert desk.shelf.open[room].body == "two"
    assert desk.shelf.open[other].together is None


def test_a_closed_popup_does_not_gather(desk: Desk) -> None:
    room = desk.account.room("Family")
    desk.account.message(room, "one")
    desk.look()
    desk.worker.popup_gone(room)
    desk.account.message(room, "two")
    desk.look()
    assert desk.shelf.open[room].together is None


def test_a_backlog_becomes_one_popup(desk: Desk) -> None:
    room = desk.account.room("Family", people={BOB: "Bob", CAROL: "Carol"})
    direct = desk.account.room("Bob", direct=True)
    event_ids = [
        desk.account.message(room, f"{number}", sender=CAROL if number % 2 else BOB) for number in range(30)
    ]
    for number in range(4):
        desk.account.message(direct, f"{number}")
    desk.look()
    assert [(popup.title, popup.body) for popup in desk.shelf.shown] == [
        ("Family", "30 new messages from Bob and Carol"),
        ("Bob", "4 new messages"),
    ]
    assert desk.shelf.shown[0].events == tuple(event_ids)
    desk.account.message(direct, "more")
    desk.look()
    assert desk.shelf.open[direct].body == "more"
    assert {desk.account.outcome(event_id)[0] for event_id in event_ids} == {"shown"}


def test_more_than_fits_one_look_is_looked_at_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "MOST_AT_ONCE", 5)
    room = desk.account.room("Bob", direct=True)
    for number in range(7):
        desk.account.message(room, f"{number}")
    assert asyncio.run(desk.worker.step()) == 0.0
    assert asyncio.run(desk.worker.step()) is None
    assert sum(len(popup.events) for popup in desk.shelf.shown) == 7


def test_what_the_window_shows_does_not_pop_up(desk: Desk) -> None:
    room, other = desk.account.room("Bob", direct=True), desk.account.room("Family")
    desk.focus = Focus(room, True)
    seen, unseen = desk.account.message(room, "here"), desk.account.message(other, "there")
    desk.look()
    assert desk.bodies == ["there"]
    assert desk.account.outcome(seen) == ("skipped", "seen")
    assert desk.account.outcome(unseen) == ("shown", None)


@pytest.mark.parametrize("focus", [None, Focus(None, True), Focus(RoomId("!room1:example.org"), False)])
def test_a_window_without_the_keyboard_or_the_room_hides_nothing(desk: Desk, focus: Focus | None) -> None:
    room = desk.account.room("Bob", direct=True)
    desk.focus = focus
    desk.account.message(room, "hello")
    desk.look()
    assert desk.bodies == ["hello"]


def test_what_was_read_meanwhile_does_not_pop_up(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    first, second = desk.account.message(room, "one"), desk.account.message(room, "two")
    desk.account.read(room, first)
    desk.look()
    assert desk.bodies == ["two"]
    assert desk.account.outcome(first) == ("skipped", "read")
    assert desk.account.outcome(second) == ("shown", None)


def test_what_was_deleted_meanwhile_does_not_pop_up(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    event_id = desk.account.message(room, "regretted")
    desk.account.redact(room, event_id)
    desk.look()
    assert desk.bodies == []
    assert desk.account.outcome(event_id) == ("skipped", "redacted")


def test_reading_a_room_closes_its_popup(desk: Desk) -> None:
    room, other = desk.account.room("Bob", direct=True), desk.account.room("Family")
    desk.account.message(room, "one")
    newest = desk.account.message(room, "two")
    desk.account.message(other, "elsewhere")
    desk.look()
    desk.account.read(room, newest)
    desk.look()
    assert list(desk.shelf.open) == [other]


def test_a_popup_stays_while_some_of_it_is_unread(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    first = desk.account.message(room, "one")
    desk.account.message(room, "two")
    desk.look()
    desk.account.read(room, first)
    desk.look()
    assert list(desk.shelf.open) == [room]


def test_deleting_a_message_takes_its_popup_away(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    event_id = desk.account.message(room, "regretted")
    desk.look()
    desk.account.redact(room, event_id)
    desk.look()
    assert desk.shelf.open == {}


def test_looking_at_a_room_takes_its_popup_away(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    desk.account.message(room, "hello")
    desk.look()
    desk.focus = Focus(room, True)
    desk.look()
    assert desk.shelf.open == {}


def test_hidden_content_says_neither_who_nor_what(desk: Desk) -> None:
    desk.account.choose("notifications.hide_content", True)
    room = desk.account.room("Secret club", people={BOB: "Bob"})
    desk.account.message(room, "the password is swordfish")
    desk.look()
    desk.account.message(room, "forget it")
    desk.look()
    assert [(popup.title, popup.body) for popup in desk.shelf.shown] == [
        ("Tandem", "New message"),
        ("Tandem", "2 new messages"),
    ]
    assert {popup.together for popup in desk.shelf.shown} == {None}


def test_content_hidden_since_the_last_popup_does_not_come_back_with_the_next(desk: Desk) -> None:
    room = desk.account.room("Family")
    desk.account.message(room, "seen by all")
    desk.look()
    desk.account.choose("notifications.hide_content", True)
    desk.account.message(room, "two")
    desk.look()
    desk.account.choose("notifications.hide_content", False)
    desk.account.message(room, "three")
    desk.look()
    assert [popup.together for popup in desk.shelf.shown] == [None, None, None]


@pytest.mark.parametrize(
    ("key", "value", "reason"), [("enabled", False, "disabled"), ("room", "mute", "muted")]
)
def test_settings_silence(desk: Desk, key: str, value: Any, reason: str) -> None:
    room = desk.account.room("Family")
    event_id = desk.account.message(room, "hello")
    desk.account.choose(f"notifications.{key}", value, room if key == "room" else None)
    desk.look()
    assert desk.bodies == []
    assert desk.account.outcome(event_id) == ("skipped", reason)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"msgtype": "m.emote", "body": "waves"}, "* Bob waves"),
        ({"msgtype": "m.image", "body": "cat.png"}, "Picture: cat.png"),
        ({"body": "x" * 1000}, "x" * 239 + "…"),
        ({"body": "a\x00b\x1b[31m\u2066c"}, "ab [31m c"),
        ({"body": "👨‍👩‍👧 family"}, "👨‍👩‍👧 family"),
        ({"body": "   "}, "New message"),
    ],
)
def test_a_popup_says_it_in_one_clean_line(desk: Desk, content: dict[str, str], body: str) -> None:
    room = desk.account.room("Bob", direct=True)
    desk.account.message(room, **content)
    desk.look()
    assert desk.bodies == [body]


def test_what_could_not_be_shown_stays_due(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    event_id = desk.account.message(room, "hello")
    desk.shelf.is_broken = True
    with pytest.raises(PopupsUnavailable):
        desk.look()
    assert desk.account.outcome(event_id) == ("due", None)
    desk.shelf.is_broken = False
    desk.look()
    assert desk.bodies == ["hello"]


def test_death_between_popup_and_commit_repeats_once_and_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = desk.account.room("Bob", direct=True)
    first, second = desk.account.message(room, "one"), desk.account.message(room, "two")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(notifications, "mark_shown", die)
        with pytest.raises(KeyboardInterrupt):
            desk.look()
    desk.worker = desk.new_worker()
    desk.look()
    desk.look()
    assert desk.bodies == ["one", "one", "two"]
    assert {desk.account.outcome(event_id)[0] for event_id in (first, second)} == {"shown"}


@asynccontextmanager
async def at_work(desk: Desk) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()

    def tell(changes: Any) -> None:
        loop.call_soon_threadsafe(desk.worker.wake, changes)

    desk.worker = desk.new_worker()
    desk.account.db.listen(tell)
    task = asyncio.create_task(desk.worker.run())
    try:
        yield
    finally:
        desk.account.db.unlisten(tell)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


@in_loop
async def test_the_worker_wakes_for_messages_reads_and_focus(account: Account) -> None:
    desk = Desk(account)
    async with at_work(desk):
        room = account.room("Bob", direct=True)
        event_id = await asyncio.to_thread(account.message, room, "hello")
        await until(lambda: room in desk.shelf.open)
        await asyncio.to_thread(account.read, room, event_id)
        await until(lambda: not desk.shelf.open)
        await asyncio.to_thread(account.message, room, "again")
        await until(lambda: room in desk.shelf.open)
        desk.focus = Focus(room, True)
        desk.worker.look_again()
        await until(lambda: not desk.shelf.open)
