"""The Qt thread's own read-only connection.

It does not go through ``store.database``: that imports asyncio, which the first frame need not wait for.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path


class Reader:
    """Gives the read-only connection, or None as long as there is no usable store.

    One instance belongs to one thread. ``changed_elsewhere`` is the safety net below the doorbell (law 11).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._conn: sqlite3.Connection | None = None
        self._version = 0

    def __call__(self) -> sqlite3.Connection | None:
        if self._conn is None:
            self._conn = open_readonly(self.path)
        return self._conn

    def changed_elsewhere(self) -> bool:
        """Whether any other connection has committed since this was last asked."""
        conn = self()
        if conn is None:
            return False
        version = int(conn.execute("PRAGMA data_version").fetchone()[0])
        moved = version != self._version
        self._version = version
        return moved

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A read-only connection for a moment in another thread."""
    conn = open_readonly(path)
    try:
        yield conn
    finally:
        if conn is not None:
            conn.close()


def open_readonly(path: Path) -> sqlite3.Connection | None:
    """A connection that cannot write, or None where no signed-in store is.

    A store that still has to be created or migrated is left to the engine, which holds the lock for that.
    """
    if not path.exists():
        return None
    try:
        conn = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=5, isolation_level=None)
        conn.row_factory = sqlite3.Row
        conn.execute("PRAGMA query_only=1")
        conn.execute("PRAGMA cache_size=-4096")
        if conn.execute("SELECT 1 FROM session WHERE id = 1").fetchone() is None:
            conn.close()
            return None
    except sqlite3.Error:
        return None
    return conn


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
