"""Two programs write into one store: nothing is forgotten, and nobody waits for ever (law 4)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from tandem_core.store.database import Database, Transaction
from tandem_core.types import Topic

_ROOT = Path(__file__).resolve().parents[3]
_TIMES = 150
_COUNTS = """
import sys
from pathlib import Path
from tests.core.store.test_two_writers import count, _TIMES
from tandem_core.store.database import Database
db = Database.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(_TIMES):
    db.write_now(count)
db.close()
"""


def count(txn: Transaction) -> int:
    """Read, then write: what another program wrote in between must not be lost."""
    row = txn.one("SELECT value FROM fact WHERE key = 'count'")
    number = int(row[0]) + 1 if row else 1
    txn.execute("INSERT OR REPLACE INTO fact (key, value) VALUES ('count', ?)", (str(number),))
    return number


def test_what_two_programs_count_together_is_counted_once_each(tmp_path: Path) -> None:
    path = tmp_path / "tandem.db"
    db = Database.open(path)
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _COUNTS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        for _ in range(2)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    ended = []
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        program.communicate(timeout=100)
        ended.append(program.returncode)
    assert ended == [0, 0]
    assert db.write_now(count) == 2 * _TIMES + 1
    db.close()


def test_who_asked_is_not_overtaken_again_and_again(tmp_path: Path) -> None:
    """Counted in turns, not in time: while one program drains, the other comes to its turn within a few of them."""
    path = tmp_path / "tandem.db"
    drains, waits = Database.open(path), Database.open(path)
    turns = 0
    is_over = threading.Event()

    def drain() -> None:
        nonlocal turns
        while not is_over.is_set():
            drains.write_now(count)
            turns += 1

    draining = threading.Thread(target=drain)
    draining.start()
    overtaken = []
    try:
        for _ in range(9):
            asked_at = turns
            waits.write_now(count)
            overtaken.append(turns - asked_at)
            seen = turns
            while turns < seen + 2:  # the other one is at work again
                assert draining.is_alive()
                time.sleep(0.0005)
    finally:
        is_over.set()
        draining.join(60)
        drains.close()
        waits.close()
    assert statistics.median(overtaken) <= 3, overtaken


def test_each_commit_is_on_the_disk_before_it_is_believed(tmp_path: Path) -> None:
    """WAL flushes at each commit with FULL (2) only; with NORMAL power loss may take back what the server heard of."""
    db = Database.open(tmp_path / "tandem.db")
    assert db.write_now(
        lambda txn: [tuple(txn.all(f"PRAGMA {name}")[0]) for name in ("synchronous", "journal_mode")]
    ) == [(2,), ("wal",)]
    db.close()


def test_who_is_told_of_a_change_can_see_it(tmp_path: Path) -> None:
    db, other = Database.open(tmp_path / "tandem.db"), Database.open(tmp_path / "tandem.db")
    seen: list[int] = []
    db.listen(
        lambda changes: seen.append(
            other.read_now(lambda conn: len(conn.execute("SELECT * FROM fact").fetchall()))
        )
    )

    def put(txn: Transaction) -> None:
        count(txn)
        txn.changed(Topic.STATUS)

    db.write_now(put)
    assert seen == [1]
    db.close()
    other.close()
