"""What the window reads of a timeline: this connection's own order, the newer tail that only the other
program has (law 13), and on top what is still on its way out.

One number orders all three: own places are below 2^60, the other connection's are lifted by 2^60, and
pending sends by 2^62; a newer row always has the bigger number.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tandem_core.attachments import KINDS
from tandem_core.rows import local_name, make_row
from tandem_core.store import portions
from tandem_core.store.codec import loads
from tandem_core.types import Json, Role, RoomId

if TYPE_CHECKING:
    # Read where a row has something attached: the first frame need not wait for it.
    from tandem_core.attachments.content import Attachment
    from tandem_core.store.uploads import Progress

BORROWED = 1 << 60
PENDING = 1 << 62
_TAIL_MOST = 500
_PENDING_LOOK = 100
_ATTACHED = ", ".join(f"'{kind}'" for kind in sorted(KINDS))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the timeline as the window shows it. ``key`` never changes, whatever the row goes through."""

    key: str
    ord: int
    event_id: str | None
    txn_id: str | None
    sender: str
    sender_name: str
    sender_avatar: str | None
    sent_at: int
    kind: str
    body: str
    html: str | None
    seal: str
    seal_reason: str | None
    is_own: bool
    send_state: str
    error: str | None
    edited: bool
    redacted: bool
    attachment: Attachment | None = None
    upload: Progress | None = None
    """Of our own attachment, until it is at the server."""


