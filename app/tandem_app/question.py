"""Asks the store what the person should be asked about the account's encryption, away from the Qt thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from tandem_app.look import Look
from tandem_core.types import Topic

if TYPE_CHECKING:
    from tandem_app.engine_thread import EngineThread

PAUSE_MS = 1500
"""Keys come in many at a time; one look for all of them is enough."""
_TOPICS = (Topic.KEYS, Topic.DEVICES, Topic.ACCOUNT_DATA)


class QuestionWatch(Look):
    """Says what there is to ask whenever that changes (``recovery_question.Question``, by its value)."""

    asked = Signal(str)

    def __init__(self, thread: EngineThread, parent: QObject | None = None) -> None:
        super().__init__(thread, _TOPICS, PAUSE_MS, parent)
        self._last = ""
        thread.session.connect(self._begin)

    def put_off(self, question: str) -> None:
        """The person would rather not now: this device does not ask this again by itself."""

        async def work() -> None:
            from tandem_core.crypto.recovery_question import Question, later
            from tandem_core.store import session as sessions

            db = await self._thread.opened()
            session = await db.read(sessions.session)
            if session is not None:
                await db.write(later, Question(question), session.me)

        self._thread.call(work(), None, lambda error: None)

    @Slot(str)
    def _begin(self, state: str) -> None:
        if state == "signed_in":
            self.soon()
        else:
            self._tell("nothing")

    @Slot()
    def look(self) -> None:
        """Ask the store."""

        async def work() -> str:
            from tandem_core.crypto.recovery_question import question

            return (await (await self._thread.opened()).read(question)).value

        self._thread.call(work(), self._tell, lambda error: None)

    def _tell(self, question: str) -> None:
        if question != self._last:
            self._last = question
            with contextlib.suppress(RuntimeError):  # the window is gone
                self.asked.emit(question)
