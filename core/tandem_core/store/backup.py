"""Rows of the key backup: the server's version, which sessions are not in it yet, and what a restore has done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.clock import elapsed_ms
from tandem_core.store.codec import dumps, loads
from tandem_core.store.crypto import InboundRow
from tandem_core.store.database import Transaction
from tandem_core.types import Json, RoomId, Topic

MISSING_FOR_MS = 6 * 3_600_000
"""So long nobody asks the backup again for a session that it had not."""
_MOST_MISSING = 10_000


class Standing(StrEnum):
    """What we think of the server's current version."""

    NONE = "none"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True)
class BackupRow:
    """The server's current version, as it was seen last; ``version`` is None where it has none."""

    version: str | None
    algorithm: str | None
    auth_data: Json
    standing: Standing
    keys: int
    """How many sessions the server said it has in it."""
    looked_at: int
    used: str | None
    """The version that ``waiting`` is counted against: the last one that was trusted."""
    used_key: str | None

    @property
    def public_key(self) -> str | None:
        """The key that sessions are encrypted to; None for anything malformed."""
        key = self.auth_data.get("public_key")
        return key if isinstance(key, str) else None


@dataclass(frozen=True, slots=True)
class Restore:
    """A restore of everything, under way or over."""

    version: str
    state: str
    """``running``, ``done``, ``cancelled`` or ``failed``"""
    total: int
    seen: int
    new: int
    unusable: int
    error: str | None


def current(conn: sqlite3.Connection) -> BackupRow | None:
    """None while nobody has looked yet."""
    row = conn.execute(
        "SELECT version, algorithm, auth_data, standing, keys, looked_at, used, used_key FROM backup"
    ).fetchone()
    if row is None:
        return None
    auth_data = loads(row["auth_data"])
    return BackupRow(row[0], row[1], auth_data, Standing(row[3]), row[4], row[5], row[6], row[7])


def put_found(
    txn: Transaction,
    version: str | None,
    algorithm: str | None,
    auth_data: Json,
    standing: Standing,
    keys: int,
    now_ms: int,
) -> None:
    """Keep what the server has now. With another trusted version than before every session is due again."""
    before = current(txn.conn)
    txn.execute(
        "INSERT INTO backup (id, version, algorithm, auth_data, standing, keys, looked_at)"
        " VALUES (1, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version,"
        " algorithm = excluded.algorithm, auth_data = excluded.auth_data, standing = excluded.standing,"
        " keys = excluded.keys, looked_at = excluded.looked_at",
        (version, algorithm, dumps(auth_data), standing, keys, now_ms),
    )
    if before is None or (before.version, before.public_key) != (version, auth_data.get("public_key")):
        txn.execute("DELETE FROM backup_missing")
    public_key = auth_data.get("public_key")
    if standing is Standing.TRUSTED and (
        before is None or (before.used, before.used_key) != (version, public_key)
    ):
        txn.execute("UPDATE backup SET used = ?, used_key = ?", (version, public_key))
        txn.execute(
            "INSERT OR IGNORE INTO backup_waiting (room_id, session_id)"
            " SELECT room_id, session_id FROM megolm_inbound"
        )
    if before is None or (before.version, before.standing, before.keys) != (version, standing, keys):
        txn.changed(Topic.STATUS)


def waiting(conn: sqlite3.Connection, limit: int) -> list[tuple[RoomId, str, InboundRow]]:
    """Sessions that are not in the version we use (room, session id, row)."""
    rows = conn.execute(
        "SELECT i.room_id, i.session_id, i.pickle, i.sender, i.sender_key, i.claimed_ed25519, i.first_index, i.source"
        " FROM backup_waiting AS w JOIN megolm_inbound AS i USING (room_id, session_id)"
        " ORDER BY w.room_id, w.session_id LIMIT ?",
        (limit,),
    )
    return [(RoomId(row[0]), str(row[1]), InboundRow(*row[2:])) for row in rows]


