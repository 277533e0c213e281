"""The page "Delivery confirmations": choices, what others see, what was sent, and a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Property, Signal, Slot

from tandem_app.models import confirmation_rows, words
from tandem_app.models.setting_rows import Page
from tandem_app.models.settings import SettingsModel
from tandem_core.types import Topic

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable
    from typing import Any

    from tandem_core.store.database import Database
    from tandem_core.types import Change

_TOPICS = frozenset(
    {Topic.SETTINGS, Topic.ACCOUNT_DATA, Topic.ROOMS, Topic.SESSION, Topic.DEVICES, Topic.OWED}
)


class ConfirmationsModel(SettingsModel):
    """Rows as on the settings page, and beside them what they come to. Changes are made in the engine's thread."""

    toldChanged = Signal()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._person = ""
        self._shows_log = False
        self._told: dict[str, Any] = {}
        self._is_shown = False

    @Slot(str)
    def open(self, room_id: str) -> None:
        """The page is shown; the account's, whatever ``room_id`` is."""
        self._is_shown = True
        self._shows_log = False
        super().open("")

    @Slot()
    def close(self) -> None:
        """The page is gone: nothing is read for it any more."""
        self._is_shown = False

    @Slot()
    def look(self) -> None:
        """Read everything again, while somebody looks."""
        if self._is_shown:
            super().look()

    @Slot(str)
    def previewAs(self, person: str) -> None:
        """Show what this person sees."""
        self._person = person
        self.look()

    @Slot()
    def toggleLog(self) -> None:
        """Show, or hide, each confirmation of the last day."""
        self._shows_log = not self._shows_log
        self.look()

    @Slot(str)
    def pause(self, how: str) -> None:
        """Confirm nothing for an ``hour`` or until ``tomorrow``."""
        now_ms = self._clock_ms()

        async def work(db: Database) -> None:
            from tandem_core.receipts import pause

            await db.write(pause.pause, pause.end_of(how, now_ms), now_ms)

        self._do(work)

    @Slot()
    def resume(self) -> None:
        """End the pause."""
        now_ms = self._clock_ms()

        async def work(db: Database) -> None:
            from tandem_core.receipts import pause

            await db.write(pause.resume, now_ms)

        self._do(work)

    @Slot()
    def beginAnew(self) -> None:
        """Give up exceptions that no device of ours can read any more."""

        async def work(db: Database) -> None:
            from tandem_core.store import shared_settings

            await db.write(shared_settings.begin_exceptions_anew)

        self._do(work)

    def _do(self, work: Callable[[Database], Awaitable[None]]) -> None:
        async def run() -> None:
            await work(await self._thread.opened())

        self._thread.call(run(), lambda _: self._written(), self._fail)

    def _read(self, conn: sqlite3.Connection) -> Page:
        told = self._tell(conn)
        if told != self._told:
            self._told = told
            self.toldChanged.emit()
        return confirmation_rows.page(conn)

    def _tell(self, conn: sqlite3.Connection) -> dict[str, Any]:
        from tandem_core.receipts import pause
        from tandem_core.store import session as sessions
        from tandem_core.store import shared_settings

        now_ms = self._clock_ms()
        session = sessions.session(conn)
        until = pause.paused_until(conn, now_ms)
        sentence, lines = confirmation_rows.log(conn, now_ms)
        people = [] if session is None else confirmation_rows.people(conn, session.me)
        if not self._person and people:
            self._person = people[0]["id"]
        return {
            "standing": confirmation_rows.standing(conn, now_ms),
            "people": people,
            "person": self._person,
            "seen": confirmation_rows.seen(conn, session.me, self._person, now_ms)
            if session is not None and self._person
            else [],
            "sentence": sentence,
            "log": lines if self._shows_log else [],
            "hasLog": bool(lines),
            "showsLog": self._shows_log,
            "paused": "" if until is None else words.clock_time(until),
            "unread": "" if shared_settings.exceptions_are_known(conn) else confirmation_rows.UNREAD,
        }

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if any(change.topic in _TOPICS for change in changes):
            self.look()

    # PySide's stub wants a type, but a QVariantMap is only known by name.
    told = Property("QVariantMap", lambda self: self._told, notify=toldChanged)  # type: ignore[arg-type]
    """standing, people (id, name), person, seen (room, words, tells), sentence, log, hasLog, showsLog, paused,
    unread: as ``_tell`` makes it."""
