"""The page with the account's devices: by keyboard, aloud, and against a homeserver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt

from tandem_app.models.device_rows import row, seen_words
from tandem_core.own_devices import OwnDevice
from tandem_core.store import session as sessions
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, Me, UserId
from tandem_demo.raw import CLIENT, RawClient
from tests.app.by_keyboard import heard, reads, silent, sticks_out, tab_round, tab_to
from tests.app.glass import Glass, says
from tests.app.panel_shots import DEVICE_LIST, LONG, show_devices
from tests.app.seed import NOON_MS, Seed
from tests.support.fake_homeserver import FakeHomeserver

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

PASSWORD = "correct horse"
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


# Named before ``show`` in a test, so that it outlives the window.
@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    """A homeserver that knows alice."""
    with FakeHomeserver() as made:
        made.register("alice", PASSWORD)
        yield made


class Owner:
    """Alice, signed in here and on a phone and a tablet."""

    def __init__(self, server: FakeHomeserver, seed: Seed) -> None:
        self.server = server
        self.here, self.phone, self.tablet = (
            RawClient(server.base_url).login("alice", PASSWORD, name) for name in ("HERE", "PHONE", "TABLET")
        )
        self.here.ok("PUT", f"{CLIENT}/devices/PHONE", {"display_name": "Alice's phone"})
        me = Me(UserId(self.here.user_id), DeviceId("HERE"))
        seed.db.write_now(sessions.set_session, me, server.base_url, self.here.token, NOON_MS)

    def left(self) -> set[str]:
        return {one["device_id"] for one in self.here.ok("GET", f"{CLIENT}/devices")["devices"]}

    def name(self, device_id: str) -> str:
        listed = self.here.ok("GET", f"{CLIENT}/devices")["devices"]
        return next(str(one["display_name"]) for one in listed if one["device_id"] == device_id)


def opened(show: Show) -> Glass:
    """The page, reached from the settings by keyboard, with the server's list."""
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine")
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    tab_to(glass, "openDevices")
    glass.press(Qt.Key.Key_Return)
    assert glass.focus() == "closeDevices"
    glass.wait(lambda: len(glass.items("deviceRow")) == 3, "the list")
    return glass


def choose(glass: Glass, words: str) -> None:
    """Press the button that says this."""
    for _ in range(40):
        item = glass.window.activeFocusItem()
        if item is not None and says(item) == words:
            glass.press(Qt.Key.Key_Return)
            return
        glass.press(Qt.Key.Key_Tab)
    raise AssertionError(f"Tab never comes to {words}")


def test_devices_are_listed_with_this_one_first(server: FakeHomeserver, seed: Seed, show: Show) -> None:
    Owner(server, seed)
    glass = opened(show)
    rows = [says(item) for item in glass.items("deviceRow")]
    assert rows[0].startswith("HERE. ")
    assert any(words.startswith("Alice's phone. ") for words in rows)
    assert heard(glass, "This device")
    assert heard(glass, "Other devices")


def test_a_device_gets_another_name_by_keyboard(server: FakeHomeserver, seed: Seed, show: Show) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Rename Alice's phone")
    assert glass.focus() == "deviceName"
    glass.type("Pocket")  # in place of the old name, which was selected
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: owner.name("PHONE") == "Pocket", "the name at the server")
    glass.wait(lambda: heard(glass, "Rename Pocket"), "the name in the list")
    assert glass.items("deviceName") == []
    assert glass.focus() == "renameDevice"


def test_escape_keeps_the_old_name_and_then_leads_back_to_the_settings(
    server: FakeHomeserver, seed: Seed, show: Show
) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Rename Alice's phone")
    glass.type("Pocket")
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("deviceName") == []
    assert owner.name("PHONE") == "Alice's phone"
    glass.press(Qt.Key.Key_Escape)
    assert glass.focus() == "closeSettings"


def test_a_name_that_cannot_be_is_told(server: FakeHomeserver, seed: Seed, show: Show) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Rename Alice's phone")
    glass.press(Qt.Key.Key_Backspace)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "The name is empty")
    assert owner.name("PHONE") == "Alice's phone"


def test_another_device_is_signed_out_with_the_password_and_not_without(
    server: FakeHomeserver, seed: Seed, show: Show
) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Sign out Alice's phone")
    reads(glass, "Sign out this device?")
    choose(glass, "Sign out")
    glass.wait(lambda: glass.focus() == "approvalPassword", "the question for the password")
    glass.type("wrong")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "This is not the password.")
    assert owner.left() == {"HERE", "PHONE", "TABLET"}
    assert glass.focus() == "approvalPassword"
    glass.type(PASSWORD)
    glass.press(Qt.Key.Key_Return)
    reads(glass, "The device is signed out.")
    assert owner.left() == {"HERE", "TABLET"}
    assert glass.items("approvalPassword") == []
    assert len(glass.items("deviceRow")) == 2
    assert glass.focus() == "closeDevices"


