"""What the window asks of the engine: each call returns at once, the work is done in the engine's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from tandem_app.engine_thread import EngineThread
    from tandem_core.engine import Engine

log = logging.getLogger("tandem.app.commands")


class Commands(QObject):
    """Hands work to the engine. What fails is told in words, once, by ``failed``."""

    failed = Signal(str)

    def __init__(self, thread: EngineThread, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = thread

    def send(self, room_id: str, body: str) -> None:
        """Put a text message into the queue; it appears at once and is sent when it can be."""
        self._write("sending", "enqueue", room_id, "m.room.message", *_text(body), now_ms=_now_ms())

    def retry(self, key: str) -> None:
        self._write("sending", "retry", key)

    def discard(self, key: str) -> None:
        self._write("sending", "discard", key)

    def keep_draft(self, room_id: str, text: str) -> None:
        self._write("store.window", "keep_draft", room_id, text, _now_ms())

    def mark_read(self, room_id: str, event_id: str) -> None:
        self._ask(lambda engine: engine.actions.mark_read(room_id, event_id))

    def typing(self, room_id: str, typing: bool) -> None:
        self._ask(lambda engine: engine.actions.typing(room_id, typing), quiet=True)

    def watch_room(self, room_id: str) -> None:
        """The server is to send more of this room than of the others; empty for none."""
        self._ask(lambda engine: engine.watch_room(room_id), quiet=True)
