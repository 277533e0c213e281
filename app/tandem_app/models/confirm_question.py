"""The bar that asks once whether others may learn that their messages reached us."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_core.errors import Expected

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from tandem_app.engine_thread import EngineThread

log = logging.getLogger("tandem.app.confirm_question")


class ConfirmQuestionModel(QObject):
    """Asks while nobody has answered on any device; blocks nothing meanwhile, and nothing is confirmed."""

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
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        self._is_open = False
        self._problem = ""

    @Slot()
    def look(self) -> None:
        """Read again whether the question is open."""
        from tandem_core.receipts.first_question import is_open

        conn = self._reader()
        asks = conn is not None and is_open(conn)
        if asks != self._is_open:
            self._is_open = asks
            self.changed.emit()

    @Slot(str)
    def answer(self, said: str) -> None:
        """Keep an answer: ``off``, ``direct`` or ``recommended``."""
        now_ms = self._clock_ms()

        async def work() -> None:
            from tandem_core.receipts.first_question import Answer, answer

            db = await self._thread.opened()
            await db.write(answer, Answer(said), now_ms)

        self._thread.call(work(), lambda _: self._done(), self._failed)

    def _done(self) -> None:
        self._problem = ""
        self.look()
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Expected):
            log.error("the answer could not be kept: %s", type(error).__name__, exc_info=error)
        self._problem = error.title if isinstance(error, Expected) else "Something unexpected happened"
        self.changed.emit()

    isOpen = Property(bool, lambda self: self._is_open, notify=changed)
    problem = Property(str, lambda self: self._problem, notify=changed)
