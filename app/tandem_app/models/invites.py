"""An invitation: who asks, into what, and our answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models.words import hue, one_line
from tandem_core.errors import Expected, Offline, ServerRefused
from tandem_core.types import Role, RoomId, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Change

log = logging.getLogger("tandem.app.invites")

_MOST_LETTERS = 60
"""Of a name: a stranger's endless one must not push the rest of the sentence off the page."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What is known of it; strangers choose these words, so they are shown as plain text only."""

    name: str = ""
    topic: str = ""
    inviter: str = ""
    inviter_id: str = ""
    is_direct: bool = False
    is_encrypted: bool = False


class InvitesModel(QObject):
    """One invitation at a time; once accepted, the room itself takes its place."""

    changed = Signal()

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
        self._room_id = ""
        self._shown = Invitation()
        self._busy = ""
        self._problem = ("", "")
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, room_id: str) -> None:
        """Show the invitation to this room."""
        self._room_id, self._busy, self._problem = room_id, "", ("", "")
        self.look()

    @Slot()
    def accept(self) -> None:
        """Join; the room opens as soon as the server brings it."""
        self._answer("accept")

    @Slot()
    def decline(self) -> None:
        """Refuse; the invitation disappears from the list."""
        self._answer("decline")

    @Slot()
    def look(self) -> None:
        """Read the invitation again."""
        from tandem_core.store import members, rooms

        conn = self._reader() if self._room_id else None
        room_id = RoomId(self._room_id)
        room = None if conn is None else rooms.room(conn, Role.APP, room_id)
        shown = Invitation()
        if conn is not None and room is not None:
            inviter = UserId(room.inviter or "")
            shown = Invitation(
                name=_short(room.name),
                topic=one_line(room.topic or ""),
                inviter=_short(members.display_name(conn, room_id, inviter)) if inviter else "",
                inviter_id=inviter,
                is_direct=room.is_dm,
                is_encrypted=room.encrypted,
            )
        if shown != self._shown:
            self._shown = shown
        self.changed.emit()

    def _answer(self, verb: str) -> None:
        if self._busy or not self._room_id:
            return
        room_id = self._room_id
        self._busy, self._problem = verb, ("", "")
        self.changed.emit()
        self._thread.call(
            self._ask(verb, RoomId(room_id)), lambda _: None, lambda error: self._failed(room_id, error)
        )

    async def _ask(self, verb: str, room_id: RoomId) -> None:
        from tandem_core.store.session import ProgramState
        from tandem_core.sync import rooms_api

        engine = self._thread.engine
        # A request would be repeated for a minute; a person wants to know at once.
        if engine is None or engine.status.state is ProgramState.OFFLINE:
            raise Offline
        act = rooms_api.accept if verb == "accept" else rooms_api.decline
        await act(engine.http, engine.db, room_id)

    def _failed(self, room_id: str, error: Exception) -> None:
        if room_id != self._room_id:
            return
        self._busy = ""
        match error:
            case Offline():
                self._problem = (
                    error.title,
                    "Your answer was not sent. Try again when the connection is back.",
                )
            case ServerRefused(errcode="M_FORBIDDEN" | "M_NOT_FOUND"):
                self._problem = (
                    "This invitation is no longer valid",
                    "Ask to be invited again, or decline it.",
                )
            case ServerRefused():
                self._problem = (error.title, error.message or error.advice)
            case Expected():
                self._problem = (error.title, error.advice)
            case _:
                log.error("the answer failed: %s", type(error).__name__, exc_info=error)
                self._problem = ("Something unexpected happened", "Try again; Tandem's log says more.")
        self.changed.emit()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if any(change.topic is Topic.ROOMS and change.room_id in (None, self._room_id) for change in changes):
            self.look()

    def _title(self) -> str:
        who = self._shown.inviter or "Somebody"
        if self._shown.is_direct:
            return f"{who} would like to chat with you"
        return f"{who} invites you to {self._shown.name}"

    def _kind(self) -> str:
        kind = "direct chat" if self._shown.is_direct else "room"
        # An invitation need not say whether the room is encrypted, so its silence means nothing.
        return f"An encrypted {kind}" if self._shown.is_encrypted else f"A {kind}"

    name = Property(str, lambda self: self._shown.name, notify=changed)
    hue = Property(int, lambda self: hue(self._room_id), notify=changed)
    topic = Property(str, lambda self: self._shown.topic, notify=changed)
    inviter = Property(str, lambda self: self._shown.inviter, notify=changed)
    inviterId = Property(str, lambda self: self._shown.inviter_id, notify=changed)
    title = Property(str, _title, notify=changed)
    kindWords = Property(str, _kind, notify=changed)
    isEncrypted = Property(bool, lambda self: self._shown.is_encrypted, notify=changed)
    busy = Property(str, lambda self: self._busy, notify=changed)
    """accept or decline while the server is asked and until its answer has arrived; empty otherwise."""
    problemTitle = Property(str, lambda self: self._problem[0], notify=changed)
    problemAdvice = Property(str, lambda self: self._problem[1], notify=changed)


def _short(name: str) -> str:
    line: str = one_line(name)
    return line if len(line) <= _MOST_LETTERS else f"{line[:_MOST_LETTERS].rstrip()}\N{HORIZONTAL ELLIPSIS}"
