"""Files of the open room: pictures that come into sight, what is opened, saved or chosen to be sent.

What takes time happens in the engine's thread; it reports by a signal, so all that QML sees changes in the Qt thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, QUrl, Signal, Slot

from tandem_core.attachments import PICTURES
from tandem_core.attachments.names import saved
from tandem_core.errors import Cancelled, Expected, NotSignedIn
from tandem_core.store import attachments

if TYPE_CHECKING:
    import asyncio
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.attachments.content import Part
    from tandem_core.http import Http
    from tandem_core.store.attachments import Found

AUTOMATIC = 20_000_000
"""Bigger pictures without a thumbnail are fetched when somebody asks for them."""
_MOST_PICTURE = 100_000_000
_AT_ONCE = 4
_SMALL, _LARGE = ".small", ".large"
_NEWS = 0.02
"""Progress is told in steps of so much of the whole."""


@dataclass(slots=True)
class _Work:
    """What goes on with one row; ``state`` is fetching, saving, failed, saved or shown."""

    state: str
    picture: str = ""
    progress: float = -1.0
    words: str = ""
    cancel: Callable[[], object] | None = None
    again: Callable[[], object] | None = None


class FilesModel(QObject):
    """Named by the keys of rows. ``look`` is to be asked anew whenever ``revision`` moves."""

    changed = Signal()
    saveWanted = Signal(str, QUrl)
    """Somebody wants to choose where a row's file goes; the second is a proposal."""
    viewChanged = Signal()
    _reported = Signal(str, object)

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
        self._work: dict[str, _Work] = {}
        self._revision = 0
        self._view = ("", "", "", "")
        self._gate: asyncio.Semaphore | None = None
        self._reported.connect(self._take)

    # Rows.

    @Slot(str, result="QVariant")
    def look(self, key: str) -> dict[str, Any]:
        """What QML shows of a row: ``picture`` (a URL), ``state``, ``progress`` (-1: none) and ``words``."""
        work = self._work.get(key)
        if work is None:
            return {"picture": "", "state": "", "progress": -1.0, "words": ""}
        return {
            "picture": work.picture,
            "state": work.state,
            "progress": work.progress,
            "words": work.words,
        }

    @Slot(str, str)
    def want(self, key: str, local: str) -> None:
        """A picture's row came into sight; ``local`` is our own file that waits in clear."""
        if key in self._work:
            return
        found = self._find(key)
        if found is None:
            return
        part = found.attachment.thumbnail or found.attachment.file
        if part is None or (part.size or 0) > AUTOMATIC:
            return
        source = self._thread.paths.outgoing / local if local else None
        if part.source is None and source is None and not self._is_kept(part):
            return  # our own, encrypted already: it is seen once it is sent
        self._begin(
            key, "fetching", lambda: self._show_small(key, found, source), lambda: self.want(key, local)
        )

    @Slot(str)
    def fetch(self, key: str) -> None:
        """Fetch a picture that was too big to come by itself."""
        found = self._find(key)
        if found is not None:
            self._begin(key, "fetching", lambda: self._show_small(key, found, None), lambda: self.fetch(key))

    def open(self, key: str) -> bool:
        """Bring a picture for the large view; ask where to save anything else, and return False."""
        found = self._find(key)
        if found is None:
            return False
        if found.attachment.kind not in PICTURES:
            self.askSave(key)
            return False
        work = self._work.get(key)
        self._set_view(key, found.attachment.name, work.picture if work else "", "")
        self._thread.call(self._show_large(found), self._viewed(key, found), self._not_viewed(key, found))
        return True

    @Slot(str)
    def askSave(self, key: str) -> None:
        """Ask where the file of a row is to go."""
        found = self._find(key)
        if found is not None and found.attachment.file is not None:
            from PySide6.QtCore import QStandardPaths

            folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DownloadLocation)
            self.saveWanted.emit(key, QUrl.fromLocalFile(str(Path(folder) / saved(found.file_name))))

    @Slot(str, QUrl)
    def save(self, key: str, url: QUrl) -> None:
        """Save the file of a row there; the dialog has asked whether to replace one."""
        found = self._find(key)
        part = None if found is None else found.attachment.file
        if part is None or not url.isLocalFile():
            return
        to = Path(url.toLocalFile())
        self._begin(
            key,
            "saving",
            lambda: self._save(key, part, to),
            lambda: self.save(key, url),
            f"Saved as {to.name}",
        )

    @Slot(str)
    def cancel(self, key: str) -> None:
        """Stop fetching or saving."""
        work = self._work.get(key)
        if work is not None and work.cancel is not None:
            work.cancel()

    @Slot(str)
    def again(self, key: str) -> None:
        """Try again what failed."""
        work = self._work.get(key)
        if work is not None and work.state == "failed" and work.again is not None:
            if not work.picture:
                del self._work[key]
            work.again()

    @Slot()
    def close(self) -> None:
        """Leave the large picture."""
        self._set_view("", "", "", "")

    # How it is done.

    def _find(self, key: str) -> Found | None:
        conn = self._reader()
        return attachments.find(conn, key) if conn is not None else None

    def _is_kept(self, part: Part) -> bool:
        from tandem_core.media.cache import Cache

        return Cache(self._thread.paths.media).find(part) is not None

    def _begin(
        self,
        key: str,
        state: str,
        work: Callable[[], Coroutine[Any, Any, Path]],
        again: Callable[[], object],
        done: str = "",
    ) -> None:
        """Have it done in the engine's thread, with its state, a way to stop it and its end in this one."""
        before = self._work.get(key)
        if before is not None and before.state in ("fetching", "saving"):
            return
        picture = before.picture if before is not None else ""
        now = self._work[key] = _Work(state, picture, again=again)

        async def run() -> str:
            import asyncio

            task = asyncio.ensure_future(work())
            loop = asyncio.get_running_loop()
            now.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._gate is None:
                self._gate = asyncio.Semaphore(_AT_ONCE)
            try:
                return str(await task)
            except asyncio.CancelledError:
                raise Cancelled from None

        def ended(result: str) -> None:
            shown = QUrl.fromLocalFile(result).toString() if state == "fetching" else now.picture
            self._work[key] = _Work("shown" if state == "fetching" else "saved", shown, words=done)
            self._tell()

        def failed(error: Exception) -> None:
            words = error.title if isinstance(error, Expected) else "Something unexpected happened"
            self._work[key] = _Work("failed", now.picture, words=words, again=again)
            self._tell()

        self._thread.call(run(), ended, failed)
        self._tell()

    async def _show_small(self, key: str, found: Found, source: Path | None) -> Path:
        from tandem_app.pictures import SMALL

        part = found.attachment.thumbnail or found.attachment.file
        if part is None:
            from tandem_core.media.cache import NothingThere

            raise NothingThere
        assert self._gate is not None
        async with self._gate:
            return await self._drawn(part, SMALL, _SMALL, source, self._progress(key))

    async def _show_large(self, found: Found) -> Path:
        from tandem_app.pictures import LARGE
        from tandem_core.media.cache import NothingThere

        part = found.attachment.file
        if part is None:
            raise NothingThere
        return await self._drawn(part, LARGE, _LARGE, None, None)

    async def _drawn(
        self,
        part: Part,
        box: tuple[int, int],
        suffix: str,
        source: Path | None,
        progress: Callable[[int, int | None], None] | None,
    ) -> Path:
        """Our own copy of a picture, made when it is first wanted."""
        import asyncio

        from tandem_app.pictures import drawn
        from tandem_core.media.cache import Cache

        cache = Cache(self._thread.paths.media)
        if source is not None:
            data = await asyncio.to_thread(drawn, source, box)
            return await asyncio.to_thread(cache.put_apart, source.name + suffix, data)
        if (kept := cache.find(part, suffix)) is not None:
            return kept
        whole = cache.find(part) or await cache.fetch(self._http(), part, _MOST_PICTURE, progress)
        data = await asyncio.to_thread(drawn, whole, box)
        return await asyncio.to_thread(cache.put, part, data, suffix)

    async def _save(self, key: str, part: Part, to: Path) -> Path:
        from tandem_core.media.cache import Cache

        cache = Cache(self._thread.paths.media)
        await cache.save(self._http(), part, to, replace=True, on_progress=self._progress(key))
        return to

    def _http(self) -> Http:
        if self._thread.engine is None:
            raise NotSignedIn
        return self._thread.engine.http

    def _progress(self, key: str) -> Callable[[int, int | None], None]:
        told = -1.0

        def tell(done: int, total: int | None) -> None:
            nonlocal told
            now = done / total if total else 0.0
            if now - told >= _NEWS:
                told = now
                self._reported.emit(key, min(now, 1.0))

        return tell

    @Slot(str, object)
    def _take(self, key: str, progress: float) -> None:
        work = self._work.get(key)
        if work is not None and work.state in ("fetching", "saving"):
            work.progress = progress
            self._tell()

    def _tell(self) -> None:
        self._revision += 1
        self.changed.emit()

    # The large picture.

    def _viewed(self, key: str, found: Found) -> Callable[[Path], None]:
        def done(file: Path) -> None:
            if self._view[0] == key:
                self._set_view(key, found.attachment.name, QUrl.fromLocalFile(str(file)).toString(), "")

        return done

    def _not_viewed(self, key: str, found: Found) -> Callable[[Exception], None]:
        def failed(error: Exception) -> None:
            if self._view[0] == key:
                words = error.sentence if isinstance(error, Expected) else "Something unexpected happened."
                self._set_view(key, found.attachment.name, self._view[2], words)

        return failed

    def _set_view(self, key: str, name: str, picture: str, words: str) -> None:
        if (key, name, picture, words) != self._view:
            self._view = (key, name, picture, words)
            self.viewChanged.emit()

    revision = Property(int, lambda self: self._revision, notify=changed)
    viewKey = Property(str, lambda self: self._view[0], notify=viewChanged)
    viewName = Property(str, lambda self: self._view[1], notify=viewChanged)
    viewPicture = Property(str, lambda self: self._view[2], notify=viewChanged)
    viewWords = Property(str, lambda self: self._view[3], notify=viewChanged)
