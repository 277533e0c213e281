"""Tell that somebody waits for a verification. The window answers; nothing is ever answered here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tandem_core import settings
from tandem_core.clock import Chance, Clock
from tandem_core.store import devices, members, verification
from tandem_core.store.database import Database
from tandem_core.store.verification import OPEN_MS, Standing
from tandem_core.types import Change, EventId, RoomId, Topic
from tandem_core.worker import Worker
from tandem_notifier import words
from tandem_notifier.popup import VERIFICATION, Popup, Popups


@dataclass(frozen=True, slots=True)
class _Look:
    is_enabled: bool
    waiting: list[tuple[Standing, str, str]]
    """Requests with title and body."""


class VerificationNotices(Worker):
    """One popup for each request, taken away when it is answered or too old.

    ``is_looked_at``: a person has the window before them, which shows the request itself.
    """

    name: ClassVar[str] = "verification notices"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.VERIFICATION, Topic.SETTINGS})

    def __init__(
        self, db: Database, popups: Popups, is_looked_at: Callable[[], bool], *, clock: Clock, chance: Chance
    ) -> None:
        super().__init__(chance)
        self._db = db
        self._popups = popups
        self._is_looked_at = is_looked_at
        self._clock = clock
        self._open: dict[RoomId, Standing] = {}

    def popup_gone(self, key: RoomId) -> None:
        """The popup was closed, or clicked."""
        self._open.pop(key, None)

    def look_again(self) -> None:
        """What the window shows has changed."""
        self.wake((Change(Topic.VERIFICATION),))

    async def step(self) -> float | None:
        """Close what is over, tell what is new; returns seconds until the next one is too old."""
        for key, row in list(self._open.items()):
            if self._is_looked_at() or not await self._db.read(self._still_waits, row):
                self._open.pop(key, None)
                await self._popups.close(key)
        look = await self._db.read(self._look)
        for row, title, body in look.waiting:
            if look.is_enabled and not self._is_looked_at():
                key = RoomId(VERIFICATION + row.flow)
                await self._popups.show(Popup(key, (EventId(row.flow),), title, body, self._clock.now_ms()))
                self._open[key] = row
            await self._db.write(verification.note_told, row.room_id, row.flow)
        ends = [row.asked_at + OPEN_MS for row in self._open.values()]
        return max(0.0, (min(ends) - self._clock.now_ms()) / 1000) if ends else None

    def _still_waits(self, conn: sqlite3.Connection, row: Standing) -> bool:
        now = verification.get(conn, row.room_id, row.flow)
        return now is not None and now.phase == "asked" and self._clock.now_ms() < now.asked_at + OPEN_MS

    def _look(self, conn: sqlite3.Connection) -> _Look:
        hides_content = settings.get(conn, "notifications.hide_content") is True
        waiting = []
        for row in verification.untold(conn, self._clock.now_ms()):
            title, body = (words.HIDDEN_TITLE, _HIDDEN) if hides_content else _words(conn, row)
            waiting.append((row, title, body))
        return _Look(settings.get(conn, "notifications.enabled") is True, waiting)


_HIDDEN = "A verification waits for your answer."


def _words(conn: sqlite3.Connection, row: Standing) -> tuple[str, str]:
    if row.room_id is None:
        device = "" if row.device_id is None else devices.device_name(conn, row.peer, row.device_id)
        name = words.shortened(device, words.MOST_NAME) or "A device"
        return (
            "Verify your other device?",
            f"{name} is signed in to your account and asks to be verified. Open Tandem to answer.",
        )
    name = words.shortened(members.display_name(conn, row.room_id, row.peer), words.MOST_NAME)
    return name, f"{name} asks to verify each other. Open Tandem to answer."
