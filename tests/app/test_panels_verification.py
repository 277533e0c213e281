"""The verification page and the line above the room: by keyboard, aloud, and answering for the person only."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from tandem_app.models import verification_words as words
from tandem_app.models.qr_picture import modules
from tandem_core.store import verification as rows
from tandem_core.types import DeviceId, Me, UserId
from tandem_core.verification.flow import Phase
from tandem_core.verification.messages import Code
from tandem_core.verification.qr import BadCode
from tandem_core.verification.verifications import View
from tests.app.by_keyboard import heard, reads, silent, sticks_out, tab_to
from tests.app.glass import Glass
from tests.app.panel_shots import DEVICE_LIST, LONG, show_devices
from tests.app.security_shots import VIEWS, show_verification
from tests.app.seed import Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]


class Engine:
    """The engine's verifications, as the page sees them: what was asked is noted, the next state is given."""

    def __init__(self, model: Any, view: View) -> None:
        self.view = view
        self.asked: list[tuple[Any, ...]] = []
        self.refuses: Exception | None = None
        model._call = self._call
        self.model = model

    def _call(self, work: Any, done: Any, failed: Any) -> None:
        try:
            result = asyncio.run(work(self))
        except Exception as error:
            failed(error)
        else:
            done(result)

    async def flows(self) -> list[View]:
        return [self.view]

    def __getattr__(self, name: str) -> Any:
        async def act(*args: Any) -> str:
            if self.refuses is not None:
                raise self.refuses
            self.asked.append((name, *args))
            return self.view.id

        return act


def shown(show: Show, what: str, **options: Any) -> tuple[Glass, Engine]:
    glass = show(**options)
    model = show_verification(glass, VIEWS[what])
    return glass, Engine(model, VIEWS[what])


@pytest.mark.parametrize(
    ("what", "button", "asked"),
    [
        ("asked", "agreeVerification", "accept"),
        ("asked", "declineVerification", "cancel"),
        ("asking", "declineVerification", "cancel"),
        ("ready", "compareEmoji", "start_sas"),
        ("compare", "confirmVerification", "confirm"),
        ("compare", "mismatch", "mismatch"),
        ("shown", "confirmVerification", "confirm"),
        ("shown", "mismatch", "mismatch"),
        ("confirmed", "declineVerification", "cancel"),
    ],
)
def test_each_answer_is_one_button_that_the_keyboard_reaches(
    seed: Seed, show: Show, what: str, button: str, asked: str
) -> None:
    glass, engine = shown(show, what)
    tab_to(glass, button)
    glass.press(Qt.Key.Key_Return)
    assert engine.asked == [(asked, "$request")]


def test_no_answer_is_given_by_a_key_that_was_meant_for_the_step_before(seed: Seed, show: Show) -> None:
    glass, engine = shown(show, "ready")
    tab_to(glass, "compareEmoji")
    engine.view = VIEWS["compare"]
    glass.press(Qt.Key.Key_Return)
    glass.settle()
    assert glass.focus() == "closeVerification"
    assert len(glass.items("verificationEmoji")) == 7
    assert [entry for entry in engine.asked if entry[0] == "confirm"] == []


def test_emoji_have_their_names_and_numbers_stand_below(seed: Seed, show: Show) -> None:
    glass, _ = shown(show, "compare")
    for name in ("Globe", "Light Bulb", "Dog", "Thumbs Up", "Telephone", "Aeroplane", "Pin"):
        assert heard(glass, name)
    assert heard(glass, "1782  7037  1233")


def test_a_code_can_be_copied_and_another_one_pasted(seed: Seed, show: Show) -> None:
    glass, engine = shown(show, "ready")
    glass.click(glass.item("copyValue"))
    view = VIEWS["ready"]
    assert view.shown is not None
    assert QGuiApplication.clipboard().text() == view.shown.to_text()
    tab_to(glass, "theirCode")
    glass.type("their code")
    engine.refuses = BadCode()
    glass.press(Qt.Key.Key_Return)
    reads(glass, "This is no verification code")
    engine.refuses = None
    glass.press(Qt.Key.Key_Return)
    assert engine.asked == [("scan", "$request", "their code")]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("done", "Alice's phone is verified"),
        ("cancelled", "The other side cancelled"),
        ("attacked", "Somebody may be listening in"),
    ],
)
def test_the_end_is_said_and_put_away(seed: Seed, show: Show, what: str, said: str) -> None:
    seed.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms, first_seen)"
            " VALUES ('@alice:example.org', 'PHONEXYZ', 'c', 'e', 'Alice''s phone', '[]', 0)"
        )
    )
    glass, _ = shown(show, what)
    reads(glass, said)
    tab_to(glass, "endVerification")
    glass.press(Qt.Key.Key_Return)
    assert glass.items("verificationPage") == []
    assert glass.items("verifyBar") == []