def test_calling_off_at_the_password_signs_nobody_out(server: FakeHomeserver, seed: Seed, show: Show) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Sign out all others…")
    reads(glass, "Sign out 2 devices?")
    choose(glass, "Sign out")
    glass.wait(lambda: glass.focus() == "approvalPassword", "the question for the password")
    glass.press(Qt.Key.Key_Escape)
    glass.wait(lambda: glass.items("approvalPassword") == [], "the end of the question")
    assert owner.left() == {"HERE", "PHONE", "TABLET"}
    choose(glass, "Cancel")
    assert glass.items("signOutQuestion") == []


def test_several_devices_go_together_and_one_can_be_kept(
    server: FakeHomeserver, seed: Seed, show: Show
) -> None:
    owner = Owner(server, seed)
    glass = opened(show)
    choose(glass, "Sign out all others…")
    choose(glass, "Keep TABLET signed in")
    reads(glass, "Sign out this device?")
    choose(glass, "Sign out TABLET")
    choose(glass, "Sign out")
    glass.wait(lambda: glass.focus() == "approvalPassword", "the question for the password")
    glass.type(PASSWORD)
    choose(glass, "Sign out")
    reads(glass, "2 devices are signed out.")
    assert owner.left() == {"HERE"}
    assert glass.items("signOutOthers") == []


def test_without_a_server_the_page_says_so_and_asks_again(seed: Seed, show: Show) -> None:
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine")
    glass.main.shell.openPage("devices")
    reads(glass, "Your devices cannot be listed")
    tab_to(glass, "retryDevices")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Your devices cannot be listed")


def test_single_sign_on_is_approved_on_a_page(seed: Seed, show: Show) -> None:
    glass = show()
    model = show_devices(glass, DEVICE_LIST)
    model.choose("WEBDEVICE")
    model._busy = "sign_out"
    model._approval._show("browser", "https://example.org/approve", False)
    model._show()
    glass.settle()
    reads(glass, "Approve this in the browser")
    assert glass.focus() == "openApprovalPage"
    assert silent(glass.item("devicesPage")) == []


@pytest.mark.parametrize("width", [360, 1120])
@pytest.mark.parametrize("what", ["", "rename", "chosen"])
def test_nothing_is_cut_or_silent_whatever_the_names(seed: Seed, show: Show, width: int, what: str) -> None:
    glass = show(width=width)
    endless = [
        replace(one, name=name)
        for one, name in zip(DEVICE_LIST, ["x" * 100, LONG, "", "a", LONG], strict=True)
    ]
    model = show_devices(glass, endless)
    if what == "rename":
        model.edit("PHONEXYZ")
    elif what == "chosen":
        model.chooseOthers()
        model._approval._show("password", "", True)
    glass.settle()
    page = glass.item("devicesPage")
    assert sticks_out(glass, page) == []
    assert silent(page) == []


def test_tab_goes_through_the_whole_page(seed: Seed, show: Show) -> None:
    glass = show()
    model = show_devices(glass, DEVICE_LIST)
    model.choose("OLDTABLET")
    glass.settle()
    names = tab_round(glass, glass.item("devicesPage"))
    assert names[0] == "closeDevices"
    assert names.count("renameDevice") == 5
    assert names.count("signOutDevice") == 4
    assert names[-4:] == ["signOutOthers", "addresses", "confirmSignOut", "keepDevices"]


def test_addresses_are_shown_only_when_asked_for(seed: Seed, show: Show) -> None:
    glass = show()
    show_devices(glass, DEVICE_LIST)
    assert not heard(glass, "192.0.2.8")
    glass.click(glass.item("addresses"))
    assert heard(glass, "192.0.2.8")
    assert heard(glass, "address not known")


@pytest.mark.parametrize(
    ("ago_ms", "words"),
    [
        (-DAY_MS, "Last seen just now"),
        (4 * MINUTE_MS, "Last seen just now"),
        (5 * MINUTE_MS, "Last seen 5 minutes ago"),
        (59 * MINUTE_MS, "Last seen 59 minutes ago"),
    ],
)
def test_a_short_while_ago_is_counted_in_minutes(ago_ms: int, words: str) -> None:
    assert seen_words(NOON_MS - ago_ms, NOON_MS) == words


def test_longer_ago_is_a_day_and_an_hour() -> None:
    assert seen_words(NOON_MS - 2 * 60 * MINUTE_MS, NOON_MS).startswith("Last seen today ")
    assert seen_words(NOON_MS - DAY_MS, NOON_MS).startswith("Last seen yesterday ")
    assert "2025" in seen_words(NOON_MS - 400 * DAY_MS, NOON_MS)
    assert seen_words(None, NOON_MS) == "Never seen, as far as your server says"


@pytest.mark.parametrize("trust", [*DeviceTrust, None])
def test_how_far_a_device_is_trusted_is_said_in_words(trust: DeviceTrust | None) -> None:
    device = OwnDevice(DeviceId("D"), "Phone", NOON_MS, None, False, trust)
    shown = row(device, NOON_MS, is_first_other=False)
    assert shown["trustWords"]
    assert shown["trustWords"] in shown["spoken"]
    assert (shown["trust"] == "verified") is (trust is DeviceTrust.VERIFIED)
