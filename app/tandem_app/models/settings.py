"""The settings page, made from the declarations in ``tandem_core.settings``: rows for QML, and how they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models import setting_rows
from tandem_core import setting_list
from tandem_core.errors import BadInput, Expected, Offline
from tandem_core.types import RoomId, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Change

log = logging.getLogger("tandem.app.settings")

_TOPICS = frozenset({Topic.SETTINGS, Topic.ACCOUNT_DATA, Topic.ROOMS, Topic.SESSION, Topic.DEVICES})


class SettingsModel(QObject):
    """The account's page, or (with a room) that room's. Values are written in the engine's thread only."""

    changed = Signal()
    verifyWanted = Signal(str)
    """Verify this person: their id."""

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
        self._room_id = ""
        self._page = setting_rows.Page()
        self._problem = ""
        self._leaving = ""
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, room_id: str) -> None:
        """Show the account's settings (empty), or a room's."""
        self._room_id, self._problem = room_id, ""
        if self._leaving != "busy":
            self._leaving = ""
        self.look()
        self.changed.emit()

    @Slot()
    def look(self) -> None:
        """Read everything again: the other program, or tandemctl, may have written."""
        conn = self._reader()
        page = setting_rows.Page() if conn is None else self._read(conn)
        if page != self._page:
            self._page = page
            self.changed.emit()

    def _read(self, conn: sqlite3.Connection) -> setting_rows.Page:
        if self._room_id:
            return setting_rows.room_page(conn, RoomId(self._room_id))
        from tandem_app.models import confirmation_rows

        standing = confirmation_rows.standing(conn, self._clock_ms())
        return setting_rows.account_page(conn, self._thread.paths, standing)

    @Slot(str, str, str, str)
    def choose(self, key: str, text: str, room_id: str, user_id: str) -> None:
        """Set a switch (``true``, ``false``), a word or a number, for a room or a person where it is theirs."""
        self._write(key, text, room_id, user_id)

    @Slot(str)
    def neverConfirm(self, person: str) -> None:
        """Never tell this person that their messages reached us; wants a full Matrix id."""
        name, colon, server = person.strip().partition(":")
        if not (name.startswith("@") and len(name) > 1 and colon and server) or " " in person.strip():
            self._complain("Write the full Matrix id, for example @carol:example.org.")
            return
        self._write("receipts.person", "never", "", person.strip())

    @Slot(str)
    def verify(self, person: str) -> None:
        """Compare with a person who they are."""
        self.verifyWanted.emit(person)

    @Slot()
    def askToLeave(self) -> None:
        """A first press on Sign out: the page asks back."""
        self._leaving = "asked"
        self.changed.emit()

    @Slot()
    def stay(self) -> None:
        """Not signing out after all."""
        if self._leaving != "busy":
            self._leaving, self._problem = "", ""
            self.changed.emit()

    @Slot()
    def signOut(self) -> None:
        """Sign this device out and remove its files; after an offline failure, only here."""
        if self._leaving not in ("asked", "offline"):
            return
        force = self._leaving == "offline"
        self._leaving, self._problem = "busy", ""
        self.changed.emit()

        async def work() -> None:
            from tandem_core import session

            await session.logout(self._thread.paths, force=force)

        self._thread.call(work(), lambda _: self._left(), self._not_left)

    def _left(self) -> None:
        self._leaving = ""
        self.changed.emit()
        self._thread.restart()

    def _not_left(self, error: Exception) -> None:
        if isinstance(error, Offline):
            self._leaving = "offline"
            self._problem = (
                "Your homeserver cannot be reached, so it was not told. You can sign out on this computer only;"
                " the device then stays in your account's list of devices until you remove it there."
            )
        else:
            self._leaving, self._problem = "", _sentence(error)
        self.changed.emit()

    def _write(self, key: str, text: str, room_id: str, user_id: str) -> None:
        now_ms = self._clock_ms()

        async def work() -> None:
            from tandem_app import notifier_process
            from tandem_core import settings

            value = setting_list.declared(key).parsed(text)
            db = await self._thread.opened()
            await db.write(
                settings.set_value,
                key,
                value,
                room_id=RoomId(room_id) if room_id else None,
                user_id=UserId(user_id) if user_id else None,
                now_ms=now_ms,
            )
            if key == "background.notifier":
                await notifier_process.follow_setting(self._thread.paths, db)

        self._thread.call(work(), lambda _: self._written(), self._fail)

    def _written(self) -> None:
        if self._problem and not self._leaving:
            self._problem = ""
            self.changed.emit()
        self.look()

    def _fail(self, error: Exception) -> None:
        self._complain(_sentence(error))

    def _complain(self, words: str) -> None:
        self._problem = words
        self.look()
        self.changed.emit()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if any(change.topic in _TOPICS for change in changes):
            self.look()

    # PySide's stub wants a type, but a QVariantList is only known by name.
    title = Property(str, lambda self: self._page.title, notify=changed)
    isRoom = Property(bool, lambda self: bool(self._room_id), notify=changed)
    lines = Property("QVariantList", lambda self: self._page.lines, notify=changed)  # type: ignore[arg-type]
    """About the room, or the account: short sentences."""
    rows = Property("QVariantList", lambda self: self._page.rows, notify=changed)  # type: ignore[arg-type]
    """Maps with the keys of ``setting_rows.BLANK``."""
    problem = Property(str, lambda self: self._problem, notify=changed)
    leaving = Property(str, lambda self: self._leaving, notify=changed)
    """Signing out: empty, asked (once more), offline (the server cannot be told) or busy."""


def _sentence(error: Exception) -> str:
    if isinstance(error, BadInput):
        return f"{error.title}: {error.detail}."
    if isinstance(error, Expected):
        return f"{error.title}. {error.advice}"
    log.error("a setting could not be kept: %s", type(error).__name__, exc_info=error)
    return "Something unexpected happened; nothing was changed. Tandem's log says more."
