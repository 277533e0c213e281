"""Reference cycles are cleared away in the Qt thread only, as long as there is a window.

Python does it in whatever thread allocates the object too many. In the engine's thread that would destroy Qt objects
there, under locks of Qt's that the Qt thread may wait for while it holds the interpreter: both would stand still.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, Qt, QTimer, Slot

_EVERY_MS = 5_000


class GarbageCollector(QObject):
    """Does what ``gc`` does by itself elsewhere, at the same thresholds, from the time it is made until ``close``."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        self._timer = QTimer(self, interval=_EVERY_MS, timerType=Qt.TimerType.VeryCoarseTimer)
        self._timer.timeout.connect(self.look)
        self._timer.start()

    @Slot()
    def look(self) -> None:
        """Collect the oldest generation that is due, and with it the younger ones."""
        due = [
            generation
            for generation, (count, most) in enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True))
            if count > most > 0
        ]
        if due:
            gc.collect(max(due))

    def close(self) -> None:
        """Leave it to Python again."""
        self._timer.stop()
        gc.enable()
