"""MSC4089 on Synapse: take a receipt, and give it to the author of the event and to nobody else."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from synapse.api.constants import EventTypes, Membership
from synapse.api.errors import Codes, SynapseError
from synapse.api.ratelimiting import Ratelimiter
from synapse.config.ratelimiting import RatelimitSettings
from synapse.server import HomeServer
from synapse.types import EventID, MultiWriterStreamToken, Requester, RoomID, StreamKeyType
from synapse.types.state import StateFilter

from tandem_synapse import content, rules
from tandem_synapse.config import ModuleConfig
from tandem_synapse.store import DeliveryStore

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class Delivery:
    """One per homeserver process."""

    def __init__(self, hs: HomeServer, settings: ModuleConfig) -> None:
        self._hs = hs
        self._settings = settings
        self._main = hs.get_datastores().main
        self._state = hs.get_storage_controllers().state
        self._notifier = hs.get_notifier()
        self._clock = hs.get_clock()
        self._store = DeliveryStore(hs)
        self._limit = Ratelimiter(
            store=self._main,
            clock=self._clock,
            cfg=RatelimitSettings("tandem_delivery", settings.per_second, settings.burst_count),
        )

    async def accept(
        self, requester: Requester, room_id: str, event_id: str, body: Mapping[str, Any]
    ) -> None:
        """Keep a receipt; returns after the commit. Raises SynapseError for each of ``rules.Refusal``.

        A duplicate changes nothing and wakes nobody. Presence is not touched.
        """
        if not RoomID.is_valid(room_id) or not event_id.startswith(EventID.SIGIL):
            raise SynapseError(HTTPStatus.BAD_REQUEST, "A valid room ID and event ID must be specified")
        share = rules.share_of(body)
        if share is None:
            words = 'im.tandem.share must be "user" or "device"'
            raise SynapseError(HTTPStatus.BAD_REQUEST, words, Codes.INVALID_PARAM)
        await self._limit.ratelimit(requester)
        asked = await self._facts(requester.user.to_string(), room_id, event_id)
        refusal = rules.judge(asked)
        if refusal is not None:
            raise SynapseError(refusal.status, refusal.words, refusal.errcode)
        # The device comes from the access token, never from the body.
        device_id = requester.device_id if share == "device" else None
        if await self._store.is_known(event_id, asked.requester, device_id):
            return
        now_ms = self._clock.time_msec()
        await self._store.put(room_id, event_id, asked.requester, asked.author, now_ms, device_id)
        # users=, not rooms=: only the author's long polls wake.
        position = self._main.get_max_receipt_stream_id()
        self._notifier.on_new_event(StreamKeyType.RECEIPT, position, users=[asked.author])

    async def _facts(self, user_id: str, room_id: str, event_id: str) -> rules.Confirmation:
        membership, _ = await self._main.get_local_current_membership_for_user_in_room(user_id, room_id)
        is_joined = membership == Membership.JOIN
        event = await self._main.get_event(event_id, allow_none=True) if is_joined else None
        was_joined = False
        if event is not None and event.room_id == room_id:
            only_mine = StateFilter.from_types([(EventTypes.Member, user_id)])
            at_event = await self._state.get_state_for_events([event_id], only_mine)
            member = at_event.get(event_id, {}).get((EventTypes.Member, user_id))
            was_joined = member is not None and member.membership == Membership.JOIN
        author = event.sender if event is not None else ""
        return rules.Confirmation(
            requester=user_id,
            is_joined=is_joined,
            room_id=room_id,
            event_room_id=event.room_id if event is not None else None,
            author=author,
            author_is_local=event is not None and self._hs.is_mine_id(author),
            was_joined_at_event=was_joined,
        )

    async def for_author(
        self,
        user_id: str,
        room_ids: Collection[str],
        low: MultiWriterStreamToken | None,
        high: MultiWriterStreamToken,
    ) -> dict[str, Json]:
        """What this user may see, by room: receipts for the user's own events, and no others."""
        rows = await self._store.between(user_id, room_ids, low, high)
        return content.by_room(rows, self._settings.emit_type)

    async def rooms_changed(
        self,
        user_id: str,
        room_ids: Collection[str],
        low: MultiWriterStreamToken,
        high: MultiWriterStreamToken,
    ) -> set[str]:
        """Those of the rooms in which the user has receipts between two tokens."""
        return {row.room_id for row in await self._store.between(user_id, room_ids, low, high)}

    async def expire(self) -> None:
        """Forget what is older than ``keep_days``."""
        before = self._clock.time_msec() - self._settings.keep_days * 86_400_000
        gone = await self._store.expire(before)
        if gone:
            logger.info("Expired %d delivery receipts", gone)
