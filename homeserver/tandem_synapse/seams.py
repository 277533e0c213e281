"""Every reach inside Synapse, each checked before it is used; the only file that replaces methods.

Synapse offers modules no way to add a receipt type, so five methods are wrapped. Classes are wrapped while
homeserver.yaml is read, before Synapse builds anything: some handlers hand out bound methods when they
are made. ``install`` compares each method's parameters with those we know, so that another Synapse is
refused at start with a sentence and never half works. Tested with Synapse 1.163.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attr
from synapse import __version__ as synapse_version
from synapse.handlers.receipts import ReceiptEventSource, ReceiptsHandler
from synapse.handlers.sliding_sync.extensions import SlidingSyncExtensionHandler
from synapse.http.servlet import parse_json_object_from_request
from synapse.module_api import ModuleApi
from synapse.rest.client.receipts import ReceiptRestServlet
from synapse.rest.client.versions import VersionsRestServlet
from synapse.server import HomeServer
from synapse.storage.database import LoggingDatabaseConnection, make_conn
from synapse.types.handlers.sliding_sync import HaveSentRoomFlag

from tandem_synapse import content
from tandem_synapse.config import STABLE_TYPE, UNSTABLE_TYPE

if TYPE_CHECKING:
    from tandem_synapse.delivery import Delivery

TESTED_VERSIONS = ("1.163",)
FEATURES = {"org.matrix.msc4089": True, "im.tandem.delivery.v1": True}

_attached: WeakKeyDictionary[HomeServer, Delivery] = WeakKeyDictionary()
_MARK = "_tandem_wrapped"


class IncompatibleSynapse(Exception):
    """This Synapse's inside is not the one that the module was written for."""


def homeserver(api: ModuleApi) -> HomeServer:
    """The server behind the module API."""
    hs: HomeServer = api._hs
    return hs


def attach(hs: HomeServer, delivery: Delivery) -> None:
    """From now on this server's requests find our part."""
    _attached[hs] = delivery


def connect(hs: HomeServer) -> LoggingDatabaseConnection:
    """A database connection of our own, usable while modules are loaded (the pool is not yet)."""
    pool = hs.get_datastores().main.db_pool
    return make_conn(
        db_config=pool._database_config,
        engine=pool.engine,
        default_txn_name="tandem_schema",
        server_name=hs.hostname,
    )


def install() -> None:
    """Wrap the five methods, once a process. Raises IncompatibleSynapse and leaves everything as it was."""
    found = [(owner, name, _checked(owner, name, words)) for owner, name, words, _ in _SEAMS]
    for (owner, name, original), (_, _, _, make) in zip(found, _SEAMS, strict=True):
        if not hasattr(original, _MARK):
            wrapped = functools.wraps(original)(make(original))
            setattr(wrapped, _MARK, True)
            setattr(owner, name, wrapped)


def _checked(owner: type, name: str, parameters: str) -> Callable[..., Any]:
    original = owner.__dict__.get(name)
    where = f"{owner.__module__}.{owner.__name__}.{name}"
    advice = f"this is Synapse {synapse_version}; tested: {', '.join(TESTED_VERSIONS)}"
    if not callable(original):
        raise IncompatibleSynapse(f"{where} does not exist ({advice})")
    has = " ".join(inspect.signature(original).parameters)
    if has != parameters:
        raise IncompatibleSynapse(f"{where} takes ({has}), expected ({parameters}) ({advice})")
    return original


def _post_receipt(original: Callable[..., Any]) -> Callable[..., Any]:
    async def on_POST(self: Any, request: Any, room_id: str, receipt_type: str, event_id: str) -> Any:
        delivery = _attached.get(self._main_store.hs)
        if delivery is None or receipt_type not in (STABLE_TYPE, UNSTABLE_TYPE):
            return await original(self, request, room_id, receipt_type, event_id)
        requester = await self.auth.get_user_by_req(request)  # guests are refused here
        body = parse_json_object_from_request(request, allow_empty_body=True)
        await delivery.accept(requester, room_id, event_id, body)
        return 200, {}

    return on_POST


def _versions(original: Callable[..., Any]) -> Callable[..., Any]:
    async def on_GET(self: Any, request: Any) -> Any:
        status, body = await original(self, request)
        if _attached.get(self.store.hs) is not None:
            body = {**body, "unstable_features": {**body.get("unstable_features", {}), **FEATURES}}
        return status, body

    return on_GET


