"""The room list: one row a room, kept current as events come, cheap to read with thousands of rooms."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from tandem_core.rows import MESSAGE_KINDS, UNREAD_KINDS, local_name, preview
from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import (
    RoomKind,
    accept,
    current_links,
    encryption,
    joined_people,
    kind,
    note_encryption,
    power_levels,
    set_direct,
    set_encryption,
    set_room,
)
from tandem_core.store.view import tail_ords
from tandem_core.types import Role, RoomId, Topic, UserId

__all__ = [
    "RoomKind",
    "RoomRow",
    "accept",
    "current_links",
    "encryption",
    "joined_people",
    "kind",
    "note_encryption",
    "power_levels",
    "refresh",
    "refresh_at_commit",
    "room",
    "room_list",
    "set_direct",
    "set_encryption",
    "set_room",
]

UNREAD_LOOK = 200
"""So many newest rows are looked at to count unread ones; a bigger number helps nobody."""
EMPTY_ROOM = "Empty room"


@dataclass(frozen=True, slots=True)
class RoomRow:
    """One row of the room list."""

    room_id: RoomId
    name: str
    avatar_url: str | None
    is_dm: bool
    membership: str
    encrypted: bool
    last_at: int
    last_text: str
    last_sender_name: str
    unread: int
    highlights: int
    inviter: str | None
    topic: str | None
    joined_count: int
    last_is_own: bool = False
    peer: UserId | None = None
    """The other person of a direct chat of two."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A shown row, as far as counting needs it."""

    event_id: str
    place: int
    is_borrowed: bool
    origin: str
    sender: str
    kind: str
    verdict: int
    at: int


_SELECT = (
    "SELECT r.room_id, r.name, r.avatar_url, r.is_dm, r.membership, r.canonical_alias, r.heroes, r.last_at,"
    " r.unread, r.highlights, r.inviter, r.topic, r.joined_count,"
    " r.encryption IS NOT NULL OR f.encryption IS NOT NULL AS encrypted,"
    " e.kind, substr(e.body, 1, 400) AS body, e.sender, m.display_name AS sender_name,"
    " e.sender = (SELECT user_id FROM session) AS is_own"
    " FROM room AS r LEFT JOIN room_fact AS f ON f.room_id = r.room_id"
    " LEFT JOIN event AS e ON e.event_id = r.last_event_id"
    " LEFT JOIN member AS m ON m.conn = r.conn AND m.room_id = r.room_id AND m.user_id = e.sender"
)
# A room that this connection has not heard of yet is shown as the other one knows it.
_MINE_FIRST = (
    " (r.conn = :link OR (r.conn = :other AND NOT EXISTS"
    " (SELECT 1 FROM room AS own WHERE own.conn = :link AND own.room_id = r.room_id)))"
)
_ORDER = "r.membership = 'invite' DESC, r.last_at DESC, r.room_id"


def room_list(
    conn: sqlite3.Connection, link: Role, *, search: str = "", limit: int | None = None, offset: int = 0
) -> list[RoomRow]:
    """Joined rooms and invites: invites first, then the one with the newest message first."""
    wanted = search.casefold().strip()
    sql_limit = -1 if limit is None or wanted else limit
    # The rooms are chosen before anything is looked up for them.
    rows = conn.execute(
        f"{_SELECT} WHERE (r.conn, r.room_id) IN (SELECT r.conn, r.room_id FROM room AS r"
        f" WHERE {_MINE_FIRST} AND r.membership IN ('join', 'invite')"
        f" ORDER BY {_ORDER} LIMIT :limit OFFSET :offset) ORDER BY {_ORDER}",
        {"link": link, "other": link.other, "limit": sql_limit, "offset": 0 if wanted else offset},
    )
    if not wanted:
        return [_room_row(row) for row in rows]
    found = [made for made in map(_room_row, rows) if wanted in made.name.casefold()]
    return found[offset : None if limit is None else offset + limit]


