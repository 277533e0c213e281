"""A session bus of the tests' own, and an account's store with messages that fall due."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core.paths import profile_paths
from tests.support.account import Account
from tests.support.bus import Bus

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = ("actions", "body", "body-markup", "persistence")


class Desktop:
    """The notification service of the desktop: starts, dies, is clicked on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._child: subprocess.Popen[str] | None = None
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()

    @property
    def address(self) -> str:
        """The bus it is on."""
        return self._bus.address

    def start(self, capabilities: tuple[str, ...] = CAPABILITIES) -> None:
        self._told = queue.Queue()
        child = self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.support.notification_service", *capabilities],
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": self._bus.address},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, args=(child, self._told), daemon=True).start()
        assert self.told()["kind"] == "ready"

    @staticmethod
    def _listen(child: subprocess.Popen[str], told: queue.Queue[dict[str, Any]]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            told.put(json.loads(line))

    def told(self, within_s: float = 30.0) -> dict[str, Any]:
        """The next thing that the service was asked for."""
        return self._told.get(timeout=within_s)

    def is_silent(self) -> bool:
        return self._told.empty()

    def do(self, line: str) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    stream.close()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A running session bus; the environment names it."""
    made = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made.address)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def desktop(bus: Bus) -> Iterator[Desktop]:
    """A notification service that is not started yet."""
    made = Desktop(bus)
    yield made
    made.stop()


@pytest.fixture
def account(tandem_home: Path) -> Iterator[Account]:
    """Alice's store, with nobody's help but her own."""
    made = Account(profile_paths())
    yield made
    made.close()
