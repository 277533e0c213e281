"""The models of the pages that are not on the first screen; each is made when it is first wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tandem_app.actions import Shell
    from tandem_app.engine_thread import EngineThread
    from tandem_app.reader import Reader


class Panels(QObject):
    """Makes a page's model once and gives it to QML by name."""

    def __init__(self, thread: EngineThread, reader: Reader, shell: Shell, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._shell = shell
        self._made: dict[str, QObject] = {}

    @Slot(str, result=QObject)
    def make(self, what: str) -> QObject | None:
        return None
