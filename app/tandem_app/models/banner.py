"""What keeps Tandem from working as it should, in a line above the room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.errors import Expected


class BannerModel(QObject):
    """The newest trouble until it is over or put away."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._title = ""
        self._advice = ""
        thread.session.connect(self._over)

    def show(self, error: Expected) -> None:
        """Say what is wrong and what to do."""
        self._title, self._advice = error.title, error.advice
        self.changed.emit()

    @Slot(str)
    def _over(self, state: str) -> None:
        if state == "signed_in":
            self.dismiss()

    @Slot()
    def dismiss(self) -> None:
        """Put it away; the next trouble shows again."""
        self._title = self._advice = ""
        self.changed.emit()

    title = Property(str, lambda self: self._title, notify=changed)
    advice = Property(str, lambda self: self._advice, notify=changed)
