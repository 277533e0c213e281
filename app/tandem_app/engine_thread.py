"""The engine in a thread and event loop of its own; what it says reaches the Qt thread once a frame.

Everything that writes, or talks to a server, happens there. The Qt thread only hands in coroutines.
The imports that cost time (asyncio, the engine, aiohttp) happen in that thread, after the first frame.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QObject, QTimer, Signal, Slot

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from tandem_app.engine_life import EngineLife
    from tandem_core.engine import Engine
    from tandem_core.errors import Expected
    from tandem_core.paths import ProfilePaths
    from tandem_core.store.database import Database
    from tandem_core.types import Change, Json

log = logging.getLogger("tandem.app.engine")
T = TypeVar("T")

FRAME_MS = 16
_START_S = 20.0
_STOP_S = 10.0


class EngineThread(QObject):
    """Starts, feeds and stops the engine; all signals arrive in the Qt thread."""

    changed = Signal(object)
    """``frozenset[Change]``: own commits and rings of the other program, at most once a frame."""
    session = Signal(str)
    """starting, signed_in, soft_logged_out or signed_out; also ``stopped`` when the thread has ended."""
    status = Signal(str)
    """A sentence about the connection; empty while all is well."""
    trouble = Signal(object)
    """An ``Expected`` that keeps the engine from working: the store, the session."""
    knocked = Signal(object)
    """What another process said at the doorbell: ``open {uri, token}``."""
    _answered = Signal(object)
    _rang = Signal()

    def __init__(self, paths: ProfilePaths, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.paths = paths
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life: EngineLife | None = None
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._changes: set[Change] = set()
        self._early: list[tuple[Coroutine[Any, Any, Any], Callable[[Future[Any]], None]]] = []
        self._over = False
        self._frame = QTimer(self, singleShot=True, interval=FRAME_MS)
        self._frame.timeout.connect(self._flush)
        self._rang.connect(self._soon)
        # A method of this object: a plain function would run in the thread that emits.
        self._answered.connect(self._take_answer)

    # For the Qt thread.

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread = threading.Thread(target=self._run, name="tandem-engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End everything and wait for it."""
        if self._thread is None:
            with self._lock:
                self._over = True
                for work, _ in self._early:
                    work.close()
            return
        self._ready.wait(_START_S)
        self._post("stop")
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            log.error("the engine did not stop within %.0f s", _STOP_S)
        self._thread = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the engine's loop."""
        import asyncio

        if not self._ready.wait(_START_S) or self._loop is None:
            work.close()
            raise RuntimeError("the engine's thread does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(
        self,
        work: Coroutine[Any, Any, T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run a coroutine in the engine's loop; the answer comes back in the Qt thread.

        Never waits: what comes before the loop runs is kept until it does, and dropped once it has ended.
        Without ``failed``, an error is logged.
        """

        def answer(future: Future[T]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                if done is not None:
                    result = future.result()
                    self._tell(self._answered, lambda: done(result))
            elif failed is not None and isinstance(error, Exception):
                self._tell(self._answered, lambda: failed(error))
            else:
                log.error("a command failed: %s", type(error).__name__, exc_info=error)

        with self._lock:
            if self._over:
                work.close()
                return
            if self._loop is None:
                self._early.append((work, answer))
                return
        self.submit(work).add_done_callback(answer)

    def restart(self) -> None:
        """Look at the session again: somebody signed in or out."""
        self._post("look_again")

    def show(self, room_id: str, active: bool) -> None:
        """Say which room the window shows, and whether it has the keyboard."""
        self._post("show", room_id or None, active)

    def watch_room(self, room_id: str) -> None:
        """Follow the open room closely; empty for none."""
        self._post("watch_room", room_id or None)

    @property
    def db(self) -> Database | None:
        """The store of this process, once the engine's thread has opened it."""
        return self._life.db if self._life is not None else None

    async def opened(self) -> Database:
        """The store of this process, as soon as it is open. For coroutines in the engine's loop."""
        assert self._life is not None
        return await self._life.opened()

    @property
    def engine(self) -> Engine | None:
        """The engine, while somebody is signed in."""
        return self._life.engine if self._life is not None else None

    # For the engine's thread.

    def ring(self, changes: frozenset[Change]) -> None:
        """Take word of changes, from any thread."""
        with self._lock:
            first = not self._changes
            self._changes |= changes
        if first and changes:
            self._tell(self._rang)

    def tell_session(self, state: str) -> None:
        self._tell(self.session, state)

    def tell_status(self, words: str) -> None:
        self._tell(self.status, words)

    def tell_trouble(self, error: Expected) -> None:
        self._tell(self.trouble, error)

    def tell_knock(self, message: Json) -> None:
        self._tell(self.knocked, message)

    def _tell(self, signal: Any, *values: object) -> None:
        try:
            signal.emit(*values)
        except RuntimeError:
            # The window is gone and its Qt objects with it; nobody is left to be told.
            log.debug("nobody hears the engine any more")

    def _post(self, what: str, *values: object) -> None:
        """Have the life do something in its loop; nothing while there is none."""
        loop, life = self._loop, self._life
        if loop is not None and life is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(getattr(life, what), *values)

    def _run(self) -> None:
        import asyncio

        from tandem_app.engine_life import EngineLife

        async def main() -> None:
            self._life = EngineLife(self)
            with self._lock:
                self._loop = asyncio.get_running_loop()
                early, self._early = self._early, []
            self._ready.set()
            for work, answer in early:
                self.submit(work).add_done_callback(answer)
            await self._life.run()

        try:
            asyncio.run(main())
        except Exception:
            log.exception("the engine's thread ended with an error")
            self.tell_status("Tandem's engine has stopped. Close the window and open it again.")
        finally:
            with self._lock:
                self._loop, self._over = None, True
                early, self._early = self._early, []
            for work, _ in early:
                work.close()
            self._ready.set()
            self.tell_session("stopped")

    # Back in the Qt thread.

    @Slot()
    def _soon(self) -> None:
        """Pass changes on at once, but not more than once a frame."""
        if not self._frame.isActive():
            self._flush()

    @Slot()
    def _flush(self) -> None:
        with self._lock:
            changes = frozenset(self._changes)
            self._changes.clear()
        if changes:
            self._frame.start()
            self.changed.emit(changes)

    @Slot(object)
    def _take_answer(self, call: Callable[[], None]) -> None:
        call()
