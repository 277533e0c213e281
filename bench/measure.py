"""Start programs with a stop-watch, take medians, keep the figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: ``value`` against ``floor`` of the same run; ``goal`` is the most allowed."""

    name: str
    value: float
    floor: float
    unit: str
    ratio: float
    goal: float
    how: str

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.goal


def environment(home: Path | None = None) -> dict[str, str]:
    """What measured programs run with: offscreen, and allowed to keep their bytecode as an installed one is."""
    words = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    words |= {
        "QT_QPA_PLATFORM": "offscreen",
        "QT_QUICK_BACKEND": "software",
        "TANDEM_VAULT": "file",
        "TANDEM_NO_NOTIFIER": "1",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
    }
    return words | ({} if home is None else {"TANDEM_HOME": str(home)})


def first_line_s(module: str, *words: str, home: Path | None = None) -> tuple[float, dict[str, Any]]:
    """Seconds from the start of ``python -m module`` to what its first line reports, and that line."""
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = child.communicate(timeout=120)
    if not out:
        raise RuntimeError(f"{module} said nothing: {err[-400:]}")
    said = json.loads(out.splitlines()[0])
    return said["rooms"] - started, said


class Told:
    """The window under ``bench.probe``, which stays and does as it is told."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._child, self._stdin, self._stdout = child, child.stdin, child.stdout

    def tell(self, words: str) -> None:
        """``open ROOM``, ``await BODY``, ``memory`` or ``quit``."""
        self._stdin.write(f"{words}\n")
        self._stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its next line; waits for it."""
        said: dict[str, Any] = json.loads(self._stdout.readline())
        return said

    def close(self) -> None:
        """Let it go; without further words it quits."""
        self._stdin.close()
        self._child.wait(20)


@contextmanager
def staying(home: Path, *, rooms: int = 1) -> Iterator[Told]:
    """This home's window, which has painted so many rooms; quits when left."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.probe", str(rooms), "stay"],
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    told = Told(child)
    try:
        told.hear()
        yield told
        told.tell("quit")
    finally:
        told.close()


def in_turn(runs: int, **what: Callable[[], float]) -> dict[str, float]:
    """The median of each, measured in turn so that a slow moment of the machine meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in what}
    for number in range(runs + 1):
        for name, take in what.items():
            value = take()
            if number:  # the first round warms caches up
                taken[name].append(value)
    return {name: statistics.median(values) for name, values in taken.items()}


def show(figures: Sequence[Figure], file: Path) -> None:
    """Print the table and the JSON, and keep the JSON."""
    print(f"\n{'what':58} {'value':>11} {'floor':>11} {'ratio':>7} {'goal':>7}")
    for f in figures:
        value, floor = f"{f.value:.1f} {f.unit}", f"{f.floor:.1f} {f.unit}"
        print(
            f"{f.name:58} {value:>11} {floor:>11} {f.ratio:7.2f} {f.goal:7.2f} {'' if f.is_met else 'MISSED'}"
        )
    print()
    for f in figures:
        print(f"{f.name}: {f.how}")
    text = json.dumps([asdict(f) | {"met": f.is_met} for f in figures])
    print(f"\n{text}")
    file.write_text(text + "\n", "utf-8")
