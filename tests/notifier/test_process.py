"""The notifier as a process of its own, against a real Synapse."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session
from tandem_core.doorbell import Bell, DoorbellServer
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store.database import connect
from tandem_core.types import Json, Role, RoomId
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.notifier.conftest import Desktop

pytestmark = pytest.mark.synapse
PROGRAM = str(Path(sys.executable).with_name("tandem-notifier"))


def until(look: Callable[[], Any], within_s: float = 60.0) -> Any:
    """What ``look`` finds, once it finds something."""
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found


class Notifier:
    """Alice's notifier on this machine; Bob writes to her from elsewhere."""

    def __init__(self, paths: ProfilePaths, folder: Path, server: SynapseServer, alice: RawClient) -> None:
        self.paths = paths
        self.alice = alice
        self.bob = RawClient(server.base_url).login(*new_user(server, "bob"))
        self.room = RoomId(self.bob.create_room(invite=[alice.user_id], name="Family"))
        alice.join(self.room)
        self.popups_file = folder / "popups.jsonl"
        self.errors_file = folder / "errors.txt"
        self.child: subprocess.Popen[bytes] | None = None
        self._conn = connect(paths.database)

    def start(self, **environment: str) -> None:
        with self.errors_file.open("ab") as errors:
            self.child = subprocess.Popen(
                [PROGRAM, "run"],
                env={**os.environ, "TANDEM_POPUP_LOG": str(self.popups_file), **environment},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        until(self.is_syncing)

    def is_syncing(self) -> bool:
        row = self._conn.execute("SELECT state, pid FROM program WHERE role = 'notifier'").fetchone()
        assert self.child is not None
        return row is not None and tuple(row) == ("syncing", self.child.pid)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        child, self.child = self.child, None
        assert child is not None
        child.send_signal(number)
        return child.wait(30)

    def popups(self) -> list[dict[str, Any]]:
        if not self.popups_file.exists():
            return []
        return [json.loads(line) for line in self.popups_file.read_text("utf-8").splitlines()]

    def has_shown(self, event_id: str) -> bool:
        return any(event_id in popup["events"] for popup in self.popups())

    def outcomes(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self._conn.execute("SELECT event_id, state FROM notification")}

    def close(self) -> None:
        if self.child is not None:
            self.end(signal.SIGKILL)
        self._conn.close()


@pytest.fixture
def notifier(
    synapse: SynapseServer, tandem_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Notifier]:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:")
    name, password = new_user(synapse, "alice")
    paths = profile_paths()
    asyncio.run(session.login(synapse.base_url, name, password, device_name="Tandem", paths=paths))
    alice = RawClient(synapse.base_url).login(name, password)
    made = Notifier(paths, tmp_path, synapse, alice)
    yield made
    made.close()


def test_one_message_makes_one_popup_and_nothing_private_in_the_log(notifier: Notifier) -> None:
    notifier.start()
    event_id = notifier.bob.say(notifier.room, "swordfish at noon")
    [popup] = until(notifier.popups)
    assert (popup["room"], popup["event_id"], popup["body"]) == (notifier.room, event_id, "swordfish at noon")
    assert popup["title"].endswith(" in Family")
    until(lambda: notifier.outcomes() == {event_id: "shown"})
    second = subprocess.run([PROGRAM, "run"], capture_output=True, text=True, check=False)
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "already runs" in second.stderr
    status = subprocess.run([PROGRAM, "status", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(status.stdout)["state"] == "syncing"
    assert notifier.end() == 0
    status = subprocess.run([PROGRAM, "status", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(status.stdout)["running"] is False
    notifier.start()
    notifier.bob.say(notifier.room, "again")
    until(lambda: len(notifier.popups()) == 2)
    token = notifier._conn.execute("SELECT access_token FROM session").fetchone()[0]
    written = (notifier.paths.log / "notifier.log").read_text("utf-8") + notifier.errors_file.read_text(
        "utf-8"
    )
    assert "swordfish" not in written
    assert token not in written
    assert notifier.end(signal.SIGINT) == 0


def test_what_the_focused_window_shows_does_not_pop_up(notifier: Notifier) -> None:
    notifier.start()
    window = Bell(notifier.paths.socket(Role.NOTIFIER))
    assert window.focus(notifier.room, True)
    seen = notifier.bob.say(notifier.room, "seen at once")
    until(lambda: notifier.outcomes().get(seen) == "skipped")
    window.close()
    event_id = notifier.bob.say(notifier.room, "nobody looks")
    assert [popup["event_id"] for popup in until(notifier.popups)] == [event_id]


def test_a_notifier_that_is_killed_loses_no_popup_and_repeats_at_most_one_each_time(
    notifier: Notifier,
) -> None:
    kills = 4
    sent: list[str] = []
    notifier.start()
    for _ in range(kills):
        sent += [notifier.bob.say(notifier.room, f"message {len(sent)}") for _ in range(3)]
        until(partial(notifier.has_shown, sent[-1]))
        notifier.end(signal.SIGKILL)
        sent.append(notifier.bob.say(notifier.room, f"message {len(sent)}"))
        notifier.start()
    until(lambda: set(notifier.outcomes()) == set(sent) and set(notifier.outcomes().values()) == {"shown"})
    times = Counter(event_id for popup in notifier.popups() for event_id in popup["events"])
    assert set(times) == set(sent)
    assert sum(count - 1 for count in times.values()) <= kills


def test_a_notifier_that_is_signed_out_says_so_and_ends(notifier: Notifier) -> None:
    notifier.start()
    notifier.alice.ok("POST", "/_matrix/client/v3/logout/all", {})
    assert notifier.child is not None
    assert notifier.child.wait(60) == 1
    last_line = notifier.errors_file.read_text("utf-8").splitlines()[-1]
    assert last_line.startswith("tandem-notifier: You were signed out")
    assert notifier.popups()[-1]["title"] == "You were signed out"
    notifier.child = None


def test_a_click_on_a_desktop_popup_opens_its_room_in_the_window(
    notifier: Notifier, desktop: Desktop
) -> None:
    desktop.start()
    notifier.start(DBUS_SESSION_BUS_ADDRESS=desktop.address)

    async def click() -> tuple[Json, str]:
        heard: asyncio.Queue[Json] = asyncio.Queue()
        window = DoorbellServer(notifier.paths.socket(Role.APP), heard.put_nowait)
        await window.start()
        event_id = await asyncio.to_thread(notifier.bob.say, notifier.room, "1 < 2")
        shown = await asyncio.to_thread(desktop.told)
        assert shown["body"] == "1 &lt; 2"
        desktop.do(f"click {shown['id']} token-3")
        async with asyncio.timeout(60):
            while (message := await heard.get())["kind"] != "open":
                pass
        await window.close()
        return message, event_id

    message, event_id = asyncio.run(click())
    assert message["uri"] == f"matrix:roomid/{notifier.room[1:]}/e/{event_id[1:]}"
    assert message["token"] == "token-3"


def test_reading_elsewhere_takes_the_popup_away(notifier: Notifier, desktop: Desktop) -> None:
    desktop.start()
    notifier.start(DBUS_SESSION_BUS_ADDRESS=desktop.address)
    event_id = notifier.bob.say(notifier.room, "hello")
    assert desktop.told()["kind"] == "notify"
    notifier.alice.receipt(notifier.room, "m.read.private", event_id)
    assert desktop.told()["kind"] == "close"
