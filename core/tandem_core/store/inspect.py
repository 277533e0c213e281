"""What the command line asks of the store: what waits, who has which event, and what has newly arrived."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.store import inbox, portions, session
from tandem_core.types import EventId, Role, RoomId


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits, of each kind."""

    inbox: int
    messages: int
    to_device: int
    failed_messages: int
    sealed_messages: int
    owed_receipts: int
    due_notifications: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message that was put into the queue."""

    event_id: EventId | None
    state: str
    error: str | None


def waiting(conn: sqlite3.Connection) -> Waiting:
    """What waits now."""
    row = conn.execute(
        "SELECT (SELECT count(*) FROM inbox WHERE state = 0),"
        " (SELECT count(*) FROM send_queue WHERE state IN ('queued', 'sending')),"
        " (SELECT count(*) FROM to_device_out WHERE done = 0),"
        " (SELECT count(*) FROM send_queue WHERE state = 'failed'),"
        " (SELECT count(*) FROM event WHERE seal = 'sealed'),"
        " (SELECT count(*) FROM receipt_owed WHERE state = 'owed'),"
        " (SELECT count(*) FROM notification WHERE state = 'due')"
    ).fetchone()
    return Waiting(*row)


def outcome(conn: sqlite3.Connection, txn_id: str) -> Outcome | None:
    """What became of a message of ours; None if there is no such message (it was discarded)."""
    row = conn.execute("SELECT event_id, state, error FROM send_queue WHERE txn_id = ?", (txn_id,)).fetchone()
    return None if row is None else Outcome(*row)


def links_of(conn: sqlite3.Connection, event_ids: Sequence[str]) -> dict[str, list[str]]:
    """By event: the connections that have it in their own timeline."""
    found: dict[str, list[str]] = {}
    for row in portions.rows(
        conn, "SELECT event_id, conn FROM timeline WHERE event_id IN ({0}) ORDER BY conn", event_ids
    ):
        found.setdefault(row["event_id"], []).append(row["conn"])
    return found


def room_of_alias(conn: sqlite3.Connection, alias: str) -> RoomId | None:
    """The room that calls itself so."""
    row = conn.execute("SELECT room_id FROM room WHERE canonical_alias = ?", (alias,)).fetchone()
    return None if row is None else RoomId(row["room_id"])


def memberships_of(conn: sqlite3.Connection, room_id: RoomId) -> list[str]:
    """Our membership in a room, as each connection that knows it says."""
    return [str(row[0]) for row in conn.execute("SELECT membership FROM room WHERE room_id = ?", (room_id,))]


def keys_are_uploaded(conn: sqlite3.Connection) -> bool:
    """Whether the server has this device's keys, so that others can encrypt for it."""
    row = conn.execute("SELECT device_keys_uploaded FROM crypto_account").fetchone()
    return row is not None and bool(row[0])


def has_all_rooms(conn: sqlite3.Connection, link: Role) -> bool:
    """Whether this connection has asked for every room since it last began."""
    return session.fact(conn, f"sync.grown.{link}") is True


def is_quiet(conn: sqlite3.Connection) -> bool:
    """Whether every to-device event is processed and every sealed message was tried."""
    untried = conn.execute(
        "SELECT 1 FROM event WHERE seal = 'sealed' AND seal_reason IS NULL LIMIT 1"
    ).fetchone()
    return untried is None and inbox.depth(conn) == 0


def newest_arrival(conn: sqlite3.Connection) -> int:
    """A number that every later event exceeds."""
    return int(conn.execute("SELECT coalesce(max(rowid), 0) FROM event").fetchone()[0])


def arrivals(conn: sqlite3.Connection, after: int) -> list[tuple[int, RoomId]]:
    """The events that came after that number, in the order of arrival."""
    return [
        (int(row[0]), RoomId(row[1]))
        for row in conn.execute("SELECT rowid, room_id FROM event WHERE rowid > ? ORDER BY rowid", (after,))
    ]


def arrived(conn: sqlite3.Connection, number: int) -> sqlite3.Row | None:
    """An arrived event: what it says, ``me`` (our user id), and ``origin``, the best either connection knows.

    ``origin`` is null while no connection has placed it: our own message, sent but not come back.
    """
    row: sqlite3.Row | None = conn.execute(
        "SELECT e.event_id, e.room_id, e.sender, e.sent_at, e.kind, e.body, e.seal, s.user_id AS me,"
        " (SELECT t.origin FROM timeline t WHERE t.event_id = e.event_id"
        " ORDER BY t.origin = 'back' LIMIT 1) AS origin"
        " FROM event e LEFT JOIN session s ON s.id = 1 WHERE e.rowid = ?",
        (number,),
    ).fetchone()
    return row


def trouble(conn: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with the file, or None."""
    said = str(conn.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if said == "ok" else said


def data_version(conn: sqlite3.Connection) -> int:
    """Changes whenever another connection has committed."""
    return int(conn.execute("PRAGMA data_version").fetchone()[0])
