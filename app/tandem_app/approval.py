"""Asks in the window for what the engine needs from the person while it works (``tandem_core.approval.Approver``)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

if TYPE_CHECKING:
    import asyncio


class Approval(QObject):
    """One question at a time: the coroutine waits in the engine's loop, the person answers in the Qt thread."""

    changed = Signal()
    _asked = Signal(str, str, bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._kind = ""
        self._words = ""
        self._was_wrong = False
        self._lock = threading.Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[str | None]] | None = None
        # A method of this object: a plain function would run in the thread that emits.
        self._asked.connect(self._show)

    # For the engine's thread.

    async def password(self, *, was_wrong: bool) -> str | None:
        """The account's password, or None if the person would rather not."""
        return await self._ask("password", "", was_wrong)

    async def in_browser(self, url: str) -> bool:
        """Show the page; True once the person says that they approved there."""
        return await self._ask("browser", url, False) is not None

    async def kept(self, recovery_key: str) -> bool:
        """Show a new recovery key; True once the person says that they keep it."""
        return await self._ask("key", recovery_key, False) is not None

    async def _ask(self, kind: str, words: str, was_wrong: bool) -> str | None:
        import asyncio

        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        with self._lock:
            self._waiting = (loop, answer)
        self._asked.emit(kind, words, was_wrong)
        try:
            return await answer
        finally:
            with self._lock:
                self._waiting = None
            self._asked.emit("", "", False)

    # For QML.

    @Slot(str)
    def give(self, text: str) -> None:
        """The answer: the password, or nothing for what only needs a yes."""
        if self._kind == "password" and not text:
            return
        self._answer(text)

    @Slot()
    def callOff(self) -> None:
        """Rather not: nothing is changed then."""
        self._answer(None)

    def _answer(self, text: str | None) -> None:
        with self._lock:
            waiting = self._waiting
        if waiting is not None:
            loop, answer = waiting
            loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result(text))

    @Slot(str, str, bool)
    def _show(self, kind: str, words: str, was_wrong: bool) -> None:
        self._kind, self._words, self._was_wrong = kind, words, was_wrong
        self.changed.emit()

    kind = Property(str, lambda self: self._kind, notify=changed)
    """What is asked for: password, browser (approve on a page), key (keep this recovery key); empty for nothing."""
    words = Property(str, lambda self: self._words, notify=changed)
    """The page's address, or the recovery key."""
    wasWrong = Property(bool, lambda self: self._was_wrong, notify=changed)
    """The password given before was not the right one."""
