"""The very first rooms, fetched beside the load of Qt: all of the answer or nothing, and nothing heavy."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tandem_app import first_look
from tandem_core.paths import ProfilePaths
from tandem_core.store import session
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Me, Role, UserId
from tandem_demo.device import wait_for
from tandem_demo.raw import RawClient
from tests.app.seed import NOON_MS, Seed
from tests.support.fake_homeserver import SYNC, FakeHomeserver

PLACE = "SELECT pos, since FROM connection WHERE conn = 'app'"
ROOMS = "SELECT name FROM room WHERE conn = 'app' ORDER BY name"

# What is loaded by the time the very first rooms are in the store.
_LOADED = """
import sys
from tandem_app import first_look
from tandem_core.paths import profile_paths
look = first_look.begin(profile_paths())
look.join(20)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
# The product's own main: which of our heavy modules are loaded at the first frame that shows rooms.
_PAINTED = """
import sys
from tandem_app.main import main
def tell(window):
    def painted():
        if window.property("rooms").rowCount() == 2:
            window.frameSwapped.disconnect(painted)
            heavy = ("asyncio", "aiohttp", "tandem_core.engine")
            print([name for name in heavy if name in sys.modules], flush=True)
    window.frameSwapped.connect(painted)
sys.exit(main([], on_window=tell))
"""


@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as fake:
        fake.register("alice", "secret")
        yield fake


@pytest.fixture
def signed_in(server: FakeHomeserver, paths: ProfilePaths) -> RawClient:
    """Alice has two rooms at the server, and a store that knows only who she is."""
    alice = RawClient(server.base_url).login("alice", "secret")
    for name in ("Attic", "Boat"):
        alice.create_room(name=name)
    paths.make()
    db = Database.open(paths.database)
    me = Me(UserId(alice.user_id), DeviceId(alice.device_id))
    db.write_now(session.set_session, me, server.base_url, alice.token, NOON_MS)
    db.close()
    return alice


def _rows(paths: ProfilePaths, sql: str) -> list[tuple[Any, ...]]:
    conn = sqlite3.connect(paths.database)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


def _look(paths: ProfilePaths) -> None:
    look = first_look.begin(paths)
    assert look is not None
    look.join(20)


def _everything(paths: ProfilePaths) -> str:
    conn = sqlite3.connect(paths.database)
    try:
        return "\n".join(conn.iterdump())
    finally:
        conn.close()


def test_rooms_place_and_to_device_events_come_together(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    server.put_to_device(signed_in.user_id, {"type": "m.dummy", "sender": "@bob:x", "content": {}})
    _look(paths)
    assert _rows(paths, ROOMS) == [("Attic",), ("Boat",)]
    ((pos, since),) = _rows(paths, PLACE)
    assert pos
    assert since
    assert _rows(paths, "SELECT count(*) FROM inbox") == [(1,)]
    (asked,) = server.seen(SYNC)
    assert asked.body["conn_id"] == Role.APP
    assert "since" not in asked.body["extensions"]["to_device"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in</html>"),
        (200, {"rooms": {}}),
        (401, {"errcode": "M_UNKNOWN_TOKEN"}),
        (429, {"errcode": "M_LIMIT_EXCEEDED"}),
        (502, b"no"),
    ],
)
def test_an_answer_that_cannot_be_used_changes_nothing(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths, status: int, body: object
) -> None:
    before = _everything(paths)
    server.answer(SYNC, status, body)
    _look(paths)
    assert len(server.seen(SYNC)) == 1
    assert _everything(paths) == before


def test_a_lost_answer_changes_nothing(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    before = _everything(paths)
    server.drop_after_processing(SYNC)
    _look(paths)
    assert _everything(paths) == before


def test_what_was_given_up_is_never_written(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    before = _everything(paths)
    gate = server.hold(SYNC)
    look = first_look.begin(paths)
    assert look is not None
    assert gate.reached.wait(20)
    look.give_up()
    gate.open()
    look.join(20)
    assert _everything(paths) == before


def test_a_connection_that_has_begun_meanwhile_is_left_alone(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    gate = server.hold(SYNC)
    look = first_look.begin(paths)
    assert look is not None
    assert gate.reached.wait(20)
    db = Database.open(paths.database)
    db.write_now(session.set_pos, Role.APP, "somebody's place", NOON_MS)
    db.close()
    before = _everything(paths)
    gate.open()
    look.join(20)
    assert _everything(paths) == before


def test_the_end_is_told_once_whenever_one_asks(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    gate = server.hold(SYNC)
    look = first_look.begin(paths)
    assert look is not None
    told: list[str] = []
    look.when_over(lambda: told.append("early"))
    assert told == []
    gate.open()
    look.join(20)
    assert told == ["early"]
    look.when_over(lambda: told.append("late"))
    assert told == ["early", "late"]


def test_only_the_very_first_start_takes_a_first_look(seed: Seed, paths: ProfilePaths) -> None:
    seed.room("Attic")
    assert first_look.begin(paths) is None


def test_nobody_signed_in_takes_no_first_look(
    signed_in: RawClient, paths: ProfilePaths, server: FakeHomeserver
) -> None:
    db = Database.open(paths.database)
    db.write_now(session.mark_signed_out, False)
    db.close()
    assert first_look.begin(paths) is None
    paths.database.unlink()
    assert first_look.begin(paths) is None
    assert server.seen(SYNC) == []


def test_nothing_heavy_is_loaded_for_it(signed_in: RawClient, paths: ProfilePaths) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED], env=os.environ.copy(), capture_output=True, text=True, timeout=60
    )
    loaded = set(ran.stdout.split())
    assert _rows(paths, ROOMS) == [("Attic",), ("Boat",)]
    assert "tandem_core" in loaded
    assert not loaded & {"asyncio", "aiohttp", "sqlite_utils", "PySide6"}


@pytest.mark.gui
def test_the_window_paints_the_first_rooms_before_the_engine_is_loaded_and_then_goes_on(
    server: FakeHomeserver, signed_in: RawClient, paths: ProfilePaths
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PAINTED], env=os.environ.copy(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        wait_for("the engine's own request", lambda: len(server.seen(SYNC)) > 1)
        first, second = server.seen(SYNC)[:2]
        assert second.query["pos"] == first.answer["pos"]
    finally:
        process.terminate()
        process.communicate(timeout=30)
