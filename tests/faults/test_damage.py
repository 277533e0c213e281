"""A damaged store: told and kept, or opened with all that SQLite can still give; never a second identity."""

from __future__ import annotations

import base64
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tandem_core.store.codec import dumps
from tests.faults.conftest import Alice, until
from tests.support.fake_homeserver import FakeHomeserver

_DAMAGED = "The message store is damaged"


@pytest.fixture
def settled(alice: Alice, server: FakeHomeserver) -> Alice:
    """Alice's notifier was killed, with its keys on the server and its last commits in the log only."""
    alice.start()
    until(lambda: _uploaded(server))
    alice.poke(*(f"im.n{number}" for number in range(30)))
    until(lambda: server.queued(alice.user_id) == [])
    alice.kill()
    assert log_of(alice).stat().st_size > 0
    return alice


def log_of(alice: Alice) -> Path:
    return Path(f"{alice.paths.database}-wal")


def test_an_empty_file_is_damage_and_no_fresh_start(settled: Alice) -> None:
    database = settled.paths.database
    database.write_bytes(b"")
    log = log_of(settled).read_bytes()
    settled.start(wait=False)
    assert settled.ended() == 1
    assert settled.last_words() == (
        f"tandem-notifier: {_DAMAGED} (its file is empty)."
        " It was left untouched. Restore a backup, or move it away and sign in again."
    )
    assert settled.login().stderr.startswith(f"tandemctl: {_DAMAGED} (its file is empty).")
    assert (database.read_bytes(), log_of(settled).read_bytes()) == (b"", log)


def test_the_log_of_a_store_that_is_gone_is_put_aside_and_not_replayed(settled: Alice) -> None:
    device = settled.ask("SELECT device_id FROM session")
    settled.paths.database.rename(settled.paths.database.with_name("moved away"))
    log = log_of(settled).read_bytes()
    done = settled.login()
    assert done.returncode == 0, done.stderr
    assert Path(f"{log_of(settled)}.damaged-1").read_bytes() == log
    assert settled.ask("SELECT device_id FROM session") != device
    assert settled.inbox() == []
    settled.start()


def test_a_store_without_its_log_goes_on_with_what_it_has(settled: Alice, server: FakeHomeserver) -> None:
    identity = _identity(settled)
    log_of(settled).unlink()
    Path(f"{settled.paths.database}-shm").unlink()
    _assert_told_or_running(settled, server, identity)


@pytest.mark.parametrize("seed", range(2))
def test_a_log_that_was_cut_off_crashes_nothing(settled: Alice, server: FakeHomeserver, seed: int) -> None:
    identity = _identity(settled)
    log = log_of(settled)
    with log.open("r+b") as file:
        file.truncate(random.Random(seed).randrange(log.stat().st_size))
    _assert_told_or_running(settled, server, identity)


@pytest.mark.parametrize("table", ["sqlite_schema", "inbox", "crypto_account", "fact"])
def test_a_flipped_page_is_told_or_does_no_harm(settled: Alice, server: FakeHomeserver, table: str) -> None:
    identity = _identity(settled)
    page = _first_page(settled, table)
    chance = random.Random(table)
    with settled.paths.database.open("r+b") as file:
        # The header of a page of the tree, where there is no header of the file before it.
        file.seek((page - 1) * 4096 + (100 if page == 1 else 0))
        file.write(chance.randbytes(64))
    _assert_told_or_running(settled, server, identity)


def test_an_account_that_is_gone_is_damage_and_not_made_anew(settled: Alice, server: FakeHomeserver) -> None:
    identity = _identity(settled)
    conn = sqlite3.connect(settled.paths.database)
    conn.execute("DELETE FROM crypto_account")
    conn.commit()
    conn.close()
    settled.poke("m.room.encrypted")
    settled.start(wait=False)
    assert settled.ended() == 1
    assert settled.last_words().startswith(
        f"tandem-notifier: {_DAMAGED} (the encryption account is missing)."
    )
    assert _uploaded(server) == [identity]


def test_a_wrong_key_is_told_and_the_right_one_heals(settled: Alice, server: FakeHomeserver) -> None:
    identity = _identity(settled)
    right = settled.paths.vault_file.read_bytes()
    settled.paths.vault_file.write_bytes(base64.b64encode(b"w" * 32))
    conn = sqlite3.connect(settled.paths.database)
    conn.execute(
        "UPDATE crypto_account SET fallback_made_at = 1"
    )  # a new one is due, and the account is needed
    conn.commit()
    conn.close()
    settled.start(wait=False)
    assert settled.ended() == 1
    assert settled.last_words() == (
        f"tandem-notifier: {_DAMAGED} (the encryption account cannot be opened)."
        " The key in the keyring or in pickle.key does not belong to this store."
    )
    settled.paths.vault_file.write_bytes(right)
    _assert_told_or_running(settled, server, identity, may_end=False)


def _assert_told_or_running(
    alice: Alice, server: FakeHomeserver, identity: Any, *, may_end: bool = True
) -> None:
    """The notifier runs and gets what comes, or ended with a sentence; this device has one identity at the server."""
    alice.start(wait=False)
    child = alice.child
    assert child is not None
    alice.poke("im.after")
    until(lambda: child.poll() is not None or _goes_on(alice))
    if child.poll() is not None:
        assert may_end
        assert alice.ended() == 1
        assert alice.last_words().startswith(
            ("tandem-notifier: The message store", "tandem-notifier: Nobody")
        )
        assert alice.paths.database.exists()
    assert set(map(str, _uploaded(server))) <= {str(identity)}


def _goes_on(alice: Alice) -> bool:
    try:
        return "im.after" in alice.inbox()
    except sqlite3.Error:
        return False


def _identity(alice: Alice) -> Any:
    [(text,)] = alice.ask("SELECT identity FROM crypto_account")
    return text


def _first_page(alice: Alice, table: str) -> int:
    """The page that a table's tree begins with, once everything is in the one file."""
    conn = sqlite3.connect(alice.paths.database)
    try:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if table == "sqlite_schema":
            return 1
        return int(conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0])
    finally:
        conn.close()


def _uploaded(server: FakeHomeserver) -> list[Any]:
    """The device keys that the server was ever given, each once."""
    found: list[Any] = []
    for one in server.seen("/keys/upload"):
        keys = (one.body or {}).get("device_keys")
        if keys is not None:
            mine = {name.partition(":")[0]: key for name, key in keys["keys"].items()}
            text = dumps({kind: mine[kind] for kind in ("curve25519", "ed25519")})
            if text not in found:
                found.append(text)
    return found
