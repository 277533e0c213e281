"""What keeps Tandem from working as it should, and the rare good news, one at a time above the room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, QTimer, Signal, Slot

from tandem_core import errors

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread

CONNECTION_MS = 4000
"""A connection that comes back this soon is not worth a line that moves the room."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A few words, what to do, and perhaps a page to do it on, with the words of the button that opens it."""

    title: str
    advice: str
    page: str = ""
    way: str = ""


class BannerModel(QObject):
    """Shows the weightiest notice that is not put away: trouble, failure, connection, restored, question, news."""

    changed = Signal()
    putOff = Signal(str)
    """The person would rather not answer this question now."""

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._notices: dict[str, Notice] = {}
        self._put_away: dict[str, Notice] = {}
        self._late: Notice | None = None
        self._restored_at: int | None = None
        self._question = ""
        self._thread = thread
        self._reader = reader
        self._timer = QTimer(self, singleShot=True, interval=CONNECTION_MS)
        self._timer.timeout.connect(self._lasts)
        thread.session.connect(self._over)

    def trouble(self, error: errors.Expected) -> None:
        """Something keeps the engine from working. The sign-in page itself says why nobody is signed in."""
        if not isinstance(error, errors.SignedOut):
            self._set("trouble", Notice(error.title, error.advice))

    def failure(self, error: errors.Expected) -> None:
        """Something a person asked for was not done."""
        self._put_away.pop("failure", None)
        self._set("failure", Notice(error.title, _advice(error)))

    def news(self, sentence: str) -> None:
        """Something worth knowing once."""
        self._put_away.pop("news", None)
        self._set("news", Notice(sentence, ""))

    def question(self, asked: str) -> None:
        """What a person should decide about the account's encryption (``recovery_question.Question``, by its value)."""
        self._question = asked
        self._set("question", QUESTIONS.get(asked))

    def status(self, words: str) -> None:
        """What the engine says of itself; empty while all is well."""
        notice = _status(words)
        if not words:
            self._set("trouble", None)
        if notice is None or notice.title != WAITING.title:
            self._timer.stop()
            self._late = None
            self._set("connection", None)
            if notice is not None:
                self._set("trouble", notice)
        elif "connection" in self._notices:
            self._set("connection", notice)
        else:
            self._late = notice
            if not self._timer.isActive():
                self._timer.start()

    def look(self) -> None:
        """Read what the store keeps for the user until it is put away."""
        from tandem_core.store.crypto import restored

        conn = self._reader()
        noticed = restored(conn) if conn is not None else None
        at = None if noticed is None else noticed.at
        if at != self._restored_at:
            self._restored_at = at
            self._put_away.pop("restored", None)
        self._set("restored", RESTORED if noticed is not None and not noticed.is_put_away else None)

    @Slot()
    def dismiss(self) -> None:
        """Put away what is shown; it comes back only after it was over."""
        kind = self._kind()
        if kind:
            self._put_away[kind] = self._notices.pop(kind)
            self.changed.emit()
        if kind == "question":
            self.putOff.emit(self._question)
        if kind == "restored" and self._restored_at is not None:
            self._thread.call(self._forget_restored(self._restored_at))

    async def _forget_restored(self, at_ms: int) -> None:
        """It stays put away when the window is opened again."""
        from tandem_core.store.crypto import put_restored_away

        db = await self._thread.opened()
        await db.write(put_restored_away, at_ms)

    def _set(self, kind: str, notice: Notice | None) -> None:
        if notice is None:
            self._put_away.pop(kind, None)
        elif self._put_away.get(kind) == notice:
            return
        if self._notices.get(kind) == notice:
            return
        if notice is None:
            del self._notices[kind]
        else:
            self._notices[kind] = notice
        self.changed.emit()

    @Slot()
    def _lasts(self) -> None:
        self._set("connection", self._late)

    @Slot(str)
    def _over(self, state: str) -> None:
        """Another session begins, or the store could be opened after all."""
        if state == "signed_in":
            self._set("trouble", None)

    def _kind(self) -> str:
        return next((kind for kind in _KINDS if kind in self._notices), "")

    def _shown(self) -> Notice:
        return self._notices.get(self._kind(), _NOTHING)

    title = Property(str, lambda self: self._shown().title, notify=changed)
    advice = Property(str, lambda self: self._shown().advice, notify=changed)
    kind = Property(str, _kind, notify=changed)
    """trouble, failure, connection, restored, question, news, or empty when there is nothing to say."""
    page = Property(str, lambda self: self._shown().page, notify=changed)
    way = Property(str, lambda self: self._shown().way, notify=changed)


WAITING = Notice("Waiting for connection", "")
RESTORED = Notice(
    "The message store is an older copy",
    "Tandem uses new encryption sessions from now on. Messages that came in since the copy was made may stay"
    " unreadable on this device.",
)
QUESTIONS = {
    "verify_or_recover": Notice(
        "Verify this device",
        "Until then, people may not send it the keys of their messages, and your earlier messages stay closed.",
        "encryption",
        "Verify…",
    ),
    "set_up_recovery": Notice(
        "Set up recovery",
        "If this device is lost, nothing else would open your messages again.",
        "encryption",
        "Set up…",
    ),
    "reset": Notice(
        "This device cannot be verified",
        "No other device of yours is there to verify it, and there is no recovery key. A new identity goes on.",
        "encryption",
        "See what to do…",
    ),
}
"""By the values of ``recovery_question.Question``."""
_KINDS = ("trouble", "failure", "connection", "restored", "question", "news")
_NOTHING = Notice("", "")
_CONNECTION = (errors.Offline, errors.RateLimited)


def _status(words: str) -> Notice | None:
    """The engine's own few words, with the advice that belongs to them."""
    if not words:
        return None
    from tandem_core.engine import STUCK
    from tandem_core.http import NotJson

    if words == STUCK:
        return Notice(errors.StoreBusy.title, errors.StoreBusy.advice)
    kind = _named(words)
    if kind is None:
        return Notice(words, "")
    if issubclass(kind, (*_CONNECTION, NotJson)):
        return Notice(WAITING.title, f"{kind.title}. {kind.advice}")
    return Notice(kind.title, kind.advice)


def _named(title: str) -> type[errors.Expected] | None:
    waiting: list[type[errors.Expected]] = [errors.Expected]
    while waiting:
        kind = waiting.pop()
        if kind.title == title:
            return kind
        waiting += kind.__subclasses__()
    return None


def _advice(error: errors.Expected) -> str:
    return f"{error.detail}. {error.advice}" if error.detail else error.advice
