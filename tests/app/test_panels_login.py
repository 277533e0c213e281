"""Signing in through the window: what a person types, reads and hears, on servers good and bad."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt

from tandem_core.paths import ProfilePaths
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_demo.synapse import SynapseServer
from tests.app.by_keyboard import heard, reads, silent, sticks_out, tab_round, tab_to
from tests.app.glass import Glass, says
from tests.conftest import new_user
from tests.support.fake_homeserver import FakeHomeserver

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

PASSWORD = "correct horse"
ALICE = "@alice:fake.test"
EMPTY = "No rooms yet. Rooms you join and invitations you get appear here."


@pytest.fixture(autouse=True)
def _folders(paths: ProfilePaths) -> None:
    """The program makes them before it opens the window."""
    paths.make()


# A homeserver is named before ``show`` in a test, so that it outlives the window.
@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    """A homeserver that knows alice."""
    with FakeHomeserver() as made:
        made.register("alice", PASSWORD)
        yield made


def form(show: Show, **size: int) -> Glass:
    """The window of a profile in which nobody is signed in."""
    glass = show(engine=True, **size)
    glass.wait(lambda: glass.focus() == "homeserver", "the form, ready to be typed in")
    return glass


def fill(glass: Glass, server: str, user: str, password: str) -> None:
    """Type the three lines, with Tab between them; the last has the keyboard."""
    glass.type(server)
    glass.press(Qt.Key.Key_Tab)
    glass.type(user)
    glass.press(Qt.Key.Key_Tab)
    glass.type(password)
    assert glass.focus() == "password"


def stored(paths: ProfilePaths) -> sessions.Session | None:
    """Who is signed in, as the store says."""
    db = Database.open(paths.database)
    try:
        return db.read_now(sessions.session)
    finally:
        db.close()


@pytest.mark.synapse
def test_signing_in_at_a_real_homeserver_opens_the_window_and_says_where_the_key_is(
    synapse: SynapseServer, paths: ProfilePaths, show: Show
) -> None:
    name, password = new_user(synapse, "window")
    glass = form(show)
    fill(glass, synapse.base_url, name, password)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("roomList"), "the room list")
    reads(glass, f"is in a file that only you can read: {paths.vault_file}")
    reads(glass, EMPTY)
    kept = stored(paths)
    assert kept is not None
    assert (kept.me.user_id, kept.state) == (f"@{name}:localhost", sessions.SessionState.SIGNED_IN)
    assert paths.vault_file.stat().st_mode & 0o777 == 0o600
    assert glass.items("login") == []


def test_a_wrong_password_is_said_below_its_line_and_can_be_typed_over(
    server: FakeHomeserver, paths: ProfilePaths, show: Show
) -> None:
    glass = form(show)
    fill(glass, server.base_url, "alice", "wrong")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "User name or password is wrong. Check both and try again.")
    assert stored(paths) is None
    assert glass.focus() == "password"
    # What was typed is selected: typing again replaces it.
    glass.type(PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, EMPTY)
    kept = stored(paths)
    assert kept is not None
    assert kept.me.user_id == ALICE


def test_a_server_that_cannot_be_reached_is_said_below_the_address(show: Show) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        glass = form(show)
        fill(glass, f"http://127.0.0.1:{closed.getsockname()[1]}", "alice", PASSWORD)
        glass.press(Qt.Key.Key_Return)
        reads(glass, "This server cannot be reached. Check the address and your network")
    assert glass.focus() == "homeserver"
    assert says(glass.item("signIn")) == "Sign in"


def test_a_web_server_is_told_from_a_homeserver(server: FakeHomeserver, show: Show) -> None:
    server.answer("", 200, b"<html>Hello</html>", times=99, content_type="text/html")
    glass = form(show)
    fill(glass, server.base_url, "alice", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "There is no Matrix homeserver at this address. Check the address for typing errors.")
    assert glass.focus() == "homeserver"


def test_a_homeserver_without_sliding_sync_is_named_as_such_before_the_password_is_sent(
    server: FakeHomeserver, show: Show
) -> None:
    server.answer("/versions", 200, {"versions": ["v1.11"], "unstable_features": {}}, times=9)
    glass = form(show)
    fill(glass, server.base_url, "alice", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "This homeserver does not offer sliding sync. Ask its administrator to update")
    assert server.seen("/login") == []


def test_a_closed_account_is_said_in_words(server: FakeHomeserver, show: Show) -> None:
    server.answer("/login", 403, {"errcode": "M_USER_DEACTIVATED", "error": "gone"})
    glass = form(show)
    fill(glass, server.base_url, "alice", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "This account was closed")
    assert glass.focus() == "user"


def test_what_is_missing_is_asked_for_line_by_line(show: Show) -> None:
    glass = form(show)
    tab_to(glass, "signIn")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Write the address of your homeserver")
    assert glass.focus() == "homeserver"
    glass.type("example.org")
    tab_to(glass, "signIn")
    glass.press(Qt.Key.Key_Space)
    reads(glass, "Write your user name")
    assert glass.focus() == "user"
    assert not heard(glass, "Write the address")
    glass.type("alice")
    glass.press(Qt.Key.Key_Return)
    assert glass.focus() == "password"
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Write your password")


def test_one_attempt_is_made_at_a_time_and_the_button_says_so(server: FakeHomeserver, show: Show) -> None:
    glass = form(show)
    gate = server.hold("/login")
    fill(glass, server.base_url, "alice", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    glass.wait(gate.reached.is_set, "the request")
    assert says(glass.item("signIn")) == "Signing in…"
    assert not glass.item("password").isEnabled()
    glass.click(glass.item("signIn"))
    glass.press(Qt.Key.Key_Return)
    gate.open()
    reads(glass, EMPTY)
    assert len(server.seen("/login")) == 1


def test_the_device_gets_the_name_that_was_typed(server: FakeHomeserver, show: Show) -> None:
    glass = form(show)
    fill(glass, server.base_url, "alice", PASSWORD)
    device = tab_to(glass, "device")
    assert device.property("text") == f"Tandem on {socket.gethostname()}"
    glass.press(Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    glass.type("Kitchen")
    glass.press(Qt.Key.Key_Return)
    reads(glass, EMPTY)
    [login] = server.seen("/login")
    assert login.body["initial_device_display_name"] == "Kitchen"


@pytest.mark.parametrize("width", [1120, 360])
def test_every_line_is_reached_by_tab_and_has_a_name(show: Show, width: int) -> None:
    glass = form(show, width=width)
    page = glass.item("login")
    assert tab_round(glass, page) == ["homeserver", "user", "password", "device", "signIn"]
    assert silent(page) == []
    assert sticks_out(glass, page) == []
    assert says(glass.item("password")) == "Password"


def test_the_password_is_not_shown(show: Show) -> None:
    glass = form(show)
    fill(glass, "example.org", "alice", "s3cret")
    assert glass.item("password").property("displayText") != "s3cret"
    assert not heard(glass, "s3cret")


def signed_in(server: FakeHomeserver, show: Show) -> Glass:
    glass = form(show)
    fill(glass, server.base_url, "alice", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, EMPTY)
    return glass


def end_session(server: FakeHomeserver, *, soft: bool) -> None:
    server.expire(ALICE, soft=soft)
    server.put_to_device(ALICE, {"type": "im.last", "sender": ALICE, "content": {}})


def test_an_expired_session_asks_only_for_the_password_and_keeps_the_device(
    server: FakeHomeserver, paths: ProfilePaths, show: Show
) -> None:
    glass = signed_in(server, show)
    before = stored(paths)
    end_session(server, soft=True)
    reads(glass, "Your session has expired. Sign in again; your messages and keys are kept.")
    glass.wait(lambda: glass.focus() == "password", "the line for the password")
    page = glass.item("login")
    assert heard(glass, ALICE)
    assert heard(glass, server.base_url)
    assert tab_round(glass, page) == ["password", "signIn", "forgetAccount"]
    assert silent(page) == []
    glass.type(PASSWORD)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("roomList"), "the room list")
    after = stored(paths)
    assert before is not None
    assert after is not None
    assert after.me == before.me
    assert after.state is sessions.SessionState.SIGNED_IN


def test_a_removed_device_signs_in_as_a_new_one(
    server: FakeHomeserver, paths: ProfilePaths, show: Show
) -> None:
    glass = signed_in(server, show)
    before = stored(paths)
    end_session(server, soft=False)
    reads(glass, "This device was removed from your account. Sign in again as a new device.")
    glass.wait(lambda: glass.focus() == "password", "the line for the password")
    glass.type(PASSWORD)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("roomList"), "the room list")
    after = stored(paths)
    assert before is not None
    assert after is not None
    assert after.me.user_id == before.me.user_id
    assert after.me.device_id != before.me.device_id


def test_another_account_is_let_in_only_after_a_second_question(
    server: FakeHomeserver, paths: ProfilePaths, show: Show
) -> None:
    server.register("dora", PASSWORD)
    glass = signed_in(server, show)
    end_session(server, soft=True)
    glass.wait(lambda: glass.focus() == "password", "the line for the password")
    tab_to(glass, "forgetAccount")
    glass.press(Qt.Key.Key_Return)
    reads(glass, f"The messages and keys of {ALICE} are removed from this computer.")
    tab_to(glass, "keepAccount")
    glass.press(Qt.Key.Key_Return)
    kept = stored(paths)
    assert kept is not None
    assert kept.me.user_id == ALICE
    tab_to(glass, "forgetAccount")
    glass.press(Qt.Key.Key_Return)
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.focus() == "homeserver", "the empty form")
    fill(glass, server.base_url, "dora", PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, EMPTY)
    now = stored(paths)
    assert now is not None
    assert now.me.user_id == "@dora:fake.test"
