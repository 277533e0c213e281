"""Popups on a real D-Bus session bus, with a notification service in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_core.types import EventId, RoomId
from tandem_notifier.popup import Click, Popup, PopupsUnavailable
from tandem_notifier.popups.choice import ChosenPopups
from tandem_notifier.popups.freedesktop import FreedesktopPopups
from tandem_notifier.popups.log import LogPopups
from tests.notifier.conftest import Desktop
from tests.support.aio import in_loop
from tests.support.bus import Bus

ROOM, OTHER = RoomId("!room:example.org"), RoomId("!other:example.org")


def popup(body: str = "hello", room_id: RoomId = ROOM, event: str = "$1", **more: Any) -> Popup:
    return Popup(room_id, (EventId(event),), "Bob", body, 1000, **more)


async def until(holds: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


async def soon(seconds: float) -> None:
    await asyncio.sleep(0.02)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[FreedesktopPopups, list[object]]]:
    popups = FreedesktopPopups(sleep=soon)
    events: list[object] = []
    popups.on_click = events.append
    popups.on_gone = lambda room_id: events.append(("gone", room_id))
    popups.on_state = events.append
    task = asyncio.create_task(popups.run())
    try:
        await popups.wait_tried()
        yield popups, events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked(desktop: Desktop) -> dict[str, Any]:
    return await asyncio.to_thread(desktop.told)


@in_loop
async def test_a_click_that_overtakes_the_number_of_its_popup_counts(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.start()
    async with running() as (popups, events):
        notify = popups._notify

        async def clicked_at_once(*words: Any, **more: Any) -> int:
            number = await notify(*words, **more)
            desktop.do(f"click {number} token-1")
            await until(lambda: len(popups._early) == 2)
            return number

        monkeypatch.setattr(popups, "_notify", clicked_at_once)
        await popups.show(popup())
        assert events[-1] == Click(ROOM, EventId("$1"), "token-1")


@in_loop
async def test_a_popup_says_who_and_what_and_nothing_acts_as_markup(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, _):
        await popups.show(popup("<b>1 & 2</b>\0"))
        shown = await asked(desktop)
    assert shown["summary"] == "Bob"
    assert shown["body"] == "&lt;b&gt;1 &amp; 2&lt;/b&gt;"
    assert shown["app"] == "Tandem"
    assert shown["actions"] == ["default", "Open"]
    assert shown["hints"] == {"desktop-entry": "im.tandem.Tandem", "category": "im.received", "urgency": 1}
    assert (shown["replaces"], shown["expire"], shown["icon"]) == (0, -1, "im.tandem.Tandem")


@in_loop
async def test_a_plain_service_gets_plain_words(desktop: Desktop) -> None:
    desktop.start(("body",))
    async with running() as (popups, _):
        await popups.show(popup("1 < 2"))
        shown = await asked(desktop)
    assert (shown["body"], shown["actions"]) == ("1 < 2", [])


@in_loop
async def test_a_service_with_one_line_gets_one_line(desktop: Desktop) -> None:
    desktop.start(("persistence",))
    async with running() as (popups, _):
        await popups.show(popup("hello"))
        shown = await asked(desktop)
    assert (shown["summary"], shown["body"]) == ("Bob: hello", "")


@in_loop
async def test_a_room_has_one_popup_and_the_next_replaces_it(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, _):
        together = ("Family", "Bob: one\nBob: two")
        await popups.show(popup("one", together=("Family", "never shown: nothing to replace")))
        await popups.show(popup("two", event="$2", together=together))
        await popups.show(popup("elsewhere", OTHER, "$3"))
        first, second, third = [await asked(desktop) for _ in range(3)]
    assert first["body"] == "one"
    assert (second["replaces"], second["id"]) == (first["id"], first["id"])
    assert (second["summary"], second["body"]) == together
    assert (third["replaces"], third["id"]) == (0, 2)


@in_loop
async def test_a_click_leads_to_the_newest_event_with_the_desktops_token(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, events):
        await popups.show(popup("one"))
        await popups.show(popup("two", event="$2"))
        desktop.do("click 1 token-7")
        await until(lambda: Click(ROOM, EventId("$2"), "token-7") in events)
        desktop.do("click 1")
        await until(lambda: Click(ROOM, EventId("$2"), None) in events)
        desktop.do("click 99 token-8")
        desktop.do("close 1 2")
        await until(lambda: ("gone", ROOM) in events)
    assert len([event for event in events if isinstance(event, Click)]) == 2


@in_loop
async def test_a_click_that_a_stranger_claims_is_ignored(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, events):
        await popups.show(popup())
        await asked(desktop)
        desktop.do("forge 1")
        assert (await asked(desktop))["kind"] == "forged"
        desktop.do("close 1 2")
        await until(lambda: ("gone", ROOM) in events)
    assert not [event for event in events if isinstance(event, Click)]


@in_loop
async def test_after_a_popup_was_closed_the_next_begins_anew(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, events):
        await popups.show(popup("one"))
        desktop.do("close 1 1")
        await until(lambda: ("gone", ROOM) in events)
        await popups.show(popup("two", event="$2"))
        assert [(await asked(desktop))["replaces"] for _ in range(2)] == [0, 0]
        # What expired may stand in the desktop's history.
        desktop.do("click 1")
        await until(lambda: Click(ROOM, EventId("$1"), None) in events)


@in_loop
async def test_a_room_that_was_read_loses_its_popup(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, _):
        await popups.show(popup())
        await popups.close(OTHER)
        await popups.close(ROOM)
        await popups.close(ROOM)
        assert [(await asked(desktop))["kind"] for _ in range(2)] == ["notify", "close"]
        assert desktop.is_silent()


@in_loop
async def test_a_service_that_starts_again_is_used_again(desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, events):
        await popups.show(popup("one"))
        await asyncio.to_thread(desktop.stop)
        await until(lambda: not popups.is_usable)
        with pytest.raises(PopupsUnavailable):
            await popups.show(popup("lost here"))
        await asyncio.to_thread(desktop.start)
        await until(lambda: popups.is_usable)
        await popups.show(popup("two", event="$2"))
        shown = await asked(desktop)
    assert (shown["replaces"], shown["body"]) == (0, "two")
    assert events[:4] == [True, False, ("gone", ROOM), True]


@in_loop
async def test_a_bus_that_starts_again_is_used_again(bus: Bus, desktop: Desktop) -> None:
    desktop.start()
    async with running() as (popups, _):
        await popups.show(popup("one"))
        await asyncio.to_thread(desktop.stop)
        await asyncio.to_thread(bus.stop)
        await until(lambda: not popups.is_usable)
        await asyncio.to_thread(bus.start)
        await asyncio.to_thread(desktop.start)
        await until(lambda: popups.is_usable)
        await popups.show(popup("two"))
        assert (await asked(desktop))["body"] == "two"


@in_loop
@pytest.mark.parametrize("address", ["disabled:", "unix:path=/nonexistent/bus", "nonsense", ""])
async def test_without_a_bus_nothing_breaks(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    monkeypatch.delenv("DISPLAY", raising=False)
    async with running() as (popups, events):
        assert not popups.is_usable
        with pytest.raises(PopupsUnavailable):
            await popups.notice("a", "b")
        await popups.close(ROOM)
    assert events == []


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


@asynccontextmanager
async def chosen(file: Path, *, is_log_wanted: bool = False) -> AsyncIterator[tuple[ChosenPopups, list[str]]]:
    said: list[str] = []
    popups = ChosenPopups(LogPopups(file), said.append, is_log_wanted=is_log_wanted, sleep=soon)
    task = asyncio.create_task(popups.run())
    try:
        await popups.ready()
        yield popups, said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@in_loop
async def test_popups_go_to_a_file_until_a_service_appears(desktop: Desktop, tmp_path: Path) -> None:
    file = tmp_path / "popups.jsonl"
    async with chosen(file) as (popups, said):
        await popups.show(popup("to the file"))
        assert str(file) in said[0]
        await asyncio.to_thread(desktop.start)
        await until(lambda: len(said) == 2)
        await popups.show(popup("to the desktop"))
        assert (await asked(desktop))["body"] == "to the desktop"
        await asyncio.to_thread(desktop.stop)
        await until(lambda: len(said) == 3)
        await popups.notice("You were signed out", "Sign in again.")
    assert [line["body"] for line in lines(file)] == ["to the file", "Sign in again."]


@in_loop
async def test_a_bus_that_appears_later_is_found(
    desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.start()
    address = os.environ["DBUS_SESSION_BUS_ADDRESS"]
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "later"))
    file = tmp_path / "popups.jsonl"
    async with chosen(file) as (popups, said):
        await popups.show(popup("to the file"))
        (tmp_path / "later").symlink_to(Path(address.removeprefix("unix:path=")).parent)
        await until(lambda: len(said) == 2)
        await popups.show(popup("to the desktop"))
        assert (await asked(desktop))["body"] == "to the desktop"
    assert [line["body"] for line in lines(file)] == ["to the file"]


@in_loop
async def test_a_log_that_was_asked_for_is_written_beside_the_desktop(
    desktop: Desktop, tmp_path: Path
) -> None:
    desktop.start()
    file = tmp_path / "popups.jsonl"
    async with chosen(file, is_log_wanted=True) as (popups, said):
        await popups.show(popup("both"))
        assert (await asked(desktop))["body"] == "both"
    assert [line["body"] for line in lines(file)] == ["both"]
    assert said == ["Popups are shown by the desktop's notification service."]


@in_loop
async def test_a_line_of_the_log_names_room_and_event(tmp_path: Path) -> None:
    file = tmp_path / "popups.jsonl"
    written = LogPopups(file)
    await written.show(Popup(ROOM, (EventId("$1"), EventId("$2")), "Bob", "zwei\nZeilen ü", 1000))
    assert lines(file) == [
        {
            "room": ROOM,
            "title": "Bob",
            "body": "zwei\nZeilen ü",
            "event_id": "$2",
            "events": ["$1", "$2"],
            "ts": 1000,
        }
    ]
    assert file.stat().st_mode & 0o777 == 0o600


@in_loop
async def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(PopupsUnavailable) as refused:
        await LogPopups(tmp_path / "missing" / "popups.jsonl").show(popup())
    assert "popups.jsonl" in refused.value.sentence
