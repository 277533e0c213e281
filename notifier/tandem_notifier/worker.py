"""From due notifications to popups: skip what a person has seen, show the rest once, take away what is read."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from tandem_core import settings
from tandem_core.clock import Chance, Clock
from tandem_core.store import members, notifications, rooms
from tandem_core.store.database import Database
from tandem_core.store.notifications import Due
from tandem_core.types import Change, EventId, Role, RoomId, Topic, UserId
from tandem_core.worker import Worker
from tandem_notifier import words
from tandem_notifier.popup import Popup, Popups

log = logging.getLogger("tandem.notifications")

MOST_SINGLE = 3
"""So many messages of a room that fall due together are told one by one; more become one popup."""
_MOST_LINES = 4
_MOST_EVENTS = 100


@dataclass(frozen=True, slots=True)
class _Item:
    due: Due
    sender_name: str


@dataclass(slots=True)
class _Room:
    """What one look at the store says about a room with due notifications."""

    place: words.Place
    is_muted: bool
    items: list[_Item] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Look:
    is_enabled: bool
    hides_content: bool
    rooms: dict[RoomId, _Room]


@dataclass(slots=True)
class _Open:
    """The popup that a room has now."""

    events: list[EventId] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0


class NotificationWorker(Worker):
    """Shows each due notification once. A popup is shown before that is kept: death in between repeats one, at most.

    ``shows_room`` says whether a person looks at a room now.
    """

    name: ClassVar[str] = "notifications"
    wants: ClassVar[frozenset[Topic]] = frozenset(
        {Topic.NOTIFICATIONS, Topic.READS, Topic.SETTINGS, Topic.TIMELINE}
    )

    def __init__(
        self,
        db: Database,
        me: UserId,
        popups: Popups,
        shows_room: Callable[[RoomId], bool],
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        super().__init__(chance)
        self._db = db
        self._me = me
        self._popups = popups
        self._shows_room = shows_room
        self._clock = clock
        self._open: dict[RoomId, _Open] = {}

    def popup_gone(self, room_id: RoomId) -> None:
        """The room's popup was closed: the next one begins anew."""
        self._open.pop(room_id, None)

    def look_again(self) -> None:
        """What the window shows has changed."""
        self.wake((Change(Topic.NOTIFICATIONS),))

    async def step(self) -> float | None:
        """Show what is due; close the popups of what was read."""
        await self._close_what_is_over()
        look = await self._db.read(self._look)
        for room_id, room in look.rooms.items():
            await self._settle(look, room_id, room)
        if sum(len(room.items) for room in look.rooms.values()) >= notifications.MOST_AT_ONCE:
            return 0.0
        return None

    async def _close_what_is_over(self) -> None:
        for room_id, popup in list(self._open.items()):
            is_over = self._shows_room(room_id) or await self._db.read(
                notifications.over, self._me, room_id, popup.events
            )
            if is_over:
                self._open.pop(room_id, None)
                await self._popups.close(room_id)

    async def _settle(self, look: _Look, room_id: RoomId, room: _Room) -> None:
        fresh: list[_Item] = []
        skipped: dict[str, list[EventId]] = {}
        for item in room.items:
            reason = self._reason_to_skip(look, room, item.due)
            if reason:
                skipped.setdefault(reason, []).append(item.due.event_id)
            else:
                fresh.append(item)
        for reason, event_ids in skipped.items():
            await self._db.write(notifications.skip, event_ids, reason, self._clock.now_ms())
        if len(fresh) > MOST_SINGLE:
            await self._show(look, room_id, room, fresh)
        else:
            for item in fresh:
                await self._show(look, room_id, room, [item])

    def _reason_to_skip(self, look: _Look, room: _Room, item: Due) -> str:
        if item.is_gone:
            return "redacted"
        if item.is_read:
            return "read"
        if not look.is_enabled:
            return "disabled"
        if room.is_muted:
            return "muted"
        return "seen" if self._shows_room(item.room_id) else ""

    async def _show(self, look: _Look, room_id: RoomId, room: _Room, items: list[_Item]) -> None:
        now = self._open.get(room_id, _Open())
        event_ids = tuple(item.due.event_id for item in items)
        count = now.count + len(items)
        place, newest = room.place, items[-1]
        lines: list[str] = []
        together: tuple[str, str] | None = None
        if look.hides_content:
            title, body = words.HIDDEN_TITLE, words.many(count)
        elif len(items) > 1:
            title = words.room_title(place)
            body = words.many_from(place, count, [item.sender_name for item in items])
        else:
            title, body = words.title(place, newest.sender_name), words.body(newest.due, newest.sender_name)
            lines = [*now.lines, words.line(place, newest.sender_name, body)][-_MOST_LINES:]
            if len(lines) > 1:
                together = words.room_title(place), "\n".join(lines)
        at_ms = self._clock.now_ms()
        await self._popups.show(Popup(room_id, event_ids, title, body, at_ms, together))
        self._open[room_id] = _Open([*now.events, *event_ids][-_MOST_EVENTS:], lines, count)
        await self._db.write(notifications.mark_shown, event_ids, at_ms)

    def _look(self, conn: sqlite3.Connection) -> _Look:
        found: dict[RoomId, _Room] = {}
        for item in notifications.due(conn, self._me):
            room = found.get(item.room_id)
            if room is None:
                room = found[item.room_id] = _room(conn, item.room_id)
            room.items.append(_Item(item, members.display_name(conn, item.room_id, item.sender)))
        return _Look(
            settings.get(conn, "notifications.enabled") is True,
            settings.get(conn, "notifications.hide_content") is True,
            found,
        )


def _room(conn: sqlite3.Connection, room_id: RoomId) -> _Room:
    row = rooms.room(conn, Role.NOTIFIER, room_id)
    place = words.Place(row.name, row.is_dm) if row else words.Place(rooms.EMPTY_ROOM, False)
    return _Room(place, settings.get(conn, "notifications.room", room_id) == "mute")
