"""Looks whether people in the open room have another identity than the one we knew, away from the Qt thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from tandem_app.look import Look
from tandem_core.types import Role, RoomId, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.actions import Shell
    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Me

PAUSE_MS = 300
_TOPICS = (Topic.DEVICES, Topic.ROOMS)


@dataclass(frozen=True, slots=True)
class Changed:
    """A person in the room whose identity changed; ``was_verified``: nothing is sent until that is decided."""

    user_id: UserId
    name: str
    was_verified: bool


class IdentityWatch(Look):
    """Says who they are whenever that changes, or another room is opened."""

    found = Signal(object)
    """``list[Changed]``, verified people first."""

    def __init__(self, thread: EngineThread, shell: Shell, parent: QObject | None = None) -> None:
        super().__init__(thread, _TOPICS, PAUSE_MS, parent)
        self._shell = shell
        self._room = ""
        self._last: list[Changed] = []
        shell.roomChanged.connect(self._turn)

    @Slot()
    def look(self) -> None:
        """Ask the store."""
        room = self._room
        if not room:
            self._tell(room, [])
            return

        async def work() -> list[Changed]:
            from tandem_core.store import session as sessions

            db = await self._thread.opened()
            session = await db.read(sessions.session)
            return [] if session is None else await db.read(in_room, session.me, RoomId(room))

        self._thread.call(work(), lambda people: self._tell(room, people), lambda error: None)

    @Slot()
    def _turn(self) -> None:
        if self._shell.room_id != self._room:
            self._room = self._shell.room_id
            self._tell(self._room, [])
            self.look()

    def _tell(self, room: str, people: list[Changed]) -> None:
        if room == self._room and people != self._last:
            self._last = people
            self.found.emit(people)


def in_room(conn: sqlite3.Connection, me: Me, room_id: RoomId) -> list[Changed]:
    """The other people in this room whose identity changed and was not dealt with."""
    from tandem_core import trust
    from tandem_core.store import members
    from tandem_core.trust import PersonTrust

    noticed = [notice for notice in trust.notices(conn, me) if notice.user_id != me.user_id]
    if not noticed:
        return []
    present = members.joined(conn, Role.APP, room_id)
    people = [
        Changed(
            notice.user_id,
            members.display_name(conn, room_id, notice.user_id),
            notice.trust is PersonTrust.VIOLATED,
        )
        for notice in noticed
        if notice.user_id in present
    ]
    return sorted(people, key=lambda one: (not one.was_verified, one.name))