def waiting_count(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM backup_waiting").fetchone()[0])


def note_kept(
    txn: Transaction, version: str, sent: Iterable[tuple[RoomId, str, int]], keys: int | None = None
) -> None:
    """The version has these sessions (room, id, first index); one that has a better copy by now stays due."""
    if not _is_used(txn.conn, version):
        return
    txn.executemany(
        "DELETE FROM backup_waiting WHERE room_id = ?1 AND session_id = ?2 AND EXISTS (SELECT 1 FROM megolm_inbound"
        " AS i WHERE i.room_id = ?1 AND i.session_id = ?2 AND i.first_index >= ?3)",
        list(sent),
    )
    if keys is not None:
        txn.execute("UPDATE backup SET keys = ?", (keys,))
    txn.changed(Topic.STATUS)


def give_up(txn: Transaction, room_id: RoomId, session_id: str) -> None:
    """This session cannot be exported, so it holds up no other."""
    txn.execute("DELETE FROM backup_waiting WHERE room_id = ? AND session_id = ?", (room_id, session_id))


def wanted(conn: sqlite3.Connection, now_ms: int, limit: int) -> list[tuple[RoomId, str]]:
    """Sessions whose events wait for a key that the backup was not asked for lately, the newest events first."""
    rows = conn.execute(
        "SELECT e.room_id, e.session_id FROM event AS e LEFT JOIN backup_missing AS m"
        " ON m.room_id = e.room_id AND m.session_id = e.session_id"
        " WHERE e.seal = 'sealed' AND e.seal_reason IS NOT NULL AND e.session_id IS NOT NULL"
        " AND (m.asked_at IS NULL OR abs(?1 - m.asked_at) >= ?2)"
        " GROUP BY e.room_id, e.session_id ORDER BY max(e.sent_at) DESC LIMIT ?3",
        (now_ms, MISSING_FOR_MS, limit),
    )
    return [(RoomId(row[0]), str(row[1])) for row in rows]


def note_asked(txn: Transaction, room_id: RoomId, session_id: str, now_ms: int) -> None:
    """The backup was asked for this session; that is remembered for a while, for a bounded number of them."""
    txn.execute(
        "INSERT OR REPLACE INTO backup_missing (room_id, session_id, asked_at) VALUES (?, ?, ?)",
        (room_id, session_id, now_ms),
    )
    txn.execute(
        "DELETE FROM backup_missing WHERE rowid IN (SELECT rowid FROM backup_missing"
        " ORDER BY asked_at DESC LIMIT -1 OFFSET ?)",
        (_MOST_MISSING,),
    )
    txn.changed(Topic.STATUS)


def was_asked(conn: sqlite3.Connection, room_id: RoomId, session_id: str, now_ms: int) -> bool:
    """Whether the backup was asked for this session lately."""
    row = conn.execute(
        "SELECT asked_at FROM backup_missing WHERE room_id = ? AND session_id = ?", (room_id, session_id)
    ).fetchone()
    return row is not None and elapsed_ms(row["asked_at"], now_ms) < MISSING_FOR_MS


# ── Restoring everything ───────────────────────────────────────────────────────────────────────


def begin_restore(txn: Transaction, version: str, total: int, now_ms: int) -> None:
    """Have everything of this version restored; one that was cut off goes on where it was."""
    known = restore(txn.conn)
    if known is not None and known.version == version and known.state != "done":
        txn.execute(
            "UPDATE backup_restore SET state = 'running', error = NULL, total = ?, seen = ?",
            (total, restored_sessions(txn.conn)),
        )
    else:
        txn.execute("DELETE FROM backup_restored")
        txn.execute(
            "INSERT OR REPLACE INTO backup_restore (id, version, state, total, started_at)"
            " VALUES (1, ?, 'running', ?, ?)",
            (version, total, now_ms),
        )
    txn.changed(Topic.KEYS)
    txn.changed(Topic.STATUS)


def restore(conn: sqlite3.Connection) -> Restore | None:
    """The restore that is under way or was the last, or None."""
    row = conn.execute(
        "SELECT version, state, total, seen, new, unusable, error FROM backup_restore"
    ).fetchone()
    return None if row is None else Restore(*row)


def is_running(conn: sqlite3.Connection, version: str) -> bool:
    known = restore(conn)
    return known is not None and (known.version, known.state) == (version, "running")


def note_restored(txn: Transaction, seen: int, new: int, unusable: int) -> None:
    """So many sessions more were looked at, were new, could not be used."""
    txn.execute(
        "UPDATE backup_restore SET seen = seen + ?, new = new + ?, unusable = unusable + ?",
        (seen, new, unusable),
    )
    txn.changed(Topic.STATUS)


def note_room_restored(txn: Transaction, room_id: RoomId, sessions: int) -> None:
    """All sessions of this room are here, so that a restore that is taken up again need not ask for them."""
    txn.execute(
        "INSERT OR REPLACE INTO backup_restored (room_id, sessions) VALUES (?, ?)", (room_id, sessions)
    )


def restored_sessions(conn: sqlite3.Connection) -> int:
    """How many sessions the rooms have that the restore is done with."""
    return int(conn.execute("SELECT COALESCE(sum(sessions), 0) FROM backup_restored").fetchone()[0])


def next_room(conn: sqlite3.Connection) -> RoomId | None:
    """A room that we know of and that was not restored yet; those whose newest events wait for keys go first."""
    row = conn.execute(
        "SELECT room_id FROM (SELECT room_id FROM room_fact WHERE encryption IS NOT NULL UNION"
        " SELECT room_id FROM room WHERE encryption IS NOT NULL UNION"
        " SELECT room_id FROM event WHERE seal = 'sealed') AS known"
        " WHERE room_id NOT IN (SELECT room_id FROM backup_restored)"
        " ORDER BY (SELECT max(sent_at) FROM event AS e WHERE e.room_id = known.room_id AND e.seal = 'sealed')"
        " DESC NULLS LAST, room_id LIMIT 1"
    ).fetchone()
    return None if row is None else RoomId(row["room_id"])


def restored_rooms(conn: sqlite3.Connection) -> set[str]:
    return {str(row["room_id"]) for row in conn.execute("SELECT room_id FROM backup_restored")}


def end_restore(txn: Transaction, state: str, error: str | None = None) -> None:
    """It is over: ``done``, ``cancelled`` or ``failed``."""
    txn.execute("UPDATE backup_restore SET state = ?, error = ? WHERE state = 'running'", (state, error))
    txn.changed(Topic.STATUS)


def _is_used(conn: sqlite3.Connection, version: str) -> bool:
    return (
        conn.execute("SELECT 1 FROM backup WHERE used = ? AND version = ?", (version, version)).fetchone()
        is not None
    )
