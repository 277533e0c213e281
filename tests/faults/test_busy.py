"""Somebody's sqlite3 shell in the store: long writers, and a reader that keeps the log from being reused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_core.engine import HELD, STUCK
from tandem_core.store.database import Transaction
from tandem_demo.device import wait_for
from tests.faults.duo import Duo

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_MIB = 1024 * 1024
_STORM = """
import sqlite3, sys, time
conn = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for _ in range(5):
    conn.execute("BEGIN IMMEDIATE")
    time.sleep(0.5)
    conn.execute("COMMIT")
    time.sleep(0.05)
"""
_HOLD = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
conn.execute(sys.argv[2])
conn.execute("SELECT count(*) FROM event").fetchall()
print("held", flush=True)
sys.stdin.readline()
conn.execute("ROLLBACK")
"""


@pytest.fixture(autouse=True)
def never_restarted(duo: Duo) -> Iterator[None]:
    before = duo.pids()
    yield
    duo.exchange()
    duo.assert_whole()
    assert duo.pids() == before


class Shell:
    """A process that is not Tandem, in a transaction in Alice's store until it is left."""

    def __init__(self, database: Path, begin: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(database), begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> None:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "held\n"

    def __exit__(self, *_: object) -> None:
        self._child.communicate("\n", timeout=30)


def test_a_storm_of_long_writers_delays_and_drops_nothing(duo: Duo) -> None:
    storm = subprocess.Popen([sys.executable, "-c", _STORM, str(duo.alice.paths.database)])
    try:
        while storm.poll() is None:
            duo.write("bob")
            duo.write("alice")
    finally:
        assert storm.wait(60) == 0
    duo.settle()


def test_a_writer_that_does_not_end_is_named_and_waited_for(duo: Duo) -> None:
    with Shell(duo.alice.paths.database, "BEGIN IMMEDIATE"):
        for _ in range(3):
            duo.write("bob")
        duo.await_words(HELD)
        wait_for("word of the notifier", lambda: duo.notifier_said(HELD) or duo.notifier_said(STUCK))
    wait_for("the end of it", lambda: not duo.window_says(HELD))


def test_a_log_that_a_long_reader_made_grow_shrinks_when_the_reader_is_gone(duo: Duo) -> None:
    log = Path(f"{duo.alice.paths.database}-wal")

    def fill(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO fact (key, value) VALUES ('test.ballast', printf('%.*c', ?, 'x'))", (24 * _MIB,)
        )

    def empty(txn: Transaction) -> None:
        txn.execute("DELETE FROM fact WHERE key = 'test.ballast'")

    with Shell(duo.alice.paths.database, "BEGIN"):
        duo.change(fill)
        duo.change(empty)
        duo.exchange()
        assert log.stat().st_size > 24 * _MIB

    def shrank() -> bool:
        duo.exchange()
        return log.stat().st_size <= 16 * _MIB

    wait_for("a small log", shrank)
