"""The bodies of the wraps around Synapse's methods: what each does before and after the original.

``seams`` knows where they go. A homeserver without our part (one that shares the process) gets the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse.module_api import parse_json_object_from_request

from tandem_synapse import content, seams
from tandem_synapse.config import STABLE_TYPE, UNSTABLE_TYPE
from tandem_synapse.delivery import Delivery
from tandem_synapse.to_server import ToServer

FEATURES = {"org.matrix.msc4089": True, "im.tandem.delivery.v1": True}


def _post_receipt(original: seams.Method) -> seams.Method:
    async def on_POST(self: Any, request: Any, room_id: str, receipt_type: str, event_id: str) -> Any:
        delivery = seams.attached(self, Delivery)
        if delivery is None or receipt_type not in (STABLE_TYPE, UNSTABLE_TYPE):
            return await original(self, request, room_id, receipt_type, event_id)
        requester = await self.auth.get_user_by_req(request)  # guests are refused here
        body = parse_json_object_from_request(request, allow_empty_body=True)
        await delivery.accept(requester, room_id, event_id, body)
        return 200, {}

    return on_POST


def _versions(original: seams.Method) -> seams.Method:
    async def on_GET(self: Any, request: Any) -> Any:
        status, body = await original(self, request)
        features = {} if seams.attached(self, Delivery) is None else FEATURES
        to_server = seams.attached(self, ToServer)
        if to_server is not None:
            features = {**features, **to_server.features}
        if features:
            body = {**body, "unstable_features": {**body.get("unstable_features", {}), **features}}
        return status, body

    return on_GET


def _remote_receipt(original: seams.Method) -> seams.Method:
    async def _received_remote_receipt(self: Any, origin: str, content_: Mapping[str, Any]) -> Any:
        return await original(self, origin, content.without_delivery(content_))

    return _received_remote_receipt


def _hide_private(original: seams.Method) -> seams.Method:
    def filter_out_private_receipts(rooms: Any, user_id: str) -> Any:
        # Synapse's own rows only: ours are added behind this.
        return original(_without_strays(rooms), user_id)

    return filter_out_private_receipts


def _without_strays(rooms: Any) -> list[Any]:
    kept = (content.without_strays(event) for event in rooms)
    return [event for event in kept if event is not None]


def _sync_v2(original: seams.Method) -> seams.Method:
    async def get_new_events(
        self: Any,
        user: Any,
        from_key: seams.Token,
        limit: int,
        room_ids: Any,
        is_guest: bool,
        explicit_room_id: str | None = None,
        to_key: seams.Token | None = None,
    ) -> Any:
        rooms = frozenset(room_ids)
        events, reached = await original(
            self, user, from_key, limit, rooms, is_guest, explicit_room_id, to_key
        )
        delivery = seams.attached(self, Delivery)
        if delivery is None or from_key == reached:
            return events, reached
        if from_key.stream == 0:
            extra = await delivery.first(user.to_string(), rooms, reached)
        else:
            extra, _ = await delivery.since(user.to_string(), dict.fromkeys(rooms, from_key), reached)
        result = []
        for event in events:
            mine = extra.pop(event["room_id"], None)
            result.append(
                event if mine is None else {**event, "content": content.merged(event["content"], mine)}
            )
        result += [{"type": "m.receipt", "room_id": room, "content": more} for room, more in extra.items()]
        return result, reached

    return get_new_events


def _for_service(original: seams.Method) -> seams.Method:
    async def get_new_events_as(
        self: Any, from_key: seams.Token, to_key: seams.Token, service: Any
    ) -> tuple[list[Any], seams.Token]:
        events, reached = await original(self, from_key, to_key, service)
        delivery = seams.attached(self, Delivery)
        if delivery is None or from_key == reached:
            return _without_strays(events), reached
        # By the author, not by the room: a service that follows a room is not told what its members confirm.
        extra = await delivery.for_service(service.is_interested_in_user, from_key, reached)
        mine = [{"type": "m.receipt", "room_id": room, "content": more} for room, more in extra.items()]
        return [*_without_strays(events), *mine], reached

    return get_new_events_as


def _sliding_sync(original: seams.Method) -> seams.Method:
    async def get_receipts_extension_response(
        self: Any,
        sync_config: Any,
        previous_connection_state: Any,
        new_connection_state: Any,
        actual_lists: Any,
        actual_room_ids: Any,
        actual_room_response_map: Any,
        receipts_request: Any,
        to_token: Any,
        from_token: Any,
    ) -> Any:
        result = await original(
            self,
            sync_config=sync_config,
            previous_connection_state=previous_connection_state,
            new_connection_state=new_connection_state,
            actual_lists=actual_lists,
            actual_room_ids=actual_room_ids,
            actual_room_response_map=actual_room_response_map,
            receipts_request=receipts_request,
            to_token=to_token,
            from_token=from_token,
        )
        delivery = seams.attached(self, Delivery)
        if delivery is None or result is None:
            return result
        user_id = sync_config.user.to_string()
        high = to_token.receipt_key
        low = None if from_token is None else from_token.stream_token.receipt_key
        relevant = self.find_relevant_room_ids_for_extension(
            requested_lists=receipts_request.lists,
            requested_room_ids=receipts_request.rooms,
            actual_lists=actual_lists,
            actual_room_ids=actual_room_ids,
        )
        told = {
            room_id: _told_up_to(room_id, previous_connection_state, actual_room_response_map, low)
            for room_id in relevant
        }
        fresh = {room_id for room_id, token in told.items() if token is None}
        shown = [
            each.event.event_id
            for room_id in fresh & set(actual_room_response_map)
            for each in actual_room_response_map[room_id].timeline_events
        ]
        extra = await delivery.first(user_id, fresh, high, shown)
        lows = {room_id: token for room_id, token in told.items() if token is not None}
        later, elsewhere = await delivery.since(user_id, lows, high, elsewhere=low)
        extra |= later
        if low is not None:
            # Told when they come back into the window.
            new_connection_state.receipts.record_unsent_rooms(elsewhere - fresh, low)
        merged = dict(result.room_id_to_receipt_map)
        for room_id, mine in extra.items():
            stock = merged.get(room_id, {"type": "m.receipt", "content": {}})
            merged[room_id] = {**stock, "content": content.merged(stock["content"], mine)}
        return seams.receipts_answer(merged)

    return get_receipts_extension_response


def _told_up_to(room_id: str, previous: Any, responses: Any, low: seams.Token | None) -> seams.Token | None:
    """The token up to which this connection has the room's receipts; None: the room starts afresh."""
    response = responses.get(room_id)
    if low is None or (response is not None and (response.initial or response.unstable_expanded_timeline)):
        return None
    sent = previous.receipts.have_sent_room(room_id)
    if sent.status == seams.SentFlag.LIVE:
        return low
    token: seams.Token | None = sent.last_token if sent.status == seams.SentFlag.PREVIOUSLY else None
    return token


MAKERS: dict[str, seams.Maker] = {
    seams.POST_RECEIPT: _post_receipt,
    seams.GET_VERSIONS: _versions,
    seams.REMOTE_RECEIPT: _remote_receipt,
    seams.HIDE_PRIVATE: _hide_private,
    seams.NEW_RECEIPTS: _sync_v2,
    seams.NEW_RECEIPTS_AS: _for_service,
    seams.SLIDING_RECEIPTS: _sliding_sync,
}
