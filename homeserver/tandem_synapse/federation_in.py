"""Receipts that other homeservers send for events of our people: kept first, then looked at.

The EDU is committed before the transaction that brought it is answered 200; where that fails, Synapse answers 500 and
the other server repeats the transaction. Looking at it asks for the room's state at the event, which may take time:
behind the answer, so that the other server's messages do not wait for it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tandem_synapse import federation_wire as wire
from tandem_synapse.federation_store import Arrived, FederationStore
from tandem_synapse.federation_wire import Json, SentReceipt
from tandem_synapse.seams import Inside

logger = logging.getLogger(__name__)

Take = Callable[[SentReceipt, str], Awaitable[None]]
MOST_WAITING = 500
"""EDUs of one server that wait to be looked at; what it sends beyond is dropped."""
_AT_ONCE = 20
_AGAIN_MS = 60_000


class Incoming:
    """One per homeserver process. ``take`` keeps a receipt that was found good, for its event's author."""

    def __init__(self, inside: Inside, store: FederationStore, take: Take) -> None:
        self._inside = inside
        self._store = store
        self._take = take
        self._is_busy = False
        self._asks_again = False

    async def announce(self, _args: Json) -> Json:
        """The answer to another server's question."""
        return wire.ANNOUNCEMENT

    async def receive(self, origin: str, content: Any) -> None:
        """An EDU of a server that Synapse has authenticated. Raises what the database raises, and nothing else."""
        receipts = wire.receipts(content, origin)
        now_ms = self._inside.now_ms()
        for good in wire.contents(receipts):
            if not await self._store.put_in(origin, good, now_ms, MOST_WAITING):
                logger.warning("Dropped delivery receipts from %s: too many wait already", origin)
        if receipts:
            self.poke()

    def poke(self) -> None:
        """Look at what has arrived, in the background."""
        if self._is_busy:
            self._asks_again = True
            return
        self._is_busy = True
        self._inside.in_background("tandem_take_deliveries", self._look)

    async def look(self) -> None:
        """The same, for a clock."""
        self.poke()

    async def _look(self) -> None:
        try:
            while True:
                self._asks_again = False
                arrived = await self._store.arrived(self._inside.now_ms(), _AT_ONCE)
                for each in arrived:
                    await self._look_at(each)
                if not arrived and not self._asks_again:
                    break
        finally:
            self._is_busy = False

    async def _look_at(self, arrived: Arrived) -> None:
        try:
            receipts = wire.receipts(arrived.content, arrived.origin)
            for room_id, of_room in itertools.groupby(receipts, lambda each: each.room_id):
                if not await self._take_of_room(arrived.origin, room_id, of_room):
                    await self._store.put_off(arrived, self._inside.now_ms() + _AGAIN_MS)
                    return
        except Exception:
            logger.exception("Delivery receipts from %s could not be kept; trying again", arrived.origin)
            await self._store.put_off(arrived, self._inside.now_ms() + _AGAIN_MS)
        else:
            await self._store.done(arrived)

    async def _take_of_room(self, origin: str, room_id: str, receipts: Iterable[SentReceipt]) -> bool:
        """Keep those that are good, and say nothing of the others; False: the room's members are not known yet."""
        if not await self._inside.is_server_in(origin, room_id):
            return True
        if not await self._inside.is_server_allowed(origin, room_id):
            return True
        if await self._inside.is_partly_known(room_id):
            return False
        for receipt in receipts:
            found = await self._inside.room_and_sender(receipt.event_id)
            if found is None:
                continue
            event_room_id, author = found
            if event_room_id != room_id or not self._inside.is_local(author):
                continue
            if await self._inside.was_joined(receipt.user_id, receipt.event_id):
                await self._take(receipt, author)
        return True
