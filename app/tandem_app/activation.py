"""``org.freedesktop.Application``: the desktop brings the window forward, or opens links in it, over the session bus.

Desktop Entry Specification, section "D-Bus Activation". What comes in concerns the window, so it is served in
the Qt thread, on qasync's event loop (ADR 0006); loaded after the first frame, and only where there is a bus.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated

from dbus_fast import BusType, DBusError, NameFlag, RequestNameReply, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusDict, DBusSignature, DBusStr
from dbus_fast.errors import AuthError, InvalidAddressError
from dbus_fast.service import ServiceInterface, dbus_method
from PySide6.QtGui import QGuiApplication
from qasync import QEventLoop

from tandem_core.types import Json

log = logging.getLogger("tandem.app.activation")

NAME = "im.tandem.Tandem"
PATH = "/im/tandem/Tandem"
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 600.0
_MOST_URIS = 8
# What opening, speaking and losing a connection can raise.
_LOST = (OSError, EOFError, DBusError, AuthError, InvalidAddressError)

Knock = Callable[[Json], object]
"""Takes ``{"uri": str, "token": str}``, either of them empty: come forward, and open it."""


class Application(ServiceInterface):
    """What the desktop may ask of the window."""

    def __init__(self, knock: Knock) -> None:
        super().__init__("org.freedesktop.Application")
        self._knock = knock

    @dbus_method()
    def Activate(self, platform_data: DBusDict) -> None:
        """Come forward."""
        self._knock({"uri": "", "token": _token(platform_data)})

    @dbus_method()
    def Open(self, uris: Annotated[list[str], DBusSignature("as")], platform_data: DBusDict) -> None:
        """Come forward and open each address."""
        token = _token(platform_data)
        for uri in uris[:_MOST_URIS] or [""]:
            self._knock({"uri": uri, "token": token})

    @dbus_method()
    def ActivateAction(
        self,
        action_name: DBusStr,
        parameter: Annotated[list[Variant], DBusSignature("av")],
        platform_data: DBusDict,
    ) -> None:
        """Our desktop entry has no actions: any other is answered with an error."""
        raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", "Tandem has no such action")


class Activation:
    """Owns Tandem's name on the bus for as long as the window is there; a bus that goes is waited for."""

    def __init__(self, application: QGuiApplication, address: str, knock: Knock) -> None:
        self._address = address
        self._service = Application(knock)
        self._loop = QEventLoop(application, already_running=True)
        self._task = self._loop.create_task(self._serve())

    def close(self) -> None:
        """Give the name back; to be called in the Qt thread after its loop has ended."""
        self._task.cancel()
        # qasync leaves both to whoever said that Qt's loop was running already.
        self._loop.stop()
        asyncio._set_running_loop(None)
        self._loop.run_until_complete(asyncio.wait([self._task]))
        self._loop.close()

    async def _serve(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._own()
            except _LOST as error:
                log.info("the session bus is not to be had: %s", type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _own(self) -> None:
        """Own the name until the connection ends."""
        bus = await MessageBus(self._address, BusType.SESSION).connect()
        gone = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
        try:
            bus.export(PATH, self._service)
            if await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE) is not RequestNameReply.PRIMARY_OWNER:
                log.info("another program owns %s on the session bus", NAME)
            await asyncio.shield(gone)
        finally:
            bus.unexport(PATH, self._service)
            bus.disconnect()
            await asyncio.wait([gone])


def _token(platform_data: dict[str, Variant]) -> str:
    """What lets the desktop move the focus: of Wayland, else of X11's start-up notification."""
    for key in ("activation-token", "desktop-startup-id"):
        found = platform_data.get(key)
        if found is not None and isinstance(found.value, str):
            return found.value
    return ""
