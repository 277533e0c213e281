"""Looking at the store again after changes of some kinds, a little later, and once for many of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Slot

if TYPE_CHECKING:
    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Change, Topic


class Look(QObject):
    """Calls ``look`` when one of the topics changed, at most once in ``pause_ms``."""

    def __init__(
        self, thread: EngineThread, topics: Collection[Topic], pause_ms: int, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._topics = frozenset(topics)
        self._timer = QTimer(self, singleShot=True, interval=pause_ms)
        self._timer.timeout.connect(self.look)
        thread.changed.connect(self._follow)

    @Slot()
    def look(self) -> None:
        """Ask the store."""
        raise NotImplementedError

    @Slot()
    def soon(self) -> None:
        """Look in a moment."""
        if not self._timer.isActive():
            self._timer.start()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if any(change.topic in self._topics for change in changes):
            self.soon()