def order(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> array[int]:
    """The numbers of all rows of a room, newest first."""
    tail = tail_ords(conn, link, room_id)
    numbers = array("q", _pending(conn, link, room_id, tail))
    numbers.extend(BORROWED + place for place, shown in tail if shown)
    own = conn.execute(
        "SELECT ord FROM timeline WHERE conn = ? AND room_id = ? AND shown = 1 ORDER BY ord DESC",
        (link, room_id),
    )
    numbers.extend(place for (place,) in own)
    return numbers


def page(
    conn: sqlite3.Connection, link: Role, room_id: RoomId, *, before: int | None = None, limit: int = 50
) -> list[Row]:
    """Up to ``limit`` rows older than the number ``before`` (None: from the newest), newest first."""
    tail = tail_ords(conn, link, room_id)
    top = [*_pending(conn, link, room_id, tail), *(BORROWED + place for place, shown in tail if shown)]
    numbers = [number for number in top if before is None or number < before][:limit]
    if len(numbers) < limit:
        below = BORROWED if before is None else min(before, BORROWED)
        own = conn.execute(
            "SELECT ord FROM timeline WHERE conn = ? AND room_id = ? AND shown = 1 AND ord < ?"
            " ORDER BY ord DESC LIMIT ?",
            (link, room_id, below, limit - len(numbers)),
        )
        numbers.extend(place for (place,) in own)
    return rows_by_keys(conn, link, room_id, numbers)


def rows_by_keys(conn: sqlite3.Connection, link: Role, room_id: RoomId, numbers: Sequence[int]) -> list[Row]:
    """The rows with these numbers, in their order; a number that is gone meanwhile is left out."""
    found: dict[int, Row] = {}
    own = [number for number in numbers if number < BORROWED]
    borrowed = [number - BORROWED for number in numbers if BORROWED <= number < PENDING]
    pending = [number - PENDING for number in numbers if number >= PENDING]
    me = _me(conn)
    for row in _event_rows(conn, link, link, room_id, own, me, 0):
        found[row.ord] = row
    for row in _event_rows(conn, link, link.other, room_id, borrowed, me, BORROWED):
        found[row.ord] = row
    for row in _pending_rows(conn, link, room_id, pending, me):
        found[row.ord] = row
    return [found[number] for number in numbers if number in found]


def tail_ords(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> list[tuple[int, bool]]:
    """Places (with whether they are shown) in the other connection's order of what it alone has, newest first.

    Only what lies above our own newest event is borrowed; without any event of our own, all that it has.
    Where the two do not meet, nothing is.
    """
    newest = conn.execute(
        "SELECT event_id FROM timeline WHERE conn = ? AND room_id = ? ORDER BY ord DESC LIMIT 1",
        (link, room_id),
    ).fetchone()
    if newest is None:
        floor = -(1 << 62)
    else:
        met = conn.execute(
            "SELECT ord FROM timeline WHERE conn = ? AND event_id = ?", (link.other, newest["event_id"])
        ).fetchone()
        if met is None:
            return []
        floor = met["ord"]
    rows = conn.execute(
        "SELECT ord, shown FROM timeline AS t WHERE conn = ? AND room_id = ? AND ord > ? AND NOT EXISTS"
        " (SELECT 1 FROM timeline AS mine WHERE mine.conn = ? AND mine.event_id = t.event_id)"
        " ORDER BY ord DESC LIMIT ?",
        (link.other, room_id, floor, link, _TAIL_MOST),
    ).fetchall()
    return [(row["ord"], bool(row["shown"])) for row in rows]


def _pending(
    conn: sqlite3.Connection, link: Role, room_id: RoomId, tail: Sequence[tuple[int, bool]]
) -> list[int]:
    """Numbers of the sends that this view does not show as events yet, newest first."""
    lowest_borrowed = min((place for place, _ in tail), default=None)
    rows = conn.execute(
        "SELECT id, type, content, event_id, state,"
        " EXISTS (SELECT 1 FROM timeline WHERE conn = ?2 AND event_id = q.event_id) AS is_here,"
        " (SELECT ord FROM timeline WHERE conn = ?3 AND event_id = q.event_id) AS there"
        " FROM send_queue AS q WHERE room_id = ?1 AND (state != 'sent' OR event_id IS NOT NULL)"
        " ORDER BY id DESC LIMIT ?4",
        (room_id, link, link.other, _PENDING_LOOK),
    ).fetchall()
    numbers = []
    for row in rows:
        is_borrowed = (
            lowest_borrowed is not None and row["there"] is not None and row["there"] >= lowest_borrowed
        )
        if row["is_here"] or is_borrowed or not make_row(row["type"], loads(row["content"])).shown:
            continue
        numbers.append(PENDING + row["id"])
    return numbers


def _event_rows(
    conn: sqlite3.Connection,
    link: Role,
    source: Role,
    room_id: RoomId,
    places: Sequence[int],
    me: str,
    lift: int,
) -> Iterable[Row]:
    rows = portions.rows(
        conn,
        "SELECT t.ord, e.event_id, e.txn_id, e.sender, e.sent_at, e.kind, e.body, e.html, e.seal,"
        " e.seal_reason, e.edited_by, e.redacted_by,"
        " COALESCE(m.display_name, o.display_name) AS name, COALESCE(m.avatar_url, o.avatar_url) AS avatar,"
        " q.state AS send_state, q.error,"
        f" CASE WHEN e.kind IN ({_ATTACHED}) THEN COALESCE(e.opened_content, e.content) END AS attached"
        " FROM timeline AS t JOIN event AS e ON e.event_id = t.event_id"
        " LEFT JOIN member AS m ON m.conn = ? AND m.room_id = t.room_id AND m.user_id = e.sender"
        " LEFT JOIN member AS o ON o.conn = ? AND o.room_id = t.room_id AND o.user_id = e.sender"
        " LEFT JOIN send_queue AS q ON q.event_id = e.event_id"
        " WHERE t.conn = ? AND t.room_id = ? AND t.ord IN ({0})",
        places,
        before=(link, link.other, source, room_id),
    )
    for row in rows:
        is_own = row["sender"] == me
        yield Row(
            key=row["txn_id"] if is_own and row["txn_id"] else row["event_id"],
            ord=lift + row["ord"],
            event_id=row["event_id"],
            txn_id=row["txn_id"],
            sender=row["sender"],
            sender_name=row["name"] or local_name(row["sender"]),
            sender_avatar=row["avatar"],
            sent_at=row["sent_at"],
            kind=row["kind"],
            body=row["body"],
            html=row["html"],
            seal=row["seal"],
            seal_reason=row["seal_reason"],
            is_own=is_own,
            send_state=(row["send_state"] or "sent") if is_own and row["kind"] != "state" else "",
            error=row["error"],
            edited=row["edited_by"] is not None,
            redacted=row["redacted_by"] is not None,
            attachment=_attachment(row["kind"], loads(row["attached"])) if row["attached"] else None,
        )


def _pending_rows(
    conn: sqlite3.Connection, link: Role, room_id: RoomId, ids: Sequence[int], me: str
) -> Iterable[Row]:
    if not ids:
        return
    own = conn.execute(
        "SELECT display_name, avatar_url FROM member WHERE room_id = ? AND user_id = ? ORDER BY conn = ? DESC",
        (room_id, me, link),
    ).fetchone()
    marks = ",".join("?" * len(ids))
    rows = conn.execute(
        "SELECT id, txn_id, event_id, type, content, body, html, state, error, made_at, sent_at"
        f" FROM send_queue WHERE room_id = ? AND id IN ({marks})",
        (room_id, *ids),
    )
    for row in rows:
        said = loads(row["content"])
        facts = make_row(row["type"], said)
        yield Row(
            key=row["txn_id"],
            ord=PENDING + row["id"],
            event_id=row["event_id"],
            txn_id=row["txn_id"],
            sender=me,
            sender_name=(own["display_name"] if own else None) or local_name(me),
            sender_avatar=own["avatar_url"] if own else None,
            sent_at=row["sent_at"] or row["made_at"],
            kind=facts.kind,
            body=row["body"] or facts.body,
            html=row["html"],
            seal="plain",
            seal_reason=None,
            is_own=True,
            send_state=row["state"],
            error=row["error"],
            edited=False,
            redacted=False,
            attachment=_attachment(facts.kind, said),
            upload=_progress(conn, row["txn_id"]) if facts.kind in KINDS else None,
        )


def _attachment(kind: str, said: Json) -> Attachment | None:
    if kind not in KINDS:
        return None
    from tandem_core.attachments import content

    return content.read(kind, said)


def _progress(conn: sqlite3.Connection, txn_id: str) -> Progress | None:
    from tandem_core.store import uploads

    return uploads.progress(conn, txn_id)


def _me(conn: sqlite3.Connection) -> str:
    row = conn.execute("SELECT user_id FROM session").fetchone()
    return row["user_id"] if row else ""
