"""Many receipts in one to-device message to ``@:server`` (MSC4246): type ``im.tandem.delivery.batch``.

Content: ``{"share": "user" | "device", "rooms": {room id: [event id, ...]}}``; ``user`` is the default.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from synapse.module_api.errors import Codes, SynapseError

from tandem_synapse.delivery import Delivery
from tandem_synapse.to_server import ToServerMessage

logger = logging.getLogger(__name__)

BATCH_TYPE = "im.tandem.delivery.batch"
MAX_EVENTS = 64


class Batches:
    """The handler; called before the sender's answer, so that its 200 comes after the commit."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    async def handle(self, message: ToServerMessage) -> None:
        """Keep the receipts that may be kept and skip the others, all alike.

        Raises SynapseError 400 for a content of another shape, 403 for a guest, 429 for too many receipts.
        """
        if message.requester is None:
            logger.info("Dropped a batch of receipts from another server: a person's own server takes them")
            return
        if message.requester.is_guest:
            words = "Guests cannot confirm deliveries"
            raise SynapseError(HTTPStatus.FORBIDDEN, words, Codes.GUEST_ACCESS_FORBIDDEN)
        share, events = parse(message.content)
        await self._delivery.accept_batch(message.requester, share, events)


def parse(content: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Who is named, and (room id, event id) of each event, once. Raises SynapseError 400 ``M_INVALID_PARAM``."""
    share = content.get("share", "user")
    if share not in ("user", "device"):
        raise _wrong('share must be "user" or "device"')
    rooms = content.get("rooms")
    if not isinstance(rooms, Mapping) or not all(isinstance(ids, list) for ids in rooms.values()):
        raise _wrong("rooms must be an object of lists of event IDs")
    named = [(room_id, event_id) for room_id, ids in rooms.items() for event_id in ids]
    if not all(isinstance(event_id, str) for _, event_id in named):
        raise _wrong("rooms must be an object of lists of event IDs")
    if len(named) > MAX_EVENTS:
        raise _wrong(f"At most {MAX_EVENTS} events at once")
    return share, list(dict.fromkeys(named))


def _wrong(words: str) -> SynapseError:
    return SynapseError(HTTPStatus.BAD_REQUEST, words, Codes.INVALID_PARAM)
