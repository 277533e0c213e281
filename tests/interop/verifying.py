"""One verification at Tandem's side: ``tandemctl verify``, whose questions the test answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tandem_demo.device import wait_for
from tests.interop.tandem import Tandem

Json = dict[str, Any]


class Verifying:
    """The command as it runs; it prints each change of the verification."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log
        self._views: list[Json] = []
        self._reader = threading.Thread(target=self._read, name="verifying", daemon=True)
        self._reader.start()

    def at(self, *phases: str) -> Json:
        """Wait until it has come to one of these phases; returns how it stands."""

        def look() -> Json | None:
            if self._views and self._views[-1]["phase"] in phases:
                return self._views[-1]
            if self._child.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"it ended before {phases}: {self.said()}")
            return None

        view: Json = wait_for(f"Tandem at {' or '.join(phases)}", look, within_s=60)
        return view

    def answer(self, words: str) -> None:
        """A line on its standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{words}\n")
        self._child.stdin.flush()

    def give(self, text: str) -> None:
        """All of its standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(text)
        self._child.stdin.close()

    def ended(self) -> int:
        """Wait for its end; returns the exit status."""
        return self._child.wait(60)

    def said(self) -> str:
        """What it has told people."""
        return self._log.read_text("utf-8")

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._views.append(json.loads(line))


@contextmanager
def verifying(tandem: Tandem, *words: str) -> Iterator[Verifying]:
    """``tandemctl verify WORDS`` of this person, in the window's place; ended when left."""
    log = tandem.device.home / "verify.out"
    with log.open("w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [str(Path(sys.executable).with_name("tandemctl")), "--json", "verify", "--timeout", "90", *words],
            env=tandem.device.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield Verifying(child, log)
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None and not stream.closed:
                stream.close()
