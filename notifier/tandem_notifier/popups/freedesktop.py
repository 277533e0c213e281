"""Popups by the desktop's notification service (Desktop Notifications Specification 1.2) over D-Bus.

Plain messages instead of introspected proxies: less memory, and the service's own errors in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from tandem_core.session_bus import bus_address
from tandem_core.types import EventId, RoomId
from tandem_notifier.popup import Click, Popup, PopupsUnavailable, ignore

log = logging.getLogger("tandem.popups")

SERVICE = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
APP_ID = "im.tandem.Tandem"
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_ANSWER_S = 5.0
_RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_MOST_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class _Shown:
    room_id: RoomId
    event_id: EventId


class FreedesktopPopups:
    """One popup a room, replaced by the next; a click leads to the room. Outlives bus and service."""

    def __init__(self, *, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        self.on_click: Callable[[Click], None] = ignore
        self.on_gone: Callable[[RoomId], None] = ignore
        self.on_state: Callable[[bool], None] = ignore
        """Called with whether popups can be shown, at each change."""
        self._sleep = sleep
        self._bus: MessageBus | None = None
        self._owner: str | None = None
        self._capabilities: frozenset[str] = frozenset()
        self._ids: dict[RoomId, int] = {}
        self._shown: OrderedDict[int, _Shown] = OrderedDict()
        self._tokens: dict[int, str] = {}
        self._under_way = 0
        self._early: list[Message] = []
        """What was said of popups whose numbers we have not been told yet."""
        self._tried = asyncio.Event()
        self._meeting: asyncio.Task[None] | None = None
        self._is_usable = False

    @property
    def is_usable(self) -> bool:
        """Whether a notification service answers."""
        return self._is_usable

    async def wait_tried(self) -> None:
        """Return after the first try to reach a notification service, whatever its result."""
        await self._tried.wait()

    async def run(self) -> None:
        """Stay connected to the session bus until cancelled; connect again after it was away."""
        failures = 0
        while True:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    bus = await self._connect()
                    stack.callback(bus.disconnect)
                    failures = 0
                    self._tried.set()
                    await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
            except asyncio.CancelledError:
                # We leave, which says nothing of the service.
                self.on_state = self.on_gone = ignore
                raise
            except Exception as error:
                # dbus-fast raises many kinds for "no bus": its own, OSError, EOFError, and ValueError for addresses.
                log.debug("no session bus: %s", error)
            finally:
                if self._meeting is not None:
                    self._meeting.cancel()
                self._forget_service()
                self._bus = None
                self._tried.set()
            await self._sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1

    async def show(self, popup: Popup) -> None:
        """Show it in the place of the room's former popup."""
        replaced = self._ids.get(popup.room_id, 0)
        title, body = popup.together if replaced and popup.together else (popup.title, popup.body)
        self._under_way += 1
        try:
            number = await self._notify(replaced, title, body, is_clickable=True)
            self._ids[popup.room_id] = number
            self._shown[number] = _Shown(popup.room_id, popup.event_id)
            self._shown.move_to_end(number)
        finally:
            self._under_way -= 1
            early, self._early = self._early, []
            for message in early:
                self._hear(message)
        while len(self._shown) > _MOST_REMEMBERED:
            self._shown.popitem(last=False)

    async def close(self, room_id: RoomId) -> None:
        """Take the room's popup away."""
        number = self._ids.pop(room_id, None)
        if number is None:
            return
        self._shown.pop(number, None)
        with contextlib.suppress(PopupsUnavailable):
            await self._ask("CloseNotification", "u", [number])

    async def notice(self, title: str, body: str) -> None:
        """Show a popup that is about no room."""
        await self._notify(0, title, body, is_clickable=False)

    async def _notify(self, replaced: int, title: str, body: str, *, is_clickable: bool) -> int:
        if "body" not in self._capabilities and body:
            title, body = f"{title}: {body}", ""
        if "body-markup" in self._capabilities:
            body = html.escape(body, quote=False)
        actions = ["default", "Open"] if is_clickable and "actions" in self._capabilities else []
        hints = {
            "desktop-entry": Variant("s", APP_ID),
            "category": Variant("s", "im.received"),
            "urgency": Variant("y", 1),
        }
        answer = await self._ask(
            "Notify",
            "susssasa{sv}i",
            ["Tandem", replaced, APP_ID, _sound(title), _sound(body), actions, hints, -1],
        )
        match answer:
            case [int(number), *_] if number > 0:
                return number
        raise PopupsUnavailable("the notification service gave no number")

    async def _connect(self) -> MessageBus:
        bus = await MessageBus(bus_address() or "disabled:", BusType.SESSION).connect()
        self._bus = bus
        try:
            bus.add_message_handler(self._hear)
            for rule in (
                f"type='signal',interface='{SERVICE}',path='{PATH}'",
                f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{SERVICE}'",
            ):
                await self._call(_BUS, _BUS_PATH, "AddMatch", "s", [rule])
            await self._meet_service()
        except BaseException:
            bus.disconnect()
            raise
        return bus

    async def _meet_service(self) -> None:
        """Ask the service what it can; the bus starts it if it can be started."""
        try:
            body = await self._call(SERVICE, PATH, "GetCapabilities")
            owner = await self._call(_BUS, _BUS_PATH, "GetNameOwner", "s", [SERVICE])
        except PopupsUnavailable as error:
            log.debug("no notification service: %s", error.detail)
            self._forget_service()
            return
        self._owner = owner[0] if owner else None
        self._capabilities = frozenset(body[0]) if body and isinstance(body[0], list) else frozenset()
        self._set_usable(True)

    def _forget_service(self) -> None:
        rooms = list(self._ids)
        self._ids.clear()
        self._shown.clear()
        self._tokens.clear()
        self._owner = None
        self._capabilities = frozenset()
        self._set_usable(False)
        for room_id in rooms:
            self.on_gone(room_id)

    def _set_usable(self, is_usable: bool) -> None:
        if is_usable != self._is_usable:
            self._is_usable = is_usable
            self.on_state(is_usable)

    async def _ask(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        if not self._is_usable:
            raise PopupsUnavailable()
        return await self._call(SERVICE, PATH, member, signature, body)

    async def _call(
        self, destination: str, path: str, member: str, signature: str = "", body: list[Any] | None = None
    ) -> list[Any]:
        bus = self._bus
        if bus is None or not bus.connected:
            raise PopupsUnavailable("no session bus")
        message = Message(
            destination=destination,
            path=path,
            interface=destination,
            member=member,
            signature=signature,
            body=body or [],
        )
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await bus.call(message)
        except (TimeoutError, DBusError, OSError, EOFError) as error:
            raise PopupsUnavailable(f"{member}: {type(error).__name__}") from error
        if answer.message_type is not MessageType.METHOD_RETURN:
            raise PopupsUnavailable(f"{member}: {answer.error_name}")
        return list(answer.body)

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        about = message.body[0] if message.body else None
        if self._under_way and type(about) is int and about not in self._shown and self._is_service(message):
            # The click can overtake our knowledge of what was clicked: both come in one read of the bus.
            if len(self._early) < _MOST_REMEMBERED:
                self._early.append(message)
            return
        match message.member, message.body:
            case "NameOwnerChanged", [str(name), _, str(owner)] if name == SERVICE and message.sender == _BUS:
                self._owner_changed(owner)
            case "ActivationToken", [int(number), str(token)] if self._is_service(message):
                if number in self._shown:
                    self._tokens[number] = token
            case "ActionInvoked", [int(number), str(key)] if self._is_service(message):
                self._invoked(number, key)
            case "NotificationClosed", [int(number), *_] if self._is_service(message):
                self._closed(number)

    def _is_service(self, message: Message) -> bool:
        return message.interface == SERVICE and message.sender == self._owner

    def _owner_changed(self, owner: str) -> None:
        if owner == self._owner:
            return
        self._forget_service()
        if owner:
            self._meeting = asyncio.ensure_future(self._meet_service())

    def _invoked(self, number: int, key: str) -> None:
        shown = self._shown.get(number)
        token = self._tokens.pop(number, None)
        if shown is not None and key == "default":
            self.on_click(Click(shown.room_id, shown.event_id, token))

    def _closed(self, number: int) -> None:
        # What expired may still stand in the desktop's history, to be clicked later: keep where it leads.
        shown = self._shown.get(number)
        self._tokens.pop(number, None)
        if shown is not None and self._ids.get(shown.room_id) == number:
            del self._ids[shown.room_id]
            self.on_gone(shown.room_id)


def _sound(text: str) -> str:
    """What D-Bus can carry: no NUL, no half surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
