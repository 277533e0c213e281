"""Signing out leaves nothing of the account on the machine, wherever it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session, sign_out, vault
from tandem_core.ctl.main import main
from tandem_core.errors import DiskFull, NotSignedIn, Offline, SignedOut
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import take_role
from tandem_core.store import session as rows
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Role
from tests.core.crypto.test_vault import install_keyring
from tests.core.sync.test_http import serving
from tests.core.sync_world import StillClock
from tests.core.token_server import TokenServer
from tests.support.aio import in_loop

WORD = "parsnip-9f27"
"""Planted wherever words of people, or keys, are kept."""


class Crash(BaseException):
    """The program dies here."""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TANDEM_VAULT", "file")
    return profile_paths()


@contextlib.asynccontextmanager
async def _signed_in(paths: ProfilePaths) -> AsyncIterator[TokenServer]:
    server = TokenServer(StillClock().now_ms)
    async with serving(server) as url:
        await session.login(url, "alice", "right", device_name="T", paths=paths, clock=StillClock())
        vault.pickle_key(paths)
        _plant(paths)
        yield server


def _plant(paths: ProfilePaths) -> None:
    def fill(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal, kind, body)"
            " VALUES ('$e', '!r:x', '@b:x', 'm.room.message', 1, 1, ?, 'plain', 'text', ?)",
            (WORD, WORD),
        )
        txn.execute("INSERT INTO draft VALUES ('!r:x', ?, 1)", (WORD,))
        txn.execute("INSERT INTO secret VALUES ('m.x', ?, 1)", (WORD.encode(),))

    with contextlib.closing(Database.open(paths.database)) as db:
        db.write_now(fill)
    for folder in (paths.data / "folder", paths.media):
        folder.mkdir(parents=True)
        (folder / "picture").write_text(WORD)
    (paths.data / "tandem.db.copy").write_text(WORD)
    paths.socket(Role.NOTIFIER).touch()
    assert _found(paths)


def _found(paths: ProfilePaths) -> list[Path]:
    """Files with the planted word."""
    home = paths.data.parents[1]
    return [file for file in home.rglob("*") if file.is_file() and WORD.encode() in file.read_bytes()]


def _left(paths: ProfilePaths) -> set[str]:
    return {file.name for file in paths.data.iterdir() if file.suffix != ".lock"}


async def _log_out(paths: ProfilePaths, **more: Any) -> None:
    await session.logout(paths, clock=StillClock(), **more)


@in_loop
async def test_nothing_of_the_account_is_left(paths: ProfilePaths) -> None:
    async with _signed_in(paths) as server:
        await _log_out(paths)
    assert server.chain == []
    assert _found(paths) == []
    assert _left(paths) == set()
    assert not paths.socket(Role.NOTIFIER).exists()


@in_loop
async def test_the_socket_of_a_program_that_runs_is_its_own_to_remove(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_out, "_ENDING_S", 0.1)
    async with _signed_in(paths):
        with take_role(paths, Role.NOTIFIER):
            await _log_out(paths)
    assert _left(paths) == set()
    assert paths.socket(Role.NOTIFIER).exists()


@pytest.mark.parametrize(
    "where",
    [
        "tandem_core.sign_out._leave",
        "tandem_core.store.session.leave",
        "tandem_core.sign_out._notifier_has_ended",
        "tandem_core.vault.forget",
        "shutil.rmtree",
        "tandem_core.role.is_running",
    ],
)
def test_a_sign_out_that_was_cut_off_is_finished_at_the_next_start(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    @in_loop
    async def go() -> None:
        async with _signed_in(paths) as server:

            def die(*_: Any, **__: Any) -> None:
                raise Crash

            with monkeypatch.context() as patched:
                patched.setattr("tandem_core.sign_out.is_running" if "is_running" in where else where, die)
                with pytest.raises(Crash):
                    await _log_out(paths)
            assert paths.leaving.exists()
            await session.finish_logout(paths, clock=StillClock())
            assert server.chain == [], "the server knows"
            assert _found(paths) == []
            assert _left(paths) == set()
            await session.finish_logout(paths)  # there is nothing more to do

    go()


@in_loop
async def test_a_command_finishes_a_sign_out_that_was_cut_off_before_it_looks(
    paths: ProfilePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    async with _signed_in(paths):
        paths.leaving.write_text("told")
        assert await asyncio.to_thread(main, ["messages", "!r:x"]) == 1
    assert "Nobody is signed in" in capsys.readouterr().err
    assert _found(paths) == []


@in_loop
async def test_a_sign_out_that_was_cut_off_before_the_server_knew_waits_for_the_person_while_offline(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _signed_in(paths):

        def die(*_: Any, **__: Any) -> None:
            raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(sign_out, "_forget_at_server", die)
            with pytest.raises(Crash):
                await _log_out(paths)
    await session.finish_logout(paths, clock=StillClock())
    assert _found(paths)
    assert not paths.leaving.exists()
    with contextlib.closing(Database.open(paths.database)) as db:
        assert session.current(db).access_token == "access1"


@in_loop
async def test_offline_nothing_is_lost_unless_forced(paths: ProfilePaths) -> None:
    async with _signed_in(paths):
        pass
    with pytest.raises(Offline):
        await _log_out(paths)
    assert _found(paths)
    assert not paths.leaving.exists()
    await _log_out(paths, force=True)
    assert _found(paths) == []
    assert _left(paths) == set()


@in_loop
async def test_an_expired_session_can_be_forgotten_and_programs_that_wait_hear_of_it(
    paths: ProfilePaths,
) -> None:
    async with _signed_in(paths):
        with contextlib.closing(Database.open(paths.database)) as waiting:
            waiting.write_now(rows.mark_signed_out, True)
            await _log_out(paths)
            ended = waiting.read_now(rows.session)
    assert ended is not None
    assert ended.state is rows.SessionState.SIGNED_OUT
    assert _left(paths) == set()


@in_loop
async def test_a_sign_in_first_finishes_what_the_sign_out_left(paths: ProfilePaths) -> None:
    async with _signed_in(paths) as server:
        paths.leaving.write_text("told")
        await session.login(
            _address(paths), "alice", "right", device_name="T", paths=paths, clock=StillClock()
        )
        assert len(server.signed_in) == 2
        assert _found(paths) == []
        with contextlib.closing(Database.open(paths.database)) as db:
            assert session.current(db).me.device_id == "ONE"


def _address(paths: ProfilePaths) -> str:
    with contextlib.closing(Database.open(paths.database)) as db:
        known = db.read_now(rows.session)
        assert known is not None
        return known.homeserver


@in_loop
async def test_a_full_disk_keeps_nobody_from_leaving(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def full_store(*_: Any) -> None:
        raise DiskFull

    async with _signed_in(paths) as server:
        monkeypatch.setattr("os.fsync", full)
        monkeypatch.setattr(rows, "leave", full_store)
        await _log_out(paths)
    assert server.chain == []
    assert _left(paths) == set()
    assert "No space left" in caplog.text


@in_loop
async def test_whoever_is_not_signed_in_cannot_sign_out(paths: ProfilePaths) -> None:
    paths.make()
    Database.open(paths.database).close()
    with pytest.raises(NotSignedIn):
        await _log_out(paths)
    assert not paths.leaving.exists()


@in_loop
async def test_the_keyring_gives_the_key_up(
    paths: ProfilePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "keyring.json"
    install_keyring(tmp_path, monkeypatch, kept)
    async with _signed_in(paths):
        assert kept.exists()
        await _log_out(paths)
    assert not kept.exists()
    assert _left(paths) == set()


@in_loop
async def test_a_key_that_a_locked_keyring_keeps_is_never_used_again(
    paths: ProfilePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "keyring.json"
    install_keyring(tmp_path, monkeypatch, kept)
    async with _signed_in(paths):
        old, _ = vault.pickle_key(paths)
        install_keyring(tmp_path, monkeypatch, kept, before_delete="raise SystemError")
        await _log_out(paths)
    assert kept.exists()
    install_keyring(tmp_path, monkeypatch, kept)
    new, where = vault.pickle_key(paths)
    assert where == "keyring"
    assert new != old


def test_a_new_device_forgets_what_was_the_old_ones(paths: ProfilePaths) -> None:
    paths.make()
    with contextlib.closing(Database.open(paths.database)) as db:

        def tables(conn: Any) -> set[str]:
            names = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            return {row[0] for row in names if not row[0].startswith("sqlite_")}

        def fill(txn: Transaction) -> None:
            for table in tables(txn.conn):
                columns = txn.all(f"PRAGMA table_info({table})")
                values = [1 if "INT" in column["type"] else "x" for column in columns]
                txn.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)

        def left(conn: Any) -> set[str]:
            return {name for name in tables(conn) if conn.execute(f"SELECT 1 FROM {name}").fetchone()}

        db.write_now(fill)
        before = db.read_now(left)
        db.write_now(rows.become_new_device)
        gone = before - db.read_now(left)
    # The messages, the keys that open them, and what people chose.
    assert not gone & {"event", "timeline", "room", "megolm_inbound", "megolm_replay", "setting", "draft"}
    assert gone >= {
        "crypto_account",
        "olm_session",
        "megolm_outbound",
        "secret",
        "to_device_out",
        "key_upload",
    }


@in_loop
async def test_a_session_that_ended_softly_is_not_taken_for_a_device_that_was_removed(
    paths: ProfilePaths,
) -> None:
    async with _signed_in(paths):
        with contextlib.closing(Database.open(paths.database)) as db:
            db.write_now(rows.mark_signed_out, True)
            with pytest.raises(SignedOut) as ended:
                session.current(db)
            assert ended.value.soft
            kept = db.read_now(rows.session)
            assert kept is not None
            assert (kept.access_token, kept.refresh_token) == (None, None)
        await session.login(
            _address(paths), "alice", "right", device_name="T", paths=paths, clock=StillClock()
        )
        assert _found(paths)
