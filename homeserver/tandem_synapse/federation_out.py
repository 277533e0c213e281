"""Receipts for authors on other homeservers: kept, and sent until the author's server has taken them.

They travel in Synapse's own transactions to that server: one at a time is what a server takes of another, and a second
one beside Synapse's would be answered 429 and could make its messages wait for seconds. Synapse keeps what it is
handed in memory and may forget it; so a receipt is handed over again, with growing pauses, until a transaction with it
was answered 200.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tandem_synapse import federation_wire as wire
from tandem_synapse.federation_store import FederationStore
from tandem_synapse.federation_wire import Json, SentReceipt
from tandem_synapse.seams import Inside, Unreachable

logger = logging.getLogger(__name__)

MOST_EDUS = 5
"""In one hand-over."""
_YES_MS = 24 * 3_600_000
_NO_MS = 3_600_000
_NO_ANSWER_MS = 60_000


@dataclass(slots=True)
class _Way:
    """How it stands with one server; only hints, what is to be sent is in the database."""

    is_busy: bool = False
    asks_again: bool = False
    rests_until: int = 0
    looks_at: int = 0
    """When a timer will look; several receipts need one."""
    fruitless: int = 0
    """Hand-overs or questions since a transaction with receipts was taken."""
    handed: frozenset[tuple[str, str]] = field(default_factory=frozenset)


class Outgoing:
    """One per homeserver process; times are milliseconds.

    ``gap_ms`` lies between two hand-overs to one server, what comes meanwhile goes together; ``retry_ms`` are the first
    and the longest pause after one that was in vain; ``longest_ms`` is the longest that a receipt may be held.
    """

    def __init__(
        self,
        inside: Inside,
        store: FederationStore,
        *,
        gap_ms: int,
        retry_ms: tuple[int, int],
        longest_ms: int,
    ) -> None:
        self._inside = inside
        self._store = store
        self._first_ms, self._last_ms = retry_ms
        self._gap_ms = gap_ms
        self._longest_ms = longest_ms
        self._ways: dict[str, _Way] = {}
        self._one_question = inside.one_at_a_time("tandem_ask_server")

    async def reaches(self, author: str, room_id: str) -> bool:
        """Whether a receipt may go to the author's server: it is in the room and announces that it takes them.

        Fails closed. The first time and after each day the server is asked, which may take seconds.
        """
        server = wire.server_of(author)
        return await self._inside.is_server_in(server, room_id) and await self._takes_receipts(server)

    async def keep(
        self, room_id: str, event_id: str, user_id: str, author: str, device_id: str | None, due_ms: int
    ) -> None:
        """Keep a receipt and send it when it is due; returns after the commit."""
        destination = wire.server_of(author)
        receipt = SentReceipt(room_id, event_id, user_id, max(due_ms, self._inside.now_ms()))
        if await self._store.put_out(receipt, author, destination, device_id, due_ms):
            self.poke(destination)

    async def look(self) -> None:
        """Go on with what is in the database: after a start, and from time to time."""
        for destination in await self._store.destinations():
            self.poke(destination)

    def poke(self, destination: str) -> None:
        """Look what is to be sent to this server, in the background."""
        if not self._inside.can_send_edus:
            return  # the process that may looks by its clock
        way = self._ways.setdefault(destination, _Way())
        if way.is_busy:
            way.asks_again = True
            return
        now_ms = self._inside.now_ms()
        if self._rest_ms(way, now_ms) and now_ms < way.looks_at <= way.rests_until:
            return
        way.is_busy = True
        self._inside.in_background("tandem_send_deliveries", self._send, destination, way)

    def is_up(self, destination: str) -> None:
        """Synapse has heard of a server that was silent."""
        way = self._ways.get(destination)
        if way is not None and way.fruitless and not way.is_busy:
            way.rests_until = 0
            self.poke(destination)

    async def taken(self, destination: str, content: Json) -> None:
        """That server answered 200 to a transaction with this EDU of ours.

        Never raises: Synapse's part of the transaction is settled whatever becomes of our note. Without the note the
        receipts are sent once more.
        """
        now_ms = self._inside.now_ms()
        receipts = wire.receipts(content, self._inside.server_name)
        try:
            await self._store.mark_sent(destination, receipts, now_ms)
        except Exception:
            logger.exception(
                "Could not note that %s took delivery receipts; they will be sent again", destination
            )
            return
        way = self._ways.get(destination)
        if way is not None:
            way.fruitless = 0
            way.rests_until = min(way.rests_until, now_ms + self._gap_ms)
            self.poke(destination)

    async def _send(self, destination: str, way: _Way) -> None:
        wait_ms: int | None = None
        try:
            while True:
                way.asks_again = False
                wait_ms = await self._send_due(destination, way)
                if not way.asks_again:
                    break
                rest_ms = self._rest_ms(way, self._inside.now_ms())
                if rest_ms:
                    wait_ms = rest_ms
                    break
        except Exception:
            logger.exception("Sending delivery receipts to %s failed; trying again", destination)
            wait_ms = self._pause(way)
        finally:
            way.is_busy = False
        if wait_ms is None:
            del self._ways[destination]
        else:
            self._look_in(wait_ms, destination, way)

    def _look_in(self, wait_ms: int, destination: str, way: _Way) -> None:
        async def look() -> None:
            way.looks_at = 0
            self.poke(destination)

        now_ms = self._inside.now_ms()
        if not now_ms < way.looks_at <= now_ms + wait_ms:
            way.looks_at = now_ms + wait_ms
            self._inside.later(wait_ms, look)

    async def _send_due(self, destination: str, way: _Way) -> int | None:
        """Hand over what is due, if the server does not rest.

        Returns after how many milliseconds to look again; None: nothing is left.
        """
        now_ms = self._inside.now_ms()
        limit = MOST_EDUS * wire.MOST_RECEIPTS
        due, next_ms = await self._store.due(destination, now_ms, self._longest_ms, limit)
        keys = frozenset((each.event_id, each.user_id) for each in due)
        if way.handed and not way.handed & keys:
            # Taken, as another process of this homeserver knows.
            way.handed, way.fruitless = frozenset(), 0
            way.rests_until = min(way.rests_until, now_ms + self._gap_ms)
        rest_ms = self._rest_ms(way, now_ms)
        if not due:
            return max(rest_ms, 0 if next_ms is None else next_ms - now_ms) or None
        if rest_ms:
            return rest_ms
        if not await self._may_send(destination, way):
            return self._pause(way)
        pause_ms = self._pause(way)
        contents = list(wire.contents(due))[:MOST_EDUS]
        way.handed = frozenset(
            (each.event_id, each.user_id)
            for content in contents
            for each in wire.receipts(content, self._inside.server_name)
        )
        for number, content in enumerate(contents):
            # The key replaces what Synapse still has from an earlier hand-over.
            self._inside.send_edu(destination, wire.EDU_TYPE, content, (wire.EDU_TYPE, number))
        return pause_ms

    def _rest_ms(self, way: _Way, now_ms: int) -> int:
        rest_ms = way.rests_until - now_ms
        # A rest further away than the longest is from before the clock was set back.
        return rest_ms if 0 < rest_ms <= max(self._last_ms, self._gap_ms) else 0

    def _pause(self, way: _Way) -> int:
        """Let the server rest for longer than the last time; returns how long."""
        pause_ms = min(self._first_ms << min(way.fruitless, 30), self._last_ms)
        way.fruitless += 1
        way.rests_until = self._inside.now_ms() + pause_ms
        return pause_ms

    async def _may_send(self, destination: str, way: _Way) -> bool:
        if way.fruitless == 0:
            return await self._takes_receipts(destination)
        # Asking costs little, and shows Synapse, too, that the server is back, whatever its own pause is.
        is_announced = await self._ask(destination, is_probe=True)
        if is_announced:
            self._inside.server_is_up(destination)
        return is_announced

    async def _takes_receipts(self, server: str) -> bool:
        known = await self._store.announced(server, self._inside.now_ms())
        if known is not None:
            return known
        async with self._one_question(server):
            known = await self._store.announced(server, self._inside.now_ms())
            return await self._ask(server, is_probe=False) if known is None else known

    async def _ask(self, server: str, *, is_probe: bool) -> bool:
        """Ask the server and keep its answer. A probe asks also one that Synapse gives time to come back."""
        try:
            answer = await self._inside.ask_server(server, wire.QUERY_TYPE, is_probe=is_probe)
        except Unreachable as error:
            logger.info("%s did not say whether it takes delivery receipts: %s", server, error)
            if not is_probe:  # what a probe does not reach has said yes before
                await self._store.learn(server, False, self._inside.now_ms() + _NO_ANSWER_MS)
            return False
        is_announced = answer is not None and wire.is_announced(answer)
        kept_ms = _YES_MS if is_announced else _NO_MS
        await self._store.learn(server, is_announced, self._inside.now_ms() + kept_ms)
        return is_announced
