"""Verifications for QML: the one that goes on, what it shows, and the answers of a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models import verification_words as words
from tandem_core.errors import Expected, Offline
from tandem_core.types import DeviceId, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.verification.verifications import Verifications, View

log = logging.getLogger("tandem.app.verification")

_Work = Callable[["Verifications"], Coroutine[Any, Any, Any]]


class VerificationModel(QObject):
    """Follows one verification at a time: the one that the person began or answered, else the newest that waits."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._views: list[View] = []
        self._chosen = ""
        self._put_away: set[str] = set()
        self._is_open = False
        self._is_beginning = False
        self._busy = False
        self._problem = ""
        thread.session.connect(self._forget)

    def follow(self) -> None:
        """Rows of verifications changed: ask the engine how they stand."""

        async def work(verifications: Verifications) -> list[View]:
            return await verifications.flows()

        self._call(work, self._loaded, lambda error: None)

    # The page.

    @Slot()
    def open(self) -> None:
        """The page is shown."""
        self._is_open = True
        self.follow()
        self.changed.emit()

    @Slot()
    def close(self) -> None:
        """The page is left. What goes on goes on, and is told above the room; what is over is forgotten."""
        self._is_open = self._is_beginning = False
        self._problem = ""
        now = self._now()
        if now is not None and now.phase.is_over:
            self._put_away.add(now.id)
            self._chosen = ""
        self.changed.emit()

    @Slot()
    def putAway(self) -> None:
        """Show nothing of it above the room any more; it stays open until its time is over."""
        now = self._now()
        if now is not None:
            self._put_away.add(now.id)
            self._chosen = ""
            self.changed.emit()

    # What a person does.

    @Slot()
    def verifyDevices(self) -> None:
        """Ask all of our other devices."""
        self._begin(lambda verifications: verifications.request_own())

    @Slot(str)
    def verifyDevice(self, device_id: str) -> None:
        """Ask one of our devices."""
        self._begin(lambda verifications: verifications.request_own(DeviceId(device_id)))

    @Slot(str)
    def verifyPerson(self, user_id: str) -> None:
        """Ask a person, in the chat with them."""
        self._begin(lambda verifications: verifications.request_person(UserId(user_id)))

    @Slot()
    def agree(self) -> None:
        """Take part in what the other side asks for."""
        self._act(lambda verifications, flow: verifications.accept(flow))

    @Slot()
    def compare(self) -> None:
        """Have both sides show emoji."""
        self._act(lambda verifications, flow: verifications.start_sas(flow))

    @Slot(str)
    def scan(self, text: str) -> None:
        """Use the code of the other side."""
        self._act(lambda verifications, flow: verifications.scan(flow, text))

    @Slot()
    def confirm(self) -> None:
        """They match; or: it worked on the other side."""
        self._act(lambda verifications, flow: verifications.confirm(flow))

    @Slot()
    def mismatch(self) -> None:
        """They do not match; or: it did not work there."""
        self._act(lambda verifications, flow: verifications.mismatch(flow))

    @Slot()
    def cancel(self) -> None:
        """Decline, or stop."""
        self._act(lambda verifications, flow: verifications.cancel(flow))

    def _begin(self, ask: _Work) -> None:
        if self._busy:
            return
        self._busy = self._is_beginning = True
        self._chosen = self._problem = ""
        self.changed.emit()

        def asked(flow_id: str) -> None:
            self._busy = self._is_beginning = False
            self._chosen = flow_id
            self.follow()

        self._call(ask, asked, self._failed)

    def _act(self, act: Callable[[Verifications, str], Coroutine[Any, Any, None]]) -> None:
        now = self._now()
        if now is None or self._busy:
            return
        self._busy, self._problem, self._chosen = True, "", now.id
        self.changed.emit()

        def done(_: object) -> None:
            self._busy = False
            self.follow()

        self._call(lambda verifications: act(verifications, now.id), done, self._failed)

    def _failed(self, error: Exception) -> None:
        self._busy = self._is_beginning = False
        if isinstance(error, Expected):
            self._problem = f"{error.title}. {error.advice}"
        else:
            log.error("a verification could not go on: %s", type(error).__name__, exc_info=error)
            self._problem = "Something unexpected happened. Tandem's log says more."
        self.follow()
        self.changed.emit()

    def _call(self, work: _Work, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        async def run() -> Any:
            engine = self._thread.engine
            if engine is None or engine.verifications is None:
                raise Offline
            return await work(engine.verifications)

        self._thread.call(run(), done, failed)

    def _loaded(self, views: list[View]) -> None:
        self._views = views
        self.changed.emit()

    @Slot(str)
    def _forget(self, state: str) -> None:
        """Another account may come."""
        if state != "signed_in":
            self._views, self._chosen, self._busy = [], "", False
            self.changed.emit()

    # What is shown.

    def _now(self) -> View | None:
        """The verification that matters: the chosen one, else the newest that is open and not put away."""
        for view in self._views:
            if view.id == self._chosen:
                return view
        return next(
            (view for view in self._views if not view.phase.is_over and view.id not in self._put_away), None
        )

    def _who(self, view: View) -> str:
        """The other side's name."""
        from tandem_core.store import devices, members

        conn = self._reader()
        if view.room_id is not None:
            return view.peer if conn is None else members.display_name(conn, view.room_id, view.peer)
        if conn is None or view.device_id is None:
            return "your other device" if view.device_id is None else str(view.device_id)
        return devices.device_name(conn, view.peer, view.device_id)

    def _said(self) -> tuple[str, str]:
        now = self._now()
        if now is None:
            if self._is_beginning:
                return "One moment", "Asking your homeserver about the other side's keys."
            return "Nothing to verify", "Nobody asks just now."
        return words.said(now, self._who(now), now.room_id is None)

    def _phase(self) -> str:
        now = self._now()
        if now is None:
            return ""
        return "asked_us" if now.phase == "asked" and not now.we_asked else str(now.phase)

    def _emoji(self) -> list[dict[str, str]]:
        now = self._now()
        return [] if now is None else [{"symbol": one.symbol, "name": one.name} for one in now.emoji]

    def _picture(self) -> list[str]:
        now = self._now()
        if now is None or now.shown is None or not self._is_open:
            return []
        from tandem_app.models.qr_picture import modules

        return modules(now.shown.to_bytes())

    def _bar(self) -> str:
        now = self._now()
        if now is None or now.phase.is_over or self._is_open:
            return ""
        return words.bar(now, self._who(now))

    def _numbers(self) -> str:
        now = self._now()
        return "" if now is None else "  ".join(str(number) for number in now.decimals)

    def _text_code(self) -> str:
        now = self._now()
        return "" if now is None or now.shown is None else now.shown.to_text()

    def _icon(self) -> str:
        now = self._now()
        if now is None or not now.phase.is_over:
            return "key"
        return "check" if now.phase == "done" and not now.reason else "warning"

    phase = Property(str, _phase, notify=changed)
    """asked_us, or a value of ``Phase``; empty when there is none."""
    title = Property(str, lambda self: self._said()[0], notify=changed)
    advice = Property(str, lambda self: self._said()[1], notify=changed)
    icon = Property(str, _icon, notify=changed)
    dangerous = Property(
        bool,
        lambda self: (now := self._now()) is not None and now.phase.is_over and now.code in words.DANGEROUS,
        notify=changed,
    )
    # PySide's stub wants a type, but a QVariantList is only known by name.
    emoji = Property("QVariantList", _emoji, notify=changed)  # type: ignore[arg-type]
    """Maps with symbol and name, seven of them once there are any."""
    numbers = Property(str, _numbers, notify=changed)
    textCode = Property(str, _text_code, notify=changed)
    picture = Property("QVariantList", _picture, notify=changed)  # type: ignore[arg-type]
    """The QR code's rows of 1 and 0; empty where it cannot be drawn."""
    canCompare = Property(
        bool, lambda self: (now := self._now()) is not None and now.can_compare, notify=changed
    )
    canScan = Property(bool, lambda self: (now := self._now()) is not None and now.can_scan, notify=changed)
    busy = Property(bool, lambda self: self._busy, notify=changed)
    problem = Property(str, lambda self: self._problem, notify=changed)
    barWords = Property(str, _bar, notify=changed)
    """What is told above the room while the page is not shown; empty if there is nothing."""
