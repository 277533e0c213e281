"""The window on the session bus: ``org.freedesktop.Application``, as the desktop calls it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from tandem_app import activation
from tandem_app.activation import NAME, PATH, Activation
from tandem_core.types import Json
from tests.app.processes import Start, line_of
from tests.app.seed import Seed
from tests.support.bus import Bus

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("qapp")]

PACKAGED = Path(__file__).resolve().parents[2] / "packaging" / "linux" / "im.tandem.Tandem.service"
TOKEN = {"activation-token": Variant("s", "tok-1"), "desktop-startup-id": Variant("s", "tok-2")}


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A running session bus that can start the window; the environment names it."""
    services = tmp_path / "services"
    services.mkdir()
    program = Path(sys.executable).with_name("tandem")
    (services / PACKAGED.name).write_text(PACKAGED.read_text().replace("/usr/bin/tandem", str(program)))
    made = Bus(tmp_path, services)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made.address)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def knocks() -> list[Json]:
    return []


@pytest.fixture
def served(
    qapp: QGuiApplication, bus: Bus, knocks: list[Json], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bus]:
    """The service in this process, as the window has it."""
    monkeypatch.setattr(activation, "_FIRST_PAUSE_S", 0.05)
    made = Activation(qapp, bus.address, knocks.append)
    yield bus
    made.close()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_the_desktop_asks_for_the_window_and_for_links_with_the_right_to_the_focus(
    served: Bus, knocks: list[Json]
) -> None:
    until(lambda: owner(served) is not None)
    assert call(served, "Activate", "a{sv}", [{}]) == []
    assert call(served, "Open", "asa{sv}", [["matrix:u/bob:example.org"], TOKEN]) == []
    assert call(served, "Open", "asa{sv}", [[], {"activation-token": Variant("u", 1)}]) == []
    assert knocks == [
        {"uri": "", "token": ""},
        {"uri": "matrix:u/bob:example.org", "token": "tok-1"},
        {"uri": "", "token": ""},
    ]


def test_one_call_opens_no_more_links_than_a_person_would(served: Bus, knocks: list[Json]) -> None:
    until(lambda: owner(served) is not None)
    call(served, "Open", "asa{sv}", [["matrix:u/bob:example.org"] * 5000, {}])
    assert len(knocks) == 8


@pytest.mark.parametrize(
    ("member", "signature", "body"),
    [
        ("ActivateAction", "sava{sv}", ["quit", [], {}]),
        ("Activate", "s", ["x"]),
        ("Quit", "", []),
    ],
)
def test_what_is_not_offered_is_an_error_and_the_window_stays(
    served: Bus, knocks: list[Json], member: str, signature: str, body: list[Any]
) -> None:
    until(lambda: owner(served) is not None)
    assert isinstance(call(served, member, signature, body), str)
    assert call(served, "Activate", "a{sv}", [{}]) == []
    assert len(knocks) == 1


def test_a_bus_that_went_and_came_back_is_joined_again(served: Bus, knocks: list[Json]) -> None:
    until(lambda: owner(served) is not None)
    served.stop()
    QTest.qWait(200)
    served.start()
    until(lambda: owner(served) is not None)
    assert call(served, "Activate", "a{sv}", [{}]) == []
    assert len(knocks) == 1


def test_the_running_window_opens_what_the_desktop_names_and_gives_its_name_back(
    seed: Seed, bus: Bus, start: Start
) -> None:
    talk = seed.room("Garden talk")
    seed.say(talk, seed.message("hello", at=5))
    window = start()
    assert line_of(window) == "painted"
    until(lambda: owner(bus) == window.pid)
    assert call(bus, "Open", "asa{sv}", [[f"matrix:roomid/{talk[1:]}"], TOKEN]) == []
    assert line_of(window) == "title Garden talk – Tandem"
    window.send_signal(signal.SIGTERM)
    _, err = window.communicate(timeout=30)
    # The offscreen platform has no windows to put in front, and says so.
    assert [line for line in err.splitlines() if "does not support raise" not in line] == []
    assert window.returncode == 0
    assert owner(bus) is None


def test_the_bus_starts_a_window_that_does_not_run(seed: Seed, bus: Bus) -> None:
    assert call(bus, "Activate", "a{sv}", [{}]) == []
    pid = owner(bus)
    assert pid is not None
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1].endswith(b"/tandem")
    os.kill(pid, signal.SIGTERM)
    until(lambda: owner(bus) is None)


def test_another_profile_leaves_the_name_to_the_first(bus: Bus, start: Start) -> None:
    window = start("--profile", "work")
    assert line_of(window) == "painted"
    QTest.qWait(2500)
    assert owner(bus) is None
    assert window.poll() is None


def call(bus: Bus, member: str, signature: str, body: list[Any]) -> list[Any] | str:
    """What the window answers; the error's name if it is one."""
    return asked(
        bus,
        Message(
            destination=NAME,
            path=PATH,
            interface="org.freedesktop.Application",
            member=member,
            signature=signature,
            body=body,
        ),
    )


def owner(bus: Bus) -> int | None:
    """The process that has Tandem's name on the bus."""
    message = Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member="GetConnectionUnixProcessID",
        signature="s",
        body=[NAME],
    )
    answer = asked(bus, message)
    return None if isinstance(answer, str) else int(answer[0])


def asked(bus: Bus, message: Message) -> list[Any] | str:
    """Ask from a thread, so that a window in this one can answer."""

    async def ask() -> Message:
        client = await MessageBus(bus.address).connect()
        try:
            answer = await asyncio.wait_for(client.call(message), 30)
            assert answer is not None
            return answer
        finally:
            client.disconnect()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: asyncio.run(ask()))
        until(future.done)
        answer = future.result()
    return list(answer.body) if answer.message_type is MessageType.METHOD_RETURN else answer.error_name or "?"


def until(claim: Callable[[], object]) -> None:
    """Let this process's window work until a claim holds."""
    end = time.monotonic() + 40
    while not claim():
        assert time.monotonic() < end, "still not so"
        QTest.qWait(10)
