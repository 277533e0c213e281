"""Delivery receipts between homeservers, put together: what goes out, what comes in, and their clocks."""

from __future__ import annotations

import logging

from tandem_synapse import federation_wire as wire
from tandem_synapse.config import ModuleConfig
from tandem_synapse.federation_in import Incoming, Take
from tandem_synapse.federation_out import Outgoing
from tandem_synapse.federation_store import FederationStore
from tandem_synapse.seams import Inside

logger = logging.getLogger(__name__)

_HOUR_MS = 3_600_000.0
LOOK_EVERY_MS = 60_000.0
"""How often to look for work that nobody announced."""
_LOOK_FOR_ANOTHER_MS = 5_000.0
"""The same, where another process keeps receipts and this one sends them."""


class Federation:
    """One per homeserver process. Receipts are written by the process that writes Synapse's receipts stream."""

    def __init__(self, inside: Inside, settings: ModuleConfig) -> None:
        self._inside = inside
        self._keep_ms = settings.keep_days * 86_400_000
        self._store = FederationStore(inside)
        first, longest = settings.federate_retry_seconds
        self.outgoing = Outgoing(
            inside,
            self._store,
            gap_ms=round(settings.coalesce_seconds * 1000),
            retry_ms=(round(first * 1000), round(longest * 1000)),
            longest_ms=round(2 * settings.hold_seconds[1] * 1000),
        )
        inside.attach(self.outgoing)

    def begin(self, take: Take) -> None:
        """Answer other servers, hear them, and go on with what the database holds; ``take`` keeps good receipts."""
        incoming = Incoming(self._inside, self._store, take)
        self._inside.answer_queries(wire.QUERY_TYPE, incoming.announce)
        self._inside.receive_edus(wire.EDU_TYPE, incoming.receive)
        if self._inside.can_send_edus:
            is_alone = self._inside.is_writer
            self._inside.again_and_again(
                self.outgoing.look, LOOK_EVERY_MS if is_alone else _LOOK_FOR_ANOTHER_MS
            )
        if self._inside.is_writer:
            self._inside.again_and_again(incoming.look, LOOK_EVERY_MS)
            self._inside.again_and_again(self._expire, _HOUR_MS)

    async def _expire(self) -> None:
        """Forget EDUs that nobody could look at for too long, and answers of servers that are over."""
        now_ms = self._inside.now_ms()
        gone = await self._store.expire(now_ms - self._keep_ms, now_ms)
        if gone:
            logger.info("Expired %d transactions' delivery receipts from other servers", gone)
