"""The window as processes: one a profile, handing over, and ending cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tandem_core.engine import is_running
from tandem_core.paths import ProfilePaths
from tandem_core.types import Role
from tests.app.seed import Seed

pytestmark = pytest.mark.gui

# The product's own main; what the window shows is told on stdout, a line a change.
_TOLD = """
import sys
from tandem_app.main import main
def tell(window):
    window.windowTitleChanged.connect(lambda *_: print("title", window.title(), flush=True))
    def painted():
        window.frameSwapped.disconnect(painted)
        print("painted", flush=True)
    window.frameSwapped.connect(painted)
sys.exit(main(sys.argv[1:], on_window=tell))
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tandem_home: Path) -> Iterator[Start]:
    """Start ``tandem`` as a process; all are ended afterwards."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _TOLD, *arguments],
            env=os.environ.copy(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def test_a_second_tandem_hands_its_address_over_and_ends_with_success(
    seed: Seed, paths: ProfilePaths, start: Start
) -> None:
    talk = seed.room("Garden talk")
    seed.say(talk, seed.message("hello", at=5))
    first = start()
    assert _line(first) == "painted"
    second = start(f"matrix:roomid/{talk[1:]}")
    assert second.wait(30) == 0, second.communicate()[1]
    assert _line(first) == "title Garden talk – Tandem"
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=30)
    # The offscreen platform has no windows to put in front, and says so.
    assert [line for line in err.splitlines() if "does not support raise" not in line] == []
    assert first.returncode == 0
    assert not is_running(paths, Role.APP)


def test_a_window_nobody_is_signed_in_to_takes_the_word_of_a_second_one_too(
    paths: ProfilePaths, start: Start
) -> None:
    first = start()
    assert _line(first) == "painted"
    second = start()
    assert second.wait(30) == 0, second.communicate()[1]
    assert first.poll() is None


def test_a_killed_window_leaves_no_lock_behind(seed: Seed, paths: ProfilePaths, start: Start) -> None:
    first = start()
    assert _line(first) == "painted"
    first.kill()
    first.wait(20)
    again = start()
    assert _line(again) == "painted"


def test_wrong_words_are_answered_with_the_usage(tandem_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tandem_app.main", "--no-such-thing"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: tandem")


def test_a_bad_profile_name_is_one_clear_line(tandem_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tandem_app.main", "--profile", "../x"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "letters, digits" in done.stderr


def test_the_first_frame_needs_neither_asyncio_nor_a_network_library(seed: Seed, start: Start) -> None:
    seed.say(seed.room("Talk"), seed.message("hello", at=5))
    code = (
        "import sys\nfrom tandem_app.main import main\n"
        "def look(window):\n"
        "    print(sorted({'asyncio', 'aiohttp', 'nio', 'sqlite_utils', 'qasync', 'PySide6.QtWidgets'}"
        " & set(sys.modules)), flush=True)\n"
        "    window.frameSwapped.connect(window.close)\n"
        "sys.exit(main([], on_window=look))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[]\n"


def _line(process: subprocess.Popen[str]) -> str:
    """The next line a process says; it must say one before patience ends."""
    import select

    assert process.stdout is not None
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            return line.strip()
        assert process.poll() is None, process.communicate()[1]
    raise AssertionError("nothing was said")
