"""Files that were chosen and are not sent yet, beside the composer: each with its size, or why it cannot go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, QUrl, Signal, Slot

from tandem_core.attachments.names import shown, size_words
from tandem_core.errors import Expected

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread

_MOST = 20
_PASTED = "Pasted picture.png"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """``source`` is a file or the bytes of one; ``size`` in bytes; ``error`` is empty while nothing is in the way."""

    source: Path | bytes
    name: str
    size: int
    error: str = ""
    is_busy: bool = False


class ChosenFilesModel(QObject):
    """What lies beside the composer, for each room."""

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
        self._chosen: dict[str, list[_Chosen]] = {}
        self._room = ""

    @Slot(str)
    def show(self, room_id: str) -> None:
        """This room is open now."""
        if room_id != self._room:
            self._room = room_id
            self.changed.emit()

    @Slot("QVariantList")
    def add(self, urls: list[QUrl]) -> None:
        """Take files that were chosen or dropped; anything that is no file of this machine is left out."""
        for url in urls:
            if url.isLocalFile():
                file = Path(url.toLocalFile())
                self._take(file, file.name)

    @Slot(result=bool)
    def paste(self) -> bool:
        """Take the files or the picture that the clipboard holds; False if it holds neither."""
        from PySide6.QtGui import QGuiApplication

        clip = QGuiApplication.clipboard()
        held = clip.mimeData()
        urls = [url for url in held.urls() if url.isLocalFile()]
        if urls:
            self.add(urls)
            return True
        if held.hasText() or not held.hasImage():
            return False
        from tandem_app.pictures import as_png

        self._take(as_png(clip.image()), _PASTED)
        return True

    @Slot(int)
    def remove(self, place: int) -> None:
        """Choose one of them no more."""
        here = self._here()
        if 0 <= place < len(here) and not here[place].is_busy:
            del here[place]
            self.changed.emit()

    @Slot(str, result=bool)
    @Slot(str, bool, result=bool)
    def send(self, caption: str, asks: bool = False) -> bool:
        """Put all that can go into the queue, the words beside the first; False if there is none of them.

        ``asks`` for confirmations of them, where that is a choice.
        """
        going = [chosen for chosen in self._here() if not chosen.error and not chosen.is_busy]
        for number, chosen in enumerate(going):
            self._send(self._room, chosen, caption if number == 0 else "", asks)
        return bool(going)

    # How it is done.

    def _here(self) -> list[_Chosen]:
        return self._chosen.setdefault(self._room, [])

    def _take(self, source: Path | bytes, name: str) -> None:
        from tandem_core.media import limits
        from tandem_core.media.outgoing import Draft

        here = self._here()
        if len(here) >= _MOST:
            return
        size, error = 0, ""
        try:
            size = Draft(source, name).size()
            conn = self._reader()
            limits.check(size, limits.kept(conn) if conn is not None else None)
        except Expected as trouble:
            error = _words(trouble)
        here.append(_Chosen(source, shown(name), size, error))
        self.changed.emit()
        self._ask_limit()

    def _ask_limit(self) -> None:
        """The server may say another limit than the last time, or for the first time."""
        from tandem_core.media import limits

        async def ask() -> int | None:
            engine = self._thread.engine
            return None if engine is None else await limits.refresh(engine.db, engine.http)

        def check(most: int | None) -> None:
            for here in self._chosen.values():
                for place, chosen in enumerate(here):
                    try:
                        limits.check(chosen.size, most)
                    except Expected as trouble:
                        here[place] = replace(chosen, error=_words(trouble))
            self.changed.emit()

        self._thread.call(ask(), check, lambda error: None)  # it is asked again before anything goes up

    def _send(self, room_id: str, chosen: _Chosen, caption: str, asks: bool) -> None:
        from tandem_core.types import RoomId

        here = self._chosen[room_id]
        busy = replace(chosen, is_busy=True)
        here[here.index(chosen)] = busy

        async def work() -> str:
            import asyncio

            from tandem_app.pictures import looked_at
            from tandem_core.media import outgoing
            from tandem_core.media.outgoing import Draft

            picture = await asyncio.to_thread(looked_at, chosen.source)
            draft = Draft(chosen.source, chosen.name, caption, picture, asks)
            db = await self._thread.opened()
            return await outgoing.enqueue(
                self._thread.paths, db, RoomId(room_id), draft, now_ms=self._clock_ms
            )

        def done(txn_id: str) -> None:
            here.remove(busy)
            self.changed.emit()

        def failed(error: Exception) -> None:
            words = _words(error) if isinstance(error, Expected) else "Something unexpected happened"
            here[here.index(busy)] = replace(chosen, error=words)
            self.changed.emit()

        self._thread.call(work(), done, failed)
        self.changed.emit()

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "name": chosen.name,
                "size": size_words(chosen.size),
                "error": chosen.error,
                "busy": chosen.is_busy,
            }
            for chosen in self._here()
        ]

    def _can_send(self) -> bool:
        return any(not chosen.error and not chosen.is_busy for chosen in self._here())

    rows = Property(list, _rows, notify=changed)
    canSend = Property(bool, _can_send, notify=changed)


def _words(error: Expected) -> str:
    return f"{error.title} ({error.detail})" if error.detail else error.title
