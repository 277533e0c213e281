"""Numbered schema steps, run under a file lock; a database newer than the program is refused.

The number of steps run is SQLite's ``user_version``. A step is never edited once released; a new one is added.
sqlite-utils does the work, and is imported only when there is work to do: it costs 0.15 s at start.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from tandem_core.errors import StoreTooNew

STEPS = ("001_first.sql",)
"""The steps in order, each a file in ``store/steps``."""


def migrate(path: Path) -> None:
    """Bring the database at ``path`` to the newest schema; does nothing if it is there already.

    Raises StoreTooNew (untouched) when a newer program wrote it.
    """
    if _version(path) == len(STEPS):
        return
    lock = os.open(path.parent / "migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run(path)
    finally:
        os.close(lock)


def _version(path: Path) -> int:
    conn = sqlite3.connect(path, timeout=30)
    try:
        version: int = conn.execute("PRAGMA user_version").fetchone()[0]
    finally:
        conn.close()
    if version > len(STEPS):
        raise StoreTooNew(f"schema {version}, this program knows {len(STEPS)}")
    return version


def _run(path: Path) -> None:
    from importlib import resources

    from sqlite_utils import Database

    done = _version(path)
    conn = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        conn.execute("PRAGMA journal_mode=WAL")
        db = Database(conn)
        for number, name in enumerate(STEPS[done:], start=done + 1):
            script = resources.files("tandem_core.store").joinpath("steps", name).read_text("utf-8")
            with db.atomic():
                db.executescript(script)
                db.execute(f"PRAGMA user_version={number}")
    finally:
        conn.close()
