"""The window beside its engine, its notifier and its store: when things are missing, late or broken."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from PySide6.QtCore import QThread
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from tandem_app import notifier_process
from tandem_app.engine_thread import EngineThread
from tandem_core.paths import ProfilePaths
from tandem_core.role import is_running, stand_in
from tandem_core.store import session as sessions
from tandem_core.store.codec import dumps
from tandem_core.types import Change, Role, RoomId, Topic
from tests.app.glass import Glass
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no database, whatever its name says" * 100, "The message store is damaged"),
        (None, "The message store was written by a newer Tandem"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_the_window(
    paths: ProfilePaths, show: Show, content: bytes | None, words: str
) -> None:
    paths.make()
    if content is None:
        import sqlite3

        with sqlite3.connect(paths.database) as conn:
            conn.execute("PRAGMA user_version=999")
        conn.close()
    else:
        paths.database.write_bytes(content)
    before = paths.database.read_bytes()
    glass = show(engine=True)
    glass.wait(lambda: any(said.startswith(words) for said in glass.sayings()), words)
    assert paths.database.read_bytes() == before


def test_answers_come_back_in_the_qt_thread(seed: Seed, qapp: QGuiApplication, paths: ProfilePaths) -> None:
    thread = EngineThread(paths)
    found: list[object] = []

    async def work() -> str:
        return "done"

    async def fail() -> str:
        raise ValueError("as it must")

    # Asked before the thread runs: kept until it does.
    thread.call(work(), lambda value: found.append((value, QThread.currentThread() is qapp.thread())))
    thread.start()
    thread.call(
        fail(), None, lambda error: found.append((str(error), QThread.currentThread() is qapp.thread()))
    )
    _until(qapp, lambda: len(found) == 2)
    thread.stop()
    assert found == [("done", True), ("as it must", True)]


def test_many_changes_reach_the_window_in_few_turns(qapp: QGuiApplication, paths: ProfilePaths) -> None:
    thread = EngineThread(paths)
    heard: list[frozenset[Change]] = []
    thread.changed.connect(heard.append)
    for number in range(200):
        thread.ring(frozenset({Change(Topic.TIMELINE, RoomId(f"!{number}"))}))
    _until(qapp, lambda: sum(len(changes) for changes in heard) == 200)
    assert len(heard) <= 2


def test_a_lost_ring_costs_time_but_no_message(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("first", at=9))
    glass = show()
    glass.click(glass.item("roomRow"))
    seed.say(talk, seed.message("nobody rang for this", at=8))
    glass.wait(lambda: any("nobody rang" in row for row in glass.messages()), "found by looking")


@pytest.mark.parametrize("often", [1, 40])
def test_a_ring_that_tells_only_a_part_hides_no_message(seed: Seed, show: Show, often: int) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("first", at=9))
    glass = show()
    glass.click(glass.item("roomRow"))
    seed.say(talk, seed.message("told of something else", at=8))
    for _ in range(often):
        glass.main.watch.take(frozenset({Change(Topic.STATUS)}))
        QTest.qWait(10)
    glass.wait(lambda: any("something else" in row for row in glass.messages()), "found by looking")


def test_an_error_of_our_own_is_told_and_the_engine_lives_on(paths: ProfilePaths, show: Show) -> None:
    paths.make()
    paths.runtime.rmdir()  # where the engine listens while nobody is signed in
    glass = show(engine=True)
    shell = glass.main.shell
    glass.wait(lambda: shell.statusWords.startswith("Tandem has met an error of its own"), "the error")
    paths.make()
    seed = Seed(paths)
    seed.sign_in()
    seed.close()
    glass.main.engine_thread.restart()
    glass.wait(lambda: shell.session_state == "signed_in", "the engine")


def test_who_types_is_told_below_the_messages(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("hello", at=5))
    glass = show()
    glass.click(glass.item("roomRow"))

    def write(txn: sessions.Transaction) -> None:
        users = dumps(["@bob:example.org", "@alice:example.org"])
        txn.execute(
            "INSERT INTO typing (room_id, user_ids, changed_at) VALUES (?, ?, ?)", (talk, users, NOON_MS)
        )

    seed.db.write_now(write)
    glass.wait(lambda: "Bob is typing…" in glass.sayings(), "typing is told")


def test_scrolling_up_while_offline_ends_the_wait_and_may_be_asked_again(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, *[seed.message(f"message {number}", at=99 - number) for number in range(40)])
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine")
    glass.click(glass.item("roomRow"))
    asked: list[bool | None] = []
    shell = glass.main.shell
    assert glass.main.commands.load_older(talk, asked.append)
    glass.wait(lambda: asked, "an answer")
    assert asked in ([None], [False])
    glass.wait(lambda: not shell.property("loadingOlder"), "no endless wait")


def test_the_notifier_is_started_once_and_outlives_us(
    seed: Seed, paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    command = notifier_process.notifier_command("default")
    assert command is not None
    assert command[1:] == ["--profile", "default", "run"]
    assert not asyncio.run(notifier_process.start_if_wanted(paths, seed.db)), "the environment says no"
    monkeypatch.delenv(notifier_process.OFF)
    with stand_in(paths, Role.NOTIFIER):
        # A command in its place is not the notifier; it waits until that has ended.
        assert asyncio.run(notifier_process.start_if_wanted(paths, seed.db))
    try:
        _until(None, lambda: is_running(paths, Role.NOTIFIER))
        assert not asyncio.run(notifier_process.start_if_wanted(paths, seed.db)), "it runs already"
    finally:
        _until(None, lambda: _notifier_pid(seed) is not None)
        pid = _notifier_pid(seed)
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        _until(None, lambda: not is_running(paths, Role.NOTIFIER))


def test_the_notifier_is_left_alone_when_the_settings_say_so(
    seed: Seed, paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from tandem_core import settings

    monkeypatch.delenv(notifier_process.OFF)
    seed.db.write_now(lambda txn: settings.set_value(txn, "background.notifier", False, now_ms=NOON_MS))
    assert not asyncio.run(notifier_process.start_if_wanted(paths, seed.db))
    assert not is_running(paths, Role.NOTIFIER)


def _notifier_pid(seed: Seed) -> int | None:
    program = seed.db.read_now(sessions.program, Role.NOTIFIER)
    return program.pid if program is not None else None


def _until(application: QGuiApplication | None, claim: Callable[[], object]) -> None:
    import time

    end = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < end, "still not so"
        if application is not None:
            application.processEvents()
        time.sleep(0.01)
