"""The window as processes: one a profile, handing over, and ending cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_core.paths import ProfilePaths
from tandem_core.role import is_running, stand_in
from tandem_core.types import Role
from tests.app.processes import Start, line_of
from tests.app.seed import Seed

pytestmark = pytest.mark.gui


def test_a_second_tandem_hands_its_address_over_and_ends_with_success(
    seed: Seed, paths: ProfilePaths, start: Start
) -> None:
    talk = seed.room("Garden talk")
    seed.say(talk, seed.message("hello", at=5))
    first = start()
    assert line_of(first) == "painted"
    second = start(f"matrix:roomid/{talk[1:]}")
    assert second.wait(30) == 0, second.communicate()[1]
    assert line_of(first) == "title Garden talk – Tandem"
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
    assert line_of(first) == "painted"
    second = start()
    assert second.wait(30) == 0, second.communicate()[1]
    assert first.poll() is None


def test_a_killed_window_leaves_no_lock_behind(seed: Seed, paths: ProfilePaths, start: Start) -> None:
    first = start()
    assert line_of(first) == "painted"
    first.kill()
    first.wait(20)
    again = start()
    assert line_of(again) == "painted"


def test_a_window_says_that_a_command_is_in_its_place(paths: ProfilePaths, start: Start) -> None:
    with stand_in(paths, Role.APP):
        window = start()
        assert window.wait(30) == 1
    said = window.communicate()[1]
    assert "A command is at work in the window's place. Open Tandem again when tandemctl has ended." in said


def test_wrong_words_are_answered_with_the_usage(tandem_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tandem_app.main", "--no-such-thing"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: tandem")


def test_a_bad_profile_name_is_one_clearline_of(tandem_home: Path) -> None:
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
