"""Every reach of this module inside Synapse; the only file that replaces methods or calls what modules are not offered.

Synapse offers modules (``synapse.module_api``) no way to add a receipt type, so some methods are wrapped and some more
are called. Classes are wrapped while homeserver.yaml is read, before Synapse builds anything: some handlers hand out
bound methods when they are made. ``install`` compares each method's parameters with those we know, so that another
Synapse is refused at start with a sentence and never half works: a receipt shown to the wrong people would be worse.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from synapse.api.errors import (
    AuthError,
    FederationDeniedError,
    HttpResponseException,
    RequestSendFailed,
)
from synapse.api.ratelimiting import Ratelimiter
from synapse.appservice import ApplicationService, ApplicationServiceState
from synapse.config.ratelimiting import RatelimitSettings
from synapse.module_api import LoggingTransaction, ModuleApi
from synapse.replication.http._base import ReplicationEndpoint
from synapse.replication.tcp.streams import ReceiptsStream
from synapse.storage.database import LoggingDatabaseConnection, make_conn
from synapse.storage.util.sequence import LocalSequenceGenerator
from synapse.types import (
    DeviceListUpdates,
    MultiWriterStreamToken,
    StreamKeyType,
    UserID,
    create_requester,
)
from synapse.types.handlers.sliding_sync import HaveSentRoomFlag, SlidingSyncResult
from synapse.types.state import StateFilter
from synapse.util.async_helpers import Linearizer, concurrently_execute
from synapse.util.retryutils import NotRetryingDestination

from tandem_synapse import versions

if TYPE_CHECKING:
    from synapse.server import HomeServer

R = TypeVar("R")
Method = Callable[..., Any]
Maker = Callable[[Method], Method]
Token = MultiWriterStreamToken
Stream = StreamKeyType
Service = ApplicationService
SentFlag = HaveSentRoomFlag
some_at_once = concurrently_execute
receipts_answer = SlidingSyncResult.Extensions.ReceiptsExtension
RECEIPTS_STREAM = ReceiptsStream.NAME
BaseEndpoint = ReplicationEndpoint

POST_RECEIPT = "synapse.rest.client.receipts:ReceiptRestServlet.on_POST"
GET_VERSIONS = "synapse.rest.client.versions:VersionsRestServlet.on_GET"
REMOTE_RECEIPT = "synapse.handlers.receipts:ReceiptsHandler._received_remote_receipt"
HIDE_PRIVATE = "synapse.handlers.receipts:ReceiptEventSource.filter_out_private_receipts"
NEW_RECEIPTS = "synapse.handlers.receipts:ReceiptEventSource.get_new_events"
NEW_RECEIPTS_AS = "synapse.handlers.receipts:ReceiptEventSource.get_new_events_as"
STORE_REDACTION = "synapse.storage.databases.main.events:PersistEventsStore._store_redaction"
PURGE_ROOM = "synapse.storage.databases.main.purge_events:PurgeEventsStore._purge_room_txn"
PURGE_HISTORY = "synapse.storage.databases.main.purge_events:PurgeEventsStore._purge_history_txn"
SLIDING_RECEIPTS = (
    "synapse.handlers.sliding_sync.extensions:SlidingSyncExtensionHandler.get_receipts_extension_response"
)
SEND_TRANSACTION = "synapse.federation.sender.transaction_manager:TransactionManager.send_new_transaction"
SERVER_UP = "synapse.notifier:Notifier.notify_remote_server_up"
UPDATED_RECEIPTS = "synapse.storage.databases.main.receipts:ReceiptsWorkerStore.get_all_updated_receipts"
ON_RDATA = "synapse.replication.tcp.client:ReplicationDataHandler.on_rdata"
REPLICATION_SERVLETS = "synapse.replication.http:ReplicationRestResource.register_servlets"
SEND_TO_DEVICE = "synapse.handlers.devicemessage:DeviceMessageHandler.send_device_message"
TO_DEVICE_EDU = "synapse.handlers.devicemessage:DeviceMessageHandler.on_direct_to_device_edu"
REGISTER_USER = "synapse.storage.databases.main.registration:RegistrationStore.register_user"
ACTIVATE_ACCOUNT = "synapse.handlers.deactivate_account:DeactivateAccountHandler.activate_account"
NOTIFY_SERVICES = (
    "synapse.handlers.appservice:ApplicationServicesHandler.notify_interested_services_ephemeral"
)
STOCK_TO_DEVICE = "synapse.handlers.appservice:ApplicationServicesHandler._get_to_device_messages"
DEVICE_LISTS = "synapse.handlers.appservice:ApplicationServicesHandler._get_device_list_summary"
SEND_TO_SERVICE = "synapse.appservice.scheduler:_TransactionController.send"
ON_RECOVERED = "synapse.appservice.scheduler:_TransactionController.on_recovered"
START_RECOVERER = "synapse.appservice.scheduler:_TransactionController.start_recoverer"
_AS_STORE = "synapse.storage.databases.main.appservice:ApplicationServiceTransactionWorkerStore"
CREATE_TRANSACTION = f"{_AS_STORE}.create_appservice_txn"
COMPLETE_TRANSACTION = f"{_AS_STORE}.complete_appservice_txn"
PUSH_BULK = "synapse.appservice.api:ApplicationServiceApi.push_bulk"
DELETE_FROM_INBOX = (
    "synapse.storage.databases.main.deviceinbox:DeviceInboxWorkerStore.delete_messages_for_device_between"
)
PUT_DEVICE = "synapse.rest.client.devices:DeviceRestServlet.on_PUT"
SERVICE_LOGIN = "synapse.rest.client.login:LoginRestServlet._do_appservice_login"

_TRANSACTION = (
    "service events ephemeral to_device_messages one_time_keys_count unused_fallback_keys device_list_summary"
)
_WRAPPED = {
    POST_RECEIPT: "self request room_id receipt_type event_id",
    GET_VERSIONS: "self request",
    REMOTE_RECEIPT: "self origin content",
    HIDE_PRIVATE: "rooms user_id",
    NEW_RECEIPTS: "self user from_key limit room_ids is_guest explicit_room_id to_key",
    NEW_RECEIPTS_AS: "self from_key to_key service",
    STORE_REDACTION: "self txn event",
    PURGE_ROOM: "self txn room_id",
    PURGE_HISTORY: "self txn room_id token delete_local_events",
    SLIDING_RECEIPTS: (
        "self sync_config previous_connection_state new_connection_state actual_lists actual_room_ids"
        " actual_room_response_map receipts_request to_token from_token"
    ),
    SEND_TRANSACTION: "self destination pdus edus",
    SERVER_UP: "self server",
    UPDATED_RECEIPTS: "self instance_name last_id current_id limit",
    ON_RDATA: "self stream_name instance_name token rows",
    REPLICATION_SERVLETS: "self hs",
    SEND_TO_DEVICE: "self requester message_type messages",
    TO_DEVICE_EDU: "self origin content",
    REGISTER_USER: (
        "self user_id password_hash was_guest make_guest appservice_id create_profile_with_displayname admin"
        " user_type shadow_banned approved"
    ),
    ACTIVATE_ACCOUNT: "self user_id",
    NOTIFY_SERVICES: "self stream_key new_token users",
    STOCK_TO_DEVICE: "self service new_token users",
    DEVICE_LISTS: "self appservice new_key",
    SEND_TO_SERVICE: f"self {_TRANSACTION}",
    ON_RECOVERED: "self recoverer",
    START_RECOVERER: "self service",
    CREATE_TRANSACTION: f"self {_TRANSACTION}",
    COMPLETE_TRANSACTION: "self txn_id service",
    PUSH_BULK: f"self {_TRANSACTION} txn_id",
    DELETE_FROM_INBOX: "self user_id device_id from_stream_id to_stream_id limit",
    PUT_DEVICE: "self request device_id",
    SERVICE_LOGIN: "self login_submission appservice should_issue_refresh_token request_info",
}
_CALLED = {
    "synapse.handlers.sliding_sync.extensions:SlidingSyncExtensionHandler.find_relevant_room_ids_for_extension": (
        "self requested_lists requested_room_ids actual_lists actual_room_ids"
    ),
    "synapse.types.handlers.sliding_sync:RoomStatusMap.have_sent_room": "self room_id",
    "synapse.types.handlers.sliding_sync:MutableRoomStatusMap.record_unsent_rooms": "self room_ids from_token",
    "synapse.storage.databases.main.receipts:ReceiptsWorkerStore.get_max_receipt_stream_id": "self",
    "synapse.storage.databases.main.receipts:ReceiptsWorkerStore.get_receipts_stream_id_gen": "self",
    "synapse.storage.util.id_generators:MultiWriterIdGenerator.get_next": "self",
    "synapse.storage.util.id_generators:MultiWriterIdGenerator.get_next_mult": "self n",
    "synapse.storage.databases.main.roommember:RoomMemberWorkerStore.check_local_user_in_room": (
        "self user_id room_id"
    ),
    "synapse.storage.databases.main.events_worker:EventsWorkerStore.get_event": (
        "self event_id redact_behaviour get_prev_content allow_rejected allow_none check_room_id"
    ),
    "synapse.storage.controllers.state:StateStorageController.get_state_for_events": (
        "self event_ids state_filter"
    ),
    "synapse.storage.databases.main.devices:DeviceWorkerStore.count_devices_by_users": "self user_ids",
    "synapse.appservice:ApplicationService.is_interested_in_user": "self user_id",
    "synapse.notifier:Notifier.on_new_event": "self stream_key new_token users rooms",
    "synapse.storage.database:DatabasePool.runInteraction": (
        "self desc func args db_autocommit isolation_level kwargs"
    ),
    "synapse.storage.database:make_conn": "db_config engine default_txn_name server_name",
    "synapse.api.ratelimiting:Ratelimiter.__init__": "self store clock cfg ratelimit_callbacks",
    "synapse.api.ratelimiting:Ratelimiter.ratelimit": (
        "self requester key rate_hz burst_count update n_actions _time_now_s pause"
    ),
    "synapse.types:create_requester": (
        "user_id access_token_id is_guest scope shadow_banned device_id app_service authenticated_entity"
    ),
    "synapse.storage.databases.main.appservice:ApplicationServiceWorkerStore.get_app_services": "self",
    "synapse.types:MultiWriterStreamToken.is_stream_position_in_range": "low high instance_name pos",
    "synapse.types:MultiWriterStreamToken.get_max_stream_pos": "self",
    "synapse.federation.federation_server:FederationHandlerRegistry.register_edu_handler": "self edu_type handler",
    "synapse.federation.federation_server:FederationHandlerRegistry.register_instances_for_edu": (
        "self edu_type instance_names"
    ),
    "synapse.federation.federation_server:FederationHandlerRegistry.register_query_handler": (
        "self query_type handler"
    ),
    "synapse.federation.federation_server:FederationServer.check_server_matches_acl": "self server_name room_id",
    "synapse.federation.federation_client:FederationClient.make_query": (
        "self destination query_type args retry_on_dns_fail ignore_backoff"
    ),
    "synapse.federation.sender:FederationSender.build_and_send_edu": "self destination edu_type content key",
    "synapse.federation.send_queue:FederationRemoteSendQueue.build_and_send_edu": (
        "self destination edu_type content key"
    ),
    "synapse.storage.controllers.state:StateStorageController"
    ".get_current_hosts_in_room_or_partial_state_approximation": "self room_id",
    "synapse.util.async_helpers:concurrently_execute": "func args limit delay_cancellation",
    "synapse.util.async_helpers:Linearizer.__init__": "self name clock max_count",
    "synapse.util.async_helpers:Linearizer.queue": "self key",
    "synapse.replication.http._base:ReplicationEndpoint._serialize_payload": "kwargs",
    "synapse.replication.http._base:ReplicationEndpoint._handle_request": "self request content kwargs",
    "synapse.replication.http._base:ReplicationEndpoint.make_client": "cls hs",
    "synapse.replication.http._base:ReplicationEndpoint.register": "self http_server",
}

_attached: WeakKeyDictionary[HomeServer, dict[type, Any]] = WeakKeyDictionary()
_MARK = "_tandem_wrapped"


class IncompatibleSynapse(Exception):
    """This Synapse's inside is not the one that the module was written for."""


