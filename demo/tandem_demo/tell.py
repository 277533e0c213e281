"""The story as lines for people; silent towards stdout when one JSON line is asked for."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Teller:
    """Numbers the steps and prefixes every line with the seconds since the start."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._steps = 0

    def step(self, words: str) -> None:
        self._steps += 1
        self._write(f"\n{self._steps}. {words}")

    def line(self, words: str) -> None:
        self._write(f"   [{time.monotonic() - self._start:6.1f} s] {words}")

    def _write(self, words: str) -> None:
        print(words, file=self._stream, flush=True)
