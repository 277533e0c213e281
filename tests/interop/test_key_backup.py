"""The key backup on a real Synapse: what either program stored, a new device has again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_core.crypto import backup, secrets
from tandem_core.crypto.state import CryptoState
from tandem_core.paths import ProfilePaths
from tandem_core.store import rooms
from tandem_core.store.backup import Standing
from tandem_core.types import RoomId
from tandem_core.vault import pickle_key
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.interop.people import NOTIFIER, Tandem, paths_in, running, sign_in, until
from tests.support.aio import in_loop

pytestmark = pytest.mark.synapse


@pytest.fixture(autouse=True)
def key_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_VAULT", "file")


def _sessions(program: Tandem) -> set[str]:
    return {row[0] for row in program.conn.execute("SELECT session_id FROM megolm_inbound")}


async def _new_key(writer: Tandem) -> None:
    """The next message has a session of its own."""
    await writer.engine.db.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1"))


async def _tools(program: Tandem) -> tuple[backup.Backup, CryptoState]:
    engine = program.engine
    key, _ = await asyncio.to_thread(pickle_key, engine.paths)
    state = CryptoState(engine.db, engine.me, key)
    return backup.Backup(engine.paths, engine.db, engine.http, state, clock=engine.clock), state


async def _backed_up(program: Tandem, least: int) -> backup.Status:
    """Wait until everything is in the backup."""

    def look() -> backup.Status | None:
        found = backup.status(program.conn)
        return found if found.waiting == 0 and found.on_server >= least else None

    found = await until(look, lambda: backup.status(program.conn))
    assert isinstance(found, backup.Status)
    return found


async def _talk(alice: ProfilePaths, bob: ProfilePaths) -> tuple[str, list[str], set[str], str]:
    """Bob writes while only Alice's window runs, while only her notifier runs, and while both do; she writes, too.

    Returns the room, what was said, her sessions, and the private key of her backup.
    """
    said = ["to the window", "to the notifier", "to both", "from the window"]
    async with running(bob) as writer:
        async with running(alice) as window:
            room_id = await writer.create_encrypted(window.me.user_id)
            await window.accept(room_id)
            tools, state = await _tools(window)
            await tools.create()
            await writer.say(room_id, said[0])
            await until(lambda: window.bodies(room_id) == said[:1], lambda: window.sealed(room_id))
        await _new_key(writer)
        async with running(alice, NOTIFIER) as notifier:
            await writer.say(room_id, said[1])
            await until(lambda: said[1] in notifier.bodies(room_id), lambda: notifier.sealed(room_id))
            await _backed_up(notifier, 2)  # the notifier alone has brought it there
        async with running(alice) as window, running(alice, NOTIFIER):
            await _new_key(writer)
            await writer.say(room_id, said[2])
            await until(lambda: window.bodies(room_id) == said[:3], lambda: window.sealed(room_id))
            await window.say(room_id, said[3])
            found = await _backed_up(window, 4)
            assert (found.standing, found.on_server) == (Standing.TRUSTED, 4)
            secret = await window.engine.db.read(secrets.read, state, secrets.BACKUP)
            return room_id, said, _sessions(window), str(secret)


@in_loop
async def test_a_new_device_restores_every_key_whichever_program_stored_it(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    login = new_user(synapse, "alice")
    alice, bob = paths_in(tmp_path / "alice"), paths_in(tmp_path / "bob")
    await sign_in(synapse, alice, login=login)
    await sign_in(synapse, bob, "bob")
    room_id, said, sessions, secret = await _talk(alice, bob)
    second = paths_in(tmp_path / "second")
    await sign_in(synapse, second, login=login)
    async with running(second) as laptop:
        await until(lambda: rooms.room(laptop.conn, laptop.role, RoomId(room_id)))
        while await laptop.engine.history.back(RoomId(room_id)):
            pass
        await until(lambda: laptop.sealed(room_id) == ["no_key"] * len(said), lambda: laptop.sealed(room_id))
        tools, _ = await _tools(laptop)
        assert (await tools.look()).standing is Standing.UNTRUSTED
        assert await tools.adopt(secret)
        await until(lambda: laptop.bodies(room_id) == said, lambda: laptop.sealed(room_id))
        await until(lambda: (job := backup.status(laptop.conn).restore) and job.state == "done")
        assert _sessions(laptop) == sessions
        sources = laptop.conn.execute("SELECT DISTINCT source FROM megolm_inbound").fetchall()
        assert [source for (source,) in sources] == ["backup"]
        await _backed_up(laptop, 4)


def _tandemctl(home: Path, *words: str, say: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tandemctl")), *words],
        env={**os.environ, "TANDEM_HOME": str(home), "TANDEM_VAULT": "file"},
        input=say,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _value(home: Path, *words: str, say: str = "") -> Any:
    status, out, err = _tandemctl(home, *words, "--json", say=say)
    assert status == 0, err
    return json.loads(out)


@pytest.mark.complete
def test_the_backup_from_the_command_line_alone(synapse: SynapseServer, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for home in (first, second):
        home.mkdir(mode=0o700)
    name, password = new_user(synapse, "alice")
    login = ("login", "--homeserver", synapse.base_url, "--user", name, "--password-file", "-")
    _value(first, *login, say=password + "\n")
    assert _value(first, "backup")["standing"] == "none"
    room = _value(first, "create")["room_id"]
    _value(first, "send", room, "kept")
    made = _value(first, "backup", "create")
    assert (made["standing"], made["waiting"], made["on_server"]) == ("trusted", 0, 1)
    key = _value(first, "recovery", "set-up")["recovery_key"]

    _value(second, *login, say=password + "\n")
    status, _, err = _tandemctl(second, "backup", "restore")
    assert status == 1
    assert "does not have the key" in err
    status, out, err = _tandemctl(second, "backup", "restore", "--key-file", "-", say=key + "\n")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "Restored: 1 key, 1 new."
    bodies = [row["body"] for row in _value(second, "messages", room) if row["kind"] == "text"]
    assert bodies == ["kept"]

    status, _, err = _tandemctl(first, "backup", "delete")
    assert status == 2
    assert _value(first, "backup", "delete", "--yes")["standing"] == "none"
    assert _value(second, "backup")["standing"] == "none"
