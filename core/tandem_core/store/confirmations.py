"""Rows of how receipts travel: routes, the pace of devices, whose turn it is, and what our own devices tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, EventId, RoomId, Topic, UserId

MOST_KEPT = 4096
"""Rows of what our own devices tell; beyond that the oldest go."""
_MOST_BATCHES = 32


@dataclass(frozen=True, slots=True)
class Pace:
    """How many batches a device may still send, as counted at a time (ms). ``batches``: the ids of its last ones."""

    counted_at: int
    spare: float
    muted_until: int
    batches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """Which of our devices answers; ``told_at``: when we last said that it is this one (0: another said so)."""

    device_id: DeviceId
    told_at: int


@dataclass(frozen=True, slots=True)
class OwnConfirm:
    """A message from another device of ours that this one has, which is to be told."""

    event_id: EventId
    room_id: RoomId
    asked_by: DeviceId


@dataclass(frozen=True, slots=True)
class Said:
    """A confirmation that this device has given; ``share`` as it was decided."""

    event_id: EventId
    room_id: RoomId
    share: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A proven confirmation that our other devices are to be told; ``device_id`` is empty for the person."""

    event_id: EventId
    room_id: RoomId
    user_id: UserId
    device_id: str
    ts: int
    proof: str


# ── Whether other servers take receipts ─────────────────────────────────────────────────────────


def route(conn: sqlite3.Connection, server: str, since_ms: int, now_ms: int) -> bool | None:
    """Whether receipts reach this server, as learned since then; None if it is not known."""
    row = conn.execute(
        "SELECT takes FROM receipt_route WHERE server = ? AND learned_at BETWEEN ? AND ?",
        (server, since_ms, now_ms),
    ).fetchone()
    return None if row is None else bool(row["takes"])


def learn_route(txn: Transaction, server: str, takes: bool, now_ms: int, forget_before_ms: int) -> None:
    """Keep what our server said of the way to another one."""
    txn.execute("DELETE FROM receipt_route WHERE learned_at < ?", (forget_before_ms,))
    txn.execute(
        "INSERT OR REPLACE INTO receipt_route (server, takes, learned_at) VALUES (?, ?, ?)",
        (server, int(takes), now_ms),
    )


# ── The pace of devices that write to us ────────────────────────────────────────────────────────


def pace(conn: sqlite3.Connection, user_id: UserId, device_id: str) -> Pace | None:
    """How often a device may write; None if it never has."""
    row = conn.execute(
        "SELECT counted_at, spare, muted_until, last FROM receipt_peer WHERE user_id = ? AND device_id = ?",
        (user_id, device_id),
    ).fetchone()
    return None if row is None else Pace(row[0], row[1], row[2], tuple(loads(row[3])))


def put_pace(txn: Transaction, user_id: UserId, device_id: str, pace: Pace) -> None:
    """Keep it; of the batches the newest."""
    last = dumps(list(pace.batches[-_MOST_BATCHES:]))
    txn.execute(
        "INSERT OR REPLACE INTO receipt_peer (user_id, device_id, counted_at, spare, muted_until, last)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, device_id, pace.counted_at, pace.spare, pace.muted_until, last),
    )


# ── Which of our devices answers ────────────────────────────────────────────────────────────────


def lease(conn: sqlite3.Connection) -> Lease | None:
    """Which device answers; None before anybody has."""
    row = conn.execute("SELECT device_id, told_at FROM receipt_lease").fetchone()
    return None if row is None else Lease(DeviceId(row["device_id"]), row["told_at"])


def put_lease(txn: Transaction, held: Lease) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO receipt_lease (id, device_id, told_at) VALUES (1, ?, ?)",
        (held.device_id, held.told_at),
    )


def note_by_other(txn: Transaction, event_ids: Iterable[EventId], now_ms: int) -> None:
    """Another device of ours has confirmed these."""
    txn.executemany(
        "INSERT OR IGNORE INTO receipt_by_other (event_id, heard_at) VALUES (?, ?)",
        [(event_id, now_ms) for event_id in event_ids],
    )
    txn.execute(
        "DELETE FROM receipt_by_other WHERE event_id NOT IN"
        " (SELECT event_id FROM receipt_by_other ORDER BY heard_at DESC LIMIT ?)",
        (MOST_KEPT,),
    )
    txn.changed(Topic.OWED)


