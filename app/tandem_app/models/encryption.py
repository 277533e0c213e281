"""The page about the account's encryption: how it stands, and what a person can do about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, QUrl, Signal, Slot
from PySide6.QtGui import QGuiApplication

from tandem_app.approval import Approval
from tandem_core.errors import BadInput, Cancelled, Expected, Offline
from tandem_core.types import Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.encryption import Encryption
    from tandem_core.types import Change

log = logging.getLogger("tandem.app.encryption")

_TOPICS = frozenset({Topic.KEYS, Topic.DEVICES, Topic.STATUS, Topic.ACCOUNT_DATA, Topic.SESSION})
_LOOKING: dict[str, Any] = {"state": "", "tone": "plain", "title": "", "words": "", "done": 0, "total": 0}


class EncryptionModel(QObject):
    """One deed at a time. Passphrases, passwords and recovery keys are handed on and kept nowhere."""

    changed = Signal()
    finished = Signal(str)
    """A deed is done: its name."""
    verifyWanted = Signal(str)
    """Verify this device with another one of the account: its id, or empty for whichever answers."""

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
        self._cards: dict[str, dict[str, Any]] = {}
        self._is_open = False
        self._busy = ""
        self._problem: tuple[str, str] = ("", "")
        self._news: tuple[str, str] = ("", "")
        self._approval = Approval(self)
        thread.changed.connect(self._follow)
        self.look()

    @Slot()
    def open(self) -> None:
        """The page is shown: what was said before is over, and the server is asked how things stand."""
        self._is_open = True
        self._problem = self._news = ("", "")
        self.look()
        self.changed.emit()
        self._thread.call(self._refresh(), None, lambda error: None)

    @Slot()
    def close(self) -> None:
        """The page is left; a question that was not answered is called off."""
        self._is_open = False
        self._approval.callOff()

    @Slot()
    def look(self) -> None:
        """Read again how things stand."""
        from tandem_app.models.encryption_cards import cards
        from tandem_core.store import session as sessions

        conn = self._reader()
        session = sessions.session(conn) if conn is not None else None
        found = cards(conn, session.me) if conn is not None and session is not None else {}
        if found != self._cards:
            self._cards = found
            self.changed.emit()

    # Deeds. Each is about one card, which shows what came of it.

    @Slot()
    def verify(self) -> None:
        """Have another device of the account vouch for this one."""
        self.verifyWanted.emit("")

    @Slot()
    def setUpIdentity(self) -> None:
        """Give the account its first identity; the server may want an approval."""
        self._do("device", "identity", lambda own: own.set_up_identity(self._approval))

    @Slot()
    def resetIdentity(self) -> None:
        """Replace the identity: the page has said what that means, and the person has said yes."""
        self._do("device", "reset", lambda own: own.reset_identity(self._approval), "Your identity is new.")

    @Slot(str)
    def setUpRecovery(self, passphrase: str) -> None:
        """Make a recovery key (empty: without a passphrase), and a backup if there is none."""
        self._do(
            "recovery", "recovery", lambda own: own.set_up_recovery(passphrase or None, self._approval),
            "Recovery is set up.",
        )  # fmt: skip

    @Slot(str)
    def changeRecovery(self, passphrase: str) -> None:
        """Make another recovery key; the old one opens nothing any more."""
        self._do(
            "recovery", "change", lambda own: own.change_recovery(passphrase or None, self._approval),
            "The new recovery key is in force.",
        )  # fmt: skip

    @Slot(str)
    def unlock(self, text: str) -> None:
        """Bring the account's secrets here with the recovery key, or the passphrase it was made from."""
        if not text.strip():
            self._complain("recovery", "Write your recovery key, or the passphrase that it was made from.")
            return
        self._do("recovery", "unlock", lambda own: own.unlock(text))

    @Slot(bool)
    def createBackup(self, replace: bool) -> None:
        """Make a backup of the messages' keys; with ``replace`` in place of one that cannot be used."""
        self._do("backup", "backup", lambda own: own.create_backup(replace=replace))

    @Slot()
    def restore(self) -> None:
        """Fetch all keys from the backup; the card shows how far it is."""
        self._do("backup", "restore", lambda own: own.restore())

    @Slot()
    def stopRestoring(self) -> None:
        """What is restored stays."""
        self._do("backup", "stop", lambda own: own.cancel_restore())

    @Slot(QUrl, str)
    def exportKeys(self, where: QUrl, passphrase: str) -> None:
        """Write the keys of all messages to a file that only the passphrase opens."""
        self._with_file("export", where, passphrase)

    @Slot(QUrl, str)
    def importKeys(self, where: QUrl, passphrase: str) -> None:
        """Read keys from such a file, Tandem's or another client's."""
        self._with_file("import", where, passphrase)

    @Slot(str)
    def copy(self, text: str) -> None:
        """Put the recovery key on the clipboard."""
        QGuiApplication.clipboard().setText(text)

    def _with_file(self, deed: str, where: QUrl, passphrase: str) -> None:
        if not where.isLocalFile():
            self._complain("files", "Choose a file on this computer.")
        elif not passphrase:
            self._complain("files", "Write a passphrase: whoever has it and the file can read your messages.")
        else:
            self._do("files", deed, lambda own: _files(own, deed, Path(where.toLocalFile()), passphrase))

    def _do(
        self,
        card: str,
        deed: str,
        work: Callable[[Encryption], Coroutine[Any, Any, object]],
        said: str = "",
    ) -> None:
        if self._busy:
            return
        self._busy = deed
        self._problem = self._news = ("", "")
        self.changed.emit()
        self._thread.call(
            self._working(work),
            lambda result: self._done(card, deed, result if isinstance(result, str) else said),
            lambda error: self._failed(card, error),
        )

    async def _working(self, work: Callable[[Encryption], Coroutine[Any, Any, object]]) -> object:
        engine = self._thread.engine
        if engine is None:
            raise Offline
        return await work(engine.encryption)

    async def _refresh(self) -> None:
        if self._thread.engine is not None:
            await self._thread.engine.encryption.refresh()

    def _done(self, card: str, deed: str, words: str) -> None:
        self._busy, self._news = "", (card, words)
        self.look()
        self.changed.emit()
        self.finished.emit(deed)

    def _failed(self, card: str, error: Exception) -> None:
        self._busy = ""
        self.look()
        if isinstance(error, Cancelled):
            self.changed.emit()
        else:
            self._complain(card, _sentence(error))

    def _complain(self, card: str, words: str) -> None:
        self._problem = (card, words)
        self.changed.emit()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if self._is_open and any(change.topic in _TOPICS for change in changes):
            self.look()

    def _card(self, name: str) -> dict[str, Any]:
        return self._cards.get(name, _LOOKING)

    # PySide's stub wants a type, but a QVariantMap is only known by name.
    device = Property("QVariantMap", lambda self: self._card("device"), notify=changed)  # type: ignore[arg-type]
    recovery = Property("QVariantMap", lambda self: self._card("recovery"), notify=changed)  # type: ignore[arg-type]
    backup = Property("QVariantMap", lambda self: self._card("backup"), notify=changed)  # type: ignore[arg-type]
    """Maps with the fields of ``encryption_cards.Card``."""
    busy = Property(str, lambda self: self._busy, notify=changed)
    """The deed under way (the names given to ``_do``), or empty."""
    problemCard = Property(str, lambda self: self._problem[0], notify=changed)
    problem = Property(str, lambda self: self._problem[1], notify=changed)
    newsCard = Property(str, lambda self: self._news[0], notify=changed)
    news = Property(str, lambda self: self._news[1], notify=changed)
    approval = Property(QObject, lambda self: self._approval, constant=True)


async def _files(own: Encryption, deed: str, file: Path, passphrase: str) -> str:
    if deed == "export":
        count = await own.export_keys(file, passphrase)
        return f"{count:,} keys were written."
    count = await own.import_keys(file, passphrase)
    return f"{count:,} keys were new." if count else "There was nothing new in it."


def _sentence(error: Exception) -> str:
    if isinstance(error, BadInput):
        return f"{error.detail[:1].upper()}{error.detail[1:]}. {error.advice}"
    if isinstance(error, Expected):
        return f"{error.title}. {error.advice}"
    if isinstance(error, OSError):
        return f"The file cannot be used: {error.strerror}."
    log.error("a deed of encryption failed: %s", type(error).__name__, exc_info=error)
    return "Something unexpected happened; nothing was changed. Tandem's log says more."
