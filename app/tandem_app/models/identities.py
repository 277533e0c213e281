"""A line in the room about a person whose identity changed, and what can be done about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_core.errors import Expected

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_app.identity_watch import Changed

log = logging.getLogger("tandem.app.identities")


class IdentitiesModel(QObject):
    """One person at a time; the next one shows when the first is dealt with."""

    changed = Signal()
    verifyWanted = Signal(str)
    """Verify this person: their id."""

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._people: list[Changed] = []
        self._problem = ""
        self._is_busy = False

    @Slot(object)
    def show(self, people: list[Changed]) -> None:
        """Those in the open room."""
        self._people, self._problem, self._is_busy = people, "", False
        self.changed.emit()

    @Slot()
    def accept(self) -> None:
        """Go on with the identity that the person has now, unverified."""
        if not self._people or self._is_busy:
            return
        user_id = self._people[0].user_id
        self._is_busy, self._problem = True, ""
        self.changed.emit()

        async def work() -> None:
            from tandem_core.crypto.cross_signing import accept_change
            from tandem_core.store import session as sessions

            db = await self._thread.opened()
            session = await db.read(sessions.session)
            if session is not None:
                await db.write(accept_change, session.me, user_id)

        self._thread.call(work(), lambda _: self._over(""), self._failed)

    @Slot()
    def verify(self) -> None:
        """Compare again, in the chat with the person."""
        if self._people:
            self.verifyWanted.emit(self._people[0].user_id)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Expected):
            log.error("a changed identity could not be accepted: %s", type(error).__name__, exc_info=error)
        self._over(error.title if isinstance(error, Expected) else "That did not work. Try again.")

    def _over(self, problem: str) -> None:
        self._is_busy, self._problem = False, problem
        self.changed.emit()

    def _title(self) -> str:
        return f"{self._people[0].name} has a new identity" if self._people else ""

    def _words(self) -> str:
        if self._problem or not self._people:
            return self._problem
        if self._people[0].was_verified:
            return (
                "It is not the one that you verified. Nothing is sent to this room until you verify it anew, or go on"
                " without. Ask them by a way that you trust: a new identity is usual after a lost telephone, but also"
                " what somebody who listens in would make."
            )
        return (
            "They may have lost their devices, or somebody pretends to be them. If it matters, verify them."
        )

    title = Property(str, _title, notify=changed)
    words = Property(str, _words, notify=changed)
    grave = Property(bool, lambda self: bool(self._people) and self._people[0].was_verified, notify=changed)
    """The person was verified: nothing is sent."""
    busy = Property(bool, lambda self: self._is_busy, notify=changed)
