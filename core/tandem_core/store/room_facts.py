"""What is known of a room, per connection (law 13), and what both together allow to be believed."""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from typing import Any

from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import Json, Role, RoomId, Topic, UserId

STALE_MS = 120_000
"""A connection that has not synced for this long beside one that has is no witness: its program is not running."""

_COLUMNS = frozenset(
    {
        "membership",
        "name",
        "topic",
        "avatar_url",
        "canonical_alias",
        "heroes",
        "is_dm",
        "joined_count",
        "invited_count",
        "bump_stamp",
        "join_rule",
        "history_visibility",
        "guest_access",
        "encryption",
        "power_levels",
        "service_members",
        "inviter",
        "members_complete",
        "last_at",
    }
)

_CLOSED_RULES = frozenset({"invite", "private"})
_OPEN_RULES = frozenset({"public", "knock", "restricted", "knock_restricted"})
_CLOSED_HISTORY = frozenset({None, "shared", "invited", "joined"})
"""``None``: the room has not said, and the specification then takes it for shared."""


class RoomKind(StrEnum):
    """What a receipt needs to know of a room; ``UNKNOWN`` on any doubt.

    ``PUBLIC``: people may come in, or read, who were not invited. Whom a restricted room lets in (MSC3083) another
    room decides, and who knocks (MSC2403) may be let in by a bot, so neither is private.
    """

    DIRECT = "direct"
    PRIVATE_GROUP = "private_group"
    PRIVATE_PLAIN = "private_plain"
    PUBLIC = "public"
    UNKNOWN = "unknown"


def set_room(txn: Transaction, link: Role, room_id: RoomId, fields: dict[str, Any]) -> None:
    """Keep what this connection says of a room; what ``fields`` does not name stays as it was."""
    unknown = fields.keys() - _COLUMNS
    if unknown:
        raise KeyError(f"no such room column: {sorted(unknown)}")
    txn.execute(
        "INSERT OR IGNORE INTO room (conn, room_id, membership) VALUES (?, ?, ?)",
        (link, room_id, fields.get("membership", "join")),
    )
    if fields:
        sets = ", ".join(f"{column} = ?" for column in fields)
        txn.execute(
            f"UPDATE room SET {sets} WHERE conn = ? AND room_id = ?", (*fields.values(), link, room_id)
        )
    txn.changed(Topic.ROOMS, room_id)


def set_encryption(txn: Transaction, link: Role, room_id: RoomId, content: Json) -> None:
    """Encryption is on: kept for this connection, and for the device for good. Never turns off."""
    set_room(txn, link, room_id, {"encryption": dumps(content)})
    note_encryption(txn, room_id, content)


def note_encryption(txn: Transaction, room_id: RoomId, content: Json) -> None:
    """Encryption is on, for the device and for good, whoever says so."""
    txn.execute(
        "INSERT INTO room_fact (room_id, encryption) VALUES (?, ?) ON CONFLICT (room_id) DO UPDATE"
        " SET encryption = COALESCE(room_fact.encryption, excluded.encryption)",
        (room_id, dumps(content)),
    )


def set_direct(txn: Transaction, direct: Json) -> None:
    """Mark the rooms that ``m.direct`` lists as direct chats, and no others.

    The server says so of a room only when it sends the room, which may be before this account data.
    """
    listed = {
        room
        for chats in direct.values()
        if isinstance(chats, list)
        for room in chats
        if isinstance(room, str)
    }
    for row in txn.all("SELECT conn, room_id, is_dm FROM room WHERE membership = 'join'"):
        is_dm = row["room_id"] in listed
        if is_dm != bool(row["is_dm"]):
            set_room(txn, Role(row["conn"]), row["room_id"], {"is_dm": int(is_dm)})


def encryption(conn: sqlite3.Connection, room_id: RoomId) -> Json | None:
    """The content of ``m.room.encryption``, once anybody has seen it; None for a room in clear."""
    row = conn.execute(
        "SELECT encryption FROM room WHERE room_id = ?1 AND encryption IS NOT NULL"
        " UNION ALL SELECT encryption FROM room_fact WHERE room_id = ?1 AND encryption IS NOT NULL LIMIT 1",
        (room_id,),
    ).fetchone()
    if row is None:
        return None
    content = loads(row["encryption"])
    return content if isinstance(content, dict) else {}


