"""The page about the account's encryption: what it says, by keyboard, and against a real homeserver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from tandem_core import session
from tandem_core.crypto import recovery_question
from tandem_core.crypto.recovery_question import Question
from tandem_core.paths import ProfilePaths
from tandem_demo.device import Device
from tandem_demo.synapse import SynapseServer
from tests.app.by_keyboard import heard, reads, silent, sticks_out, tab_round, tab_to
from tests.app.encryption_seed import stands
from tests.app.glass import Glass
from tests.app.seed import Seed
from tests.conftest import new_user

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]


DEEDS = (
    "verifyDevice",
    "useRecoveryKey",
    "setUpIdentity",
    "resetIdentity",
    "setUpRecovery",
    "unlockRecovery",
    "changeRecovery",
    "createBackup",
    "unlockBackup",
    "replaceBackup",
    "restore",
    "stopRestoring",
)


def opened(show: Show, **more: object) -> Glass:
    """The page, reached from the settings by keyboard."""
    glass = show(**more)
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    tab_to(glass, "openEncryption")
    glass.press(Qt.Key.Key_Return)
    assert glass.focus() == "closeEncryption"
    return glass


def press(glass: Glass, name: str) -> None:
    tab_to(glass, name)
    glass.press(Qt.Key.Key_Return)


@pytest.mark.parametrize(
    ("device", "recovery", "kept", "words", "deeds"),
    [
        (
            "verified",
            "complete",
            "open",
            ["This device is verified", "Recovery is set up", "1,204 keys are on your homeserver"],
            {"resetIdentity", "changeRecovery", "restore"},
        ),
        (
            "unverified",
            "locked",
            "closed",
            ["This device is not verified", "This device lacks some of your keys", "needs your recovery key"],
            {"verifyDevice", "useRecoveryKey", "resetIdentity", "unlockRecovery", "unlockBackup"},
        ),
        (
            "verified",
            "none",
            "none",
            ["Recovery is not set up", "The keys of your messages are not backed up"],
            {"resetIdentity", "setUpRecovery", "createBackup"},
        ),
        (
            "starting",
            "none",
            "unknown",
            ["Your account's identity is being set up", "Looking for a key backup"],
            {"setUpRecovery"},
        ),
        (
            "verified",
            "incomplete",
            "untrusted",
            ["Recovery is out of date", "key of the message backup", "that this device cannot trust"],
            {"resetIdentity", "unlockRecovery", "changeRecovery", "unlockBackup", "replaceBackup"},
        ),
        (
            "verified",
            "complete",
            "restoring",
            ["310 of 1,204 keys so far", "Restoring the keys of your messages: 26 %"],
            {"resetIdentity", "changeRecovery", "stopRestoring"},
        ),
    ],
)
def test_the_page_says_how_things_stand_and_offers_what_helps(
    seed: Seed, show: Show, device: str, recovery: str, kept: str, words: list[str], deeds: set[str]
) -> None:
    stands(seed, device=device, recovery=recovery, kept=kept)
    glass = opened(show)
    assert [one for one in words if not heard(glass, one)] == []
    offered = {name for name in DEEDS if glass.items(name)}
    assert offered == deeds
    assert silent(glass.item("encryptionPage")) == []


@pytest.mark.parametrize("width", [360, 1120])
def test_nothing_sticks_out_and_tab_goes_round(seed: Seed, show: Show, width: int) -> None:
    stands(seed, device="unverified", recovery="locked", kept="untrusted")
    glass = opened(show, width=width)
    page = glass.item("encryptionPage")
    assert sticks_out(glass, page) == []
    assert tab_round(glass, page) == [
        "closeEncryption",
        "verifyDevice",
        "useRecoveryKey",
        "resetIdentity",
        "unlockRecovery",
        "unlockBackup",
        "replaceBackup",
        "exportKeys",
        "importKeys",
    ]


def test_escape_leaves_what_is_being_written_then_the_page(seed: Seed, show: Show) -> None:
    stands(seed, recovery="none", kept="none")
    glass = opened(show)
    press(glass, "setUpRecovery")
    assert glass.focus() == "newPassphrase"
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("newPassphrase") == []
    tab_to(glass, "closeEncryption")
    glass.press(Qt.Key.Key_Escape)
    assert glass.focus() == "closeSettings"


def test_a_reset_asks_back_and_changes_nothing_before(seed: Seed, show: Show) -> None:
    stands(seed, device="unverified", recovery="none", kept="none")
    glass = opened(show)
    press(glass, "resetIdentity")
    assert heard(glass, "Reset your identity?")
    assert glass.main.panels.make("encryption").property("busy") == ""
    press(glass, "keepIdentity")
    assert not heard(glass, "Reset your identity?")


def test_without_a_connection_a_deed_says_so(seed: Seed, show: Show) -> None:
    stands(seed, device="unverified", recovery="locked", kept="none")
    glass = opened(show, engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine")
    press(glass, "unlockRecovery")
    glass.type("EsT1")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "No connection to your homeserver")


def test_a_new_login_is_asked_once_and_the_answer_may_be_later(seed: Seed, show: Show) -> None:
    stands(seed, device="unverified", recovery="locked")
    seed.db.write_now(lambda txn: txn.execute("INSERT INTO connection (conn, synced_at) VALUES ('app', 1)"))
    asked = seed.db.read_now(recovery_question.question)
    assert asked is Question.VERIFY_OR_RECOVER
    glass = show(engine=True)
    reads(glass, "Verify this device. Until then")
    press(glass, "bannerWay")
    assert glass.focus() == "closeEncryption"
    assert glass.items("errorBanner") == [], "what it asks is what the page is about"
    glass.press(Qt.Key.Key_Escape, times=2)
    press(glass, "dismissBanner")
    glass.wait(lambda: seed.db.read_now(recovery_question.question) is Question.NOTHING, "later")
    assert glass.items("errorBanner") == []


@pytest.mark.synapse
def test_recovery_is_set_up_with_a_key_that_opens_everything_on_another_device(
    synapse: SynapseServer, tmp_path: Path, paths: ProfilePaths, show: Show
) -> None:
    name, password = new_user(synapse, "alice")
    login(synapse, name, password, paths)
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine")
    glass.press(Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    tab_to(glass, "openEncryption")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "This device is verified")
    reads(glass, "Recovery is not set up")
    glass.wait(lambda: glass.items("setUpRecovery")[0].isEnabled(), "the way to set it up")
    press(glass, "setUpRecovery")
    glass.type("a long passphrase")
    glass.press(Qt.Key.Key_Return)
    reads(glass, "Keep this recovery key")
    assert glass.focus() == "copyKey"
    glass.press(Qt.Key.Key_Return)
    recovery_key = QGuiApplication.clipboard().text()
    press(glass, "approve")
    reads(glass, "Recovery is set up")
    reads(glass, "The keys of your messages are backed up")
    glass.close()

    for text in (recovery_key, "a long passphrase"):
        other = Device("other", tmp_path / text[:4], headless=True)
        other.home.mkdir(mode=0o700)
        other.ctl(
            "login",
            "--homeserver",
            synapse.base_url,
            "--user",
            name,
            "--password-file",
            "-",
            password=password,
        )
        found = other.ctl("recovery", "unlock", "--key-file", "-", password=text)
        assert (len(found["found"]), found["refused"]) == (4, {}), "cross-signing and the backup"


def login(synapse: SynapseServer, name: str, password: str, paths: ProfilePaths) -> None:
    asyncio.run(session.login(synapse.base_url, name, password, device_name="Test", paths=paths))
