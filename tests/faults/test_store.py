"""A killed notifier, a second one, a locked, damaged, newer or full store: nothing is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from collections import Counter

from tandem_core.store.turnstile import Turnstile
from tests.faults.conftest import PROGRAM, Alice, until
from tests.support.fake_homeserver import SYNC, FakeHomeserver


def test_a_notifier_killed_before_it_kept_a_batch_gets_it_again(alice: Alice, server: FakeHomeserver) -> None:
    alice.start()
    gate = server.hold(SYNC)
    alice.poke("im.first")
    # This ended the poll under way, and the next one is held; or none was under way, and this one is.
    until(lambda: alice.inbox() == ["im.first"] or gate.reached.is_set())
    before = alice.inbox()
    alice.poke("im.one", "im.two")
    assert gate.reached.wait(40)
    alice.kill()
    gate.open()
    assert alice.inbox() == before
    alice.start()
    until(lambda: list(dict.fromkeys(alice.inbox())) == ["im.first", "im.one", "im.two"])
    until(lambda: server.queued(alice.user_id) == [])


def test_kills_at_any_moment_lose_no_to_device_event(alice: Alice, server: FakeHomeserver) -> None:
    sent: list[str] = []
    for attempt in range(4):
        alice.start()
        for _ in range(20):
            sent.append(f"im.n{len(sent)}")
            alice.poke(sent[-1])
        until(lambda sent=sent, attempt=attempt: len(set(alice.inbox())) > 20 * attempt)
        alice.kill()
        assert alice.acknowledged() <= alice.since()
    alice.start()
    until(lambda: set(alice.inbox()) == set(sent))
    first_seen = list(dict.fromkeys(alice.inbox()))
    assert first_seen == sent
    assert max(Counter(alice.inbox()).values()) <= 5


def test_a_broken_connection_after_the_server_has_worked_loses_nothing(
    alice: Alice, server: FakeHomeserver
) -> None:
    alice.start()
    server.drop_after_processing(SYNC, times=2)
    alice.poke("im.one")
    until(lambda: alice.inbox() == ["im.one"])


def test_a_second_notifier_says_so_and_leaves_the_first_alone(alice: Alice) -> None:
    alice.start()
    second = subprocess.run([PROGRAM, "run"], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("tandem-notifier: Tandem already runs for this account (notifier).")
    assert alice.is_syncing()


def test_a_locked_store_delays_and_loses_nothing(alice: Alice, server: FakeHomeserver) -> None:
    alice.start()
    holder = sqlite3.connect(alice.paths.database, isolation_level=None)
    turnstile = Turnstile(alice.paths.database.parent)
    with turnstile:
        holder.execute("BEGIN EXCLUSIVE")
        asked = len(server.seen(SYNC))
        alice.poke("im.one", "im.two")
        until(lambda: [one for one in server.seen(SYNC)[asked - 1 :] if one.status == 200])
        assert len(server.queued(alice.user_id)) == 2
        assert alice.inbox() == []
        holder.execute("ROLLBACK")
    turnstile.close()
    holder.close()
    until(lambda: alice.inbox() == ["im.one", "im.two"])
    until(lambda: server.queued(alice.user_id) == [])


def checkpointed(alice: Alice) -> None:
    """Everything into the one file, so that its bytes are the whole store."""
    conn = sqlite3.connect(alice.paths.database)
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


def test_a_damaged_store_is_refused_and_left_as_it_is(alice: Alice) -> None:
    checkpointed(alice)
    file = alice.paths.database
    damaged = b"\x07" * 4096 + file.read_bytes()[4096:]
    file.write_bytes(damaged)
    alice.start(wait=False)
    assert alice.ended() == 1
    assert alice.last_words() == (
        "tandem-notifier: The message store is damaged. "
        "It was left untouched. Restore a backup, or move it away and sign in again."
    )
    done = alice.ctl("rooms")
    assert done.returncode == 1
    assert done.stderr.startswith("tandemctl: The message store is damaged.")
    assert file.read_bytes() == damaged


def test_a_newer_store_is_refused_and_left_as_it_is(alice: Alice) -> None:
    conn = sqlite3.connect(alice.paths.database)
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    conn.execute(f"PRAGMA user_version={version + 1}")
    conn.close()
    checkpointed(alice)
    before = alice.paths.database.read_bytes()
    alice.start(wait=False)
    assert alice.ended() == 1
    assert alice.last_words().startswith("tandem-notifier: The message store was written by a newer Tandem (")
    assert alice.last_words().endswith("Update this program; the store was left untouched.")
    assert alice.ctl("rooms").stderr.startswith(
        "tandemctl: The message store was written by a newer Tandem ("
    )
    assert alice.paths.database.read_bytes() == before


def test_a_full_disk_acknowledges_nothing_unsaved_and_heals(alice: Alice, server: FakeHomeserver) -> None:
    alice.start()
    assert alice.child is not None
    wal = alice.paths.database.with_name(alice.paths.database.name + "-wal")
    until(lambda: len(server.seen(SYNC)) > 2)
    # No file may grow any more. Python ignores SIGXFSZ, so a write just fails.
    size = max(os.path.getsize(wal), os.path.getsize(alice.paths.database))
    resource.prlimit(alice.child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    kinds = [f"im.n{number}" for number in range(40)]
    for kind in kinds:
        event = {"type": kind, "sender": "@bob:fake.test", "content": {"filler": "x" * 50_000}}
        server.put_to_device(alice.user_id, event)
    until(lambda: len(server.queued(alice.user_id)) > 0 and _has_logged(alice, "disk"))
    assert alice.acknowledged() <= alice.since()
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(alice.child.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    until(lambda: list(dict.fromkeys(alice.inbox())) == kinds)
    until(lambda: server.queued(alice.user_id) == [])
    until(alice.is_syncing)


def _has_logged(alice: Alice, word: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return word in (alice.paths.log / "notifier.log").read_text("utf-8").casefold()
    return False
