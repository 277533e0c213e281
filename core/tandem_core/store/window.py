"""What only the window keeps or asks: drafts, where reading stopped, who is typing."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tandem_core.rows import local_name
from tandem_core.store.codec import loads
from tandem_core.types import Role, RoomId

if TYPE_CHECKING:
    from tandem_core.store.database import Transaction


def session_state(conn: sqlite3.Connection) -> str | None:
    """The state of the session (see ``store.session``), without what that module imports."""
    row = conn.execute("SELECT state FROM session").fetchone()
    return row["state"] if row else None


def has_synced(conn: sqlite3.Connection, link: Role) -> bool:
    """Whether this connection has ever had an answer of the server."""
    row = conn.execute(
        "SELECT 1 FROM connection WHERE conn = ? AND synced_at IS NOT NULL", (link,)
    ).fetchone()
    return row is not None


def theme(conn: sqlite3.Connection) -> str:
    """The setting appearance.theme, for the first frame."""
    value = _chosen(conn, "appearance.theme")
    return value if value in ("light", "dark") else "system"


def contrast(conn: sqlite3.Connection) -> str:
    """The setting appearance.contrast, for the first frame."""
    return "high" if _chosen(conn, "appearance.contrast") == "high" else "system"


def marks(conn: sqlite3.Connection) -> str:
    """The setting appearance.marks, for the first frame."""
    return "words" if _chosen(conn, "appearance.marks") == "words" else "icons"


def find_room(conn: sqlite3.Connection, link: Role, name: str) -> str:
    """The id of a room we are in or invited to, by its id or main address; empty if there is none."""
    row = conn.execute(
        "SELECT room_id FROM room WHERE (room_id = ?1 OR canonical_alias = ?1)"
        " AND membership IN ('join', 'invite') ORDER BY conn = ?2 DESC LIMIT 1",
        (name, link),
    ).fetchone()
    return row["room_id"] if row else ""


def draft(conn: sqlite3.Connection, room_id: RoomId) -> str:
    """What was written in a room and not sent; empty if nothing."""
    row = conn.execute("SELECT body FROM draft WHERE room_id = ?", (room_id,)).fetchone()
    return row["body"] if row else ""


def keep_draft(txn: Transaction, room_id: RoomId, body: str, now_ms: int) -> None:
    """Keep what is being written in a room; an empty one is forgotten."""
    if body.strip():
        txn.execute(
            "INSERT OR REPLACE INTO draft (room_id, body, changed_at) VALUES (?, ?, ?)",
            (room_id, body, now_ms),
        )
    else:
        txn.execute("DELETE FROM draft WHERE room_id = ?", (room_id,))


def read_place(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> int | None:
    """The place of the event this account has read last, if this connection's order has it."""
    row = conn.execute(
        "SELECT t.ord FROM read_marker AS r JOIN timeline AS t ON t.conn = ? AND t.event_id = r.event_id"
        " WHERE r.room_id = ? AND r.user_id = (SELECT user_id FROM session)",
        (link, room_id),
    ).fetchone()
    return row["ord"] if row else None


def typing_names(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> list[str]:
    """The names of the others who are writing in a room just now."""
    row = conn.execute("SELECT user_ids FROM typing WHERE room_id = ?", (room_id,)).fetchone()
    if row is None:
        return []
    me = conn.execute("SELECT user_id FROM session").fetchone()
    users = [user for user in loads(row["user_ids"]) if me is None or user != me["user_id"]]
    names = dict(
        conn.execute(
            "SELECT user_id, display_name FROM member WHERE room_id = ? AND display_name IS NOT NULL"
            " ORDER BY conn = ?",
            (room_id, link),
        ).fetchall()
        if users
        else ()
    )
    return [names.get(user) or local_name(user) for user in users]


def _chosen(conn: sqlite3.Connection, key: str) -> str | None:
    row = conn.execute("SELECT value FROM setting WHERE scope = 'account' AND key = ?", (key,)).fetchone()
    value = loads(row["value"]) if row else None
    return value if isinstance(value, str) else None
