"""Numbered schema steps, run under a file lock; a database newer than the program is refused.

The number of steps run is SQLite's ``user_version``. A step is never edited once released; a new one is added.
sqlite-utils does the work, and is imported only when there is work to do: it costs 0.15 s at start.

A new database is made under another name and gets its own once it is whole, so that an empty file, or a
write-ahead log without its database, is always damage. Older programs may run while a store is brought up
to date: all steps are one transaction, which waits its turn, and an older program writes nothing after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tandem_core.errors import StoreCorrupt, StoreTooNew
from tandem_core.store.turnstile import Turnstile

STEPS: tuple[str, ...] = ("001_first.sql",)
"""The steps in order, each a file in ``store/steps``."""


def migrate(path: Path) -> None:
    """Bring the database at ``path`` to the newest schema, making it if need be; nothing if it is there already.

    Raises StoreTooNew (untouched) when a newer program wrote it, StoreCorrupt when the file is empty.
    """
    if path.exists():
        if _version(path) == len(STEPS):
            return
        with _locked(path):
            turnstile = Turnstile(path.parent)
            try:
                with turnstile:
                    _run(path)
            finally:
                turnstile.close()
        return
    with _locked(path):
        # Another program may have made it while we waited.
        if not path.exists():
            _make(path)
    if _version(path) != len(STEPS):
        migrate(path)


def refuse_other(conn: sqlite3.Connection) -> int:
    """The schema's number as this connection sees it; raises StoreTooNew if this program does not know it."""
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    if version > len(STEPS):
        raise StoreTooNew(f"schema {version}, this program knows {len(STEPS)}")
    return version


def script(name: str) -> str:
    """The SQL of a step."""
    from importlib import resources

    return resources.files("tandem_core.store").joinpath("steps", name).read_text("utf-8")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path.parent / "migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _version(path: Path) -> int:
    if path.stat().st_size == 0:
        # SQLite would take it for a new database, and throw away a write-ahead log beside it.
        raise StoreCorrupt("its file is empty")
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as conn:
        version = refuse_other(conn)
    if version == 0:
        raise StoreCorrupt("its file is no store")
    return version


def _make(path: Path) -> None:
    """Make a new database and give it its name once it is whole and on the disk."""
    new = path.with_name(f"{path.name}.new")
    for left in (new, *_beside(new)):
        left.unlink(missing_ok=True)
    # SQLite would replay the log of a database that is gone into the new one.
    for left in _beside(path):
        if left.exists():
            put_aside(left)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _run(new)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def put_aside(file: Path) -> Path:
    """Give a file that cannot be used another name, and keep it; returns the name."""
    number = 1
    while (aside := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    file.rename(aside)
    return aside


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _statements(text: str) -> Iterator[str]:
    """The statements of a script. sqlite-utils finds them, too, but looks at every letter: 0.1 s for ours."""
    statement = ""
    for part in text.split(";"):
        statement += part
        if sqlite3.complete_statement(f"{statement};"):
            yield f"{statement};"
            statement = ""
        else:
            statement += ";"  # of a comment or a text, or the script's end
    rest = statement.removesuffix(";")
    if rest.strip():
        yield rest


def _run(path: Path) -> None:
    """Take all steps that are still to be taken, in one transaction: a kill leaves the schema as it was."""
    from sqlite_utils import Database

    # Closing the last connection brings everything into the one file.
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("BEGIN IMMEDIATE")
        db = Database(conn)
        done = refuse_other(conn)
        for name in STEPS[done:]:
            for statement in _statements(script(name)):  # Python's own executescript would commit first
                db.execute(statement)
        conn.execute(f"PRAGMA user_version={len(STEPS)}")
        conn.execute("COMMIT")
