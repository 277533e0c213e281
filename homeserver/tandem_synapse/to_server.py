"""To-device messages to and from the server itself, as ``@:server`` (MSC4246).

A message to the server is given to the handler of its type, or dropped; it is never kept in an inbox.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from synapse.module_api import ModuleApi, Requester
from synapse.module_api.errors import Codes, ConfigError, SynapseError

from tandem_synapse import seams
from tandem_synapse.config import ModuleConfig
from tandem_synapse.relay import Relay

logger = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_CONTENT_BYTES = 65_536
"""What Synapse lets a client send to a device; the same for the server."""
SERVER_DEVICE = ""
ALL_DEVICES = "*"


@dataclass(frozen=True, slots=True)
class ToServerMessage:
    """One to-device message to this server. ``content`` comes from a stranger: believe nothing of its shape."""

    type: str
    sender: str
    """A user id; Synapse has checked that it is the requester's, or one of the server that sent it."""
    requester: Requester | None
    """Who asks, for people of this server; None for a message that another server has sent."""
    content: Mapping[str, Any]


Handler = Callable[[ToServerMessage], Awaitable[None]]
PassOn = Callable[[Json], Awaitable[None]]


class Handlers:
    """Which type goes to whom, of one homeserver; made by whichever module is loaded first."""

    def __init__(self) -> None:
        self.by_type: dict[str, tuple[Handler, bool]] = {}

    def add(self, type_: str, handler: Handler, *, before_answer: bool) -> None:
        if type_ in self.by_type:
            raise ConfigError(
                f"tandem_synapse: two modules want to handle to-device messages of type {type_}"
            )
        self.by_type[type_] = (handler, before_answer)


def register_to_server_handler(
    api: ModuleApi, type_: str, handler: Handler, *, before_answer: bool = False
) -> None:
    """Have ``handler(message)`` called for each to-device message of this type to ``@:server`` (MSC4246).

    For other modules, to be called in their ``__init__``; the order in which modules are loaded does not matter.
    Raises ConfigError when the type is taken.

    A handler may be slow: messages of its type wait for it, in order and one at a time, at most
    ``to_server_waiting`` of them and not over a restart; what is more is refused (429 ``M_LIMIT_EXCEEDED``), from
    other servers dropped. It is logged when it raises. With ``before_answer`` it is called at once and inside the
    request instead: the sender's 200 says that it has ended, its SynapseError is the sender's answer, and it must
    be quick and bear being called twice, since the sender tries again where no answer came.
    """
    seams.shared(api, Handlers).add(type_, handler, before_answer=before_answer)


async def send_as_server(api: ModuleApi, type_: str, messages: Mapping[str, Mapping[str, Json]]) -> None:
    """Send to-device messages from ``@:server``: ``{user id: {device id or "*": content}}``, people here or elsewhere.

    Returns when they are in the inboxes, or on their way to other servers. Raises SynapseError 413 for a content
    of more than ``MAX_CONTENT_BYTES``, and 404 where the server does not have the address (its log says why).
    """
    to_server = seams.part_of(api, ToServer)
    if to_server is None:
        raise SynapseError(HTTPStatus.NOT_FOUND, "This server has no address of its own", Codes.NOT_FOUND)
    await to_server.send(type_, messages)


