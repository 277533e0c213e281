"""Sessions on a real Synapse whose access tokens live for seconds: expiries, a soft sign-out, other devices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core import own_devices, settings
from tandem_core import session as sessions_api
from tandem_core.engine import Engine
from tandem_core.errors import Cancelled, SignedOut
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths, paths_below
from tandem_core.store import crypto, identities, session
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Role
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.interop.people import APP, NOTIFIER, Tandem, running, sign_in, until
from tests.support.aio import in_loop

pytestmark = pytest.mark.synapse

LIFE = "3s"
EXPIRIES = 3


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """A Synapse whose access tokens run out after seconds, where they can be renewed."""
    extra = {"refreshable_access_token_lifetime": LIFE}
    with SynapseServer.create(tmp_path_factory.mktemp("hasty"), extra=extra).running() as server:
        yield server


class Wire:
    """What all programs of this process asked: the answers to refreshes, and how often a token was refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refreshes: list[int] = []
        self.refused = 0
        exchange: Any = Http._exchange

        async def watched(http: Http, method: str, path: str, *rest: Any) -> Any:
            reply = await exchange(http, method, path, *rest)
            if path.endswith("/refresh"):
                self.refreshes.append(reply[0])
            elif reply[0] == 401:
                self.refused += 1
            return reply

        monkeypatch.setattr(Http, "_exchange", watched)


def _own_bodies(program: Tandem, room_id: str) -> list[str]:
    """What this connection itself was told, nothing borrowed."""
    rows = program.conn.execute(
        "SELECT e.body FROM timeline t JOIN event e USING (event_id)"
        " WHERE t.conn = ? AND t.room_id = ? AND e.kind = 'text' ORDER BY t.ord",
        (program.role, room_id),
    )
    return [body for (body,) in rows]


def _session(program: Tandem) -> session.Session:
    found = session.session(program.conn)
    assert found is not None
    return found


@in_loop
async def test_both_programs_go_on_over_expiries_and_nothing_is_lost(
    hasty: SynapseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch)
    paths = paths_below(tmp_path)
    me = await sign_in(hasty, paths)
    bob = RawClient(hasty.base_url).login(*new_user(hasty, "bob"))
    async with running(paths) as app, running(paths, NOTIFIER) as notifier:
        room_id = bob.create_room(invite=[me.user_id], preset="private_chat")
        await app.accept(room_id)
        tokens = {_session(app).access_token}
        said: list[str] = []
        while len(tokens) <= EXPIRIES:
            said.append(f"message {len(said)}")
            if len(said) % 4:
                await asyncio.to_thread(bob.say, room_id, said[-1])
            else:
                await app.say(room_id, said[-1])
            tokens.add(_session(app).access_token)
            await asyncio.sleep(0.2)
        for program in (app, notifier):
            await until(lambda program=program: _own_bodies(program, room_id) == said)
        assert _session(app).state is session.SessionState.SIGNED_IN
        assert set(wire.refreshes) == {200}
        assert len(wire.refreshes) in (len(tokens) - 1, len(tokens)), "no token was asked for twice"


def test_processes_share_one_session_over_expiries(hasty: SynapseServer, tmp_path: Path) -> None:
    localpart, password = new_user(hasty, "alice")
    bob = RawClient(hasty.base_url).login(*new_user(hasty, "bob"))
    alice = Device("alice", tmp_path / "home", headless=True)
    words = ["login", "--homeserver", hasty.base_url, "--user", localpart, "--password-file", "-"]
    try:
        user_id = alice.ctl(*words, password=password)["user_id"]
        alice.start_notifier()
        room_id = bob.create_room(invite=[user_id], preset="private_chat")
        wait_for("the invitation", lambda: alice.ask("SELECT 1 FROM room WHERE room_id = ?", (room_id,)))
        alice.ctl("accept", room_id)
        tokens, said = set(), []
        while len(tokens) < EXPIRIES:
            said.append(f"message {len(said)}")
            bob.say(room_id, said[-1])
            alice.ctl("devices")  # a request of a third program's own
            tokens |= {row[0] for row in alice.ask("SELECT access_token FROM session")}
            time.sleep(0.1)
        alice.ctl("send", room_id, "all there")
        wait_for(
            "all messages",
            lambda: {row[0] for row in alice.ask("SELECT body FROM event")} >= {*said, "all there"},
        )
        assert alice.is_syncing("notifier")
        written = "".join(file.read_text("utf-8") for file in alice.paths.log.iterdir())
        assert "does not renew" not in written
        assert not [token for token in tokens if token in written]
    finally:
        alice.stop_all()


