"""Read whom our own messages were for, and who has read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.types import EventId, Role, RoomId, UserId

_SEALED = "m.room.encrypted"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of ours under the key it was asked by (event id or transaction id)."""

    key: str
    event_id: EventId | None
    txn_id: str | None
    room_id: RoomId
    send_state: str
    sent_at: int
    is_encrypted: bool | None = None
    """As it went to the server; None before it did."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A device that did not get the key of a message; ``code`` as in ``m.room_key.withheld``, or ``m.no_olm``."""

    user_id: UserId
    device_name: str
    code: str


def left_out(conn: sqlite3.Connection, event_id: EventId) -> list[LeftOut]:
    """The devices that the key of our own encrypted message was kept from, by person.

    One that got the key later, for what was written then, is not among them any more.
    """
    rows = conn.execute(
        "SELECT k.user_id, coalesce(nullif(d.display_name, ''), k.device_id) AS name, k.outcome FROM event AS e"
        " JOIN key_share AS k ON k.session_id = e.session_id"
        " LEFT JOIN device AS d ON d.user_id = k.user_id AND d.device_id = k.device_id"
        " WHERE e.event_id = ? AND coalesce(d.deleted, 0) = 0 AND (k.outcome = 'no_olm' OR k.outcome LIKE 'withheld:%')"
        " ORDER BY k.user_id, name",
        (event_id,),
    )
    return [
        LeftOut(
            UserId(row["user_id"]),
            row["name"],
            "m.no_olm" if row["outcome"] == "no_olm" else row["outcome"].removeprefix("withheld:"),
        )
        for row in rows
    ]


def sent_messages(conn: sqlite3.Connection, keys: Sequence[str]) -> dict[str, SentMessage]:
    """Those of the keys that are messages of ours."""
    found: dict[str, SentMessage] = {}
    wanted = set(keys)
    for row in portions.rows(
        conn,
        "SELECT e.event_id, e.room_id, e.sent_at, q.txn_id, e.type FROM event e"
        " JOIN session s ON s.user_id = e.sender"
        " LEFT JOIN send_queue q ON q.event_id = e.event_id WHERE e.event_id IN ({0})",
        keys,
    ):
        found[row[0]] = SentMessage(row[0], row[0], row[3], row[1], "sent", row[2], row[4] == _SEALED)
    for row in portions.rows(
        conn,
        "SELECT q.txn_id, q.event_id, q.room_id, q.state, coalesce(e.sent_at, q.sent_at, q.made_at),"
        " coalesce(e.type, q.wire_type)"
        " FROM send_queue q LEFT JOIN event e ON e.event_id = q.event_id"
        " WHERE q.txn_id IN ({0}) OR q.event_id IN ({0})",
        keys,
    ):
        txn_id, event_id, room_id, state, sent_at, kind = row
        is_encrypted = None if kind is None else kind == _SEALED
        for key in (txn_id, event_id):
            if key in wanted and key not in found:
                found[key] = SentMessage(key, event_id, txn_id, room_id, state, sent_at, is_encrypted)
    return found


def audiences(
    conn: sqlite3.Connection, link: Role, sent: Sequence[SentMessage]
) -> dict[str, dict[UserId, dict[str, str | None]]]:
    """By key: the people each message was for, and by device id the name of each device that got its key.

    Where none was kept (sent from another device of ours), it is those who are joined now.
    """
    kept: dict[str, dict[UserId, dict[str, str | None]]] = {}
    for row in portions.rows(
        conn,
        "SELECT txn_id, user_id, device_id, device_name FROM audience"
        " WHERE txn_id IN ({0}) AND user_id NOT IN (SELECT user_id FROM session)",
        [m.txn_id for m in sent if m.txn_id],
    ):
        devices = kept.setdefault(row[0], {}).setdefault(row[1], {})
        if row[2]:
            devices[row[2]] = row[3]
    now: dict[RoomId, list[UserId]] = {}
    found = {}
    for message in sent:
        if message.txn_id in kept:
            found[message.key] = kept[message.txn_id]
            continue
        if message.room_id not in now:
            now[message.room_id] = _joined_now(conn, link, message.room_id)
        found[message.key] = {user: {} for user in now[message.room_id]}
    return found


def reads(conn: sqlite3.Connection, link: Role, sent: Sequence[SentMessage]) -> dict[str, dict[UserId, int]]:
    """By key: who has read each message, and when their marker was set.

    A marker counts by its place in the timeline, or by its time where a place is not known.
    """
    order = _places(conn, link, [m.event_id for m in sent if m.event_id])
    markers: dict[RoomId, list[tuple[UserId, int, int | None]]] = {}
    for room_id in {m.room_id for m in sent}:
        rows = conn.execute(
            "SELECT r.user_id, r.read_at, t.ord FROM read_marker r"
            " LEFT JOIN timeline t ON t.conn = ? AND t.event_id = r.event_id"
            " WHERE r.room_id = ? AND r.user_id NOT IN (SELECT user_id FROM session)",
            (link, room_id),
        )
        markers[room_id] = [(row[0], row[1], row[2]) for row in rows]
    found: dict[str, dict[UserId, int]] = {}
    for message in sent:
        if message.event_id is None:
            continue
        place = order.get(message.event_id)
        for user, read_at, mark in markers[message.room_id]:
            known = place is not None and mark is not None
            if (mark or 0) >= (place or 0) if known else read_at >= message.sent_at:
                found.setdefault(message.key, {})[user] = read_at
    return found


def device_name(conn: sqlite3.Connection, user_id: UserId, device_id: str) -> str | None:
    """The public name of a device, if its owner gave it one."""
    row = conn.execute(
        "SELECT display_name FROM device WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    return None if row is None or not row[0] else str(row[0])


def writing_since(conn: sqlite3.Connection, room_id: RoomId) -> int | None:
    """When the first message went out that this device wrote in a room; None if there is none."""
    row = conn.execute(
        "SELECT coalesce(sent_at, made_at) FROM send_queue WHERE room_id = ? AND event_id IS NOT NULL"
        " ORDER BY id LIMIT 1",
        (room_id,),
    ).fetchone()
    return None if row is None else int(row[0])


def standing(
    conn: sqlite3.Connection, link: Role, room_id: RoomId, user_id: UserId
) -> tuple[str, int] | None:
    """A person's membership on this connection and when it last changed (0: not known); None if it knows nothing."""
    row = conn.execute(
        "SELECT membership, changed_at FROM member WHERE conn = ? AND room_id = ? AND user_id = ?",
        (link, room_id, user_id),
    ).fetchone()
    return None if row is None else (str(row[0]), int(row[1]))


def _joined_now(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> list[UserId]:
    rows = conn.execute(
        "SELECT user_id FROM member WHERE conn = ? AND room_id = ? AND membership = 'join'"
        " AND user_id NOT IN (SELECT user_id FROM session)",
        (link, room_id),
    )
    return [row[0] for row in rows]


def _places(conn: sqlite3.Connection, link: Role, event_ids: Sequence[str]) -> dict[str, int]:
    rows = portions.rows(
        conn,
        "SELECT event_id, ord FROM timeline WHERE conn = ? AND event_id IN ({0})",
        event_ids,
        before=(link,),
    )
    return {row[0]: row[1] for row in rows}
