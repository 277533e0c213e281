"""Older messages, when somebody scrolls up; they are never receipted and never notify."""

from __future__ import annotations

from tandem_core.clock import Chance, Clock
from tandem_core.http import Http
from tandem_core.store import timeline
from tandem_core.store.database import Database
from tandem_core.sync.gaps import fill_page, messages
from tandem_core.types import Me, Role, RoomId


class History:
    """Brings what lies below a room's oldest known event on this connection."""

    def __init__(self, db: Database, http: Http, me: Me, role: Role, *, clock: Clock, chance: Chance) -> None:
        self._db = db
        self._http = http
        self._me = me
        self._role = role
        self._clock = clock
        self._chance = chance

    async def back(self, room_id: RoomId, limit: int = 50) -> bool:
        """Fetch about ``limit`` older events; returns whether there may be still older ones.

        A hole that was left open is filled before anything older is fetched. Raises Offline,
        RateLimited, ServerRefused, SignedOut.
        """
        holes = [gap for gap in await self._db.read(timeline.gaps, self._role) if gap.room_id == room_id]
        if holes:
            newest = max(holes, key=lambda gap: gap.ord)
            await fill_page(
                self._http,
                self._db,
                self._me,
                self._role,
                newest,
                clock=self._clock,
                chance=self._chance,
                limit=limit,
            )
            return True
        token, is_done = await self._db.read(timeline.back_token, self._role, room_id)
        if is_done:
            return False
        chunk, end = await messages(self._http, room_id, token, limit)
        await self._db.write(
            timeline.prepend_back, self._role, room_id, token, chunk, end, now_ms=self._clock.now_ms()
        )
        return end is not None