class Unreachable(Exception):
    """Another homeserver did not answer, or not with a word that settles the question."""


def install(makers: Mapping[str, Maker], *, accept_untested: bool, version: str = versions.RUNNING) -> None:
    """Wrap the methods, once a process. Raises IncompatibleSynapse and leaves everything as it was."""
    if not accept_untested and not versions.is_tested(version):
        raise IncompatibleSynapse(
            f"this is Synapse {version}, and {versions.WORDS}. Install a version of the module for this one; or set "
            "accept_untested_synapse: true, and the module starts if the methods it uses look the same"
        )
    for where, parameters in (_WRAPPED | _CALLED).items():
        _check(where, parameters, f"this is Synapse {version}, and {versions.WORDS}")
    for where, make in makers.items():
        owner, name = _owner(where)
        found = inspect.getattr_static(owner, name)
        original = found.__func__ if isinstance(found, staticmethod) else found
        if not hasattr(original, _MARK):
            wrapped = functools.wraps(original)(make(original))
            setattr(wrapped, _MARK, True)
            setattr(owner, name, staticmethod(wrapped) if isinstance(found, staticmethod) else wrapped)


def attached(part: Any, kind: type[R]) -> R | None:
    """What we attached to the server that this handler, servlet or store of Synapse's belongs to."""
    store = getattr(part, "store", None) or getattr(part, "_main_store", None) or part
    return attached_to(store.hs, kind)