@in_loop
async def test_after_a_soft_sign_out_one_sign_in_brings_both_programs_back_with_keys_and_inbox(
    hasty: SynapseServer, tmp_path: Path
) -> None:
    login = new_user(hasty, "alice")
    paths, far = paths_below(tmp_path / "alice"), paths_below(tmp_path / "bob")
    me = await sign_in(hasty, paths, login=login)
    bob_me = await sign_in(hasty, far, "bob")
    async with running(far) as bob:
        async with running(paths) as app, running(paths, NOTIFIER):
            room_id = await app.create_encrypted(bob_me.user_id)
            await bob.accept(room_id)
            await app.say(room_id, "before")
            await until(lambda: "before" in bob.bodies(room_id))
            await until(lambda: any(session.connection(app.conn, role).since for role in Role))
            identity = crypto.identity(app.conn)
            # As after a refresh token's own end: nothing renews the session any more.
            await app.engine.db.write(_forget_refresh_token)
            await until(lambda: _session(app).state is session.SessionState.SOFT_LOGGED_OUT)
            places = [session.connection(app.conn, role).since for role in Role]
        assert any(places)
        await bob.say(room_id, "while away")
        again = await sign_in(hasty, paths, login=login)
        assert again == me
        with contextlib.closing(Database.open(paths.database)) as db:
            assert [db.read_now(session.connection, role).since for role in Role] == places
        async with running(paths) as app, running(paths, NOTIFIER) as notifier:
            for program in (app, notifier):
                await until(lambda program=program: "while away" in program.bodies(room_id))
                assert program.sealed(room_id) == []
            await app.say(room_id, "after")
            await until(lambda: bob.bodies(room_id)[-1] == "after")
            assert crypto.identity(app.conn) == identity
            await until(lambda: bob.devices_of(me.user_id) == [me.device_id])


@in_loop
async def test_other_devices_are_renamed_and_signed_out_with_the_password(
    hasty: SynapseServer, tmp_path: Path
) -> None:
    login = new_user(hasty, "alice")
    here, there = paths_below(tmp_path / "here"), paths_below(tmp_path / "there")
    me = await sign_in(hasty, here, login=login)
    other = await sign_in(hasty, there, login=login)
    third = RawClient(hasty.base_url).login(*login)
    async with running(here) as alice:
        http, db = alice.engine.http, alice.engine.db
        # Two first devices at the same moment would both give the account an identity.
        await until(lambda: identities.identity(alice.conn, me.user_id))
        await db.write(_write_to_all_devices)
        async with _ending(there) as ended:
            room_id = await alice.create_encrypted()
            await until(lambda: set(alice.devices_of(me.user_id)) >= {me.device_id, other.device_id})
            await alice.say(room_id, "for both")
            sessions = alice.conn.execute("SELECT session_id FROM megolm_outbound").fetchall()
            listed = await own_devices.fetch(http, db, me)
            assert {one.device_id for one in listed} == {me.device_id, other.device_id, third.device_id}
            assert listed[0].is_this
            await own_devices.rename(http, db, me, DeviceId(third.device_id), "Script")
            listed = await own_devices.fetch(http, db, me)
            assert {one.device_id: one.name for one in listed}[DeviceId(third.device_id)] == "Script"
            with pytest.raises(Cancelled):
                await own_devices.sign_out(http, db, me, [other.device_id], Person("wrong", None))
            assert len(await own_devices.fetch(http, db, me)) == 3
            await own_devices.sign_out(http, db, me, [other.device_id], Person("wrong", login[1]))
            error = await asyncio.wait_for(ended, 60)
        assert isinstance(error, SignedOut)
        assert not error.soft
        assert other.device_id not in alice.devices_of(me.user_id)
        await alice.say(room_id, "for me")
        now = alice.conn.execute("SELECT session_id FROM megolm_outbound").fetchall()
        assert now[0][0] != sessions[0][0], "a device that is gone has no key of what comes"
        gone = await own_devices.sign_out_others(http, db, me, Person(login[1]))
        assert [one.name for one in gone] == ["Script"]
        assert third.request("GET", "/_matrix/client/v3/account/whoami")[0] == 401
        assert [one.device_id for one in await own_devices.fetch(http, db, me)] == [me.device_id]
    with contextlib.closing(Database.open(there.database)) as kept, pytest.raises(SignedOut):
        sessions_api.current(kept)


class Person:
    """Gives these passwords, one after the other."""

    def __init__(self, *passwords: str | None) -> None:
        self._passwords = list(passwords)

    async def password(self, *, was_wrong: bool) -> str | None:
        return self._passwords.pop(0)

    async def in_browser(self, url: str) -> bool:
        raise AssertionError(url)


@contextlib.asynccontextmanager
async def _ending(paths: ProfilePaths) -> Any:
    """A program that is expected to end by itself; gives the task that tells how."""
    db = Database.open(paths.database)
    engine = Engine(paths, db, sessions_api.current(db), APP)

    async def life() -> BaseException | None:
        try:
            await engine.run()
        except SignedOut as error:
            return error
        return None

    task = asyncio.ensure_future(life())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        db.close()


def _write_to_all_devices(txn: Any) -> None:
    settings.set_value(txn, "encryption.exclude_unsigned", False, now_ms=1)


def _forget_refresh_token(txn: Any) -> None:
    txn.execute("UPDATE session SET refresh_token = NULL")
