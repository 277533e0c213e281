"""The loop that releases kept receipts when they are due. What is kept is in the database; here are only hints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tandem_synapse.release import Pace
from tandem_synapse.seams import Inside
from tandem_synapse.store import DeliveryRow, DeliveryStore, Receipt

logger = logging.getLogger(__name__)

Due = tuple[Receipt, int]
"""A receipt, and when it may be released, in milliseconds."""
Listener = Callable[[str, Sequence[DeliveryRow]], None]
LOOK_EVERY_MS = 60_000.0
"""How often to look even if nothing is expected; a look that failed is repeated after a twelfth of this."""
_AT_ONCE_MS = 100
"""Looks are at least so far apart, so that many authors make few transactions."""


class Releaser:
    """One per process that writes receipts. ``hold_ms`` is the most that one span of a hold takes."""

    def __init__(self, inside: Inside, store: DeliveryStore, *, hold_ms: int, coalesce_ms: int) -> None:
        self._inside = inside
        self._store = store
        self._pace = Pace(coalesce_ms)
        self._longest_ms = 2 * hold_ms + coalesce_ms
        self.listeners: list[Listener] = []
        """Each is called with the author and the rows of a release, after the commit; after a crash it is not."""
        self._expected: int | None = None
        self._is_looking = False
        self._looks_again = False

    async def keep(self, receipt: Receipt, due_ms: int) -> None:
        """Keep one receipt, as ``keep_all`` does."""
        await self.keep_all([(receipt, due_ms)])

    async def keep_all(self, receipts: Sequence[Due]) -> None:
        """Keep receipts, and release now what is due and whose author has rested; returns after the commit.

        Those that wait are kept in one transaction.
        """
        now_ms = self._inside.now_ms()
        waiting: list[Due] = []
        for receipt, due_ms in receipts:
            if due_ms <= now_ms and self._pace.take(receipt.author, now_ms):
                await self._keep_and_release(receipt, now_ms)
            else:
                waiting.append((receipt, due_ms))
        for receipt, due_ms in await self._store.put_waiting(waiting) if waiting else ():
            ends = self._pace.next_end([receipt.author], now_ms)
            self._expect(max(due_ms, now_ms if ends is None else ends))

    async def _keep_and_release(self, receipt: Receipt, now_ms: int) -> None:
        row = None
        try:
            row = await self._store.put_released(receipt, now_ms)
        finally:
            if row is None:
                self._pace.give_back(receipt.author)
        if row is not None:
            self._tell([row])

    async def look(self) -> None:
        """Release what is due. Never raises: what could not be released is tried again."""
        if self._is_looking:
            self._looks_again = True
            return
        self._is_looking = True
        self._expected = None
        try:
            next_ms = await self._release_due()
        except Exception:
            logger.exception("Releasing delivery receipts failed; trying again")
            next_ms = self._inside.now_ms() + round(LOOK_EVERY_MS / 12)
        finally:
            self._is_looking = False
        if self._looks_again:
            self._looks_again = False
            next_ms = self._inside.now_ms()
        if next_ms is not None:
            self._expect(next_ms)

    async def _release_due(self) -> int | None:
        """Returns when to look again."""
        now_ms = self._inside.now_ms()
        due, next_ms = await self._store.due(now_ms, self._longest_ms)
        ready = self._pace.ready(due, now_ms)
        if ready:
            self._pace.went(ready, now_ms)
            self._tell(await self._store.release(ready, now_ms, self._longest_ms))
        ends = self._pace.next_end(due, now_ms) if len(ready) < len(due) else None
        times = [each for each in (next_ms, ends) if each is not None]
        return min(times, default=None)

    def _tell(self, rows: Sequence[DeliveryRow]) -> None:
        by_author: dict[str, list[DeliveryRow]] = {}
        for row in rows:
            by_author.setdefault(row.author, []).append(row)
        if by_author:
            self._inside.wake(*by_author)
        for author, theirs in by_author.items():
            for listener in self.listeners:
                listener(author, theirs)

    def _expect(self, at_ms: int) -> None:
        now_ms = self._inside.now_ms()
        at_ms = max(at_ms, now_ms + _AT_ONCE_MS)
        if self._expected is None or at_ms < self._expected or self._expected < now_ms:
            self._expected = at_ms
            self._inside.later(at_ms - now_ms, self.look)
