"""What the homeserver has handed over and the accounts have not taken yet, durably (SQLite, one file).

A transaction is split and kept in one commit; only then is it answered with 200. Its pieces stay until every
account they are for has taken them, which each account notes in its own store, in the transaction of their effect.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tandem_appservice.routing import Hosted, Kind, route
from tandem_appservice.transaction import Transaction
from tandem_core.errors import StoreTooNew
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import connect, mapped_errors
from tandem_core.types import Json

T = TypeVar("T")

KEEP_IDS_MS = 30 * 86_400_000
"""Ids of transactions are remembered for so long after they came."""
_RUN = 3
_SCHEMA = 1
_STEPS = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE taken (                    -- transactions, by id and content: ids begin anew on a server that was reset
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  txn_id TEXT NOT NULL, digest TEXT NOT NULL, received_at INTEGER NOT NULL, UNIQUE (txn_id, digest));
CREATE INDEX taken_at ON taken(received_at);
CREATE TABLE account (
  user_id TEXT PRIMARY KEY, device_id TEXT NOT NULL, profile TEXT NOT NULL UNIQUE, added_at INTEGER NOT NULL,
  prepared INTEGER NOT NULL DEFAULT 0,
  hosted INTEGER NOT NULL DEFAULT 1     -- 0: another program keeps it in sync; only its to-device events are ours
  ) WITHOUT ROWID;
CREATE TABLE home (                     -- which accounts have joined which rooms, as far as it was told
  room_id TEXT, user_id TEXT, PRIMARY KEY (room_id, user_id)) WITHOUT ROWID;
CREATE TABLE piece (                    -- kept once, however many accounts it is for
  id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE parcel (user_id TEXT, piece_id INTEGER, PRIMARY KEY (user_id, piece_id)) WITHOUT ROWID;
CREATE INDEX parcel_piece ON parcel(piece_id);
"""


@dataclass(frozen=True, slots=True)
class Account:
    """An account and the profile that holds its store. ``is_hosted`` False: released to another program."""

    user_id: str
    device_id: str
    profile: str
    is_prepared: bool = False
    is_hosted: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that an account has to take; ``seq`` tells which pieces came in one transaction."""

    id: int
    seq: int
    kind: Kind
    content: Json


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a transaction: whether it was new, and for whom it has something."""

    is_new: bool
    users: frozenset[str]


