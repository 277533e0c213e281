"""The order of events, kept per connection (law 13): where each belongs, and where something is missing.

Live events step upwards by ``STEP``. A hole (``gap``) lies right below the event that came after it and
leaves room for what is missing, so filling never moves anything.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tandem_core.store import rooms
from tandem_core.store.database import Transaction
from tandem_core.store.events import (
    MalformedEvent,
    StoredEvent,
    get,
    is_shown,
    put_event,
    redact,
    sealed,
    set_opened,
    set_sealed_reason,
    set_verdict,
)
from tandem_core.store.view import Row, order, page, rows_by_keys
from tandem_core.types import EventId, Json, Origin, Role, RoomId, Topic

__all__ = [
    "Gap",
    "MalformedEvent",
    "Row",
    "StoredEvent",
    "append_live",
    "back_token",
    "fill_gap",
    "gaps",
    "get",
    "note_gap_attempt",
    "order",
    "page",
    "prepend_back",
    "put_event",
    "redact",
    "rows_by_keys",
    "sealed",
    "set_opened",
    "set_sealed_reason",
    "set_verdict",
]

log = logging.getLogger("tandem.store.timeline")

FIRST = 1 << 50
STEP = 1 << 20
GAP_STEP = 1 << 36
"""Room left below an event that follows a hole: 65,536 events at full step."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole right below ``ord``; what is missing comes from ``prev_batch`` on, newest first."""

    room_id: RoomId
    ord: int
    prev_batch: str
    attempts: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Events new to this connection, oldest first, with the places of their known neighbours."""

    events: list[tuple[int, StoredEvent]]
    above: int | None
    is_first: bool


def append_live(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    events: Sequence[Json],
    *,
    limited: bool,
    prev_batch: str | None,
    initial: bool = False,
    expanded: bool = False,
    num_live: int | None = None,
    now_ms: int,
) -> list[StoredEvent]:
    """Merge a sync's piece of timeline: oldest first, ending at the room's newest event.

    ``expanded`` pieces repeat what is known and add older events. Only the last ``num_live`` events of an
    initial or expanded piece are live; the others are new all the same if they are newer than what was
    known. Returns the events that may be judged now: live or gap-filled, and not so placed before by
    either connection.
    """
    stored = _put_all(txn, room_id, events, now_ms)
    places = _places(txn.conn, link, [event.event_id for event in stored])
    live_from = len(stored) - (num_live or 0) if initial or expanded else 0
    holed_at = prev_batch if limited else None
    judged: list[StoredEvent] = []
    for run in _runs(stored, places):
        if run.above is None:
            _append(txn, link, room_id, run, holed_at, prev_batch, initial, live_from, judged)
        else:
            _insert_below(txn, link, room_id, run, run.above, holed_at, judged)
    if stored:
        rooms.refresh_at_commit(txn, room_id)
        txn.changed(Topic.TIMELINE, room_id)
    return judged


def fill_gap(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    ord: int,
    chunk: Sequence[Json],
    next_batch: str | None,
    *,
    now_ms: int,
) -> list[StoredEvent]:
    """Put a chunk of ``/messages`` (newest first) into the hole below ``ord``; closes it when it meets
    what is known or the room's start, else moves it down with ``next_batch``.

    Returns the events that may be judged now. Does nothing if the hole is not there any more.
    """
    if txn.one("SELECT 1 FROM gap WHERE conn = ? AND room_id = ? AND ord = ?", (link, room_id, ord)) is None:
        return []
    fresh: list[StoredEvent] = []
    met = False
    for event in _put_all(txn, room_id, chunk, now_ms):
        if _places(txn.conn, link, [event.event_id]):
            met = True
            break
        fresh.append(event)
    judged: list[StoredEvent] = []
    upper = ord
    for event, place in zip(fresh, _room_below(txn.conn, link, room_id, ord, len(fresh)), strict=False):
        _place(txn, link, room_id, place, event, Origin.GAP, judged)
        upper = place
    _close_gap(txn, link, room_id, ord)
    # A page may be empty and not the last: the server leaves out what we may not see.
    if not met and next_batch:
        _put_gap(txn, link, room_id, upper, next_batch)
    rooms.refresh_at_commit(txn, room_id)
    txn.changed(Topic.TIMELINE, room_id)
    return list(reversed(judged))


def prepend_back(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    token: str | None,
    chunk: Sequence[Json],
    next_batch: str | None,
    *,
    now_ms: int,
) -> int:
    """Put a chunk of ``/messages`` (newest first) that was asked from ``token`` below our oldest event.

    Returns how many events were new; none if another call has moved the place meanwhile. Such
    events are never judged.
    """
    if back_token(txn.conn, link, room_id) != (token, False):
        return 0
    fresh = 0
    _, oldest = _ends(txn.conn, link, room_id)
    place = FIRST if oldest is None else oldest
    for event in _put_all(txn, room_id, chunk, now_ms):
        if _places(txn.conn, link, [event.event_id]):
            continue
        place -= STEP
        _place(txn, link, room_id, place, event, Origin.BACK, [])
        fresh += 1
    _set_back(txn, link, room_id, next_batch)
    rooms.refresh_at_commit(txn, room_id)
    txn.changed(Topic.TIMELINE, room_id)
    return fresh


def back_token(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> tuple[str | None, bool]:
    """Where older events come from, and whether the room's start is reached."""
    row = conn.execute(
        "SELECT back_token, back_done FROM room WHERE conn = ? AND room_id = ?", (link, room_id)
    ).fetchone()
    return (row["back_token"], bool(row["back_done"])) if row else (None, True)


