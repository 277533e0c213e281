"""One file, several connections and programs: nobody takes the ground from under another's feet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tandem_core.store.database import Database, Transaction, connect

_OTHER_PROGRAM = """
import sys
from pathlib import Path
from tandem_core.store.database import Database
db = Database.open(Path(sys.argv[1]))
db.write_now(lambda txn: txn.execute("INSERT OR REPLACE INTO fact (key, value) VALUES ('other', '1')"))
db.close()
"""


def _put(txn: Transaction, number: int) -> None:
    txn.execute("INSERT INTO fact (key, value) VALUES (?, ?)", (f"key{number}", "x" * 3000))


def test_opening_the_store_again_leaves_the_locks_of_earlier_connections_alone(tmp_path: Path) -> None:
    path = tmp_path / "tandem.db"
    first = Database.open(path)
    first.write_now(_put, 0)
    reader = connect(path)
    assert reader.execute("SELECT count(*) FROM fact").fetchone()[0] == 1
    second = Database.open(path)
    second.close()
    # A program that believes to be the last one deletes the write-ahead log when it closes.
    subprocess.run([sys.executable, "-c", _OTHER_PROGRAM, str(path)], check=True, timeout=60)
    assert path.with_name("tandem.db-wal").exists()
    for number in range(1, 50):
        first.write_now(_put, number)
        if number % 20 == 0:
            subprocess.run([sys.executable, "-c", _OTHER_PROGRAM, str(path)], check=True, timeout=60)
    assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert reader.execute("SELECT count(*) FROM fact").fetchone()[0] == 51
    reader.close()
    first.close()


def test_a_store_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "tandem.db"
    Database.open(path).close()
    path.chmod(0o644)
    db = Database.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    db.close()