class Queue:
    """The service's own store. Its methods block; call them in a thread. All raise ``errors.StoreError``."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._lock = threading.Lock()
        self.epoch = str(self.fact("epoch"))
        """Names this file: places in another one mean nothing here."""

    @classmethod
    def open(cls, file: Path) -> Queue:
        """Open or make the file, mode 0600. Raises StoreTooNew, StoreCorrupt, StoreReadOnly, DiskFull."""
        with mapped_errors():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not file.exists():
                # Never opened beside SQLite once it is in use: see tandem_core.store.database.
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            conn = connect(file)
            conn.execute("BEGIN IMMEDIATE")
            version = int(conn.execute("PRAGMA user_version").fetchone()[0])
            if version > _SCHEMA:
                conn.execute("ROLLBACK")
                raise StoreTooNew(f"service schema {version}, this program knows {_SCHEMA}")
            if version < _SCHEMA:
                for step in filter(None, map(str.strip, _STEPS.split(";\n"))):
                    conn.execute(step)
                conn.execute("INSERT INTO fact VALUES ('epoch', ?)", (dumps(secrets.token_hex(8)),))
                conn.execute(f"PRAGMA user_version={_SCHEMA}")
            conn.execute("COMMIT")
        return cls(conn)

    def close(self) -> None:
        with self._lock:
            self._conn.close()

    def accept(self, said: Transaction, now_ms: int) -> Accepted:
        """Keep a transaction, split by account; returns after the commit. One that is known changes nothing.

        The same id with another content is kept as well: a stock Synapse repeats transactions without their
        to-device events, and a server that was reset counts from the start. Each account tells what it has already.
        """
        return self._write(_accept, said, now_ms)

    def pieces(self, user_id: str, after: int, limit: int = 100) -> list[Piece]:
        """What this account has to take next, in order, behind the piece that it took last."""
        return self._read(_pieces, user_id, after, limit)

    def done(self, user_id: str, upto: int) -> None:
        """The account has committed everything up to this piece.

        This need not survive a power cut, as the account's own note does: so it costs no wait for the disk.
        """
        self._write(_done, user_id, upto, is_durable=False)

    def add(self, account: Account, now_ms: int) -> None:
        """Host this account from now on; what an older device of it had to take goes."""
        self._write(_add, account, now_ms)

    def release(self, user_id: str) -> bool:
        """Host this account no more, unless pieces wait for it; returns whether it is so now."""
        return self._write(_release, user_id)

    def forget(self, user_id: str) -> None:
        """Know nothing of this account any more; what waits for it goes."""
        self._write(_forget, user_id)

    def accounts(self) -> list[Account]:
        return self._read(_accounts)

    def settle_homes(self, user_id: str, rooms: Iterable[str]) -> None:
        """The account has joined these rooms; from now on it gets the events of its own rooms only."""
        self._write(_settle_homes, user_id, set(rooms))

    def newest(self) -> int:
        """The id of the newest piece there ever was."""
        return self._read(_newest)

    def depth(self, user_id: str) -> int:
        """How many pieces wait for this account."""
        return self._read(_depth, user_id)

    def fact(self, key: str) -> Any:
        """A small single fact, or None."""
        return self._read(_fact, key)

    def set_fact(self, key: str, value: Any) -> None:
        """Keep a small single fact."""
        self._write(_set_fact, key, value)

    def _read(self, work: Callable[..., T], *values: Any) -> T:
        with self._lock, mapped_errors():
            return work(self._conn, *values)

    def _write(self, work: Callable[..., T], *values: Any, is_durable: bool = True) -> T:
        with self._lock, mapped_errors():
            self._conn.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._conn, *values)
                self._conn.execute("COMMIT")
            except BaseException:
                if self._conn.in_transaction:
                    self._conn.execute("ROLLBACK")
                raise
            return result


def _accept(conn: sqlite3.Connection, said: Transaction, now_ms: int) -> Accepted:
    known = conn.execute("SELECT digest FROM taken WHERE txn_id = ?", (said.txn_id,)).fetchall()
    _set_fact(conn, "last", {"txn_id": said.txn_id, "at": now_ms})
    if any(row["digest"] == said.digest for row in known):
        _count(conn, repeated=1)
        return Accepted(False, frozenset())
    seq = conn.execute(
        "INSERT INTO taken (txn_id, digest, received_at) VALUES (?, ?, ?)",
        (said.txn_id, said.digest, now_ms),
    ).lastrowid
    in_order = _is_in_order(conn, said.txn_id, is_repeat=bool(known))
    hosted = {
        account.user_id: Hosted(account.user_id, account.device_id, account.is_prepared, account.is_hosted)
        for account in _accounts(conn)
    }
    before = _homes(conn, {event["room_id"] for event in said.events} | {room for room, _ in said.receipts})
    homes = {room: set(users) for room, users in before.items()}
    routed = route(said, hosted, homes, in_order=in_order)
    for piece in routed.pieces:
        piece_id = conn.execute(
            "INSERT INTO piece (seq, kind, content) VALUES (?, ?, ?)", (seq, piece.kind, dumps(piece.content))
        ).lastrowid
        conn.executemany(
            "INSERT INTO parcel VALUES (?, ?)", [(user_id, piece_id) for user_id in sorted(piece.users)]
        )
    for room_id, users in homes.items():
        _change_homes(conn, room_id, before.get(room_id, set()), users)
    _count(
        conn,
        transactions=1,
        changed_repeats=int(bool(known)),
        out_of_order=int(not in_order),
        malformed=said.malformed,
        ignored_users=routed.ignored_users,
        ignored_devices=routed.ignored_devices,
        ignored_events=routed.ignored_events,
    )
    _set_fact(conn, "lossless", said.is_lossless)
    if said.tells_account_data:
        _set_fact(conn, "account_data", True)
    conn.execute("DELETE FROM taken WHERE received_at < ?", (now_ms - KEEP_IDS_MS,))
    return Accepted(True, routed.users)


def _is_in_order(conn: sqlite3.Connection, txn_id: str, *, is_repeat: bool) -> bool:
    """Whether no later transaction was taken before; ids that are no numbers have no order.

    Several in a row that grow from a low number come from a server that was reset and counts anew.
    """
    if not (txn_id.isascii() and txn_id.isdecimal()):
        return True
    number, known = int(txn_id), _fact(conn, "highest")
    highest = -1 if known is None else int(known)
    last, run = _fact(conn, "low_run") or (-1, 0)
    if number > highest or (number > last and run >= _RUN):
        _set_fact(conn, "highest", number)
        _set_fact(conn, "low_run", (0, 0))
        return True
    if number == highest and is_repeat:
        return True
    _set_fact(conn, "low_run", (number, run + 1 if number > last else 1))
    return False


def _pieces(conn: sqlite3.Connection, user_id: str, after: int, limit: int) -> list[Piece]:
    rows = conn.execute(
        "SELECT p.id, p.seq, p.kind, p.content FROM parcel AS q JOIN piece AS p ON p.id = q.piece_id"
        " WHERE q.user_id = ? AND q.piece_id > ? ORDER BY q.piece_id LIMIT ?",
        (user_id, after, limit),
    )
    return [Piece(row["id"], row["seq"], Kind(row["kind"]), loads(row["content"])) for row in rows]


def _done(conn: sqlite3.Connection, user_id: str, upto: int) -> None:
    taken = conn.execute(
        "DELETE FROM parcel WHERE user_id = ? AND piece_id <= ? RETURNING piece_id", (user_id, upto)
    ).fetchall()
    _drop_pieces(conn, [row["piece_id"] for row in taken])


def _drop_pieces(conn: sqlite3.Connection, piece_ids: Sequence[int]) -> None:
    """Forget the pieces that nobody waits for any more."""
    conn.executemany(
        "DELETE FROM piece WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM parcel WHERE piece_id = ?1)",
        [(piece_id,) for piece_id in piece_ids],
    )


def _add(conn: sqlite3.Connection, account: Account, now_ms: int) -> None:
    known = conn.execute("SELECT device_id FROM account WHERE user_id = ?", (account.user_id,)).fetchone()
    if known is not None and known["device_id"] == account.device_id:
        conn.execute("UPDATE account SET hosted = 1 WHERE user_id = ?", (account.user_id,))
        return
    _forget(conn, account.user_id)
    conn.execute(
        "INSERT INTO account (user_id, device_id, profile, added_at) VALUES (?, ?, ?, ?)",
        (account.user_id, account.device_id, account.profile, now_ms),
    )


def _release(conn: sqlite3.Connection, user_id: str) -> bool:
    if conn.execute("SELECT 1 FROM parcel WHERE user_id = ? LIMIT 1", (user_id,)).fetchone() is not None:
        return False
    conn.execute("DELETE FROM home WHERE user_id = ?", (user_id,))
    conn.execute("UPDATE account SET hosted = 0, prepared = 0 WHERE user_id = ?", (user_id,))
    return True


def _forget(conn: sqlite3.Connection, user_id: str) -> None:
    waiting = conn.execute("DELETE FROM parcel WHERE user_id = ? RETURNING piece_id", (user_id,)).fetchall()
    _drop_pieces(conn, [row["piece_id"] for row in waiting])
    conn.execute("DELETE FROM home WHERE user_id = ?", (user_id,))
    conn.execute("DELETE FROM account WHERE user_id = ?", (user_id,))


def _accounts(conn: sqlite3.Connection) -> list[Account]:
    rows = conn.execute(
        "SELECT user_id, device_id, profile, prepared, hosted FROM account ORDER BY added_at, user_id"
    )
    return [
        Account(user, device, profile, bool(ready), bool(hosted))
        for user, device, profile, ready, hosted in rows
    ]


def _settle_homes(conn: sqlite3.Connection, user_id: str, rooms: set[str]) -> None:
    conn.executemany("INSERT OR IGNORE INTO home VALUES (?, ?)", [(room, user_id) for room in sorted(rooms)])
    conn.execute("UPDATE account SET prepared = 1 WHERE user_id = ?", (user_id,))


def _homes(conn: sqlite3.Connection, rooms: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for room_id in rooms:
        users = conn.execute("SELECT user_id FROM home WHERE room_id = ?", (room_id,)).fetchall()
        if users:
            found[room_id] = {row["user_id"] for row in users}
    return found


def _change_homes(conn: sqlite3.Connection, room_id: str, before: set[str], now: set[str]) -> None:
    conn.executemany("INSERT INTO home VALUES (?, ?)", [(room_id, user) for user in now - before])
    conn.executemany(
        "DELETE FROM home WHERE room_id = ? AND user_id = ?", [(room_id, user) for user in before - now]
    )


def _depth(conn: sqlite3.Connection, user_id: str) -> int:
    return int(conn.execute("SELECT count(*) FROM parcel WHERE user_id = ?", (user_id,)).fetchone()[0])


def _newest(conn: sqlite3.Connection) -> int:
    row = conn.execute("SELECT seq FROM sqlite_sequence WHERE name = 'piece'").fetchone()
    return 0 if row is None else int(row["seq"])


def _fact(conn: sqlite3.Connection, key: str) -> Any:
    row = conn.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
    return None if row is None else loads(row["value"])


def _set_fact(conn: sqlite3.Connection, key: str, value: Any) -> None:
    conn.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (key, dumps(value)))


def _count(conn: sqlite3.Connection, **more: int) -> None:
    """Add to the counts that ``status`` tells."""
    counts = _fact(conn, "counts") or {}
    for name, number in more.items():
        counts[name] = counts.get(name, 0) + number
    _set_fact(conn, "counts", counts)
