"""One program's engine: its role, its end, and what it says of itself."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session as sessions_api
from tandem_core.doorbell import ring_once
from tandem_core.engine import Engine
from tandem_core.errors import AlreadyRuns, Offline, SignedOut
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import is_running, take_role
from tandem_core.store import session
from tandem_core.store.database import Database
from tandem_core.sync.request import SYNC_PATH
from tandem_core.types import Change, Json, Role, RoomId, Topic
from tandem_core.worker import Worker
from tests.core.sync_world import ME, NOW
from tests.support.aio import in_loop


class Wire:
    """A server that hangs, is away, or has signed us out."""

    def __init__(self, mood: Exception | None = None) -> None:
        self.mood = mood
        self.token: str | None = "secret-token"
        self.asked: list[str] = []
        self.closed = False

    async def request(self, method: str, path: str, body: Json | None = None, **_: Any) -> Json:
        self.asked.append(path)
        if self.mood is not None:
            raise self.mood
        await asyncio.Event().wait()
        raise AssertionError

    retry = request

    async def close(self, *, for_good: bool = False) -> None:
        self.closed = for_good


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TANDEM_VAULT", "file")
    found = profile_paths()
    found.make()
    return found


@pytest.fixture
def db(paths: ProfilePaths) -> Iterator[Database]:
    made = Database.open(paths.database)
    made.write_now(session.set_session, ME, "http://127.0.0.1:9", "secret-token", NOW)
    yield made
    made.close()


def _engine(paths: ProfilePaths, db: Database, wire: Wire, role: Role = Role.APP) -> Engine:
    http: Any = wire
    return Engine(paths, db, sessions_api.current(db), role, http=http)


async def _until(look: Any) -> None:
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.01)


def _state(db: Database, role: Role = Role.APP) -> str | None:
    said = db.read_now(session.program, role)
    return said.state if said else None


@in_loop
async def test_a_hard_sign_out_ends_it_and_is_kept_for_both_programs(
    paths: ProfilePaths, db: Database
) -> None:
    wire = Wire(SignedOut(soft=False))
    with pytest.raises(SignedOut) as ended:
        await asyncio.wait_for(_engine(paths, db, wire).run(), 30)
    assert not ended.value.soft
    kept = sessions_api.load(db)
    assert kept is not None
    assert (kept.state, kept.access_token) == ("signed_out", None)
    assert _state(db) == "signed_out"
    assert wire.closed


@in_loop
async def test_a_soft_sign_out_is_told_as_such(paths: ProfilePaths, db: Database) -> None:
    with pytest.raises(SignedOut) as ended:
        await asyncio.wait_for(_engine(paths, db, Wire(SignedOut(soft=True))).run(), 30)
    assert ended.value.soft
    kept = sessions_api.load(db)
    assert kept is not None
    assert kept.state == "soft_logged_out"


@in_loop
async def test_an_old_tokens_refusal_does_not_sign_out_a_renewed_session(
    paths: ProfilePaths, db: Database
) -> None:
    engine = _engine(paths, db, Wire(SignedOut(soft=True)))
    db.write_now(session.set_session, ME, "http://127.0.0.1:9", "renewed-token", NOW)
    with pytest.raises(SignedOut):
        await asyncio.wait_for(engine.run(), 30)
    assert sessions_api.current(db).access_token == "renewed-token"


@in_loop
async def test_being_offline_is_survived_and_said(paths: ProfilePaths, db: Database) -> None:
    engine = _engine(paths, db, Wire(Offline("cannot connect")))
    running = asyncio.ensure_future(engine.run())
    await _until(lambda: _state(db) == "offline")
    assert engine.status.detail == Offline.title
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _state(db) == "stopped"


class Patient(Worker):
    """Has nothing to do for an hour."""

    name = "patient"
    wants = frozenset()

    def __init__(self) -> None:
        super().__init__(random.Random(1))
        self.steps = 0

    async def step(self) -> float | None:
        self.steps += 1
        return 3600.0


class Recovering(Wire):
    """Fails the first sync request, and answers the second."""

    async def request(self, method: str, path: str, body: Json | None = None, **_: Any) -> Json:
        if path == SYNC_PATH and SYNC_PATH not in self.asked:
            self.asked.append(path)
            raise Offline("away")
        if path == SYNC_PATH and self.asked.count(SYNC_PATH) == 1:
            self.asked.append(path)
            return {"pos": "1"}
        return await super().request(method, path, body)


@in_loop
async def test_once_the_server_answers_again_nobody_waits_any_longer(
    paths: ProfilePaths, db: Database
) -> None:
    wire, worker = Recovering(), Patient()
    engine = _engine(paths, db, wire)
    engine._workers.append(worker)
    running = asyncio.ensure_future(engine.run())
    await _until(lambda: engine.status.state is session.ProgramState.SYNCING)
    await _until(lambda: worker.steps == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@in_loop
async def test_it_stops_cleanly_while_everything_waits(paths: ProfilePaths, db: Database) -> None:
    wire = Wire()
    running = asyncio.ensure_future(_engine(paths, db, wire).run())
    await _until(lambda: wire.asked)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    assert wire.closed
    assert not paths.socket(Role.APP).exists()


@in_loop
async def test_whoever_loses_patience_with_its_goodbye_leaves_no_connection_open(
    paths: ProfilePaths, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(SignedOut(soft=True))
    engine = _engine(paths, db, wire)
    say, is_leaving = engine._say, asyncio.Event()

    async def slowly(status: Any) -> None:
        if status.state is session.ProgramState.SIGNED_OUT:
            is_leaving.set()
            await asyncio.Event().wait()
        await say(status)

    monkeypatch.setattr(engine, "_say", slowly)
    running = asyncio.ensure_future(engine.run())
    await is_leaving.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert wire.closed


@in_loop
async def test_signing_out_elsewhere_ends_it(paths: ProfilePaths, db: Database) -> None:
    wire = Wire()
    running = asyncio.ensure_future(_engine(paths, db, wire).run())
    await _until(lambda: paths.socket(Role.APP).exists())
    other = Database.open(paths.database)
    other.write_now(session.mark_signed_out, False)
    other.close()
    assert await asyncio.to_thread(ring_once, paths.socket(Role.APP), [Change(Topic.SESSION)])
    with pytest.raises(SignedOut):
        await asyncio.wait_for(running, 30)


class Postman:
    """Brings nothing until it is told to end."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.end: Exception | None = None

    def watch_room(self, *room_ids: RoomId) -> None:
        self.watched += room_ids

    async def run(self) -> None:
        while self.end is None:
            await asyncio.sleep(0.01)
        raise self.end


