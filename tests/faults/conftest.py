"""Alice's programs as real processes, and a homeserver that fails on demand."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core.paths import ProfilePaths, profile_paths
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.faults.duo import Duo
from tests.support.fake_homeserver import SYNC, FakeHomeserver

PROGRAM = str(Path(sys.executable).with_name("tandem-notifier"))
CTL = str(Path(sys.executable).with_name("tandemctl"))
PASSWORD = "correct horse"


def until(look: Callable[[], Any], within_s: float = 40.0) -> Any:
    """What ``look`` finds, once it finds something."""
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found


class Alice:
    """Her device on this machine: store, notifier and tandemctl."""

    def __init__(self, server: FakeHomeserver, paths: ProfilePaths, folder: Path) -> None:
        self.server = server
        self.paths = paths
        self.user_id = "@alice:fake.test"
        self.errors_file = folder / "errors.txt"
        self.child: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, "TANDEM_POPUP_LOG": str(folder / "popups.jsonl")}

    def ctl(self, *words: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CTL, *words], input=password, env=self._environment, capture_output=True, text=True, check=False
        )

    def login(self, url: str | None = None, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
        words = [
            "login",
            "--homeserver",
            url or self.server.base_url,
            "--user",
            "alice",
            "--password-file",
            "-",
        ]
        return self.ctl(*words, password=password)

    def start(self, *, wait: bool = True) -> None:
        """Start the notifier, and by default wait until it syncs."""
        with self.errors_file.open("ab") as errors:
            self.child = subprocess.Popen(
                [PROGRAM, "run"],
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        if wait:
            until(self.is_syncing)

    def is_syncing(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self.last_words()
        return self.ask("SELECT state, pid FROM program WHERE role = 'notifier'") == [
            ("syncing", self.child.pid)
        ]

    def kill(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.wait(30)

    def ended(self) -> int:
        """Wait for the notifier's own end."""
        child, self.child = self.child, None
        assert child is not None
        return child.wait(60)

    def last_words(self) -> str:
        return self.errors_file.read_text("utf-8").splitlines()[-1]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        conn = sqlite3.connect(f"{self.paths.database.as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            return conn.execute(sql).fetchall()
        finally:
            conn.close()

    def inbox(self) -> list[str]:
        """The types of the to-device events kept so far, in order."""
        return [kind for (kind,) in self.ask("SELECT type FROM inbox ORDER BY seq")]

    def since(self) -> int:
        rows = self.ask("SELECT since FROM connection WHERE conn = 'notifier' AND since IS NOT NULL")
        return int(rows[0][0]) if rows else 0

    def acknowledged(self) -> int:
        """The highest to-device token that the server was ever sent."""
        blocks = [one.body["extensions"]["to_device"] for one in self.server.seen(SYNC)]
        return max((int(block["since"]) for block in blocks if "since" in block), default=0)

    def poke(self, *kinds: str) -> None:
        for kind in kinds:
            event = {"type": kind, "sender": "@bob:fake.test", "content": {}}
            self.server.put_to_device(self.user_id, event)


@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as made:
        made.register("alice", PASSWORD)
        made.register("bob", PASSWORD)
        yield made


@pytest.fixture
def stranger(
    server: FakeHomeserver, tandem_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Alice]:
    """Alice, not signed in yet."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:")
    made = Alice(server, profile_paths(), tmp_path)
    yield made
    made.kill()


@pytest.fixture
def alice(stranger: Alice) -> Alice:
    done = stranger.login()
    assert done.returncode == 0, done.stderr
    return stranger


@pytest.fixture
def bob(server: FakeHomeserver) -> RawClient:
    return RawClient(server.base_url).login("bob", PASSWORD)


@pytest.fixture(scope="package")
def duo(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duo]:
    """Two programs on one machine; every test leaves them running, whole and at rest."""
    with Duo.playing(synapse, tmp_path_factory.mktemp("machine")) as made:
        yield made