def _remote_receipt(original: Callable[..., Any]) -> Callable[..., Any]:
    async def _received_remote_receipt(self: Any, origin: str, content_: Mapping[str, Any]) -> Any:
        return await original(self, origin, content.without_delivery(content_))

    return _received_remote_receipt


def _sync_v2(original: Callable[..., Any]) -> Callable[..., Any]:
    async def get_new_events(
        self: Any,
        user: Any,
        from_key: Any,
        limit: int,
        room_ids: Any,
        is_guest: bool,
        explicit_room_id: str | None = None,
        to_key: Any = None,
    ) -> Any:
        room_ids = list(room_ids)
        events, reached = await original(
            self, user, from_key, limit, room_ids, is_guest, explicit_room_id, to_key
        )
        delivery = _attached.get(self.store.hs)
        if delivery is None or from_key == reached:
            return events, reached
        extra = await delivery.for_author(user.to_string(), room_ids, from_key, reached)
        result = []
        for event in events:
            mine = extra.pop(event["room_id"], None)
            result.append(
                event if mine is None else {**event, "content": content.merged(event["content"], mine)}
            )
        result += [{"type": "m.receipt", "room_id": room, "content": more} for room, more in extra.items()]
        return result, reached

    return get_new_events


def _sliding_sync(original: Callable[..., Any]) -> Callable[..., Any]:
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
        delivery = _attached.get(self.store.hs)
        if delivery is None or result is None:
            return result
        user_id = sync_config.user.to_string()
        high = to_token.receipt_key
        relevant = self.find_relevant_room_ids_for_extension(
            requested_lists=receipts_request.lists,
            requested_room_ids=receipts_request.rooms,
            actual_lists=actual_lists,
            actual_room_ids=actual_room_ids,
        )
        groups: dict[Any, set[str]] = {}
        for room_id in relevant:
            since = _sent_up_to(room_id, previous_connection_state, actual_room_response_map, from_token)
            groups.setdefault(since, set()).add(room_id)
        merged = dict(result.room_id_to_receipt_map)
        for since, rooms in groups.items():
            for room_id, mine in (await delivery.for_author(user_id, rooms, since, high)).items():
                stock = merged.get(room_id, {"type": "m.receipt", "content": {}})
                merged[room_id] = {**stock, "content": content.merged(stock["content"], mine)}
        if from_token is not None:
            low = from_token.stream_token.receipt_key
            live = previous_connection_state.receipts._statuses.items()
            outside = [
                room for room, sent in live if sent.status == HaveSentRoomFlag.LIVE and room not in relevant
            ]
            changed = await delivery.rooms_changed(user_id, outside, low, high)
            new_connection_state.receipts.record_unsent_rooms(changed, low)
        return attr.evolve(result, room_id_to_receipt_map=merged)

    return get_receipts_extension_response


def _sent_up_to(room_id: str, previous: Any, responses: Any, from_token: Any) -> Any:
    """The token up to which this connection has the room's receipts; None: it has none, so it gets all that we keep."""
    response = responses.get(room_id)
    if from_token is None or (
        response is not None and (response.initial or response.unstable_expanded_timeline)
    ):
        return None
    sent = previous.receipts.have_sent_room(room_id)
    if sent.status == HaveSentRoomFlag.LIVE:
        return from_token.stream_token.receipt_key
    return sent.last_token if sent.status == HaveSentRoomFlag.PREVIOUSLY else None


_SEAMS: tuple[tuple[type, str, str, Callable[[Callable[..., Any]], Callable[..., Any]]], ...] = (
    (ReceiptRestServlet, "on_POST", "self request room_id receipt_type event_id", _post_receipt),
    (VersionsRestServlet, "on_GET", "self request", _versions),
    (ReceiptsHandler, "_received_remote_receipt", "self origin content", _remote_receipt),
    (
        ReceiptEventSource,
        "get_new_events",
        "self user from_key limit room_ids is_guest explicit_room_id to_key",
        _sync_v2,
    ),
    (
        SlidingSyncExtensionHandler,
        "get_receipts_extension_response",
        "self sync_config previous_connection_state new_connection_state actual_lists actual_room_ids"
        " actual_room_response_map receipts_request to_token from_token",
        _sliding_sync,
    ),
)
