"""Requests to verify: each told once, while it waits, to a person who does not look at the window; never answered."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tandem_core.doorbell import Focus
from tandem_core.store import verification as rows
from tandem_core.types import EventId, Role, RoomId
from tandem_notifier.focus import WindowFocus
from tandem_notifier.open_room import RoomOpener
from tandem_notifier.popup import VERIFICATION, Click, PopupsUnavailable
from tandem_notifier.verification import VerificationNotices
from tests.notifier.test_worker import Shelf
from tests.support.account import BOB, ME, NOW_MS, Account


class StillClock:
    now = NOW_MS

    def now_ms(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None: ...


class Desk:
    """A notifier's worker over an account's store."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.shelf = Shelf()
        self.clock = StillClock()
        self.focus: Focus | None = None
        self.worker = self.new_worker()

    def new_worker(self) -> VerificationNotices:
        focus = WindowFocus(lambda: self.focus)
        return VerificationNotices(
            self.account.db, self.shelf, lambda: focus.is_looked_at, clock=self.clock, chance=random.Random(1)
        )

    def look(self) -> float | None:
        return asyncio.run(self.worker.step())

    def hear(self, kind: str, flow: str = "txn", sender: str = ME.user_id, **content: Any) -> str | None:
        content = {"transaction_id": flow, **content}
        return self.account.db.write_now(  # type: ignore[no-any-return]
            rows.keep_to_device, ME, sender, f"m.key.verification.{kind}", content, None, self.clock.now
        )

    def asked(self, flow: str = "txn", device: str = "PHONE", age_ms: int = 0) -> str | None:
        return self.hear(
            "request", flow, from_device=device, methods=["m.sas.v1"], timestamp=self.clock.now - age_ms
        )

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(popup.title, popup.body) for popup in self.shelf.shown]


@pytest.fixture
def desk(account: Account) -> Desk:
    return Desk(account)


def test_a_request_of_another_device_of_ours_is_told_once(desk: Desk) -> None:
    desk.account.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms, first_seen)"
            " VALUES (?, 'PHONE', 'c', 'e', 'Pixel\u202e 9', '[]', 0)",
            (ME.user_id,),
        )
    )
    assert desk.asked() is None
    assert desk.look() == 600.0
    desk.asked()
    desk.look()
    desk.worker = desk.new_worker()
    desk.look()
    assert desk.told == [
        (
            "Verify your other device?",
            "Pixel 9 is signed in to your account and asks to be verified. Open Tandem to answer.",
        )
    ]


def test_a_request_of_a_person_names_them(desk: Desk) -> None:
    room = desk.account.room("Bob", direct=True)
    desk.account.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO verification (room_id, flow, peer, device_id, we_asked, asked_at, asked, methods, phase)"
            " VALUES (?, '$request', ?, 'BOBDEV', 0, ?, '[]', '[]', 'asked')",
            (room, BOB, NOW_MS),
        )
    )
    desk.look()
    assert desk.told == [("Bob", "Bob asks to verify each other. Open Tandem to answer.")]


def test_hidden_content_names_nobody(desk: Desk) -> None:
    desk.account.choose("notifications.hide_content", True)
    desk.asked()
    desk.look()
    assert desk.told == [("Tandem", "A verification waits for your answer.")]


@pytest.mark.parametrize(
    ("kind", "content"), [("cancel", {"code": "m.user"}), ("cancel", {"code": "m.accepted"}), ("cancel", {})]
)
def test_what_was_taken_back_before_is_not_told_and_after_is_taken_away(
    desk: Desk, kind: str, content: dict[str, str]
) -> None:
    desk.asked("first")
    desk.hear(kind, "first", **content)
    desk.look()
    assert desk.told == []
    desk.asked("second")
    desk.look()
    assert len(desk.shelf.open) == 1
    desk.hear(kind, "second", **content)
    assert desk.look() is None
    assert desk.shelf.open == {}


def test_nothing_is_told_that_is_too_old_and_a_popup_goes_with_its_time(desk: Desk) -> None:
    assert desk.asked("old", age_ms=600_001) is not None
    desk.asked("late", age_ms=1)
    desk.clock.now += 600_000
    desk.look()
    assert desk.told == []
    desk.asked("new")
    desk.look()
    desk.clock.now += 600_000
    desk.look()
    assert desk.shelf.open == {}


def test_who_looks_at_the_window_sees_it_there(desk: Desk) -> None:
    desk.focus = Focus(None, True)
    desk.asked("first")
    desk.look()
    assert desk.told == []
    desk.focus = None
    desk.look()
    assert desk.told == []
    desk.asked("second")
    desk.look()
    desk.focus = Focus(RoomId("!room1:example.org"), True)
    desk.look()
    assert desk.shelf.open == {}


def test_settings_silence_it(desk: Desk) -> None:
    desk.account.choose("notifications.enabled", False)
    desk.asked()
    desk.look()
    assert desk.told == []


def test_what_could_not_be_shown_stays_to_be_told(desk: Desk) -> None:
    desk.asked()
    desk.shelf.is_broken = True
    with pytest.raises(PopupsUnavailable):
        desk.look()
    desk.shelf.is_broken = False
    desk.look()
    assert len(desk.told) == 1


def test_death_between_popup_and_commit_tells_once_more_at_most(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.asked()
    with monkeypatch.context() as dying:
        dying.setattr(rows, "note_told", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            desk.look()
    for _ in range(2):
        desk.worker = desk.new_worker()
        desk.look()
    assert len(desk.told) == 2


def test_the_notifier_sends_nothing(desk: Desk) -> None:
    desk.asked()
    for kind in ("start", "ready", "key", "mac", "done"):
        desk.hear(kind, from_device="PHONE", method="m.sas.v1", methods=["m.sas.v1"], key="k")
    desk.look()
    sent = desk.account.db.read_now(
        lambda conn: conn.execute(
            "SELECT (SELECT count(*) FROM to_device_out) + (SELECT count(*) FROM send_queue)"
        ).fetchone()[0]
    )
    assert sent == 0
    waiting = desk.account.db.read_now(rows.waiting)
    assert [said.kind.rpartition(".")[2] for said in waiting] == ["start", "ready", "key", "mac", "done"]


def test_a_click_brings_the_window_forward(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[tuple[object, object]] = []
    monkeypatch.setattr(
        "tandem_notifier.open_room.ring_once", lambda path, message: rung.append((path, message)) or True
    )
    opener = RoomOpener(account.paths)
    asyncio.run(opener.open(Click(RoomId(VERIFICATION + "txn"), EventId("txn"), "token")))
    assert rung == [(account.paths.socket(Role.APP), {"kind": "open", "uri": "", "token": "token"})]


def test_a_click_starts_a_window_that_does_not_run(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(words: list[str], **_: object) -> Any:
        started.append(words)
        return type("Child", (), {"poll": lambda self: None})()

    monkeypatch.setattr("tandem_notifier.open_room.find_program", lambda name: f"/bin/{name}")
    monkeypatch.setattr("tandem_notifier.open_room.subprocess.Popen", start)
    opener = RoomOpener(account.paths)
    asyncio.run(opener.open(Click(RoomId(VERIFICATION + "txn"), EventId("txn"), None)))
    assert started == [["/bin/tandem"]]