@in_loop
async def test_an_engine_with_another_feed_never_syncs_and_does_all_else(
    paths: ProfilePaths, db: Database
) -> None:
    postman, wire = Postman(), Wire()
    told: list[Any] = []

    def feed(on_state: Any) -> Postman:
        told.append(on_state)
        return postman

    http: Any = wire
    engine = Engine(paths, db, sessions_api.current(db), Role.NOTIFIER, http=http, feed=feed)
    engine.watch_room(RoomId("!open:x"))
    running = asyncio.ensure_future(engine.run())
    await _until(lambda: paths.socket(Role.NOTIFIER).exists())
    told[0](None)
    await _until(lambda: _state(db, Role.NOTIFIER) == "syncing")
    assert postman.watched == ["!open:x"]
    await _until(lambda: wire.asked)
    assert SYNC_PATH not in wire.asked
    postman.end = SignedOut(soft=False)
    with pytest.raises(SignedOut):
        await asyncio.wait_for(running, 30)


@in_loop
async def test_changes_of_both_programs_reach_the_listener(paths: ProfilePaths, db: Database) -> None:
    engine = _engine(paths, db, Wire())
    heard: set[Change] = set()
    engine.listen(heard.update)
    running = asyncio.ensure_future(engine.run())
    await _until(lambda: paths.socket(Role.APP).exists())
    theirs, ours = Change(Topic.TIMELINE, RoomId("!a:x")), Change(Topic.ROOMS, RoomId("!b:x"))
    await asyncio.to_thread(ring_once, paths.socket(Role.APP), [theirs])
    await db.write(lambda txn: txn.changed(ours.topic, ours.room_id))
    await _until(lambda: {theirs, ours} <= heard)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@in_loop
async def test_messages_that_are_no_ring_are_passed_on(paths: ProfilePaths, db: Database) -> None:
    heard: list[Json] = []
    http: Any = Wire()
    engine = Engine(paths, db, sessions_api.current(db), Role.APP, http=http, on_message=heard.append)
    running = asyncio.ensure_future(engine.run())
    await _until(lambda: paths.socket(Role.APP).exists())
    await asyncio.to_thread(ring_once, paths.socket(Role.APP), {"kind": "open", "uri": "matrix:r/x:y"})
    await _until(lambda: heard)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert heard[0]["uri"] == "matrix:r/x:y"


def test_a_role_is_taken_once_and_given_back(paths: ProfilePaths) -> None:
    assert not is_running(paths, Role.APP)
    with take_role(paths, Role.APP):
        assert is_running(paths, Role.APP)
        assert not is_running(paths, Role.NOTIFIER)
        with pytest.raises(AlreadyRuns):
            take_role(paths, Role.APP)
    assert not is_running(paths, Role.APP)


def _hold(folder: str, told: Any) -> None:
    import os

    os.environ["TANDEM_HOME"] = folder
    take_role(profile_paths(), Role.NOTIFIER)
    told.send("taken")
    told.recv()


def test_a_killed_programs_role_is_free_at_once(paths: ProfilePaths, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    other = spawn.Process(target=_hold, args=(str(tmp_path / "home"), theirs))
    other.start()
    assert ours.poll(60)
    assert ours.recv() == "taken"
    assert is_running(paths, Role.NOTIFIER)
    other.kill()
    other.join(60)
    take_role(paths, Role.NOTIFIER).close()


@in_loop
async def test_network_work_of_a_kind_has_one_owner_at_a_time(paths: ProfilePaths) -> None:
    inside: list[int] = []
    most: list[int] = []

    async def work(number: int) -> None:
        async with netlock(paths, "keys"):
            inside.append(number)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(work(number))
    assert most == [1] * 8


@in_loop
async def test_waiting_for_a_lock_can_be_cancelled(paths: ProfilePaths) -> None:
    async with netlock(paths, "keys"):
        waiting = asyncio.ensure_future(_enter(paths))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.wait_for(_enter(paths), 30)


async def _enter(paths: ProfilePaths) -> None:
    async with netlock(paths, "keys"):
        pass