def test_a_request_is_told_above_the_room_without_taking_the_keyboard(seed: Seed, show: Show) -> None:
    room = seed.room("Bob", people={"@bob:example.org": "Bob"}, direct=True)
    glass = show()
    glass.main.shell.openRoom(room)
    glass.settle()
    before = glass.focus()
    show_verification(glass, VIEWS["asked"], page=False)
    reads(glass, "asks to be verified")
    assert glass.focus() == before
    glass.click(glass.item("lookAtVerification"))
    glass.settle()
    assert glass.items("verifyBar") == []
    glass.press(Qt.Key.Key_Escape)
    glass.settle()
    assert heard(glass, "asks to be verified")
    glass.click(glass.item("putVerificationAway"))
    glass.settle()
    assert glass.items("verifyBar") == []


def test_what_was_asked_while_no_window_was_there_is_told_at_the_start(seed: Seed, show: Show) -> None:
    content = {
        "transaction_id": "txn",
        "from_device": "PHONE",
        "methods": ["m.sas.v1"],
        "timestamp": _now(),
    }
    me = Me(UserId("@alice:example.org"), DeviceId("ALICEDEV"))
    seed.db.write_now(
        rows.keep_to_device, me, me.user_id, "m.key.verification.request", content, None, _now()
    )
    glass = show(engine=True)
    reads(glass, "PHONE asks to be verified")


def _now() -> int:
    import time

    return time.time_ns() // 1_000_000


def test_a_device_is_verified_from_the_list_of_devices(seed: Seed, show: Show) -> None:
    glass = show()
    show_devices(glass, DEVICE_LIST)
    engine = Engine(glass.main.panels.make("verification"), VIEWS["asking"])
    [other, _] = glass.items("verifyDevice")
    glass.click(other)
    glass.settle()
    assert engine.asked == [("request_own", DeviceId("WEBDEVICE"))]
    reads(glass, "Waiting for")
    assert glass.main.shell.property("page") == "verification"


def test_an_unverified_device_of_our_own_asks_whichever_answers(seed: Seed, show: Show) -> None:
    glass = show()
    unverified = [replace(DEVICE_LIST[0], trust=DEVICE_LIST[2].trust), *DEVICE_LIST[1:2]]
    show_devices(glass, unverified)
    engine = Engine(glass.main.panels.make("verification"), VIEWS["asking"])
    [own] = glass.items("verifyDevice")
    glass.click(own)
    assert engine.asked == [("request_own",)]


@pytest.mark.parametrize("width", [360, 1120])
@pytest.mark.parametrize("what", sorted(VIEWS))
def test_nothing_is_cut_or_silent_whatever_the_names(seed: Seed, show: Show, width: int, what: str) -> None:
    seed.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms, first_seen)"
            " VALUES ('@alice:example.org', 'PHONEXYZ', 'c', 'e', ?, '[]', 0)",
            (LONG,),
        )
    )
    glass, _ = shown(show, what, width=width)
    page = glass.item("verificationPage")
    assert sticks_out(glass, page) == []
    assert silent(page) == []


@pytest.mark.parametrize("code", [*Code, "org.example.else"])
def test_every_end_has_words(code: str) -> None:
    for is_theirs in (False, True):
        view = replace(VIEWS["cancelled"], code=code, is_theirs=is_theirs)
        title, sentence = words.said(view, "Bob", is_own=False)
        assert title
        assert sentence
    for phase in Phase:
        assert words.said(replace(VIEWS["asked"], phase=phase), "Bob", is_own=True)[0]


def test_a_picture_is_drawn_where_the_library_is_there(
    seed: Seed, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[bytes, dict[str, Any]]] = []

    def make_qr(content: bytes, **options: Any) -> Any:
        made.append((content, options))
        return SimpleNamespace(matrix=(bytearray([1, 0]), bytearray([0, 1])))

    monkeypatch.setitem(sys.modules, "segno", SimpleNamespace(make_qr=make_qr))
    glass, _ = shown(show, "ready")
    view = VIEWS["ready"]
    assert view.shown is not None
    assert (view.shown.to_bytes(), {"mode": "byte", "error": "m"}) in made
    assert glass.item("qrPicture").width() == 2 * 4 + 2 * 16
    monkeypatch.setitem(sys.modules, "segno", None)
    assert modules(b"x") == []
