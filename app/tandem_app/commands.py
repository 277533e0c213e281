"""What the window asks of the engine: each call returns at once, the work is done in the engine's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from tandem_core.errors import Expected, NotSignedIn, Offline, RateLimited, StoreError
from tandem_core.types import EventId, Role, RoomId

if TYPE_CHECKING:
    import asyncio

    from tandem_app.engine_thread import EngineThread
    from tandem_core.engine import Engine

_BACK_LIMIT = 60
_AGAIN_S = 1.0


class Commands(QObject):
    """Hands work to the engine. What a person should know of a failure is told by ``failed``."""

    failed = Signal(object)
    """The ``Expected`` error."""

    def __init__(self, thread: EngineThread, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = thread
        self._shown: tuple[str, bool] = ("", False)
        self._written: asyncio.Lock | None = None

    def send(self, room_id: str, body: str, asks: bool = False) -> None:
        """Put a text message into the queue; it appears at once and is sent when it can be.

        While the store cannot be written, it waits here, in the order of writing, and the reason is told.
        """

        async def work() -> None:
            import asyncio

            if self._written is None:
                self._written = asyncio.Lock()
            told = ""
            async with self._written:
                while True:
                    try:
                        await self._enqueue(room_id, body, asks)
                        return
                    except StoreError as trouble:
                        if trouble.title != told:
                            told = trouble.title
                            self.failed.emit(trouble)
                    except RuntimeError:
                        pass  # the store was closed meanwhile, to be opened again
                    await asyncio.sleep(_AGAIN_S)

        self._do(work())

    async def _enqueue(self, room_id: str, body: str, asks: bool) -> None:
        from tandem_core import sending

        content = {"msgtype": "m.text", "body": body}
        await (await self._thread.opened()).write(
            sending.enqueue,
            RoomId(room_id),
            "m.room.message",
            content,
            body=body,
            html=None,
            asks=asks,
            now_ms=_now(),
        )

    def retry(self, key: str) -> None:
        """Try a message again that could not be sent."""

        async def work() -> None:
            from tandem_core import sending

            await (await self._thread.opened()).write(sending.retry, key)

        self._do(work())

    def discard(self, key: str) -> None:
        """Forget a message that could not be sent."""

        async def work() -> None:
            from tandem_core import sending

            await (await self._thread.opened()).write(sending.discard, key)

        self._do(work())

    def keep_draft(self, room_id: str, text: str) -> None:
        """Write down what is in a room's composer."""

        async def work() -> None:
            from tandem_core.store import window

            await (await self._thread.opened()).write(window.keep_draft, RoomId(room_id), text, _now())

        self._do(work())

    def mark_read(self, room_id: str, event_id: str) -> None:
        """We have read up to this event: here at once, at the server when it can be reached."""

        async def work() -> None:
            from tandem_core.sync import rooms_api

            db = await self._thread.opened()
            await rooms_api.mark_room_read(db, Role.APP, RoomId(room_id), EventId(event_id))

        self._do(work())

    def typing(self, room_id: str, typing: bool) -> None:
        """Say that we are writing, or no longer; it matters only now, so a failure is nobody's business."""

        async def work() -> None:
            from tandem_core.sync import rooms_api

            engine = self._engine()
            await rooms_api.typing(engine.http, engine.db, RoomId(room_id), typing)

        self._do(work(), quiet=True)

    def load_older(self, room_id: str, done: Callable[[bool | None], None]) -> bool:
        """Fetch what lies before the oldest row, then call ``done`` with whether there may be more.

        ``done(None)``: the server could not be asked just now. Returns whether it was started.
        """
        if self._thread.engine is None:
            return False
        self._thread.call(
            self._engine().history.back(RoomId(room_id), _BACK_LIMIT),
            done,
            lambda error: done(None if isinstance(error, Offline | RateLimited) else False),
        )
        return True

    def show(self, room_id: str, active: bool) -> None:
        """Tell the notifier what is on the screen, and the server whose messages matter most."""
        if room_id != self._shown[0]:
            self._thread.watch_room(room_id)
        self._shown = (room_id, active)
        self._thread.show(room_id, active)

    def show_again(self) -> None:
        """The engine has just come up and knows nothing of the window yet."""
        self._thread.watch_room(self._shown[0])
        self._thread.show(*self._shown)

    def _engine(self) -> Engine:
        if self._thread.engine is None:
            raise NotSignedIn
        return self._thread.engine

    def _do(self, work: Coroutine[Any, Any, None], *, quiet: bool = False) -> None:
        self._thread.call(work, None, (lambda error: None) if quiet else self._tell)

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, Expected):
            raise error
        self.failed.emit(error)


def _now() -> int:
    return time.time_ns() // 1_000_000
