"""Old files copied over the new ones, with real programs and a real Synapse: noticed and told; and no false alarm."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tandem_core.store.crypto import RESTORED_FACT
from tandem_demo.device import Device, wait_for
from tandem_demo.synapse import SynapseServer
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tests.conftest import new_user
from tests.e2e.scene import heard
from tests.support.keys import retire_keys
from tests.torture import ledger

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_TOLD = "older copy"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """A Synapse of their own: the ledger looks at everything that is in its database."""
    made = SynapseServer.create(tmp_path_factory.mktemp("restored") / "synapse", with_module=True)
    with made.running():
        ledger.watch(made.folder / "homeserver.db")
        yield made


class People:
    """Alice writes in two encrypted rooms, Bob reads; Alice's files can be kept and put back."""

    def __init__(self, server: SynapseServer, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.said: list[str] = []
        self._folder = folder
        self._stack = stack
        self._alice = new_user(server, "alice")
        self.alice = self.sign_in("alice", self._alice)
        self.bob = self.sign_in("bob", new_user(server, "bob"))
        for device in (self.alice, self.bob):
            device.start_notifier()
        bob_id = self.bob.ask("SELECT user_id FROM session")[0][0]
        self.rooms = [
            str(self.alice.ctl("create", *words, "--invite", bob_id)["room_id"])
            for words in (("--direct",), ("--name", "Weekend plans"))
        ]
        for room in self.rooms:
            wait_for(
                "Bob's invitation", partial(self.bob.ask, "SELECT 1 FROM room WHERE room_id = ?", (room,))
            )
            self.bob.ctl("accept", room)

    def sign_in(self, name: str, login: tuple[str, str]) -> Device:
        device = Device(name, self._folder / name, headless=True)
        device.home.mkdir(mode=0o700)
        self._stack.callback(device.stop_all)
        words = ("--homeserver", self.server.base_url, "--user", login[0], "--password-file", "-")
        device.ctl("login", *words, password=login[1])
        device.trust_unconfirmed()
        return device

    def another_of_alices(self) -> Device:
        return self.sign_in("alice-tablet", self._alice)

    def say(self, *, device: Device | None = None, times: int = 1, new_keys: bool = False) -> None:
        """Write in both rooms and wait until the server has it; with ``new_keys`` Olm's ratchets move, too."""
        writer = device or self.alice
        with ExitStack() as stack:
            pen = Pen(writer, stack)
            for _ in range(times):
                if new_keys:
                    pen._db.write_now(retire_keys)
                for room in self.rooms:
                    self.said.append(f"line {len(self.said)}")
                    pen.write(room, self.said[-1])
                    wait_for("the sending", partial(self._is_sent, writer, self.said[-1]), every_s=0.02)

    def _is_sent(self, writer: Device, body: str) -> bool:
        return bool(writer.ask("SELECT 1 FROM send_queue WHERE body = ? AND state = 'sent'", (body,)))

    def stop(self) -> None:
        self.alice.stop("window")
        self.alice.stop("notifier")

    def keep(self) -> None:
        shutil.copytree(self.alice.paths.data, self._folder / "backup")

    def put_back(self) -> None:
        shutil.rmtree(self.alice.paths.data)
        shutil.copytree(self._folder / "backup", self.alice.paths.data)

    def facts(self) -> list[tuple[str, ...]]:
        return self.alice.ask("SELECT value FROM fact WHERE key = ?", (RESTORED_FACT,))

    def assert_bob_reads_all(self) -> None:
        """Every line is readable, in Bob's inbox is nothing that could not be opened, no place was used twice."""
        ids = self.bob.ask
        wait_for("all lines", lambda: {row[0] for row in ids("SELECT body FROM event")} >= set(self.said))
        bodies = [row[0] for row in ids("SELECT body FROM event WHERE type = 'm.room.encrypted'")]
        assert sorted(bodies) == sorted(self.said)
        wait_for("a drained inbox", lambda: not ids("SELECT 1 FROM inbox WHERE state = 0"))
        book = self.server.folder / "homeserver.db"
        assert ledger.compare(book, {"bob": self.bob.paths.database}).wrong() == []
        # What Alice's copy missed is gone; but nothing of hers may have been used twice.
        assert ledger.compare(book, {"alice": self.alice.paths.database}).reused == []


@pytest.fixture(scope="module")
def people(server: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with ExitStack() as stack:
        yield People(server, tmp_path_factory.mktemp("people"), stack)


def test_a_restored_older_copy_is_noticed_and_bob_reads_everything(people: People) -> None:
    people.say()
    before = people.facts()
    people.stop()
    people.keep()
    people.alice.start_notifier()
    people.say(times=2, new_keys=True)
    people.say()
    people.stop()
    people.put_back()
    assert people.facts() == before == []

    window = WindowDriver(people.alice)
    people.alice.start_notifier()
    window.open()
    people.say(times=2)
    people.assert_bob_reads_all()
    assert [json.loads(value)["put_away"] for (value,) in people.facts()] == [False]
    wait_for("word of it in the window", lambda: heard(window, _TOLD))
    findings = people.alice.ctl("doctor")["findings"]
    assert [finding["ok"] for finding in findings if _TOLD in finding["detail"]] == [True]

    # It is no news when the programs start again.
    sessions = people.alice.ask("SELECT session_id FROM megolm_outbound ORDER BY 1")
    noticed = people.facts()
    people.stop()
    people.alice.start_notifier()
    people.say()
    assert people.facts() == noticed
    assert people.alice.ask("SELECT session_id FROM megolm_outbound ORDER BY 1") == sessions
    people.assert_bob_reads_all()


def test_restarts_kills_and_a_second_device_alarm_nobody(people: People) -> None:
    people.say(new_keys=True)
    noticed, given_up = people.facts(), _given_up(people.alice)
    with ExitStack() as stack:
        pen = Pen(people.alice, stack)
        for room in people.rooms:
            people.said.append(f"line {len(people.said)}")
            pen.write(room, people.said[-1])
            sealed = partial(
                people.alice.ask,
                "SELECT 1 FROM send_queue WHERE body = ? AND wire_content IS NOT NULL",
                (people.said[-1],),
            )
            wait_for("the sealing", sealed, every_s=0.002)
            people.alice.stop("notifier", signal.SIGKILL)
            people.alice.start_notifier()
    tablet = people.another_of_alices()
    tablet.start_notifier()
    wait_for("both rooms", lambda: _count_rooms(tablet) == len(people.rooms))
    people.say(device=tablet, new_keys=True)
    tablet.stop("notifier")
    people.stop()
    people.alice.start_notifier()
    people.say()
    people.assert_bob_reads_all()
    assert people.facts() == noticed
    assert _given_up(people.alice) == given_up
    assert tablet.ask("SELECT value FROM fact WHERE key = ?", (RESTORED_FACT,)) == []


def _given_up(device: Device) -> int:
    return int(device.ask("SELECT count(*) FROM olm_session WHERE stale")[0][0])


def _count_rooms(device: Device) -> int:
    rows = device.ask("SELECT count(DISTINCT room_id) FROM room WHERE membership = 'join'")
    return int(rows[0][0])
