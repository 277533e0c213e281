"""Rows of bridges: those that a room's state names, as each connection knows it, and what they said of our messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import current_links
from tandem_core.types import EventId, Role, RoomId, Topic, UserId


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of a room; ``network``: what it calls the other side."""

    bot: UserId
    network: str


@dataclass(frozen=True, slots=True)
class StatusRow:
    """What a room's bridge said last of an event."""

    event_id: EventId
    room_id: RoomId
    status: str
    reason: str | None
    message: str | None
    delivered_to: tuple[UserId, ...] | None
    network: str
    said_at: int


def put_bridge(
    txn: Transaction, link: Role, room_id: RoomId, kind: str, state_key: str, bridge: Bridge, *, most: int
) -> None:
    """Keep what a state event names, for this connection; no more than ``most`` a room."""
    txn.execute(
        "INSERT OR REPLACE INTO bridge (conn, room_id, type, state_key, bot, network) VALUES (?, ?, ?, ?, ?, ?)",
        (link, room_id, kind, state_key, bridge.bot, bridge.network),
    )
    count = txn.one("SELECT count(*) FROM bridge WHERE conn = ? AND room_id = ?", (link, room_id))
    if count is not None and count[0] > most:
        forget_bridge(txn, link, room_id, kind, state_key)


def forget_bridge(txn: Transaction, link: Role, room_id: RoomId, kind: str, state_key: str) -> None:
    """The state event names no bridge (any more)."""
    txn.execute(
        "DELETE FROM bridge WHERE conn = ? AND room_id = ? AND type = ? AND state_key = ?",
        (link, room_id, kind, state_key),
    )


def bridges(conn: sqlite3.Connection, room_id: RoomId) -> list[Bridge]:
    """The bridges of a room, as the connections that are up to date name them."""
    found: dict[UserId, Bridge] = {}
    for link in current_links(conn, room_id):
        rows = conn.execute(
            "SELECT bot, network FROM bridge WHERE conn = ? AND room_id = ? ORDER BY type, state_key",
            (link, room_id),
        )
        for row in rows:
            found.setdefault(UserId(row["bot"]), Bridge(UserId(row["bot"]), row["network"]))
    return list(found.values())


def put_status(txn: Transaction, row: StatusRow, sender: UserId, now_ms: int) -> bool:
    """Keep what a bridge says of an event; the newest word stays. Returns whether this is it."""
    fresh = txn.execute(
        "INSERT INTO bridge_status (event_id, room_id, status, reason, message, delivered_to, network, sender,"
        " said_at, heard_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO UPDATE SET"
        " status = excluded.status, reason = excluded.reason, message = excluded.message,"
        " delivered_to = excluded.delivered_to, network = excluded.network, sender = excluded.sender,"
        " said_at = excluded.said_at, heard_at = excluded.heard_at"
        " WHERE bridge_status.room_id = excluded.room_id AND excluded.said_at >= bridge_status.said_at",
        (
            row.event_id,
            row.room_id,
            row.status,
            row.reason,
            row.message,
            None if row.delivered_to is None else dumps(list(row.delivered_to)),
            row.network,
            sender,
            row.said_at,
            now_ms,
        ),
    ).rowcount
    if fresh:
        txn.changed(Topic.DELIVERY, row.room_id)
    return bool(fresh)


def forget_unknown(txn: Transaction, room_id: RoomId, before_ms: int) -> int:
    """Drop statuses of events that never came; returns how many wait for theirs now."""
    unknown = (
        "room_id = ? AND NOT EXISTS (SELECT 1 FROM event AS e WHERE e.event_id = bridge_status.event_id)"
    )
    txn.execute(f"DELETE FROM bridge_status WHERE heard_at < ? AND {unknown}", (before_ms, room_id))
    count = txn.one(f"SELECT count(*) FROM bridge_status WHERE {unknown}", (room_id,))
    return 0 if count is None else int(count[0])


def statuses(conn: sqlite3.Connection, me: UserId, event_ids: Sequence[str]) -> list[StatusRow]:
    """What bridges said last of these messages of ours, in their own rooms."""
    rows = portions.rows(
        conn,
        "SELECT s.event_id, s.room_id, s.status, s.reason, s.message, s.delivered_to, s.network, s.said_at"
        " FROM bridge_status AS s JOIN event AS e ON e.event_id = s.event_id AND e.room_id = s.room_id"
        " WHERE e.sender = ? AND s.event_id IN ({0})",
        event_ids,
        before=(me,),
    )
    return [
        StatusRow(
            EventId(row["event_id"]),
            RoomId(row["room_id"]),
            row["status"],
            row["reason"],
            row["message"],
            None if row["delivered_to"] is None else tuple(map(UserId, loads(row["delivered_to"]))),
            row["network"],
            row["said_at"],
        )
        for row in rows
    ]