def attached_to(hs: HomeServer, kind: type[R]) -> R | None:
    """The same, for the server itself."""
    found: R | None = _attached.get(hs, {}).get(kind)
    return found


def part_of(api: ModuleApi, kind: type[R]) -> R | None:
    """What we attached to the server that another module is loaded in."""
    return attached_to(api._hs, kind)


def shared(api: ModuleApi, kind: type[R]) -> R:
    """The one object of this kind of a server, made by who asks first: other modules may be loaded before ours."""
    found: R = _attached.setdefault(api._hs, {}).setdefault(kind, kind())
    return found


def service_of(requester: Any) -> str | None:
    """The id of the application service that makes a request, if one does."""
    if hasattr(requester, "app_service_id"):
        return None if requester.app_service_id is None else str(requester.app_service_id)
    # In older releases a requester has the service itself.
    return None if requester.app_service is None else str(requester.app_service.id)


def _owner(where: str) -> tuple[Any, str]:
    module, path = where.split(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def _check(where: str, parameters: str, advice: str) -> None:
    try:
        owner, name = _owner(where)
        found = inspect.getattr_static(owner, name)
    except (ImportError, AttributeError) as error:
        raise IncompatibleSynapse(f"{where} does not exist ({advice})") from error
    function = found.__func__ if isinstance(found, staticmethod | classmethod) else found
    has = " ".join(inspect.signature(function).parameters)
    if has != parameters:
        raise IncompatibleSynapse(f"{where} takes ({has}), expected ({parameters}) ({advice})")


class Inside:
    """What the module uses of one running homeserver."""

    def __init__(self, api: ModuleApi) -> None:
        self._api = api
        self._hs: HomeServer = api._hs
        self._main = self._hs.get_datastores().main
        self.instance = self._hs.get_instance_name()
        self.address = UserID("", self._hs.hostname).to_string()
        """The user id of the server itself (MSC4246)."""

    def attach(self, part: object) -> None:
        """From now on this server's requests find ``part``, by its class."""
        _attached.setdefault(self._hs, {})[type(part)] = part

    @property
    def is_main(self) -> bool:
        """Whether this is the main process; without workers there is no other."""
        return self._hs.config.worker.worker_app is None

    @property
    def receipt_writers(self) -> list[str]:
        """The names of the processes that write the receipts stream."""
        return self.writers_of("receipts")

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the receipts stream: the home of our rows, positions and timers."""
        return self.instance in self.receipt_writers

    def writers_of(self, stream: str) -> list[str]:
        """The names of the processes that write a stream, as homeserver.yaml's ``stream_writers`` names it."""
        return list(getattr(self._hs.config.worker.writers, stream))

    async def ask_writer(self, stream: str, endpoint: type[BaseEndpoint], **arguments: Any) -> Any:
        """Call an endpoint on the process that writes this stream, over Synapse's replication HTTP."""
        ask = endpoint.make_client(self._hs)
        return await ask(instance_name=self.writers_of(stream)[0], **arguments)

    def connect(self) -> LoggingDatabaseConnection:
        """A database connection of our own, usable while modules are loaded, when nothing can be awaited."""
        pool = self._main.db_pool
        return make_conn(
            db_config=pool._database_config,
            engine=pool.engine,
            default_txn_name="tandem_schema",
            server_name=self._hs.hostname,
        )

    def who_has_the_address(self) -> str | None:
        """Who can speak as ``@:server`` beside us, in words for the administrator; None: nobody."""
        if any(f"{service.sender}" == self.address for service in self._main.get_app_services()):
            return "an application service has it: its registration says sender_localpart ''"
        conn = self.connect()
        try:
            cursor = conn.cursor()
            cursor.execute("SELECT deactivated FROM users WHERE name = ?", (self.address,))
            row = cursor.fetchone()
        finally:
            conn.close()
        return None if row is None or row[0] else "there is an account of this name"

    async def send_to_devices(self, type_: str, messages: Mapping[str, Mapping[str, Any]]) -> None:
        """Send to-device messages from ``@:server``, on the process that writes them."""
        handler = self._hs.get_device_message_handler()
        as_dicts = {user_id: dict(by_device) for user_id, by_device in messages.items()}
        await handler.send_device_message(create_requester(self.address), type_, as_dicts)

    async def is_known_edu(self, origin: str, message_id: str) -> bool:
        """Whether this to-device message of another server's has been here before."""

        def look(txn: LoggingTransaction) -> bool:
            txn.execute(
                "SELECT 1 FROM device_federation_inbox WHERE origin = ? AND message_id = ?",
                (origin, message_id),
            )
            return txn.fetchone() is not None

        return await self.run("tandem_is_known_edu", look)

    async def run(self, name: str, work: Callable[[LoggingTransaction], R]) -> R:
        """Run a function in a transaction, committed on return. It may be run again after a conflict."""
        return await self._main.db_pool.runInteraction(name, work)

    def next_position(self) -> AbstractAsyncContextManager[int]:
        """A new position of the receipts stream; syncs reach it when the block is left."""
        return self._main.get_receipts_stream_id_gen().get_next()

    async def move_to(self, position: int) -> None:
        """Move the receipts stream on to this position, if it is not there."""
        missing = position - self.now().stream
        if missing > 0:
            async with self._main.get_receipts_stream_id_gen().get_next_mult(missing):
                pass

    def now(self) -> Token:
        """Up to where the receipts stream can be read."""
        return self._main.get_max_receipt_stream_id()

    def is_between(self, low: Token | None, high: Token | None, instance: str, position: int) -> bool:
        """Whether ``low < position <= high``, for a row of this instance."""
        return Token.is_stream_position_in_range(low, high, instance, position)

    def wake(self, *user_ids: str) -> None:
        """Let the waiting syncs of these users' devices look again, and nobody else's (users=, not rooms=)."""
        self._hs.get_notifier().on_new_event(StreamKeyType.RECEIPT, self.now(), users=user_ids)

    def later(self, after_ms: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run this in the background after some time, if the process lives that long."""
        self._api.delayed_background_call(after_ms, work, desc="tandem_later")

    def secret(self, purpose: str) -> bytes:
        """A secret of this server for one purpose: the same in all its processes and after a restart."""
        return hmac.digest(self._hs.config.key.macaroon_secret_key, purpose.encode(), hashlib.sha256)

    async def device_count(self, user_id: str) -> int:
        """How many devices a local person is signed in with."""
        return await self._main.count_devices_by_users([user_id])

    async def arrived_at(self, event_id: str) -> int | None:
        """When this server took the event in, in milliseconds; None where it does not know."""

        def read(txn: LoggingTransaction) -> int | None:
            txn.execute("SELECT received_ts FROM events WHERE event_id = ?", (event_id,))
            row = txn.fetchone()
            return None if row is None or row[0] is None else int(row[0])

        return await self.run("tandem_arrived_at", read)

    def now_ms(self) -> int:
        return self._hs.get_clock().time_msec()

    def is_local(self, user_id: str) -> bool:
        return self._hs.is_mine_id(user_id)

    def limiter(self, name: str, per_second: float, burst_count: int) -> Callable[..., Awaitable[None]]:
        """A function that raises 429 ``M_LIMIT_EXCEEDED`` for a requester (or a ``key``) that asks too often."""
        settings = RatelimitSettings(name, per_second, burst_count)
        return Ratelimiter(store=self._main, clock=self._hs.get_clock(), cfg=settings).ratelimit

    async def is_joined(self, user_id: str, room_id: str) -> bool:
        return await self._main.check_local_user_in_room(user_id=user_id, room_id=room_id)

    async def room_and_sender(self, event_id: str) -> tuple[str, str] | None:
        """Where an event is and who sent it; None for what clients are never shown, was redacted, or is not here."""
        event = await self._main.get_event(event_id, allow_none=True)
        # An outlier has no place in the room's history, so nobody can say who was there.
        if event is None or event.internal_metadata.is_outlier() or event.internal_metadata.is_soft_failed():
            return None
        if event.internal_metadata.is_redacted():
            return None
        return event.room_id, event.sender

    async def was_joined(self, user_id: str, event_id: str) -> bool:
        """Whether this person was in the room when the event was sent."""
        key = ("m.room.member", user_id)
        only_theirs = StateFilter.from_types([key])
        states = self._hs.get_storage_controllers().state
        member = (await states.get_state_for_events([event_id], only_theirs)).get(event_id, {}).get(key)
        return member is not None and member.content.get("membership") == "join"

    # Other homeservers

    @property
    def server_name(self) -> str:
        return self._hs.hostname

    def again_and_again(self, work: Callable[[], Awaitable[None]], every_ms: float) -> None:
        """Run this in the background now, and after each so many milliseconds, in this process."""
        self._api.run_as_background_process("tandem_start", work)
        self._api.looping_background_call(work, every_ms, desc="tandem_look", run_on_all_instances=True)

    def in_background(self, name: str, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run this now, and do not wait for it; what it raises is logged."""
        self._api.run_as_background_process(name, work, *arguments)

    def one_at_a_time(self, name: str) -> Callable[[str], AbstractAsyncContextManager[None]]:
        """For ``async with``: of those who give the same key, one is in the block, and the others wait."""
        return Linearizer(name, self._hs.get_clock()).queue

    def answer_queries(self, query_type: str, answer: Callable[[Any], Awaitable[Any]]) -> None:
        """Answer ``GET /_matrix/federation/v1/query/{query_type}``."""
        self._hs.get_federation_registry().register_query_handler(query_type, answer)

    def receive_edus(self, edu_type: str, receive: Callable[[str, Any], Awaitable[None]]) -> None:
        """Call this with the origin and the content of each EDU, on the process that writes receipts.

        What it raises makes Synapse answer the transaction 500, and the other server repeat it.
        """
        registry = self._hs.get_federation_registry()
        if self.is_writer:
            registry.register_edu_handler(edu_type, receive)
        else:
            registry.register_instances_for_edu(edu_type, self.receipt_writers)

    @property
    def can_send_edus(self) -> bool:
        """Whether ``send_edu`` may be called in this process."""
        return self.is_main or self._hs.should_send_federation()

    def send_edu(
        self, destination: str, edu_type: str, content: dict[str, Any], key: tuple[Any, ...]
    ) -> None:
        """Have Synapse send an EDU with its next transaction, at once if it may; it is kept in memory only.

        It replaces one with the same key that waits.
        """
        self._hs.get_federation_sender().build_and_send_edu(destination, edu_type, content, key)

    def server_is_up(self, server: str) -> None:
        """Have Synapse repeat at once what it sends to a server that was silent."""
        self._hs.get_notifier().notify_remote_server_up(server)

    async def ask_server(self, server: str, query_type: str, *, is_probe: bool) -> dict[str, Any] | None:
        """The answer to a federation query; None when the server definitely has none. Raises Unreachable.

        A probe asks also a server that Synapse gives time to come back, and ends that time if it answers.
        """
        try:
            answer: dict[str, Any] = await self._hs.get_federation_client().make_query(
                server, query_type, {}, ignore_backoff=is_probe
            )
        except FederationDeniedError:
            return None
        except HttpResponseException as error:
            if error.code in (400, 403, 404, 405):
                return None
            raise Unreachable(f"it answered {error.code}") from error
        except (RequestSendFailed, NotRetryingDestination, OSError, ValueError) as error:
            raise Unreachable(str(error)) from error
        return answer

    async def is_server_in(self, server: str, room_id: str) -> bool:
        """Whether somebody of this server is in the room; a guess in rooms whose members are not all known yet."""
        states = self._hs.get_storage_controllers().state
        return server in await states.get_current_hosts_in_room_or_partial_state_approximation(room_id)

    async def is_server_allowed(self, server: str, room_id: str) -> bool:
        """Whether the room's access list (``m.room.server_acl``) allows this server (MSC4163)."""
        host = server if server.endswith("]") else server.rpartition(":")[0] or server
        try:
            await self._hs.get_federation_server().check_server_matches_acl(host, room_id)
        except AuthError:
            return False
        return True

    async def is_partly_known(self, room_id: str) -> bool:
        """Whether Synapse is still fetching the room's members, and would make everybody who asks wait."""

        def read(txn: LoggingTransaction) -> bool:
            txn.execute("SELECT 1 FROM partial_state_rooms WHERE room_id = ?", (room_id,))
            return txn.fetchone() is not None

        return await self.run("tandem_is_partly_known", read)


@dataclass(frozen=True, slots=True)
class KeyState:
    """MSC3202's part of a transaction: one-time key counts, unused fallback keys, and whose devices have changed."""

    counts: dict[str, Any] = field(default_factory=dict)
    fallback: dict[str, Any] = field(default_factory=dict)
    changed: Sequence[str] = ()
    left: Sequence[str] = ()

    @classmethod
    def of(cls, counts: Any, fallback: Any, summary: DeviceListUpdates | None) -> KeyState:
        """From the arguments that Synapse hands around."""
        changed, left = ((), ()) if summary is None else (sorted(summary.changed), sorted(summary.left))
        return cls(dict(counts or {}), dict(fallback or {}), changed, left)

    @property
    def device_lists(self) -> DeviceListUpdates:
        return DeviceListUpdates(changed=set(self.changed), left=set(self.left))

    def and_changed(self, users: Sequence[str]) -> KeyState:
        """The same, with these people's devices changed, too."""
        changed = sorted({*self.changed, *users})
        return replace(self, changed=changed, left=[user for user in self.left if user not in changed])

    def __bool__(self) -> bool:
        return bool(self.counts or self.fallback or self.changed or self.left)


class AppServices:
    """What the module uses of one running homeserver's side of application services."""

    WAKE: dict[str, Any] = {"type": "im.tandem.wake"}  # noqa: RUF012 compared by identity, never changed
    """Stands in Synapse's queue where a transaction is wanted and Synapse itself has nothing to send."""

    def __init__(self, api: ModuleApi) -> None:
        self._hs: HomeServer = api._hs
        self._main = self._hs.get_datastores().main
        try:
            self._account_data_changes = self._main._account_data_stream_cache
            self._transaction_ids = self._main._as_txn_seq_gen
        except AttributeError as error:
            raise IncompatibleSynapse(f"this is Synapse {versions.RUNNING}: {error}") from error

    @property
    def is_pushing(self) -> bool:
        """Whether this process sends the transactions."""
        return bool(self._hs.config.worker.should_notify_appservices)

    def registration_files(self) -> list[str]:
        return list(self._hs.config.appservice.app_service_config_files)

    def all(self) -> list[Service]:
        return list(self._main.get_app_services())

    def to_device_position(self) -> int:
        """Up to where the inbox of to-device events is written, without a gap."""
        return int(self._main.get_to_device_stream_token())

    def account_data_position(self) -> int:
        """The same of account data: global, of rooms, and tags."""
        return int(self._main.get_max_account_data_stream_id())

    def push_rules_position(self) -> int:
        return int(self._main.get_max_push_rules_stream_id())

    def account_data_changed_since(self, position: int) -> list[str] | None:
        """Whose account data has changed behind this position; None where Synapse's memory is too short."""
        changed = self._account_data_changes.get_all_entities_changed(position)
        return list(changed.entities) if changed.hit else None

    async def push_rules(self, user_id: str) -> dict[str, Any]:
        """A person's push rules, as they stand in sync under ``m.push_rules``."""
        return await self._hs.get_push_rules_handler().push_rules_for_user(UserID.from_string(user_id))

    def start_transaction(self, service: Service) -> None:
        """Have Synapse make a transaction as soon as none is under way, even if it has nothing to send."""
        scheduler = self._hs.get_application_service_scheduler()
        waiting = scheduler.queuer.queued_ephemeral.get(service.id, ())
        if not any(each is self.WAKE for each in waiting):
            scheduler.enqueue_for_appservice(service, ephemeral=[self.WAKE])

    def is_sending(self, service: Service) -> bool:
        return service.id in self._hs.get_application_service_scheduler().queuer.requests_in_flight

    def is_recovering(self, service: Service) -> bool:
        """Whether Synapse tries old transactions again, with growing pauses."""
        return service.id in self._hs.get_application_service_scheduler().txn_ctrl.recoverers

    async def is_down(self, service: Service) -> bool:
        return await self._main.get_appservice_state(service) is ApplicationServiceState.DOWN

    async def recover(self, service: Service) -> None:
        """Have Synapse try the old transactions, in order, before it sends new ones."""
        await self._main.set_appservice_state(service, ApplicationServiceState.DOWN)
        self._hs.get_application_service_scheduler().txn_ctrl.start_recoverer(service)

    async def key_counts(
        self, service: Service, events: Any, ephemeral: Any, to_device: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """One-time key counts and unused fallback keys of those whom a transaction is about (MSC3202)."""
        queuer = self._hs.get_application_service_scheduler().queuer
        return await queuer._compute_msc3202_otk_counts_and_fallback_keys(
            service, events, ephemeral, to_device
        )

    def pass_transaction_ids(self, cursor: Any, last: int) -> None:
        """See to it that the next transaction's id is higher than ``last``, where no sequence of the database does.

        SQLite has none: there Synapse begins again behind the oldest transaction without a 200, mostly at 1.
        """
        sequence = self._transaction_ids
        if isinstance(sequence, LocalSequenceGenerator):
            sequence._current_max_id = max(last, sequence.get_max_allocated(cursor))


class WithFields:
    """Synapse's client for services, which adds fields to the transaction that it is about to send."""

    def __init__(self, api: Any, fields: Mapping[str, Any]) -> None:
        self._api = api
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    async def put_json(self, uri: str, json_body: Any, args: Any = None, headers: Any = None) -> Any:
        return await self._api.put_json(uri, {**json_body, **self._fields}, args=args, headers=headers)
