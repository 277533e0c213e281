"""The page "Delivery confirmations" and the one question: by keyboard, with names, and true to the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PySide6.QtCore import Qt

from tandem_core import setting_list, settings
from tandem_core.store import account_data, room_facts
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS
from tandem_core.types import Role, RoomId, UserId
from tests.app.by_keyboard import heard, is_checked, reads, silent, sticks_out, tab_round, tab_to
from tests.app.glass import Glass, says
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]
BOB, CAROL = "@bob:example.org", "@carol:example.org"
ASKED = "May others see that their messages reached you?"


def page(show: Show, *, engine: bool = False, **size: int) -> Glass:
    """The window with the page open, as a person comes there."""
    glass = show(engine=engine, **size)
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    tab_to(glass, "openConfirmations")
    glass.press(Qt.Key.Key_Return)
    assert glass.focus() == "closeConfirmations"
    return glass


def choose(seed: Seed, key: str, value: setting_list.Value, **target: Any) -> None:
    """As the other program or tandemctl writes it."""
    seed.db.write_now(settings.set_value, key, value, now_ms=NOON_MS, **target)


def held(seed: Seed, key: str, room: RoomId | None = None, person: str | None = None) -> setting_list.Value:
    return seed.db.read_now(settings.get, key, room, UserId(person) if person else None)


def unanswered(seed: Seed) -> None:
    """A new account that has synced: no device has answered."""

    def write(txn: Transaction) -> None:
        txn.execute("DELETE FROM account_data WHERE type = ?", (DELIVERY_SETTINGS,))
        sessions.set_pos(txn, Role.APP, "p", NOON_MS)

    seed.db.write_now(write)


def asked(seed: Seed, show: Show) -> Glass:
    """The window of a new account with a room open, and the question above it."""
    room = seed.room("Weekend hike")
    unanswered(seed)
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    glass.settle()
    glass.wait(lambda: glass.items("confirmBar"), "the question")
    return glass


def test_tab_goes_through_all_choices_in_their_order_and_everything_has_a_name(
    seed: Seed, show: Show
) -> None:
    seed.db.write_now(room_facts.accept, seed.room("Bob", direct=True), "sent")
    glass = page(show)
    root = glass.item("confirmationsPage")
    found = tab_round(glass, root)
    own = [
        setting.key
        for setting in setting_list.SETTINGS.values()
        if setting.key.startswith("receipts.") and setting.scope is setting_list.Scope.ACCOUNT
    ]
    not_rows = ("receipts.answered", "receipts.paused_until")
    assert [name for name in found if name in own] == [key for key in own if key not in not_rows]
    assert found[0] == "closeConfirmations"
    assert found[-2:] == ["pause", "pauseTomorrow"]
    assert silent(root) == []


def test_escape_goes_back_to_the_settings_and_then_to_the_room(seed: Seed, show: Show) -> None:
    room = seed.room("Weekend hike")
    glass = show()
    glass.main.shell.openRoom(room)
    glass.main.shell.openSettings("")
    glass.main.shell.openPage("confirmations")
    glass.settle()
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("confirmationsPage") == []
    assert heard(glass, "On in direct chats and groups of up to 20 people.")
    glass.press(Qt.Key.Key_Escape)
    assert glass.focus() == "composer"


@pytest.mark.parametrize("width", [360, 1120])
def test_no_control_is_cut_whatever_people_are_called(seed: Seed, show: Show, width: int) -> None:
    name = "Maximiliane-Friederike von und zu Hohenstein-Wolkenburg auf Niederlangenau"
    room = seed.room(name, people={BOB: name}, direct=True)
    seed.db.write_now(room_facts.accept, room, "sent")
    choose(
        seed, "receipts.person", "never", user_id=UserId("@" + "a-name-without-an-end" * 5 + ":example.org")
    )
    glass = page(show, width=width)
    assert sticks_out(glass, glass.item("confirmationsPage")) == []


def test_public_rooms_and_strangers_are_never_confirmed_and_no_switch_offers_it(
    seed: Seed, show: Show
) -> None:
    glass = page(show)
    assert heard(glass, "Confirm delivery in public rooms: Never")
    assert heard(glass, "Confirm to strangers and for requests: Never")
    assert heard(glass, "Anyone may join a public room and would learn when you are here.")


def test_it_is_said_what_turning_the_notifiers_confirmations_off_tells_others(seed: Seed, show: Show) -> None:
    glass = page(show)
    assert heard(
        glass, "If you turn this off, a delivered mark tells the author that your Tandem window is open."
    )


def test_the_size_of_groups_is_locked_while_groups_are_off(seed: Seed, show: Show) -> None:
    glass = page(show, engine=True)
    assert glass.item("receipts.groups_max").isEnabled()
    tab_to(glass, "receipts.groups")
    glass.press(Qt.Key.Key_Space)
    glass.wait(lambda: not is_checked(glass.item("receipts.groups")), "the switch")
    assert not glass.item("receipts.groups_max").isEnabled()
    glass.press(Qt.Key.Key_Tab)
    assert glass.focus() == "receipts.plain"
    assert heard(glass, "On in direct chats.")


def test_the_timing_is_chosen_in_words_by_the_arrow_keys(seed: Seed, show: Show) -> None:
    glass = page(show, engine=True)
    item = tab_to(glass, "receipts.timing")
    assert says(item) == "When confirmations go out: Protected: usually within 20 seconds"
    glass.press(Qt.Key.Key_Down)
    glass.wait(lambda: held(seed, "receipts.timing") == "slower", "the choice")


def test_a_person_is_excepted_and_let_back_in_by_keyboard(seed: Seed, show: Show) -> None:
    glass = page(show, engine=True)
    tab_to(glass, "neverConfirmTo")
    glass.type("carol")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Write the full Matrix id, for example @carol:example.org.")
    assert glass.item("neverConfirmTo").property("text") == "carol"
    glass.press(Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    glass.type(CAROL)
    glass.press(Qt.Key.Key_Return)
    reads(glass, f"Remove the exception for {CAROL}")
    assert held(seed, "receipts.person", None, CAROL) == "never"
    assert not heard(glass, "Write the full Matrix id")
    while glass.focus() != "forget":
        assert glass.focus() != "closeConfirmations"
        glass.press(Qt.Key.Key_Tab, Qt.KeyboardModifier.ShiftModifier)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: not heard(glass, "Remove the exception"), "the exception is gone")
    assert held(seed, "receipts.person", None, CAROL) == "default"


def test_rooms_with_a_choice_of_their_own_are_listed_and_can_be_freed(seed: Seed, show: Show) -> None:
    room = seed.room("Weekend hike")
    choose(seed, "receipts.room", "never", room_id=room)
    glass = page(show, engine=True)
    assert heard(glass, "Room · never confirm")
    assert says(tab_to(glass, "forget")) == "Remove the exception for Weekend hike"
    glass.press(Qt.Key.Key_Space)
    glass.wait(lambda: glass.items("forget") == [], "the exception is gone")
    assert held(seed, "receipts.room", room) == "default"


def test_an_exception_made_by_the_other_program_appears(seed: Seed, show: Show) -> None:
    glass = page(show)
    assert glass.items("forget") == []
    choose(seed, "receipts.person", "never", user_id=UserId(CAROL))
    glass.wait(lambda: glass.items("forget"), "the exception")
    assert says(glass.item("forget")) == f"Remove the exception for {CAROL}"


def test_a_choice_of_another_device_shows_and_a_refusal_of_this_one_says_that_it_holds(
    seed: Seed, show: Show
) -> None:
    choose(seed, "receipts.direct", "off")
    seed.answer(rules={"direct": "on", "plain": "on"}, changed={"direct": NOON_MS + 9, "plain": 1})
    glass = page(show)
    assert is_checked(glass.item("receipts.plain"))
    assert not is_checked(glass.item("receipts.direct"))
    assert heard(glass, "What was refused on this device, only this device allows again.")


def test_the_preview_is_of_the_gate_and_follows_the_choices(seed: Seed, show: Show) -> None:
    for name, user in (("Bob", BOB), ("Carol", CAROL)):
        room = seed.room(name, people={user: name}, direct=True)
        seed.db.write_now(room_facts.accept, room, "sent")
    choose(seed, "receipts.person", "never", user_id=UserId(CAROL))
    glass = page(show, engine=True)
    assert heard(glass, "What Carol sees") is not heard(glass, "What Bob sees"), "one of them is shown"
    for name, words in (
        ("Bob", "Bob: “Delivered”, to the minute, and nothing of your devices; within 19 seconds."),
        ("Carol", "Carol: Nothing: you never confirm to this person."),
    ):
        tab_to(glass, "previewAs")
        while name not in says(glass.window.activeFocusItem()):
            glass.press(Qt.Key.Key_Tab)
        glass.press(Qt.Key.Key_Return)
        reads(glass, words)
    choose(seed, "receipts.enabled", False)
    glass.wait(lambda: heard(glass, "Carol: Nothing: confirmations are off."), "the switch")


def test_with_nobody_to_see_anything_the_preview_says_so(seed: Seed, show: Show) -> None:
    glass = page(show)
    assert heard(glass, "Nobody: there is no room yet in which you have written.")
    assert heard(glass, "No confirmation was sent in the last 24 hours.")
    assert glass.items("showLog") == []


def test_the_log_opens_and_names_people_and_rooms(seed: Seed, show: Show) -> None:
    done = {f"$s{number}": NOON_MS - number * 60_000 for number in range(3)}
    seed.confirmed(seed.room("Weekend hike"), BOB, done)
    glass = page(show)
    assert heard(glass, "3 confirmations sent to 1 person in the last 24 hours.")
    tab_to(glass, "showLog")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: heard(glass, "Weekend hike"), "the log")
    assert says(glass.item("showLog")) == "Hide the log"


@pytest.mark.parametrize("button", ["pause", "pauseTomorrow"])
def test_confirmations_are_paused_and_resumed_by_keyboard(seed: Seed, show: Show, button: str) -> None:
    glass = page(show, engine=True)
    tab_to(glass, button)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: says(glass.item("pause")) == "Go on with confirmations now", "the pause")
    assert held(seed, "receipts.paused_until") > NOON_MS
    assert heard(glass, "Paused until ")
    assert glass.focus() == "pause"
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: says(glass.item("pause")) == "Pause confirmations for an hour", "no pause")
    assert held(seed, "receipts.paused_until") == NOON_MS


def test_exceptions_that_cannot_be_read_are_said_and_given_up_on_request_only(seed: Seed, show: Show) -> None:
    seed.db.write_now(account_data.put, DELIVERY_EXCEPTIONS, {"algorithm": "another"})
    glass = page(show, engine=True)
    assert heard(glass, "This device cannot read the exceptions that your other devices share")
    assert heard(glass, "What is stored cannot be understood here, so nothing is confirmed.")
    tab_to(glass, "beginAnew")
    glass.press(Qt.Key.Key_Return)

    def anew() -> Any:
        from tandem_core.store import shared_settings

        return seed.db.read_now(shared_settings.standing).anew

    glass.wait(anew, "it is to begin anew")


@pytest.mark.parametrize(
    ("button", "enabled", "groups"),
    [("confirmOff", False, "on"), ("confirmDirect", True, "off"), ("confirmRecommended", True, "on")],
)
def test_the_question_is_answered_by_keyboard_and_then_gone(
    seed: Seed, show: Show, button: str, enabled: bool, groups: str
) -> None:
    glass = asked(seed, show)
    assert heard(glass, ASKED)
    assert silent(glass.item("confirmBar")) == []
    tab_to(glass, button)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: not heard(glass, ASKED), "no question any more")
    assert held(seed, "receipts.answered") is True
    assert glass.focus() == "composer", "which waits for what was interrupted"
    assert (held(seed, "receipts.enabled"), held(seed, "receipts.groups")) == (enabled, groups)


def test_the_question_takes_neither_the_keyboard_nor_the_room(seed: Seed, show: Show) -> None:
    glass = asked(seed, show)
    assert glass.focus() == "composer"
    glass.type("hello")
    assert glass.item("composer").property("text") == "hello"
    seed.answer(enabled=False)
    glass.wait(lambda: not heard(glass, ASKED), "another device has answered")
    assert glass.focus() == "composer"


def test_before_the_first_sync_nothing_is_asked(seed: Seed, show: Show) -> None:
    seed.db.write_now(lambda txn: txn.execute("DELETE FROM account_data"))
    glass = show(engine=True)
    glass.main.panels.look()
    glass.settle()
    assert not heard(glass, ASKED)


def test_the_question_leads_to_all_choices(seed: Seed, show: Show) -> None:
    seed.room("Weekend hike")
    unanswered(seed)
    glass = show(engine=True)
    glass.wait(lambda: glass.items("confirmBar"), "the question")
    tab_to(glass, "confirmMore")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("confirmationsPage"), "the page")
    assert heard(glass, "You have not chosen yet. Until then nothing is confirmed.")
    assert sticks_out(glass, glass.item("confirmBar")) == []
