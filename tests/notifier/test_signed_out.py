"""The notifier when its session ends: softly, it waits and goes on; for good, it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session
from tandem_core.errors import NotSignedIn, SignedOut
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store import session as rows
from tandem_core.store.database import Database
from tandem_core.types import Role
from tandem_notifier import daemon
from tests.support.aio import in_loop
from tests.support.fake_homeserver import FakeHomeserver

EXPIRED = "Your session has expired. Sign in again; your messages and keys are kept."
ALICE, PASSWORD = "@alice:fake.test", "correct horse"


@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as made:
        made.register("alice", PASSWORD)
        yield made


@pytest.fixture
def paths(tandem_home: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_POPUP_LOG", str(tandem_home / "popups.jsonl"))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:")
    monkeypatch.setattr(daemon, "_LOOK_S", 0.05)
    return profile_paths()


async def _sign_in(server: FakeHomeserver, paths: ProfilePaths) -> str:
    me = await session.login(server.base_url, "alice", PASSWORD, device_name="T", paths=paths)
    return me.device_id


async def _until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _notifier(server: FakeHomeserver, paths: ProfilePaths) -> Any:
    """A running notifier: its task, its store, and what it has said."""
    await _sign_in(server, paths)
    said: list[str] = []
    db = Database.open(paths.database)
    task = asyncio.ensure_future(daemon._live(paths, db, session.current(db), said.append))
    try:
        await _until(lambda: _state(db) is rows.ProgramState.SYNCING)
        yield task, db, said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        db.close()


def _state(db: Database) -> rows.ProgramState | None:
    known = db.read_now(rows.program, Role.NOTIFIER)
    return known.state if known else None


def _end(server: FakeHomeserver, *, soft: bool) -> None:
    server.expire(ALICE, soft=soft)
    # Ends the poll under way; the next request is refused.
    server.put_to_device(ALICE, {"type": "im.last", "sender": "@bob:fake.test", "content": {}})


@in_loop
async def test_it_waits_after_a_soft_sign_out_and_goes_on_with_the_same_device(
    server: FakeHomeserver, paths: ProfilePaths
) -> None:
    async with _notifier(server, paths) as (task, db, said):
        device_id = session.current(db).me.device_id
        _end(server, soft=True)
        await _until(lambda: EXPIRED in said)
        assert _state(db) is rows.ProgramState.SIGNED_OUT
        assert await _sign_in(server, paths) == device_id
        await _until(lambda: _state(db) is rows.ProgramState.SYNCING)
        assert not task.done()


@in_loop
async def test_it_ends_when_the_device_was_removed(server: FakeHomeserver, paths: ProfilePaths) -> None:
    async with _notifier(server, paths) as (task, _, _):
        _end(server, soft=False)
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(task, 30)
        assert ended.group_contains(SignedOut)


@in_loop
async def test_it_ends_when_what_it_waits_for_is_given_up(
    server: FakeHomeserver, paths: ProfilePaths
) -> None:
    async with _notifier(server, paths) as (task, _, said):
        _end(server, soft=True)
        await _until(lambda: EXPIRED in said)
        await session.logout(paths, force=True)
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(task, 30)
        assert ended.group_contains((SignedOut, NotSignedIn))
        assert not paths.database.exists()


def test_it_finishes_a_sign_out_that_was_cut_off_and_does_not_start(
    server: FakeHomeserver, paths: ProfilePaths
) -> None:
    asyncio.run(_sign_in(server, paths))
    paths.leaving.write_text("told")
    with pytest.raises(NotSignedIn):
        daemon.run(paths, lambda _: None)
    assert not paths.database.exists()
    assert not paths.leaving.exists()
