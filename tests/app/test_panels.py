"""Settings, message info, invitations and notices as a person meets them: read aloud, and by keyboard alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtQuick import QQuickItem

from tandem_app.models.banner import RESTORED
from tandem_core import setting_list, settings
from tandem_core.errors import DiskFull
from tandem_core.setting_list import Scope
from tandem_core.store import crypto, room_facts
from tandem_core.store import session as sessions
from tandem_core.types import RoomId, UserId
from tests.app.by_keyboard import tab_to
from tests.app.glass import Glass, is_visible, says, walk
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

BOB = "@bob:example.org"
_ROLES = {
    QAccessible.Role.Button,
    QAccessible.Role.CheckBox,
    QAccessible.Role.ComboBox,
    QAccessible.Role.EditableText,
    QAccessible.Role.RadioButton,
    QAccessible.Role.SpinBox,
}
_KEYS = {"switch": Qt.Key.Key_Space, "choice": Qt.Key.Key_Right, "number": Qt.Key.Key_Up}


@pytest.mark.parametrize("page", ["settings", "confirmations"])
def test_every_choice_of_the_account_is_made_by_keyboard_and_kept(seed: Seed, show: Show, page: str) -> None:
    glass = show(engine=True)
    _open_settings(glass)
    if page == "confirmations":
        glass.main.shell.openPage(page)
        glass.settle()
    account = [
        setting
        for setting in setting_list.SETTINGS.values()
        if setting.scope is Scope.ACCOUNT
        and setting.key.startswith("receipts.") is (page == "confirmations")
        # The one has a question of its own, the other two buttons.
        and setting.key not in ("receipts.answered", "receipts.paused_until")
    ]
    # The largest group can only be chosen while groups are on.
    account.sort(key=lambda setting: setting.kind != "number")
    for setting in account:
        before = seed.db.read_now(settings.get, setting.key)
        _tab_to(glass, setting.key)
        glass.press(Qt.Key.Key_Space if setting.choices == ("on", "off") else _KEYS[setting.kind])
        glass.wait(
            lambda key=setting.key, value=before: seed.db.read_now(settings.get, key) != value, setting.key
        )
        assert _source(seed, setting.key) == "account"
        assert glass.focus() == setting.key, "what was changed keeps the keyboard"


def test_what_another_program_chose_is_seen_at_once(seed: Seed, show: Show) -> None:
    glass = show()
    _open_settings(glass)
    assert _is_checked(glass.item("typing.send"))
    seed.db.write_now(lambda txn: settings.set_value(txn, "typing.send", False, now_ms=NOON_MS))
    glass.wait(lambda: not _is_checked(glass.item("typing.send")), "the switch has moved")


def test_signing_out_asks_first_and_can_be_thought_better_of(seed: Seed, show: Show) -> None:
    glass = show()
    _open_settings(glass)
    _tab_to(glass, "signOut")
    glass.press(Qt.Key.Key_Space)
    assert any(said.startswith("Sign out of this computer?") for said in glass.sayings())
    _tab_to(glass, "stay")
    glass.press(Qt.Key.Key_Space)
    assert glass.items("stay") == []
    assert says(glass.item("signOut")) == "Sign out…"
    session = seed.db.read_now(sessions.session)
    assert session is not None
    assert session.state is sessions.SessionState.SIGNED_IN


def test_a_room_tells_what_its_default_means(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk", direct=True)
    glass = show()
    glass.main.shell.openSettings(talk)

    def reads(words: str) -> None:
        glass.wait(lambda: f"Default here: {words}." in glass.sayings(), words)

    reads("off until you write here for the first time")
    seed.db.write_now(room_facts.accept, talk, "sent")
    seed.db.write_now(lambda txn: settings.set_value(txn, "receipts.groups", "off", now_ms=NOON_MS))
    reads("on, as in all encrypted direct chats")
    seed.db.write_now(lambda txn: settings.set_value(txn, "receipts.direct", "off", now_ms=NOON_MS))
    reads("off, as in all encrypted direct chats")


def test_a_choice_for_a_room_is_made_by_keyboard_and_kept_for_it_alone(seed: Seed, show: Show) -> None:
    lobby, other = seed.room("Lobby"), seed.room("Other")
    glass = show(engine=True)
    glass.main.shell.openSettings(lobby)
    glass.settle()
    for key in ("receipts.room", "notifications.room"):
        _tab_to(glass, key)
        glass.press(Qt.Key.Key_Right)
        glass.wait(lambda key=key: _source(seed, key, lobby) == "room", key)
        assert _source(seed, key, other) == "default"


def test_the_keyboard_opens_message_info_which_names_devices_and_times_and_follows(
    seed: Seed, show: Show
) -> None:
    talk = seed.room("Talk", direct=True)
    event = seed.sent(talk, "are you there?", people={BOB: ["Phone", "Laptop"]}, at=90)
    seed.deliver(event, BOB, "", "Phone")
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    glass.press(Qt.Key.Key_I)
    (bob,) = glass.items("infoPerson")
    assert says(bob) == "Bob: Delivered 12:00 · 1 of 2 devices. Laptop: no answer yet. Phone: 12:00"
    assert any(said.startswith("Sent 10:30") for said in glass.sayings())
    seed.deliver(event, BOB, "Laptop")
    both = "Bob: Delivered 12:00 · 2 of 2 devices. Laptop: 12:00. Phone: 12:00"
    glass.wait(lambda: [says(item) for item in glass.items("infoPerson")] == [both], both)
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("messageInfo") == []
    assert glass.focus() == "composer"


def test_an_invitation_names_who_invites_with_the_full_id(seed: Seed, show: Show) -> None:
    seed.room("Book club", membership="invite", inviter="@dora:example.org")
    glass = show()
    glass.click(glass.item("roomRow"))
    assert says(glass.item("inviteTitle")) == "dora invites you to Book club"
    assert says(glass.item("inviterId")) == "@dora:example.org"
    assert glass.items("composer") == []


def test_a_notice_tells_what_to_do_and_is_put_away(seed: Seed, show: Show) -> None:
    glass = show()
    glass.main.engine_thread.trouble.emit(DiskFull())
    said = f"{DiskFull.title}. {DiskFull.advice}"
    glass.wait(lambda: [says(item) for item in glass.items("errorBanner")] == [said], said)
    glass.click(glass.item("dismissBanner"))
    assert glass.items("errorBanner") == []


def test_an_older_copy_of_the_store_is_told_until_it_is_put_away_by_keyboard(seed: Seed, show: Show) -> None:
    glass = show(engine=True)
    assert glass.items("errorBanner") == []
    seed.db.write_now(crypto.note_restored, NOON_MS)
    said = f"{RESTORED.title}. {RESTORED.advice}"

    def is_told() -> bool:
        shown = [says(item) for item in glass.items("errorBanner")]
        if shown and said not in shown:
            # The server does not answer, which is told first once it lasts.
            glass.click(glass.item("dismissBanner"))
        return said in shown

    glass.wait(is_told, said)
    tab_to(glass, "dismissBanner")
    glass.press(Qt.Key.Key_Space)
    assert glass.items("errorBanner") == []
    glass.wait(lambda: seed.db.read_now(_is_put_away), "it is noted as read")
    seed.db.write_now(settings.set_value, "typing.send", False, now_ms=NOON_MS)
    glass.wait(lambda: not glass.items("errorBanner"), "no banner")
    seed.db.write_now(crypto.note_restored, NOON_MS + 1)
    glass.wait(is_told, "another copy is told of again")
    tab_to(glass, "dismissBanner")
    glass.press(Qt.Key.Key_Space)
    end = time.monotonic() + 10
    while not seed.db.read_now(_is_put_away):  # and the window has no time to look
        assert time.monotonic() < end
        time.sleep(0.002)
    seed.db.write_now(crypto.note_restored, NOON_MS + 2)
    glass.wait(is_told, "one more that came at the same moment is told of too")


def _is_put_away(conn: sqlite3.Connection) -> bool:
    noticed = crypto.restored(conn)
    return noticed is not None and noticed.is_put_away


@pytest.mark.parametrize("page", ["settings", "room settings", "info", "invitation", "notice"])
def test_whatever_can_be_used_has_a_name(seed: Seed, show: Show, page: str) -> None:
    talk = seed.room("Talk", direct=True)
    event = seed.sent(talk, "are you there?", people={BOB: ["Phone"]}, at=9)
    club = seed.room("Book club", membership="invite", inviter="@dora:example.org")
    seed.db.write_now(
        lambda txn: settings.set_value(
            txn, "receipts.person", "never", user_id=UserId("@eve:example.org"), now_ms=NOON_MS
        )
    )
    glass = show()
    shell = glass.main.shell
    shell.openRoom(club if page == "invitation" else talk)
    match page:
        case "settings":
            shell.openSettings("")
        case "room settings":
            shell.openSettings(talk)
        case "info":
            key = glass.main.reader().execute(  # type: ignore[union-attr]
                "SELECT txn_id FROM send_queue WHERE event_id = ?", (event,)
            )
            shell.showInfo(key.fetchone()[0])
        case "notice":
            glass.main.engine_thread.trouble.emit(DiskFull())
    shown = {
        "settings": "settingsPage",
        "room settings": "settingsPage",
        "info": "messageInfo",
        "invitation": "inviteView",
        "notice": "errorBanner",
    }[page]
    glass.wait(lambda: glass.items(shown), shown)
    used = [item for item in walk(glass.item(shown)) if is_visible(item) and _role(item) in _ROLES]
    assert used
    assert [item.objectName() for item in used if not says(item).strip()] == []


def _open_settings(glass: Glass) -> None:
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    assert glass.items("settingsPage")


def _tab_to(glass: Glass, name: str) -> None:
    """Press Tab until this has the keyboard."""
    for _ in range(60):
        if glass.focus() == name:
            return
        glass.press(Qt.Key.Key_Tab)
    raise AssertionError(f"Tab never comes to {name}")


def _source(seed: Seed, key: str, room_id: RoomId | None = None) -> str:
    return seed.db.read_now(settings.effective, key, room_id).source


def _role(item: QQuickItem) -> QAccessible.Role:
    interface = QAccessible.queryAccessibleInterface(item)
    return interface.role() if interface is not None else QAccessible.Role.NoRole


def _is_checked(item: QQuickItem) -> bool:
    # The stub lacks the bits of this struct.
    return bool(QAccessible.queryAccessibleInterface(item).state().checked)  # type: ignore[attr-defined]
