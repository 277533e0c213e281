"""``tandem demo`` as anybody runs it: a subprocess, its exit status, its JSON line, its pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QImage

from tandem_demo.device import wait_for
from tests.e2e.scene import processes_under

pytestmark = [pytest.mark.synapse, pytest.mark.slow, pytest.mark.timeout(300)]

_MESSAGES = 40


@dataclass(frozen=True, slots=True)
class Told:
    """What one run left behind."""

    status: int
    line: dict[str, Any]
    lines: int
    complaints: str
    folder: Path
    shots: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One run for all tests of this file."""
    base = tmp_path_factory.mktemp("demo")
    tandem = str(Path(sys.executable).with_name("tandem"))
    words = ["--headless", "--json", "--messages", str(_MESSAGES)]
    places = ["--keep", str(base / "kept"), "--shots", str(base / "shots")]
    done = subprocess.run(
        [tandem, "demo", *words, *places], capture_output=True, text=True, timeout=240, check=False
    )
    out = done.stdout.splitlines()
    line = json.loads(out[-1]) if out else {}
    return Told(done.returncode, line, len(out), done.stderr[-3000:], base / "kept", base / "shots")


def test_the_demo_ends_well_and_prints_one_line(told: Told) -> None:
    assert told.status == 0, told.complaints
    assert told.lines == 1


def test_the_observer_found_all_that_was_promised(told: Told) -> None:
    promised = {
        "encrypted": True,
        "people": 1,
        "devices": 2,
        "notified_while_closed": True,
        "lost": 0,
        "doubled": 0,
        "messages": _MESSAGES,
        "repeated_popups": 0,
    }
    assert {key: told.line.get(key) for key in promised} == promised, told.complaints
    tokens = told.line["tokens"]
    assert set(tokens) == {"app", "notifier"}
    assert all(token.isdigit() for token in tokens.values()), tokens


def test_every_step_left_a_picture_that_shows_something(told: Told) -> None:
    pictures = sorted(told.shots.glob("*.png"))
    assert [picture.name[:2] for picture in pictures] == [f"{n:02}" for n in range(1, 9)], told.complaints
    for picture in pictures:
        image = QImage(str(picture))
        assert image.width() >= 300
        assert image.height() >= 300
        colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
        assert len(colours) > 20, f"{picture.name} is all but blank"


def test_no_process_of_it_is_left(told: Told) -> None:
    assert told.folder.is_dir()
    assert processes_under(told.folder) == []


def test_the_search_for_processes_finds_one_by_its_environment(tmp_path: Path) -> None:
    """So that finding none after the demo says something."""
    mine = subprocess.Popen(
        ["sleep", "60"], env={"PATH": os.environ["PATH"], "TANDEM_HOME": str(tmp_path / "x")}
    )
    try:
        wait_for("the process", lambda: processes_under(tmp_path) == [mine.pid])
    finally:
        mine.kill()
        mine.wait()
    assert processes_under(tmp_path) == []