class ToServer:
    """One per homeserver process."""

    features: Mapping[str, bool] = {"org.matrix.msc4246": True, "im.tandem.delivery.batch": True}

    def __init__(self, api: ModuleApi, inside: seams.Inside, relay: Relay, settings: ModuleConfig) -> None:
        self.address = inside.address
        self._api = api
        self._inside = inside
        self._handlers = seams.shared(api, Handlers)
        self._lanes: dict[str, _Lane] = {}
        self._waiting = settings.to_server_waiting
        self._taking: set[tuple[str, str]] = set()
        self._send = relay.at_writer("to_device", self._send_here, stream="to_device")
        self._limit = inside.limiter(
            "tandem_to_server", settings.to_server_per_second, settings.to_server_burst_count
        )

    async def send(self, type_: str, messages: Mapping[str, Mapping[str, Json]]) -> None:
        """What ``send_as_server`` does."""
        await self._send({"type": type_, "messages": messages})

    async def _send_here(self, asked: Json) -> Json:
        await self._inside.send_to_devices(asked["type"], asked["messages"])
        return {}

    async def take(self, requester: Requester, type_: str, messages: Json) -> Json:
        """Handle what somebody here sends to this server; returns what is for others.

        Raises SynapseError: 400 for a content that is no object, 413 for one too large, 429 for too many, and
        what a handler says that is called before the answer.
        """
        rest = for_servers(messages)
        by_device = rest.pop(self.address, None)
        if by_device is None:
            return rest
        if not isinstance(by_device, Mapping) or not isinstance(by_device.get(SERVER_DEVICE, {}), Mapping):
            words = f"The messages to {self.address} must be an object of objects"
            raise SynapseError(HTTPStatus.BAD_REQUEST, words, Codes.BAD_JSON)
        content = by_device.get(SERVER_DEVICE)
        if content is None:
            logger.info("Dropped a to-device message of type %s to a device of the server", _shown(type_))
            return rest
        if _size(content) > MAX_CONTENT_BYTES:
            words = f"To-device message for {self.address} is too large to send ({MAX_CONTENT_BYTES} bytes)"
            raise SynapseError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words, Codes.TOO_LARGE)
        await self._limit(requester)
        await self._give(ToServerMessage(type_, requester.user.to_string(), requester, content))
        return rest

    async def take_federated(self, origin: str, edu: Json, pass_on: PassOn) -> None:
        """Handle what another server sends to this one, once; ``pass_on`` gets an EDU with what is for others.

        Nothing that comes this way raises: the other server would send its whole transaction again and again.
        """
        messages = edu.get("messages")
        sender, message_id = edu.get("sender"), edu.get("message_id")
        if (
            not isinstance(messages, Mapping)
            or self.address not in messages
            or not isinstance(sender, str)
            or not isinstance(message_id, str)
            or sender.partition(":")[2] != origin
        ):
            await pass_on(edu)
            return
        rest = {user_id: each for user_id, each in messages.items() if user_id != self.address}
        key = (origin, message_id)
        if key in self._taking:
            await pass_on({**edu, "messages": rest})
            return
        self._taking.add(key)
        try:
            if not await self._inside.is_known_edu(origin, message_id):
                content = _content_for_server(messages[self.address])
                if content is not None and isinstance(edu.get("type"), str):
                    await self._take_one(origin, ToServerMessage(edu["type"], sender, None, content))
            # Synapse writes the message_id down; from then on it is known.
            await pass_on({**edu, "messages": rest})
        finally:
            self._taking.discard(key)

    async def _take_one(self, origin: str, message: ToServerMessage) -> None:
        try:
            if _size(message.content) > MAX_CONTENT_BYTES:
                raise SynapseError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large", Codes.TOO_LARGE)
            await self._limit(None, key=origin, pause=None)
            await self._give(message)
        except SynapseError as error:
            logger.info(
                "Dropped a to-device message of type %s to the server, from %s (%d)",
                _shown(message.type),
                origin,
                error.code,
            )
        except Exception:
            logger.exception("The handler of %s from other servers failed", _shown(message.type))

    async def _give(self, message: ToServerMessage) -> None:
        known = self._handlers.by_type.get(message.type)
        if known is None:
            logger.info("Dropped a to-device message of unknown type %s to the server", _shown(message.type))
            return
        handler, before_answer = known
        if before_answer:
            await handler(message)
            return
        lane = self._lanes.setdefault(message.type, _Lane(self._api, handler, self._waiting))
        if not lane.put(message):
            words = "Too many messages of this type wait for the server"
            raise SynapseError(HTTPStatus.TOO_MANY_REQUESTS, words, Codes.LIMIT_EXCEEDED)


class _Lane:
    """The messages that wait for one handler."""

    def __init__(self, api: ModuleApi, handler: Handler, size: int) -> None:
        self._api = api
        self._handler = handler
        self._size = size
        self._messages: deque[ToServerMessage] = deque()
        self._is_working = False

    def put(self, message: ToServerMessage) -> bool:
        """Queue a message and return at once; False when too many wait."""
        if len(self._messages) >= self._size:
            return False
        self._messages.append(message)
        if not self._is_working:
            self._is_working = True
            self._api.run_as_background_process("tandem_to_server", self._work)
        return True

    async def _work(self) -> None:
        try:
            # Never inside the sender's request, not even for the handler's first lines.
            await self._api.sleep(0)
            while self._messages:
                message = self._messages.popleft()
                try:
                    await self._handler(message)
                except Exception:
                    logger.exception("The handler of %s failed", _shown(message.type))
        finally:
            self._is_working = False


def for_servers(messages: Json) -> Json:
    """The same messages, with "*" as a server's device turned into "" (MSC4246); the argument is not changed."""
    result: Json = {}
    for user_id, by_device in messages.items():
        if user_id.startswith("@:") and isinstance(by_device, Mapping) and ALL_DEVICES in by_device:
            named = {device: content for device, content in by_device.items() if device != ALL_DEVICES}
            by_device = {SERVER_DEVICE: by_device[ALL_DEVICES], **named}
        result[user_id] = by_device
    return result


def _content_for_server(by_device: object) -> Mapping[str, Any] | None:
    if not isinstance(by_device, Mapping):
        return None
    content = by_device.get(SERVER_DEVICE, by_device.get(ALL_DEVICES))
    return content if isinstance(content, Mapping) else None


def _size(content: Mapping[str, Any]) -> int:
    """Bytes of its canonical JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _shown(type_: str) -> str:
    """A stranger's word, for the log."""
    return repr(type_[:100])
