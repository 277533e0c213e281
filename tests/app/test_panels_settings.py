"""The settings pages beyond the plain choices: exceptions, what is locked, small windows, and signing out for real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtQuick import QQuickItem

from tandem_core import setting_list, settings
from tandem_core.paths import ProfilePaths
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Me, RoomId, UserId
from tandem_demo.raw import RawClient
from tests.app.by_keyboard import heard, reads, silent, sticks_out, tab_round, tab_to
from tests.app.glass import Glass, says
from tests.app.seed import NOON_MS, Seed
from tests.support.fake_homeserver import FakeHomeserver

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

PASSWORD = "correct horse"
ASKED = "Sign out of this computer?"


# Named before ``show`` in a test, so that it outlives the window.
@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    """A homeserver that knows alice."""
    with FakeHomeserver() as made:
        made.register("alice", PASSWORD)
        yield made


def account(show: Show, *, engine: bool = True, **size: int) -> Glass:
    """The window with the account's settings open."""
    glass = show(engine=engine, **size)
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    assert glass.focus() == "closeSettings"
    return glass


def room_page(show: Show, room_id: RoomId, *, engine: bool = False, **size: int) -> Glass:
    """The window with a room's settings open."""
    glass = show(engine=engine, **size)
    glass.main.shell.openRoom(room_id)
    glass.main.shell.openSettings(room_id)
    glass.settle()
    assert glass.focus() == "closeSettings"
    return glass


def choose(
    seed: Seed, key: str, value: setting_list.Value, *, room: RoomId | None = None, person: str = ""
) -> None:
    """As the notifier or tandemctl writes it."""
    user_id = UserId(person) if person else None

    def write(txn: Transaction) -> None:
        settings.set_value(txn, key, value, now_ms=NOON_MS, room_id=room, user_id=user_id)

    seed.db.write_now(write)


def in_sight(item: QQuickItem, page: QQuickItem) -> bool:
    """Whether the whole of an item is inside the page."""
    box = item.mapRectToItem(page, item.boundingRect())
    return box.top() >= 0 and box.bottom() <= page.height()


def chosen(seed: Seed, scope: str, target: str) -> dict[str, object]:
    """What is stored for a room or person."""
    rows = seed.db.read_now(
        lambda conn: conn.execute(
            "SELECT key, value FROM setting WHERE scope = ? AND target = ?", (scope, target)
        ).fetchall()
    )
    return {row["key"]: json.loads(row["value"]) for row in rows}


def test_tab_goes_through_the_whole_page_and_back_to_its_start(seed: Seed, show: Show) -> None:
    glass = account(show, engine=False)
    page = glass.item("settingsPage")
    found = tab_round(glass, page)
    of_account = [
        s.key
        for s in setting_list.SETTINGS.values()
        if s.scope is setting_list.Scope.ACCOUNT and not s.key.startswith("receipts.")
    ]
    assert [name for name in found if name in of_account] == of_account
    assert found[0] == "closeSettings"
    assert found[-1] == "signOut"
    assert silent(page) == []


def test_escape_leaves_the_settings_and_gives_the_keyboard_back_to_the_room(seed: Seed, show: Show) -> None:
    room = seed.room("Weekend hike")
    glass = show()
    glass.main.shell.openRoom(room)
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    tab_to(glass, "typing.send")
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("settingsPage") == []
    assert glass.focus() == "composer"


def test_what_has_the_keyboard_is_kept_in_sight(seed: Seed, show: Show) -> None:
    glass = account(show, engine=False, height=440)
    page = glass.item("settingsPage")
    for name in ("appearance.theme", "closeSettings", "openConfirmations", "signOut"):
        assert in_sight(tab_to(glass, name), page), name
    glass.press(Qt.Key.Key_Return)
    reads(glass, ASKED)
    assert in_sight(glass.item("signOut"), page), "after the question above it appeared"


@pytest.mark.parametrize("width", [360, 1120])
def test_no_control_is_cut(seed: Seed, show: Show, width: int) -> None:
    room = seed.room("Weekend hike")
    choose(seed, "receipts.person", "never", person="@" + "a-name-without-an-end" * 5 + ":example.org")
    glass = account(show, engine=False, width=width)
    assert sticks_out(glass, glass.item("settingsPage")) == []
    glass.main.shell.openSettings(room)
    glass.settle()
    assert sticks_out(glass, glass.item("settingsPage")) == []


def test_the_chosen_colours_are_worn_at_once(seed: Seed, show: Show) -> None:
    glass = account(show)
    tab_to(glass, "appearance.theme")
    before = glass.picture().pixelColor(1100, 5).lightness()
    glass.press(Qt.Key.Key_Right)
    glass.wait(lambda: says(glass.item("appearance.theme")) == "Colours: Light")
    glass.press(Qt.Key.Key_Right)
    glass.wait(lambda: says(glass.item("appearance.theme")) == "Colours: Dark")
    glass.wait(lambda: glass.picture().pixelColor(1100, 5).lightness() < 60, "dark")
    assert before > 200
    assert glass.focus() == "appearance.theme"


