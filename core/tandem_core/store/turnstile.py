"""A fair lock in front of SQLite's own (law 4).

SQLite's busy handler polls, so a program that drains a backlog in many short transactions starves the
other one for seconds. Two kernel locks make a turnstile: whoever waits holds the turn, so nobody can
overtake. Kernel locks die with their process.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


class Turnstile:
    """An exclusive lock between processes, granted roughly in the order of asking.

    Not reentrant; one thread at a time may use one instance.
    """

    def __init__(self, folder: Path) -> None:
        self._turn = _open(folder / "turn.lock")
        self._main = _open(folder / "main.lock")
        self.waiting_since: float | None = None
        """``time.monotonic()`` when the present wait began; read by a watchdog in another thread."""

    def __enter__(self) -> None:
        self.waiting_since = time.monotonic()
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._main, fcntl.LOCK_EX)
            finally:
                fcntl.flock(self._turn, fcntl.LOCK_UN)
        finally:
            self.waiting_since = None

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._main, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptors back; a second time it does nothing, for the numbers may be somebody else's by then."""
        turn, main, self._turn, self._main = self._turn, self._main, -1, -1
        for descriptor in (turn, main):
            if descriptor >= 0:
                os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
