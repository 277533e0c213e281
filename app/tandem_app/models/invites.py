"""An invitation: who asks, into what, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_core.types import Role, RoomId, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Change


class InvitesModel(QObject):
    """One invitation at a time; once accepted, the list shows the room as any other."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._room_id = ""
        self._facts: dict[str, str] = {}
        self._busy = ""
        self._problem = ""
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, room_id: str) -> None:
        """Show the invitation to this room."""
        self._room_id, self._busy, self._problem = room_id, "", ""
        self._read()

    @Slot()
    def accept(self) -> None:
        self._answer("accept")

    @Slot()
    def decline(self) -> None:
        self._answer("decline")

    def _answer(self, verb: str) -> None:
        if self._busy or not self._room_id:
            return
        self._busy, self._problem = verb, ""
        self.changed.emit()
        self._thread.call(self._ask(verb, RoomId(self._room_id)), self._done, self._failed)

    async def _ask(self, verb: str, room_id: RoomId) -> None:
        from tandem_core.errors import Offline
        from tandem_core.sync import rooms_api

        engine = self._thread.engine
        if engine is None:
            raise Offline
        act: Callable[..., Coroutine[Any, Any, None]] = (
            rooms_api.accept if verb == "accept" else rooms_api.decline
        )
        await act(engine.http, engine.db, room_id)

    def _done(self, _: None) -> None:
        # Still busy: the room itself takes this page's place as soon as sync brings it.
        self._read()

    def _failed(self, error: Exception) -> None:
        from tandem_core.errors import Expected

        self._busy = ""
        self._problem = error.sentence if isinstance(error, Expected) else "Something went wrong. Try again."
        self.changed.emit()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if self._room_id and any(change.topic is Topic.ROOMS for change in changes):
            self._read()

    def _read(self) -> None:
        from tandem_core.store import members, rooms

        conn = self._reader()
        room = None if conn is None else rooms.room(conn, Role.APP, RoomId(self._room_id))
        if conn is None or room is None:
            self._facts = {}
        else:
            inviter = room.inviter or ""
            name = members.display_name(conn, RoomId(self._room_id), UserId(inviter)) if inviter else ""
            self._facts = {
                "name": room.name,
                "topic": room.topic or "",
                "inviter": name,
                "inviterId": inviter,
                "kind": "direct" if room.is_dm else "group",
            }
        self.changed.emit()

    name = Property(str, lambda self: self._facts.get("name", ""), notify=changed)
    topic = Property(str, lambda self: self._facts.get("topic", ""), notify=changed)
    inviter = Property(str, lambda self: self._facts.get("inviter", ""), notify=changed)
    inviterId = Property(str, lambda self: self._facts.get("inviterId", ""), notify=changed)
    isDirect = Property(bool, lambda self: self._facts.get("kind") == "direct", notify=changed)
    roomId = Property(str, lambda self: self._room_id, notify=changed)
    busy = Property(str, lambda self: self._busy, notify=changed)
    """``accept`` or ``decline`` while the server is asked; empty otherwise."""
    problem = Property(str, lambda self: self._problem, notify=changed)
