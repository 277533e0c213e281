"""Open the account's database; one writer thread, reads beside it, and word of what changed.

Writers pass the turnstile, then ``BEGIN IMMEDIATE`` (a deferred transaction that reads before it writes
fails at once when another program has committed in between). ``synchronous=FULL``: what is
acknowledged to the server, or sent after a ratchet step, must survive power loss.

Each transaction looks whether a newer program has changed the schema meanwhile; then this one writes no more.

asyncio is imported where it is used: the window reads rooms through modules that import this one, and its
first frame need not wait for it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from tandem_core.errors import DiskFull, StoreBusy, StoreCorrupt, StoreError, StoreReadOnly, StoreTooNew
from tandem_core.store.migrations import migrate, refuse_other
from tandem_core.store.turnstile import Turnstile
from tandem_core.types import Change, RoomId, Topic

T = TypeVar("T")
P = ParamSpec("P")
Listener = Callable[[frozenset[Change]], None]

_LOG_BYTES = 16 * 1024 * 1024
"""What is kept of a write-ahead log that a long reader made grow, once it can be reused."""


class Transaction:
    """One write transaction: SQL, plus word of what it changed."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.changes: set[Change] = set()
        self.at_commit: list[Callable[[], None]] = []
        """Called in order, still inside the transaction, right before COMMIT (write-behind caches)."""

    def execute(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        return self.conn.execute(sql, values)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> sqlite3.Cursor:
        return self.conn.executemany(sql, rows)

    def one(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row, or None."""
        row: sqlite3.Row | None = self.conn.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return self.conn.execute(sql, values).fetchall()

    def changed(self, topic: Topic, room_id: RoomId | None = None) -> None:
        """Say that rows of this topic changed; told to listeners after the commit only."""
        self.changes.add(Change(topic, room_id))


class Database:
    """The account's store in this process.

    ``write`` runs a function in the one writer thread, in one transaction. ``read`` runs one in a
    reader thread on a snapshot. ``reader()`` gives a private read-only connection to a thread that
    must not wait (the Qt thread). All raise the errors of ``errors.StoreError``.
    """

    def __init__(self, path: Path, turnstile: Turnstile) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.path = path
        self.turnstile = turnstile
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="tandem-writer")
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="tandem-reader")
        self._listeners: list[Listener] = []
        self._rollback_hooks: list[Callable[[], None]] = []
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._direct = threading.Lock()
        self.foreign_since: float | None = None
        """``time.monotonic()`` since when a program that does not pass the turnstile keeps us from writing."""
        self.unusable: StoreError | None = None
        """Why nothing can be done with this store any more, once that is so: it is damaged, or of a newer program."""

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open (creating or migrating under a file lock) the database at ``path``, mode 0600.

        Raises StoreTooNew, StoreCorrupt, StoreReadOnly, DiskFull: the file is left as it was.
        """
        with mapped_errors():
            _keep_private(path)
            # What SQLite could only read it would go on reading only, in every connection of this process.
            if path.exists() and not os.access(path, os.W_OK):
                raise StoreReadOnly()
            migrate(path)
            return cls(path, Turnstile(path.parent))

    async def write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``work(transaction, ...)`` in the writer thread; commit, or roll back if it raises.

        Shielded: a cancelled caller does not tear a transaction apart.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._writer, lambda: self.write_now(work, *args, **kwargs))
        return await asyncio.shield(job)

    def write_now(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same in the calling thread, for programs without an event loop. Not reentrant."""
        with self._noted_errors(), self._direct:
            conn = self._thread_connection()
            with self.turnstile:
                result, changes = self._transact(conn, work, *args, **kwargs)
        if changes:
            for listener in list(self._listeners):
                listener(changes)
        return result

    def _transact(
        self,
        conn: sqlite3.Connection,
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[T, frozenset[Change]]:
        self._begin(conn)
        transaction = Transaction(conn)
        try:
            result = work(transaction, *args, **kwargs)
            for call in transaction.at_commit:
                call()
            conn.execute("COMMIT")
        except BaseException:
            # Law 3: memory is ahead of the file now, so every cache is thrown away with the rollback.
            for hook in self._rollback_hooks:
                hook()
            with contextlib.suppress(sqlite3.Error):
                conn.execute("ROLLBACK")
            raise
        return result, frozenset(transaction.changes)

    def _begin(self, conn: sqlite3.Connection) -> None:
        """Take SQLite's write lock, unless a newer program has changed the schema: one more read, of 2 microseconds."""
        self.foreign_since = time.monotonic()
        try:
            conn.execute("BEGIN IMMEDIATE")
        finally:
            self.foreign_since = None
        try:
            refuse_other(conn)
        except StoreTooNew:
            conn.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _noted_errors(self) -> Iterator[None]:
        """Our words for what went wrong; what cannot pass by itself is kept for those who watch."""
        try:
            with mapped_errors():
                yield
        except (StoreCorrupt, StoreTooNew) as error:
            self.unusable = error
            raise
        except StoreReadOnly:
            # SQLite opens a file that it may not write for reading, and keeps to that for the connection's life.
            self._drop_connection()
            raise

    def _drop_connection(self) -> None:
        """Have this thread open the file anew next time."""
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is not None:
            self._local.conn = None
            self._connections.remove(conn)
            conn.close()

    async def read(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``work(connection, ...)`` in the reader thread, on one snapshot."""
        import asyncio

        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._readers, lambda: self.read_now(work, *args, **kwargs))
        return await asyncio.shield(job)

    def read_now(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same in the calling thread. Not inside ``write_now`` of the same thread."""
        with self._noted_errors():
            conn = self._thread_connection()
            conn.execute("BEGIN")
            try:
                return work(conn, *args, **kwargs)
            except sqlite3.OperationalError:
                refuse_other(conn)  # a table that is not as we know it
                raise
            finally:
                conn.execute("ROLLBACK")

    def reader(self) -> sqlite3.Connection:
        """A new read-only connection for the calling thread, which closes it."""
        with mapped_errors():
            conn = connect(self.path)
            conn.execute("PRAGMA query_only=1")
            return conn

    def listen(self, listener: Listener) -> None:
        """Call ``listener(changes)`` after each commit of this process, in the writer's thread."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def on_rollback(self, hook: Callable[[], None]) -> None:
        """Call ``hook()`` whenever a write transaction of this process is rolled back."""
        self._rollback_hooks.append(hook)

    def close(self) -> None:
        """Finish what is being written and close; call it from any thread, once."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        for conn in self._connections:
            conn.close()
        self.turnstile.close()

    def _thread_connection(self) -> sqlite3.Connection:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = connect(self.path)
            self._local.conn = conn
            self._connections.append(conn)
        return conn


def connect(path: Path) -> sqlite3.Connection:
    """A connection with our pragmas, in explicit-transaction mode, rows by name.

    The file must be there: one that signing out has removed must not come back empty, for all to read.
    """
    where = f"{path.absolute().as_uri()}?mode=rw"
    conn = sqlite3.connect(where, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    conn.row_factory = sqlite3.Row
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA temp_store=MEMORY")
    conn.execute("PRAGMA cache_size=-4096")
    conn.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
    return conn


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn SQLite's and the system's words into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _mapped(error) from error
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise DiskFull from error
        if error.errno in (13, 30):  # EACCES, EROFS
            raise StoreReadOnly(error.strerror or "") from error
        raise


def _mapped(error: sqlite3.DatabaseError) -> StoreError | sqlite3.DatabaseError:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return DiskFull()
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy()
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreReadOnly()
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt()
        case sqlite3.SQLITE_IOERR:
            return StoreError(title="The disk reported an error", advice="Check the disk; nothing was lost.")
    return error


def _keep_private(path: Path) -> None:
    """Make the folder, and see that a file that exists has mode 0600, without ever opening it.

    POSIX drops all of a process's locks on a file when the process closes any descriptor of it. Opening and
    closing the database beside SQLite would take away the lock that says "in use": another program that
    closes its last connection would then delete the write-ahead log under this one, and the store is damaged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives -wal and -shm the mode of the database file.
    if path.exists() and path.stat().st_mode & 0o077:
        path.chmod(0o600)
