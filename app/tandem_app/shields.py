"""What speaks against the senders of messages: asked away from the Qt thread, once the rows are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from tandem_app.look import Look
from tandem_core.types import EventId, Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_app.models.timeline import TimelineModel
    from tandem_core.types import Me

PAUSE_MS = 250
MOST = 400
"""Rows that are looked at in one go, the newest first."""
_TOPICS = (Topic.DEVICES, Topic.KEYS, Topic.TIMELINE)


@dataclass(frozen=True, slots=True)
class Shield:
    """A sentence about a message; ``is_grave``: worth looking up for, and not only a remark."""

    words: str
    is_grave: bool


class Shields(Look):
    """Gives the timeline its shields whenever rows, keys, devices or identities change."""

    def __init__(self, thread: EngineThread, timeline: TimelineModel, parent: QObject | None = None) -> None:
        super().__init__(thread, _TOPICS, PAUSE_MS, parent)
        self._timeline = timeline
        timeline.counted.connect(self.soon)

    @Slot()
    def look(self) -> None:
        """Ask the store."""
        room, events = self._timeline.room_id, self._timeline.others_messages(MOST)
        if not events:
            return

        async def work() -> dict[str, Shield]:
            from tandem_core.store import session as sessions

            db = await self._thread.opened()
            session = await db.read(sessions.session)
            return {} if session is None else await db.read(of_events, session.me, events)

        self._thread.call(work(), lambda found: self._timeline.set_shields(room, found), lambda error: None)


def of_events(conn: sqlite3.Connection, me: Me, event_ids: list[str]) -> dict[str, Shield]:
    """The shields of those of these events that have one."""
    from tandem_core import trust
    from tandem_core.trust import EventTrust

    found = trust.of_events(conn, me, [EventId(event_id) for event_id in event_ids])
    return {
        str(event_id): Shield(said.words, said is not EventTrust.UNSAFE_SOURCE)
        for event_id, said in found.items()
        if said.words
    }
