"""A program of ours on a machine that fails it.

``python -m tests.faults.program app|notifier|ctl [--clock FILE] [--schema FILE] [--die PHASE] [-- WORDS...]``: the
product's own ``main``, unchanged. FILE of ``--clock`` has the milliseconds by which the wall clock is wrong (the
monotonic clock is not touched); FILE of ``--schema`` is the SQL of a second schema step, which makes this a newer
Tandem; with ``--die`` the program kills itself at that phase of bringing the store up to date.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PHASES = ("before the lock", "inside a step", "before the commit", "after the commit")


def set_clock_wrong(file: Path) -> None:
    """Let everybody in this process who asks for the time of day get it as wrong as the file says."""
    right: Any = time.time_ns

    def time_ns() -> int:
        return int(right() + int(file.read_text("ascii")) * 1_000_000)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def know_newer_schema(file: Path) -> None:
    """Be the Tandem that has one more schema step."""
    from tandem_core.store import migrations

    own = migrations.script
    migrations.STEPS = (*migrations.STEPS, file.name)
    migrations.script = lambda name: file.read_text("utf-8") if name == file.name else own(name)


def die_at(phase: str) -> None:
    """Kill this process at a phase of a migration."""
    from tandem_core.store import migrations

    locked, split, run = migrations._locked, migrations._statements, migrations._run

    @contextlib.contextmanager
    def before_lock(path: Path) -> Iterator[None]:
        _die()
        with locked(path):
            yield

    def inside(text: str) -> Iterator[str]:
        statements = list(split(text))
        yield from statements[: len(statements) // 2]
        _die()

    def before_commit(text: str) -> Iterator[str]:
        yield from split(text)
        _die()

    def after_commit(path: Path) -> None:
        run(path)
        _die()

    match phase:
        case "before the lock":
            migrations._locked = before_lock
        case "inside a step":
            migrations._statements = inside
        case "before the commit":
            migrations._statements = before_commit
        case "after the commit":
            migrations._run = after_commit


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=("app", "notifier", "ctl"))
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--schema", type=Path)
    parser.add_argument("--die", choices=PHASES)
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:end])
    if options.clock is not None:
        set_clock_wrong(options.clock)
    if options.schema is not None:
        know_newer_schema(options.schema)
    if options.die is not None:
        die_at(options.die)
    if options.program == "app":
        from tandem_demo.window import main as window

        return window()
    if options.program == "ctl":
        from tandem_core.ctl.main import main as ctl

        return ctl(given[end + 1 :])
    from tandem_notifier.main import main as notifier

    sys.argv = ["tandem-notifier", "run"]
    return notifier()


if __name__ == "__main__":
    sys.exit(main())