def power_levels(conn: sqlite3.Connection, room_id: RoomId) -> Json | None:
    """The content of ``m.room.power_levels`` as the best informed connection knows it."""
    for link in current_links(conn, room_id):
        row = conn.execute(
            "SELECT power_levels FROM room WHERE conn = ? AND room_id = ?", (link, room_id)
        ).fetchone()
        if row is not None and row["power_levels"]:
            content = loads(row["power_levels"])
            return content if isinstance(content, dict) else None
    return None


def service_members(conn: sqlite3.Connection, room_id: RoomId) -> frozenset[UserId]:
    """Bots and helpers that are in the room for its sake (MSC4171), as the best informed connection knows them."""
    for link in current_links(conn, room_id):
        row = conn.execute(
            "SELECT service_members FROM room WHERE conn = ? AND room_id = ?", (link, room_id)
        ).fetchone()
        if row is not None and row["service_members"]:
            return frozenset(UserId(user_id) for user_id in loads(row["service_members"]))
    return frozenset()


def current_links(conn: sqlite3.Connection, room_id: RoomId) -> list[Role]:
    """The connections that know the room and are up to date, the one that synced last first."""
    rows = conn.execute(
        "SELECT r.conn, COALESCE(c.synced_at, 0) AS synced_at FROM room AS r"
        " LEFT JOIN connection AS c ON c.conn = r.conn WHERE r.room_id = ? ORDER BY synced_at DESC",
        (room_id,),
    ).fetchall()
    return [Role(row["conn"]) for row in rows if row["synced_at"] >= rows[0]["synced_at"] - STALE_MS]


def kind(conn: sqlite3.Connection, room_id: RoomId) -> RoomKind:
    """What sort of room it is; ``UNKNOWN`` where something is missing or the connections disagree."""
    links = current_links(conn, room_id)
    said = {_kind_by(conn, link, room_id) for link in links}
    return said.pop() if len(said) == 1 else RoomKind.UNKNOWN


def kinds(conn: sqlite3.Connection, room_id: RoomId) -> set[RoomKind]:
    """What sort of room each connection that is up to date takes it for."""
    return {_kind_by(conn, link, room_id) for link in current_links(conn, room_id)}


def joined_people(conn: sqlite3.Connection, room_id: RoomId, but: UserId | None = None) -> list[UserId]:
    """Who joined, by the best informed connection, in order of their ids."""
    links = current_links(conn, room_id)
    if not links:
        return []
    complete = [
        link
        for link in links
        if conn.execute(
            "SELECT 1 FROM room WHERE conn = ? AND room_id = ? AND members_complete = 1", (link, room_id)
        ).fetchone()
    ]
    rows = conn.execute(
        "SELECT user_id FROM member WHERE conn = ? AND room_id = ? AND membership = 'join' AND user_id IS NOT ?"
        " ORDER BY user_id",
        ((complete or links)[0], room_id, but),
    )
    return [UserId(row["user_id"]) for row in rows]


def accept(txn: Transaction, room_id: RoomId, why: str) -> None:
    """Note that we chose to talk here: ``sent``, ``invited_them`` or ``accepted_invite``; the first reason stays."""
    txn.execute(
        "INSERT INTO room_fact (room_id, accepted) VALUES (?, ?) ON CONFLICT (room_id) DO UPDATE"
        " SET accepted = COALESCE(room_fact.accepted, excluded.accepted)",
        (room_id, why),
    )


def _kind_by(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> RoomKind:
    row = conn.execute(
        "SELECT membership, join_rule, history_visibility, is_dm, joined_count, invited_count"
        " FROM room WHERE conn = ? AND room_id = ?",
        (link, room_id),
    ).fetchone()
    if row is None or row["membership"] != "join":
        return RoomKind.UNKNOWN
    if row["join_rule"] in _OPEN_RULES or row["history_visibility"] == "world_readable":
        return RoomKind.PUBLIC
    if row["join_rule"] not in _CLOSED_RULES or row["history_visibility"] not in _CLOSED_HISTORY:
        return RoomKind.UNKNOWN
    if encryption(conn, room_id) is None:
        return RoomKind.PRIVATE_PLAIN
    if row["joined_count"] is None:
        return RoomKind.UNKNOWN
    people = row["joined_count"] + (row["invited_count"] or 0)
    return RoomKind.DIRECT if row["is_dm"] and people <= 2 else RoomKind.PRIVATE_GROUP
