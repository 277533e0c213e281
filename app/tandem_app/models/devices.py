"""The devices of the account: rows for QML, other names for them, and signing out others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.approval import Approval
from tandem_app.models.device_rows import row
from tandem_core.errors import BadInput, Cancelled, Expected, Offline
from tandem_core.types import DeviceId, Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.engine import Engine
    from tandem_core.own_devices import OwnDevice
    from tandem_core.types import Change

log = logging.getLogger("tandem.app.devices")

_Work = Callable[["Engine"], Coroutine[Any, Any, object]]


class DevicesModel(QObject):
    """Asks the server each time the page is opened; between the times it keeps the list, not the addresses."""

    changed = Signal()
    verifyWanted = Signal(str)
    """A device (empty: whichever answers) is to be verified."""

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        self._devices: list[OwnDevice] = []
        self._rows: list[dict[str, Any]] = []
        self._is_open = False
        self._state = "loading"
        self._again = False
        self._busy = ""
        self._editing = ""
        self._chosen: list[str] = []
        self._shows_addresses = False
        self._problem = ""
        self._news = ""
        self._approval = Approval(self)
        thread.changed.connect(self._follow)
        thread.session.connect(self._forget)

    # The list.

    @Slot()
    def open(self) -> None:
        """The page is shown: ask the server."""
        self._is_open = True
        self._problem = self._news = self._editing = ""
        self._chosen = []
        self._shows_addresses = False
        self.reload()

    @Slot()
    def close(self) -> None:
        """The page is left; a question that was not answered is called off."""
        self._is_open = False
        self._approval.callOff()

    @Slot()
    def reload(self) -> None:
        """Ask the server again."""
        self._state = "loading"
        self._show()
        self._load()

    @Slot()
    def toggleAddresses(self) -> None:
        """Show from which addresses the devices were last seen, or hide them."""
        self._shows_addresses = not self._shows_addresses
        self._show()

    @Slot(str)
    def verify(self, device_id: str) -> None:
        """Ask this device to verify; empty: all others, and whichever answers."""
        self.verifyWanted.emit(device_id)

    # Names.

    @Slot(str)
    def edit(self, device_id: str) -> None:
        """Begin to write another name for a device; empty: leave it."""
        self._editing, self._problem, self._news = device_id, "", ""
        self._show()

    @Slot(str)
    def rename(self, name: str) -> None:
        """Give the device that is being edited this name."""
        device_id = DeviceId(self._editing)
        if not device_id or self._busy:
            return

        async def work(engine: Engine) -> None:
            from tandem_core import own_devices

            await own_devices.rename(engine.http, engine.db, engine.me, device_id, name)

        def renamed() -> None:
            self._editing = ""

        self._do("rename", work, renamed)

    # Signing out.

    @Slot(str)
    def choose(self, device_id: str) -> None:
        """Have this device signed out, too, or keep it after all."""
        if self._busy:
            return
        self._problem = self._news = ""
        if device_id in self._chosen:
            self._chosen.remove(device_id)
        else:
            self._chosen.append(device_id)
        self._show()

    @Slot()
    def chooseOthers(self) -> None:
        """Have every device but this one signed out."""
        if not self._busy:
            self._problem = self._news = ""
            self._chosen = [device.device_id for device in self._devices if not device.is_this]
            self._show()

    @Slot()
    def keep(self) -> None:
        """Sign out none of them after all."""
        self._approval.callOff()
        if not self._busy:
            self._chosen = []
            self._show()

    @Slot()
    def signOut(self) -> None:
        """Sign out those that were chosen, all or none; the server may want an approval."""
        chosen = [DeviceId(device_id) for device_id in self._chosen]
        if not chosen or self._busy:
            return

        async def work(engine: Engine) -> None:
            from tandem_core import own_devices

            await own_devices.sign_out(engine.http, engine.db, engine.me, chosen, self._approval)

        def signed_out() -> None:
            gone = set(chosen)
            self._devices = [device for device in self._devices if device.device_id not in gone]
            self._chosen = []
            self._news = (
                "The device is signed out." if len(gone) == 1 else f"{len(gone)} devices are signed out."
            )

        self._do("sign_out", work, signed_out)

    def _do(self, what: str, work: _Work, then: Callable[[], None]) -> None:
        self._busy, self._problem, self._news = what, "", ""
        self._show()

        def done(_: object) -> None:
            self._busy = ""
            then()
            self._show()
            self._load()

        def failed(error: Exception) -> None:
            self._busy = ""
            if not isinstance(error, Cancelled):
                self._problem = _sentence(error)
            self._show()

        self._thread.call(self._with_engine(work), done, failed)

    async def _with_engine(self, work: _Work) -> object:
        engine = self._thread.engine
        if engine is None:
            raise Offline
        return await work(engine)

    def _load(self) -> None:
        async def work(engine: Engine) -> list[OwnDevice]:
            from tandem_core import own_devices

            return await own_devices.fetch(engine.http, engine.db, engine.me)

        def loaded(found: Any) -> None:
            self._devices = found
            self._state = "ready"
            present = {device.device_id for device in found}
            self._chosen = [device_id for device_id in self._chosen if device_id in present]
            self._show()

        def failed(error: Exception) -> None:
            if not isinstance(error, Expected):
                log.error("the devices cannot be listed: %s", type(error).__name__, exc_info=error)
            self._state = "offline"
            self._show()

        self._thread.call(self._with_engine(work), loaded, failed)

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        """Keys or trust changed, or the server can be reached again."""
        topics = {change.topic for change in changes}
        back = Topic.STATUS in topics and self._state == "offline"
        if self._is_open and not self._busy and (Topic.DEVICES in topics or Topic.KEYS in topics or back):
            self._load()

    @Slot(str)
    def _forget(self, state: str) -> None:
        """Another account may come."""
        if state != "signed_in":
            self._devices, self._state = [], "loading"
            self._show()

    def _show(self) -> None:
        now_ms = self._clock_ms()
        self._rows = [
            row(
                device,
                now_ms,
                is_first_other=number == 1 or (number == 0 and not device.is_this),
                with_address=self._shows_addresses,
                has_others=len(self._devices) > 1,
            )
            for number, device in enumerate(self._devices)
        ]
        self.changed.emit()

    def _names(self) -> str:
        by_id = {device.device_id: device.label for device in self._devices}
        names = [by_id[DeviceId(device_id)] for device_id in self._chosen if device_id in by_id]
        more = len(names) - _MOST_NAMES
        return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"

    # PySide's stub wants a type, but a QVariantList is only known by name.
    rows = Property("QVariantList", lambda self: self._rows, notify=changed)  # type: ignore[arg-type]
    """Maps with the fields of ``device_rows.row``, this device first."""
    state = Property(str, lambda self: self._state, notify=changed)
    """loading, ready, or offline: the list is an older one, or empty."""
    busy = Property(str, lambda self: self._busy, notify=changed)
    """rename or sign_out while that is going on; empty otherwise."""
    editing = Property(str, lambda self: self._editing, notify=changed)
    """The id of the device whose name is being written."""
    chosen = Property("QVariantList", lambda self: self._chosen, notify=changed)  # type: ignore[arg-type]
    """The ids of the devices that are to be signed out."""
    chosenNames = Property(str, _names, notify=changed)
    others = Property(int, lambda self: sum(not device.is_this for device in self._devices), notify=changed)
    showsAddresses = Property(bool, lambda self: self._shows_addresses, notify=changed)
    problem = Property(str, lambda self: self._problem, notify=changed)
    news = Property(str, lambda self: self._news, notify=changed)
    approval = Property(QObject, lambda self: self._approval, constant=True)


_MOST_NAMES = 5


def _sentence(error: Exception) -> str:
    if isinstance(error, BadInput):
        return f"{error.title}. {error.advice}"
    if isinstance(error, Expected):
        return (
            error.sentence
            if error.detail and not isinstance(error, Offline)
            else f"{error.title}. {error.advice}"
        )
    log.error("a device could not be changed: %s", type(error).__name__, exc_info=error)
    return "Something unexpected happened; nothing was changed. Tandem's log says more."