def room(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> RoomRow | None:
    """One room, whatever our membership, or None."""
    row = conn.execute(
        f"{_SELECT} WHERE {_MINE_FIRST} AND r.room_id = :room_id",
        {"link": link, "other": link.other, "room_id": room_id},
    ).fetchone()
    return _room_row(row) if row else None


class _Refresh:
    """The rooms that a transaction touched; refreshed once, when all else of it is written."""

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self.room_ids: set[RoomId] = set()

    def __call__(self) -> None:
        for room_id in self.room_ids:
            for link in Role:
                refresh(self._txn, link, room_id)


def refresh_at_commit(txn: Transaction, room_id: RoomId) -> None:
    """Recompute the room's row, on both connections, when this transaction is about to commit."""
    for call in txn.at_commit:
        if isinstance(call, _Refresh):
            call.room_ids.add(room_id)
            return
    call = _Refresh(txn)
    call.room_ids.add(room_id)
    txn.at_commit.append(call)


def refresh(txn: Transaction, link: Role, room_id: RoomId) -> None:
    """Recompute what the room list shows: the last message, unread and highlights."""
    old = txn.one(
        "SELECT last_event_id, last_at, unread, highlights, membership FROM room WHERE conn = ? AND room_id = ?",
        (link, room_id),
    )
    if old is None:
        return
    me = txn.one("SELECT user_id FROM session")
    seen = list(_seen(txn.conn, link, room_id))
    last = next((row for row in seen if row.kind != "state"), seen[0] if seen else None)
    unread, highlights = _unread(txn.conn, link, room_id, me["user_id"] if me else "", seen)
    new = (
        last.event_id if last else old["last_event_id"],
        last.at if last else old["last_at"] or _newest_at(txn.conn, link, room_id),
        unread,
        highlights,
    )
    if new != (old["last_event_id"], old["last_at"], old["unread"], old["highlights"]):
        txn.execute(
            "UPDATE room SET last_event_id = ?, last_at = ?, unread = ?, highlights = ?"
            " WHERE conn = ? AND room_id = ?",
            (*new, link, room_id),
        )
    txn.changed(Topic.ROOMS, room_id)


def _seen(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> Iterator[_Seen]:
    """The newest shown rows, the borrowed tail first."""
    tail = tail_ords(conn, link, room_id)
    parts: list[tuple[Role, int, bool]] = [(link, -(1 << 62), False)]
    if tail:
        parts.insert(0, (link.other, tail[-1][0], True))
    for source, lowest, is_borrowed in parts:
        rows = conn.execute(
            "SELECT e.event_id, t.ord, t.origin, e.sender, e.kind, e.verdict, min(e.sent_at, e.received_at) AS at"
            " FROM timeline AS t JOIN event AS e ON e.event_id = t.event_id"
            " WHERE t.conn = ? AND t.room_id = ? AND t.shown = 1 AND t.ord >= ? ORDER BY t.ord DESC LIMIT ?",
            (source, room_id, lowest, UNREAD_LOOK),
        )
        for row in rows:
            yield _Seen(
                row["event_id"],
                row["ord"],
                is_borrowed,
                row["origin"],
                row["sender"],
                row["kind"],
                row["verdict"],
                row["at"],
            )


def _unread(
    conn: sqlite3.Connection, link: Role, room_id: RoomId, me: str, seen: list[_Seen]
) -> tuple[int, int]:
    """Messages by others, and highlights, above how far we have read."""
    marker = conn.execute(
        "SELECT event_id, read_at FROM read_marker WHERE room_id = ? AND user_id = ?", (room_id, me)
    ).fetchone()
    here = there = None
    if marker is not None:
        places = dict(
            conn.execute(
                "SELECT conn, ord FROM timeline WHERE conn IN ('app', 'notifier') AND event_id = ?",
                (marker["event_id"],),
            ).fetchall()
        )
        here, there = places.get(link), places.get(link.other)
    unread = highlights = 0
    for row in seen:
        if row.sender == me and row.kind in MESSAGE_KINDS:
            break
        if marker is not None and _is_read(row, here, there, marker["read_at"]):
            break
        if row.sender == me or row.kind not in UNREAD_KINDS:
            continue
        if marker is None and row.origin == "back" and not row.verdict:
            continue  # history; what the other program judged came while we were here
        unread += 1
        highlights += row.verdict == 2
    return unread, highlights


def _is_read(row: _Seen, here: int | None, there: int | None, read_at: int) -> bool:
    """Whether a row lies at or below the marker, which this order, the borrowed one or only a time places."""
    if row.is_borrowed:
        if there is not None:
            return row.place <= there
        return row.at <= read_at if here is None else False
    if here is not None:
        return row.place <= here
    return row.at <= read_at


def _newest_at(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> int:
    row = conn.execute(
        "SELECT min(e.sent_at, e.received_at) AS at FROM timeline AS t JOIN event AS e ON e.event_id = t.event_id"
        " WHERE t.conn = ? AND t.room_id = ? ORDER BY t.ord DESC LIMIT 1",
        (link, room_id),
    ).fetchone()
    return row["at"] if row else 0


def _room_row(row: sqlite3.Row) -> RoomRow:
    heroes = loads(row["heroes"]) if row["heroes"] else []
    peer = heroes[0] if row["is_dm"] and len(heroes) == 1 else None
    avatar = row["avatar_url"] or (peer["avatar"] if peer else None)
    # A state row says by itself who did it.
    sender = row["sender"] if row["kind"] != "state" else None
    inviter = local_name(row["inviter"]) if row["membership"] == "invite" and row["inviter"] else ""
    names = _names([hero["name"] or local_name(hero["user_id"]) for hero in heroes])
    return RoomRow(
        room_id=RoomId(row["room_id"]),
        name=row["name"] or names or row["canonical_alias"] or inviter or EMPTY_ROOM,
        avatar_url=avatar,
        is_dm=bool(row["is_dm"]),
        membership=row["membership"],
        encrypted=bool(row["encrypted"]),
        last_at=row["last_at"],
        last_text=preview(row["kind"], row["body"]) if row["kind"] else "",
        last_sender_name=(row["sender_name"] or local_name(sender)) if sender else "",
        unread=row["unread"],
        highlights=row["highlights"],
        inviter=row["inviter"],
        topic=row["topic"],
        joined_count=row["joined_count"] or 0,
        last_is_own=sender is not None and bool(row["is_own"]),
        peer=UserId(peer["user_id"]) if peer else None,
    )


def _names(names: list[str]) -> str:
    match names:
        case []:
            return ""
        case [only]:
            return only
        case [first, second]:
            return f"{first} and {second}"
    return f"{', '.join(names[:2])} and {len(names) - 2} more"
