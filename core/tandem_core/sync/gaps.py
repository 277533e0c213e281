"""Fill the holes of this connection's timelines by ``/messages``; what comes so passes the gate (law 13)."""

from __future__ import annotations

import json
import logging
from typing import Any, ClassVar

from tandem_core.clock import Chance, Clock
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.store import timeline
from tandem_core.store.database import Database, Transaction
from tandem_core.store.timeline import Gap
from tandem_core.sync.apply import judge_events
from tandem_core.types import Json, Me, Role, RoomId, Topic
from tandem_core.worker import Worker

log = logging.getLogger("tandem.sync.gaps")

PAGE = 100
MOST_PAGES = 40
"""A hole of more than 4,000 events is left to scrolling."""
_FILTER = json.dumps({"lazy_load_members": True})


class GapFiller(Worker):
    """Fills one connection's holes, page by page, the newest first."""

    name: ClassVar[str] = "gaps"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.TIMELINE})

    def __init__(self, db: Database, http: Http, me: Me, role: Role, *, clock: Clock, chance: Chance) -> None:
        super().__init__(chance)
        self._db = db
        self._http = http
        self._me = me
        self._role = role
        self._clock = clock
        self._pages: dict[RoomId, int] = {}

    async def step(self) -> float | None:
        while True:
            gap = await self._next()
            if gap is None:
                return None
            self._pages[gap.room_id] = self._pages.get(gap.room_id, 0) + 1
            await fill_page(
                self._http, self._db, self._me, self._role, gap, clock=self._clock, chance=self._chance
            )

    async def _next(self) -> Gap | None:
        holes = await self._db.read(timeline.gaps, self._role)
        open_rooms = {hole.room_id for hole in holes}
        for room_id in self._pages.keys() - open_rooms:
            del self._pages[room_id]
        return next((hole for hole in holes if self._pages.get(hole.room_id, 0) < MOST_PAGES), None)


async def fill_page(
    http: Http,
    db: Database,
    me: Me,
    link: Role,
    gap: Gap,
    *,
    clock: Clock,
    chance: Chance,
    limit: int = PAGE,
) -> None:
    """Ask for one page of what a hole hides and put it in; raises Offline or RateLimited."""
    try:
        chunk, end = await messages(http, gap.room_id, gap.prev_batch, limit)
    except ServerRefused as refused:
        # Left, banned, or a token of another server: nothing more to be had.
        log.warning("%s: a hole cannot be filled: %s", gap.room_id, refused.errcode)
        await db.write(timeline.note_gap_attempt, link, gap, True)
        return
    await db.write(_put, me, link, gap, chunk, end, clock.now_ms(), chance)


async def messages(
    http: Http, room_id: RoomId, token: str | None, limit: int
) -> tuple[list[Json], str | None]:
    """A page of older events, newest first, and where the next one starts (None: the room's start).

    Raises as ``Http.request``.
    """
    query = {"dir": "b", "limit": str(limit), "filter": _FILTER}
    if token is not None:
        query["from"] = token
    answer = await http.request("GET", path("rooms", room_id, "messages"), query=query)
    chunk: Any = answer.get("chunk")
    end = answer.get("end")
    events = [event for event in chunk if isinstance(event, dict)] if isinstance(chunk, list) else []
    return events, end if isinstance(end, str) and end != token else None


def _put(
    txn: Transaction,
    me: Me,
    link: Role,
    gap: Gap,
    chunk: list[Json],
    end: str | None,
    now_ms: int,
    chance: Chance,
) -> None:
    fresh = timeline.fill_gap(txn, link, gap.room_id, gap.ord, chunk, end, now_ms=now_ms)
    judge_events(txn, link, me, fresh, now_ms=now_ms, chance=chance)
