"""Fixtures for window tests: offscreen, software-rendered, and failing on any warning of Qt or QML."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_QUICK_BACKEND", "software")
os.environ["TANDEM_NO_NOTIFIER"] = "1"

from PySide6.QtGui import QGuiApplication
from PySide6.QtQml import QQmlError

from tandem_app.commands import Commands
from tandem_app.engine_thread import EngineThread
from tandem_app.window import MainWindow
from tandem_core.paths import ProfilePaths, profile_paths
from tests.app.glass import Glass
from tests.app.processes import TOLD, Start
from tests.app.seed import NOON_MS, Seed


@pytest.fixture(scope="session")
def qapp_cls() -> type[QGuiApplication]:
    """The window needs no widgets."""
    return QGuiApplication


@pytest.fixture
def paths(tandem_home: Path) -> ProfilePaths:
    """The files of a profile of the test's own."""
    return profile_paths()


@pytest.fixture
def seed(paths: ProfilePaths) -> Iterator[Seed]:
    """A signed-in account's store to be filled."""
    made = Seed(paths)
    made.sign_in()
    yield made
    made.close()


@pytest.fixture
def show(
    qapp: QGuiApplication, paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Glass]]:
    """Show the real window over the store as it is then; any QML warning fails the test.

    With ``engine=True`` the real engine runs in its thread (its homeserver does not answer); else the
    window only reads.
    """
    monkeypatch.setattr("tandem_app.watch.POLL_MS", 50)
    shown: list[Glass] = []
    warnings: list[str] = []

    def take(errors: list[QQmlError]) -> None:
        warnings.extend(error.toString() for error in errors)

    def make(*, engine: bool = False, width: int = 1120, height: int = 740, now_ms: int = NOON_MS) -> Glass:
        thread = EngineThread(paths)
        window = MainWindow(paths, thread, Commands(thread), clock_ms=lambda: now_ms)
        window.qml.warnings.connect(take)
        window.show()
        assert window.window is not None
        window.window.setWidth(width)
        window.window.setHeight(height)
        window.window.requestActivate()
        glass = Glass(window, qapp)
        shown.append(glass)
        if engine:
            thread.start()
        glass.settle()
        return glass

    yield make
    for glass in shown:
        glass.close()
    assert warnings == []


@pytest.fixture
def start(tandem_home: Path) -> Iterator[Start]:
    """Start ``tandem`` as a process; all are ended afterwards."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", TOLD, *arguments],
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