def test_a_room_that_nobody_has_written_in_says_why_it_is_not_confirmed(seed: Seed, show: Show) -> None:
    glass = room_page(show, seed.room("Weekend hike", topic="Saturday, if it stays dry"))
    assert heard(glass, "Saturday, if it stays dry")
    assert heard(glass, "2 people · encrypted")
    assert heard(glass, "Default here: off until you write here for the first time.")
    assert silent(glass.item("settingsPage")) == []


def test_no_room_promises_what_writing_there_would_not_bring(seed: Seed, show: Show) -> None:
    glass = room_page(show, seed.room("Lobby", encrypted=False))
    assert heard(glass, "Default here: off, as in all private rooms without encryption.")


def test_confirming_in_a_public_room_warns_of_what_it_tells(seed: Seed, show: Show) -> None:
    room = seed.room("Town square", encrypted=False)
    seed.db.write_now(
        lambda txn: txn.execute("UPDATE room SET join_rule = 'public' WHERE room_id = ?", (room,))
    )
    glass = room_page(show, room, engine=True)
    assert heard(glass, "Default here: off, because anyone may join this room.")
    assert heard(glass, "2 people · not encrypted")
    warning = "Anyone may join this room, write to you, and learn from confirmations when you are here."
    assert not heard(glass, warning)
    tab_to(glass, "receipts.room")
    glass.press(Qt.Key.Key_Right)
    reads(glass, warning)
    assert chosen(seed, "room", room) == {"receipts.room": "on"}
    glass.press(Qt.Key.Key_Left)
    glass.wait(lambda: not heard(glass, warning), "no warning any more")
    assert chosen(seed, "room", room) == {}


def test_the_other_person_of_a_direct_chat_can_be_excepted_there(seed: Seed, show: Show) -> None:
    glass = room_page(show, seed.room("Bob", direct=True), engine=True)
    item = tab_to(glass, "receipts.person")
    assert says(item) == "Confirm delivery to Bob: Default"
    glass.press(Qt.Key.Key_Right)
    glass.wait(lambda: chosen(seed, "person", "@bob:example.org"), "the choice")
    assert chosen(seed, "person", "@bob:example.org") == {"receipts.person": "never"}


def signed_in_at(server: FakeHomeserver, seed: Seed) -> RawClient:
    """Have the store's account be a real one of this homeserver."""
    device = RawClient(server.base_url).login("alice", PASSWORD)
    me = Me(UserId(device.user_id), DeviceId(device.device_id))
    seed.db.write_now(sessions.set_session, me, server.base_url, device.token, NOON_MS)
    return device


def test_signing_out_takes_a_second_press_and_then_removes_everything(
    server: FakeHomeserver, seed: Seed, paths: ProfilePaths, show: Show
) -> None:
    device = signed_in_at(server, seed)
    glass = account(show)
    tab_to(glass, "signOut")
    glass.press(Qt.Key.Key_Return)
    reads(glass, ASKED)
    assert server.seen("/logout") == []
    assert says(glass.item("signOut")) == "Sign out and remove"
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.focus() == "homeserver", "the form to sign in")
    assert len(server.seen("/logout")) == 1
    assert device.request("GET", "/_matrix/client/v3/account/whoami")[0] == 401
    assert not paths.vault_file.exists()
    assert glass.items("roomList") == []


def test_the_window_finishes_a_sign_out_that_was_cut_off(
    server: FakeHomeserver, seed: Seed, paths: ProfilePaths, show: Show
) -> None:
    device = signed_in_at(server, seed)
    paths.leaving.write_text("asked")
    glass = show(engine=True)
    glass.wait(lambda: glass.focus() == "homeserver", "the form to sign in")
    assert device.request("GET", "/_matrix/client/v3/account/whoami")[0] == 401
    assert not paths.leaving.exists()


def test_leaving_the_page_takes_the_question_back(seed: Seed, show: Show) -> None:
    glass = account(show, engine=False)
    tab_to(glass, "signOut")
    glass.press(Qt.Key.Key_Return)
    reads(glass, ASKED)
    glass.press(Qt.Key.Key_Escape)
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    assert not heard(glass, ASKED)
    assert says(glass.item("signOut")) == "Sign out…"


def test_without_a_server_signing_out_is_offered_for_this_computer_only(
    seed: Seed, paths: ProfilePaths, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem_core.sign_out._DEADLINE_S", 0.1)
    glass = account(show)
    tab_to(glass, "signOut")
    glass.press(Qt.Key.Key_Return)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Your homeserver cannot be reached, so it was not told.")
    kept = seed.db.read_now(sessions.session)
    assert kept is not None
    assert kept.state is sessions.SessionState.SIGNED_IN
    assert says(glass.item("signOut")) == "Sign out here only"
    tab_to(glass, "signOut")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.focus() == "homeserver", "the form to sign in")
