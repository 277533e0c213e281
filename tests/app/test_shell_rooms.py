"""The room list as a person uses it: by pointer and by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt

from tandem_app.models import words
from tandem_app.models.room_list import RoomRole
from tandem_core.store.session import set_pos
from tandem_core.types import Role
from tests.app.glass import Glass, says
from tests.app.seed import Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]


def test_rows_tell_name_last_words_unread_and_time(seed: Seed, show: Show) -> None:
    hike = seed.room("Weekend hike")
    first, *_ = seed.say(hike, seed.message("who comes?", at=90), seed.message("on Saturday", at=80))
    seed.read_up_to(hike, first)
    glass = show()
    assert glass.rooms() == ["Weekend hike, 1 unread, Bob: on Saturday, 10:40"]


@pytest.mark.parametrize("user", ["@bob:example.org", "@alice:example.org"])
def test_a_change_of_the_room_is_told_without_naming_its_sender_twice(
    seed: Seed, show: Show, user: str
) -> None:
    hall = seed.room("Hall")
    joined = {"membership": "join", "displayname": "Sam"}
    seed.say(hall, seed.message("", user, at=30, type="m.room.member", content=joined, state_key=user))
    (row,) = show().rooms()
    assert row == "Hall, Sam joined, 11:30"


def test_a_direct_chat_has_the_colour_of_its_person(seed: Seed, show: Show) -> None:
    group, direct = seed.room("Bob and me"), seed.room("Bob", direct=True)
    glass = show()
    for room_id, owner in ((group, group), (direct, "@bob:example.org")):
        glass.main.shell.openRoom(room_id)
        model = glass.main.rooms
        in_list = model.data(model.index(model.rowOf(room_id), 0), RoomRole.HUE)
        assert in_list == glass.main.shell.roomHue == words.hue(owner)
    assert words.hue(direct) != words.hue("@bob:example.org")


def test_invitations_stand_first_and_say_who_invites(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("hello", at=1))
    seed.room("Book club", membership="invite", inviter="@dora:example.org")
    glass = show()
    assert glass.rooms()[0].startswith("Book club, invitation, Invitation from dora")


def test_a_click_opens_a_room(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("good morning", at=3))
    glass = show()
    glass.click(glass.item("roomRow"))
    assert says(glass.item("roomTitle")) == "Talk"
    assert any("good morning" in row for row in glass.messages())
    assert glass.focus() == "composer"


def test_the_keyboard_alone_searches_opens_and_moves_between_rooms(seed: Seed, show: Show) -> None:
    for minutes, name in ((30, "Garden"), (20, "Kitchen"), (10, "Garage")):
        seed.say(seed.room(name), seed.message(f"in the {name}", at=minutes))
    glass = show()
    glass.press(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    assert glass.focus() == "roomSearch"
    glass.type("gar")
    assert [row.split(",")[0] for row in glass.rooms()] == ["Garage", "Garden"]
    glass.press(Qt.Key.Key_Down)
    glass.press(Qt.Key.Key_Return)
    assert says(glass.item("roomTitle")) == "Garden"
    assert glass.focus() == "composer"
    glass.press(Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    assert says(glass.item("roomTitle")) == "Garage"
    glass.press(Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert says(glass.item("roomTitle")) == "Garden"


def test_a_search_without_result_says_so(seed: Seed, show: Show) -> None:
    seed.room("Garden")
    glass = show()
    glass.press(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    glass.type("zebra")
    assert glass.rooms() == []
    assert glass.named("No room has this name. Try fewer letters.") is not None


def test_an_empty_account_is_told_what_will_appear(seed: Seed, show: Show) -> None:
    seed.db.write_now(lambda txn: set_pos(txn, Role.APP, "0", seed.now_ms))
    glass = show()
    glass.main.watch.read_rooms()
    empty = "No rooms yet. Rooms you join and invitations you get appear here."
    glass.wait(lambda: empty in glass.sayings(), empty)


def test_a_room_with_a_new_message_rises_and_the_open_one_stays_open(seed: Seed, show: Show) -> None:
    old, new = seed.room("Old"), seed.room("New")
    seed.say(old, seed.message("long ago", at=600))
    seed.say(new, seed.message("just now", at=5))
    glass = show()
    glass.main.shell.openRoom(new)
    seed.say(old, seed.message("here again", at=1))
    glass.main.watch.look()
    glass.wait(lambda: glass.rooms()[0].startswith("Old"), "the room has risen")
    assert says(glass.item("roomTitle")) == "New"


def test_a_narrow_window_shows_one_pane_at_a_time(seed: Seed, show: Show) -> None:
    seed.say(seed.room("Talk"), seed.message("good morning", at=3))
    glass = show(width=420)
    assert glass.items("roomPane") == []
    glass.click(glass.item("roomRow"))
    assert glass.items("roomRow") == []
    glass.click(glass.item("backButton"))
    assert len(glass.items("roomRow")) == 1
    assert glass.items("roomPane") == []


def test_two_thousand_rooms_are_all_listed(seed: Seed, show: Show) -> None:
    seed.many_rooms(2000)
    glass = show()
    glass.main.watch.read_rooms()
    glass.wait(lambda: glass.main.rooms.rowCount() == 2000, "all rooms")
    assert len(glass.items("roomRow")) < 40  # only those on the screen have items


def test_reading_the_newest_row_clears_unread(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    first, _ = seed.say(talk, seed.message("one", at=9), seed.message("two", at=8))
    seed.read_up_to(talk, first)
    glass = show(engine=True)
    glass.window.requestActivate()
    glass.click(glass.item("roomRow"))
    glass.wait(lambda: glass.main.source.room(talk).unread == 0, "read")  # type: ignore[union-attr]
    glass.wait(lambda: "unread" not in glass.rooms()[0], "the badge is gone")
    owed = glass.main.reader().execute("SELECT event_id FROM read_owed").fetchall()  # type: ignore[union-attr]
    assert len(owed) == 1