def gaps(conn: sqlite3.Connection, link: Role) -> list[Gap]:
    """The holes of this connection, those tried least first."""
    rows = conn.execute(
        "SELECT room_id, ord, prev_batch, attempts FROM gap WHERE conn = ? ORDER BY attempts, ord DESC",
        (link,),
    ).fetchall()
    return [Gap(RoomId(row["room_id"]), row["ord"], row["prev_batch"], row["attempts"]) for row in rows]


def note_gap_attempt(txn: Transaction, link: Role, gap: Gap, give_up: bool) -> None:
    """A try to fill a hole failed; a hole that the server can never fill is closed."""
    if give_up:
        _close_gap(txn, link, gap.room_id, gap.ord)
        return
    txn.execute(
        "UPDATE gap SET attempts = attempts + 1 WHERE conn = ? AND room_id = ? AND ord = ?",
        (link, gap.room_id, gap.ord),
    )


def newest_event(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> EventId | None:
    """The newest event of a room on this connection."""
    row = conn.execute(
        "SELECT event_id FROM timeline WHERE conn = ? AND room_id = ? ORDER BY ord DESC LIMIT 1",
        (link, room_id),
    ).fetchone()
    return EventId(row["event_id"]) if row else None


def _append(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    run: _Run,
    holed_at: str | None,
    prev_batch: str | None,
    initial: bool,
    live_from: int,
    judged: list[StoredEvent],
) -> None:
    newest, _ = _ends(txn.conn, link, room_id)
    has_hole = run.is_first and newest is not None and holed_at is not None
    place = FIRST if newest is None else newest + (GAP_STEP if has_hole else STEP)
    if has_hole and holed_at is not None:
        _put_gap(txn, link, room_id, place, holed_at)
    if newest is None:
        _set_back(txn, link, room_id, holed_at if initial else prev_batch)
    older = Origin.BACK if newest is None else Origin.GAP
    for number, event in run.events:
        _place(txn, link, room_id, place, event, Origin.LIVE if number >= live_from else older, judged)
        place += STEP


def _insert_below(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    run: _Run,
    above: int,
    holed_at: str | None,
    judged: list[StoredEvent],
) -> None:
    was_hole = _close_gap(txn, link, room_id, above)
    was_oldest = _ends(txn.conn, link, room_id)[1] == above
    lowest = above
    newest_first: list[StoredEvent] = []
    places = _room_below(txn.conn, link, room_id, above, len(run.events))
    for (_, event), place in zip(reversed(run.events), places, strict=False):
        _place(txn, link, room_id, place, event, Origin.GAP if was_hole else Origin.BACK, newest_first)
        lowest = place
    judged.extend(reversed(newest_first))
    if run.is_first and was_hole and holed_at is not None:
        _put_gap(txn, link, room_id, lowest, holed_at)
    elif run.is_first and was_oldest and run.events:
        _set_back(txn, link, room_id, holed_at)


def _put_all(txn: Transaction, room_id: RoomId, events: Sequence[Json], now_ms: int) -> list[StoredEvent]:
    """Keep each event once; what is no event of this room is skipped."""
    stored: dict[str, StoredEvent] = {}
    for raw in events:
        try:
            event = put_event(txn, raw, room_id, now_ms=now_ms)
        except MalformedEvent as error:
            log.warning("room %s: an event is skipped: %s", room_id, error)
            continue
        if event.room_id != room_id:
            log.warning("event %s belongs to another room than %s", event.event_id, room_id)
        else:
            stored.setdefault(event.event_id, event)
    return list(stored.values())


def _runs(stored: list[StoredEvent], places: dict[str, int]) -> list[_Run]:
    """Cut a piece of timeline at what is known; a run between two known neighbours may be empty."""
    runs: list[_Run] = []
    fresh: list[tuple[int, StoredEvent]] = []
    is_first = True
    for number, event in enumerate(stored):
        place = places.get(event.event_id)
        if place is None:
            fresh.append((number, event))
            continue
        if fresh or not is_first:
            runs.append(_Run(fresh, place, is_first))
        fresh, is_first = [], False
    if fresh:
        runs.append(_Run(fresh, None, is_first))
    return runs


def _place(
    txn: Transaction,
    link: Role,
    room_id: RoomId,
    place: int,
    event: StoredEvent,
    origin: Origin,
    judged: list[StoredEvent],
) -> None:
    was_new = event.origin is Origin.BACK
    txn.execute(
        "INSERT INTO timeline (conn, room_id, ord, event_id, origin, shown) VALUES (?, ?, ?, ?, ?, ?)",
        (link, room_id, place, event.event_id, origin, int(is_shown(event.kind))),
    )
    if was_new and origin is not Origin.BACK:
        judged.append(replace(event, origin=origin))


def _places(conn: sqlite3.Connection, link: Role, event_ids: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for event_id in event_ids:
        row = conn.execute(
            "SELECT ord FROM timeline WHERE conn = ? AND event_id = ?", (link, event_id)
        ).fetchone()
        if row is not None:
            places[event_id] = row["ord"]
    return places


def _ends(conn: sqlite3.Connection, link: Role, room_id: RoomId) -> tuple[int | None, int | None]:
    """The newest and the oldest place."""
    newest = conn.execute(
        "SELECT max(ord) FROM timeline WHERE conn = ? AND room_id = ?", (link, room_id)
    ).fetchone()[0]
    oldest = conn.execute(
        "SELECT min(ord) FROM timeline WHERE conn = ? AND room_id = ?", (link, room_id)
    ).fetchone()[0]
    return newest, oldest


def _room_below(conn: sqlite3.Connection, link: Role, room_id: RoomId, place: int, count: int) -> list[int]:
    """Free places below ``place``, descending; fewer than asked only if the hole is nearly full."""
    floor = conn.execute(
        "SELECT max(ord) FROM timeline WHERE conn = ? AND room_id = ? AND ord < ?", (link, room_id, place)
    ).fetchone()[0]
    step = STEP if floor is None else min(STEP, (place - floor) // (count + 1))
    if step == 0:
        log.warning("room %s: a hole is full", room_id)
        count, step = place - floor - 1, 1
    return [place - step * number for number in range(1, count + 1)]


def _put_gap(txn: Transaction, link: Role, room_id: RoomId, place: int, prev_batch: str) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO gap (conn, room_id, ord, prev_batch) VALUES (?, ?, ?, ?)",
        (link, room_id, place, prev_batch),
    )


def _close_gap(txn: Transaction, link: Role, room_id: RoomId, place: int) -> bool:
    return bool(
        txn.execute(
            "DELETE FROM gap WHERE conn = ? AND room_id = ? AND ord = ?", (link, room_id, place)
        ).rowcount
    )


def _set_back(txn: Transaction, link: Role, room_id: RoomId, token: str | None) -> None:
    txn.execute(
        "UPDATE room SET back_token = ?, back_done = ? WHERE conn = ? AND room_id = ?",
        (token, int(token is None), link, room_id),
    )
