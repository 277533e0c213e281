"""Who is in a room, as each connection knows it (law 13)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tandem_core.rows import local_name
from tandem_core.store.codec import loads, mend
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import current_links
from tandem_core.types import Json, Role, RoomId, Topic, UserId

_MEMBERSHIPS = frozenset({"join", "invite", "leave", "ban", "knock"})
_MOST_TIME = 2**53


@dataclass(frozen=True, slots=True)
class Member:
    """One person in one room."""

    user_id: UserId
    membership: str
    display_name: str | None
    avatar_url: str | None
    changed_at: int


def set_member(
    txn: Transaction, link: Role, room_id: RoomId, user_id: UserId, content: Json, changed_at: int
) -> bool:
    """Keep what an ``m.room.member`` event says on this connection; returns whether it made sense."""
    membership = content.get("membership")
    if membership not in _MEMBERSHIPS:
        return False
    name, avatar = content.get("displayname"), content.get("avatar_url")
    txn.execute(
        "INSERT OR REPLACE INTO member (conn, room_id, user_id, membership, display_name, avatar_url, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            link,
            room_id,
            user_id,
            membership,
            mend(name) if isinstance(name, str) and name.strip() else None,
            avatar if isinstance(avatar, str) and avatar.startswith("mxc://") else None,
            changed_at if type(changed_at) is int and 0 <= changed_at <= _MOST_TIME else 0,
        ),
    )
    return True


def members(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> list[Member]:
    """Everybody this connection knows of, whatever their membership."""
    rows = conn.execute(
        "SELECT user_id, membership, display_name, avatar_url, changed_at FROM member"
        " WHERE conn = ? AND room_id = ?",
        (link, room_id),
    )
    return [Member(*row) for row in rows]


def joined(conn: sqlite3.Connection, link: Role, room_id: RoomId, also: Iterable[str] = ()) -> set[UserId]:
    """Those who joined, by this connection; with ``also``, those of these memberships too."""
    wanted = {"join", *also}
    return {member.user_id for member in members(conn, link, room_id) if member.membership in wanted}


def is_complete(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> bool:
    """Whether this connection knows all members."""
    row = conn.execute(
        "SELECT members_complete FROM room WHERE conn = ? AND room_id = ?", (link, room_id)
    ).fetchone()
    return row is not None and bool(row["members_complete"])


def agreed_members(conn: sqlite3.Connection, room_id: RoomId) -> set[UserId] | None:
    """Who joined, if all that is known fits together: None while no connection that is up to date knows
    all members, or while any of them contradicts."""
    links = current_links(conn, room_id)
    complete = [link for link in links if is_complete(conn, link, room_id)]
    if not complete:
        return None
    agreed = joined(conn, complete[0], room_id)
    for link in links:
        if link in complete:
            if joined(conn, link, room_id) != agreed:
                return None
        elif any((m.membership == "join") != (m.user_id in agreed) for m in members(conn, link, room_id)):
            return None
    return agreed


def display_name(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> str:
    """The name a person goes by in a room; the first part of the id for somebody without one."""
    row = conn.execute(
        "SELECT display_name FROM member WHERE room_id = ? AND user_id = ? AND display_name IS NOT NULL"
        " ORDER BY changed_at DESC LIMIT 1",
        (room_id, user_id),
    ).fetchone()
    return row["display_name"] if row else local_name(user_id)


def newest_place(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> int:
    """The place of a room's newest event; what comes later lies above it."""
    place: int | None = conn.execute(
        "SELECT max(ord) FROM timeline WHERE conn = ? AND room_id = ?", (link, room_id)
    ).fetchone()[0]
    return place or 0


def put_complete(
    txn: Transaction, link: Role, room_id: RoomId, events: Sequence[Json], asked_above: int
) -> bool:
    """Keep a full member list that was asked for when ``asked_above`` was the newest place.

    Membership events that sync brought since are applied on top. Returns False, with the list kept but not
    called complete, if a hole opened meanwhile.
    """
    seen: set[str] = set()
    for event in events:
        user_id, content = event.get("state_key"), event.get("content")
        if isinstance(user_id, str) and isinstance(content, dict):
            at = event.get("origin_server_ts")
            if set_member(txn, link, room_id, UserId(user_id), content, at if isinstance(at, int) else 0):
                seen.add(user_id)
    for member in members(txn.conn, link, room_id):
        if member.user_id not in seen and member.membership != "leave":
            txn.execute(
                "UPDATE member SET membership = 'leave' WHERE conn = ? AND room_id = ? AND user_id = ?",
                (link, room_id, member.user_id),
            )
    later = txn.all(
        "SELECT e.state_key, e.content, e.sent_at FROM timeline AS t JOIN event AS e ON e.event_id = t.event_id"
        " WHERE t.conn = ? AND t.room_id = ? AND t.ord > ? AND e.type = 'm.room.member' ORDER BY t.ord",
        (link, room_id, asked_above),
    )
    for row in later:
        if row["state_key"]:
            set_member(txn, link, room_id, row["state_key"], loads(row["content"]), row["sent_at"])
    holed = txn.one(
        "SELECT 1 FROM gap WHERE conn = ? AND room_id = ? AND ord > ?", (link, room_id, asked_above)
    )
    txn.execute(
        "UPDATE room SET members_complete = ? WHERE conn = ? AND room_id = ?",
        (int(holed is None), link, room_id),
    )
    txn.changed(Topic.ROOMS, room_id)
    return holed is None