def by_other(conn: sqlite3.Connection, event_id: EventId) -> bool:
    """Whether another device of ours has confirmed this event."""
    row = conn.execute("SELECT 1 FROM receipt_by_other WHERE event_id = ?", (event_id,)).fetchone()
    return row is not None


def wait_until(conn: sqlite3.Connection, event_id: EventId) -> int | None:
    """Until when this event's confirmation is left to another device of ours; None if nothing was drawn yet."""
    row = conn.execute("SELECT until FROM receipt_wait WHERE event_id = ?", (event_id,)).fetchone()
    return None if row is None else int(row["until"])


def put_wait(txn: Transaction, event_id: EventId, until_ms: int, forget_before_ms: int) -> None:
    """Leave it to the others until then; waits that were over before ``forget_before_ms`` are forgotten."""
    txn.execute("DELETE FROM receipt_wait WHERE until < ?", (forget_before_ms,))
    txn.execute("INSERT OR IGNORE INTO receipt_wait (event_id, until) VALUES (?, ?)", (event_id, until_ms))


def said_lately(conn: sqlite3.Connection, sender: UserId, way: str, since_ms: int, limit: int) -> list[Said]:
    """What this device has confirmed to an author by this way since then, newest first."""
    rows = conn.execute(
        "SELECT event_id, room_id, share FROM receipt_owed WHERE sender = ? AND state = 'sent' AND transport = ?"
        " AND done_at >= ? ORDER BY done_at DESC, event_id LIMIT ?",
        (sender, way, since_ms, limit),
    )
    return [Said(*row) for row in rows]


# ── What this device tells our others ───────────────────────────────────────────────────────────


def owe_own(
    txn: Transaction,
    event_id: EventId,
    room_id: RoomId,
    asked_by: DeviceId,
    due_at: int,
    forget_before_ms: int,
) -> None:
    """A message of ours that another device sent is here, and that device asked for word; once per event."""
    txn.execute("DELETE FROM own_confirm WHERE done = 1 AND due_at < ?", (forget_before_ms,))
    txn.execute(
        "INSERT OR IGNORE INTO own_confirm (event_id, room_id, asked_by, due_at, done) VALUES (?, ?, ?, ?, 0)",
        (event_id, room_id, asked_by, due_at),
    )
    txn.changed(Topic.OWED, room_id)


def own_due(conn: sqlite3.Connection, now_ms: int, longest_ms: int) -> list[OwnConfirm]:
    """What is due of it; a time further ahead than any is drawn was drawn by a clock that has gone back since."""
    rows = conn.execute(
        "SELECT event_id, room_id, asked_by FROM own_confirm WHERE done = 0 AND due_at NOT BETWEEN ? AND ?"
        " ORDER BY due_at, event_id",
        (now_ms + 1, now_ms + longest_ms),
    )
    return [OwnConfirm(row[0], row[1], row[2]) for row in rows]


def next_own_at(conn: sqlite3.Connection) -> int | None:
    """When the next of it falls due."""
    at: int | None = conn.execute("SELECT min(due_at) FROM own_confirm WHERE done = 0").fetchone()[0]
    return at


def own_done(txn: Transaction, event_ids: Iterable[EventId]) -> None:
    txn.executemany("UPDATE own_confirm SET done = 1 WHERE event_id = ?", [(one,) for one in event_ids])


def put_forward(txn: Transaction, forward: Forward) -> None:
    """Our other devices are to hear of it; beyond ``MOST_KEPT`` the oldest go."""
    txn.execute(
        "INSERT OR IGNORE INTO receipt_forward (event_id, room_id, user_id, device_id, ts, proof)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            forward.event_id,
            forward.room_id,
            forward.user_id,
            forward.device_id,
            forward.ts,
            forward.proof,
        ),
    )
    txn.execute(
        "DELETE FROM receipt_forward WHERE seq <= (SELECT max(seq) FROM receipt_forward) - ?", (MOST_KEPT,)
    )
    txn.changed(Topic.OWED)


def forwards(conn: sqlite3.Connection, limit: int) -> list[tuple[int, Forward]]:
    """What waits to be passed on, oldest first, with its number."""
    rows = conn.execute(
        "SELECT seq, event_id, room_id, user_id, device_id, ts, proof FROM receipt_forward ORDER BY seq LIMIT ?",
        (limit,),
    )
    return [(row[0], Forward(*row[1:])) for row in rows]


def forwarded(txn: Transaction, numbers: Sequence[int]) -> None:
    txn.executemany("DELETE FROM receipt_forward WHERE seq = ?", [(number,) for number in numbers])
