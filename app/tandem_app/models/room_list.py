"""The rows of the room list: what the store says, searched, in its order, told to the view step by step."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    Property,
    QAbstractListModel,
    QByteArray,
    QModelIndex,
    QPersistentModelIndex,
    Signal,
    Slot,
)

from tandem_app.models import words
from tandem_app.models.listdiff import Insert, Move, Remove, steps
from tandem_app.models.roles import DISPLAY_ROLE, USER_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tandem_core.store.rooms import RoomRow

Index = QModelIndex | QPersistentModelIndex


class RoomRole(IntEnum):
    """What QML may ask of a room; the names below are those of its required properties."""

    ID = USER_ROLE + 1
    NAME = USER_ROLE + 2
    HUE = USER_ROLE + 3
    PREVIEW = USER_ROLE + 4
    TIME = USER_ROLE + 5
    UNREAD = USER_ROLE + 6
    BADGE = USER_ROLE + 7
    HIGHLIGHTED = USER_ROLE + 8
    INVITE = USER_ROLE + 9
    SPOKEN = USER_ROLE + 10


_NAMES = {
    RoomRole.ID: b"roomId",
    RoomRole.NAME: b"name",
    RoomRole.HUE: b"hue",
    RoomRole.PREVIEW: b"preview",
    RoomRole.TIME: b"time",
    RoomRole.UNREAD: b"unread",
    RoomRole.BADGE: b"badge",
    RoomRole.HIGHLIGHTED: b"highlighted",
    RoomRole.INVITE: b"invite",
    RoomRole.SPOKEN: b"spoken",
}
_CONTENT = [int(role) for role in RoomRole if role is not RoomRole.ID]


class RoomListModel(QAbstractListModel):
    """All rooms, or those whose name holds the searched words."""

    counted = Signal()

    def __init__(self, now_ms: Callable[[], int], parent: Any = None) -> None:
        super().__init__(parent)
        self._now_ms = now_ms
        self._all: list[RoomRow] = []
        self._shown: list[RoomRow] = []
        self._search = ""

    def set_rooms(self, rooms: Sequence[RoomRow]) -> None:
        """Show these rooms, in this order; the rows that stay are moved, not made anew."""
        self._all = list(rooms)
        self._arrange()

    def update_rooms(self, fresh: dict[str, RoomRow | None]) -> None:
        """Take the new state of a few rooms; None is a room that is gone."""
        rooms = [row for row in self._all if row.room_id not in fresh]
        rooms.extend(row for row in fresh.values() if row is not None)
        rooms.sort(key=lambda row: (row.membership != "invite", -row.last_at))
        self._all = rooms
        self._arrange()

    def append_rooms(self, rooms: Sequence[RoomRow]) -> None:
        """Add the rest of a list whose start is already shown."""
        known = {row.room_id for row in self._all}
        self._all.extend(row for row in rooms if row.room_id not in known)
        self._arrange()

    def room(self, room_id: str) -> RoomRow | None:
        """The row of a room, whether the search hides it or not."""
        return next((row for row in self._all if row.room_id == room_id), None)

    def refresh_times(self) -> None:
        """Say that times may read differently now (a new day has begun)."""
        if self._shown:
            roles = [int(RoomRole.TIME), int(RoomRole.SPOKEN)]
            self.dataChanged.emit(self.index(0), self.index(len(self._shown) - 1), roles)

    @property
    def is_empty(self) -> bool:
        """Whether there are no rooms at all, searched for or not."""
        return not self._all

    def set_search(self, text: str) -> None:
        """Show only rooms whose name has all of these words."""
        self._search = text
        self._arrange()

    @Slot(str, result=int)
    def rowOf(self, room_id: str) -> int:
        """Where a room stands now, or -1."""
        for number, row in enumerate(self._shown):
            if row.room_id == room_id:
                return number
        return -1

    @Slot(int, result=str)
    def roomAt(self, row: int) -> str:
        """The room in a row, or an empty string."""
        return self._shown[row].room_id if 0 <= row < len(self._shown) else ""

    def _count(self) -> int:
        return len(self._shown)

    def _total(self) -> int:
        return len(self._all)

    def _unread(self) -> int:
        return sum(1 for row in self._all if row.unread > 0 or row.membership == "invite")

    count = Property(int, _count, notify=counted)
    total = Property(int, _total, notify=counted)
    unreadRooms = Property(int, _unread, notify=counted)

    # What Qt asks.

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  Qt's names and defaults
        return 0 if parent.isValid() else len(self._shown)

    def roleNames(self) -> dict[int, QByteArray]:
        return {int(role): QByteArray(name) for role, name in _NAMES.items()}

    def data(self, index: Index, role: int = DISPLAY_ROLE) -> Any:
        if not 0 <= index.row() < len(self._shown):
            return None
        row = self._shown[index.row()]
        match role:
            case RoomRole.ID:
                return row.room_id
            case RoomRole.NAME:
                return row.name
            case RoomRole.HUE:
                return words.hue(row.peer or row.room_id)
            case RoomRole.PREVIEW:
                return preview(row)
            case RoomRole.TIME:
                return words.list_time(row.last_at, self._now_ms())
            case RoomRole.UNREAD:
                return row.unread > 0 or row.membership == "invite"
            case RoomRole.BADGE:
                return words.badge(row.unread)
            case RoomRole.HIGHLIGHTED:
                return row.highlights > 0
            case RoomRole.INVITE:
                return row.membership == "invite"
            case RoomRole.SPOKEN:
                return self._spoken(row)
        return None

    def _spoken(self, row: RoomRow) -> str:
        parts = [row.name]
        if row.membership == "invite":
            parts.append("invitation")
        elif row.unread:
            parts.append(f"{row.unread} unread")
            if row.highlights:
                parts.append("mentions you")
        said = preview(row)
        if said:
            parts.append(said)
        when = words.list_time(row.last_at, self._now_ms())
        if when:
            parts.append(when)
        return ", ".join(parts)

    def _arrange(self) -> None:
        wanted = self._search.casefold().split()
        new = [row for row in self._all if all(word in row.name.casefold() for word in wanted)]
        old = self._shown
        for step in steps([row.room_id for row in old], [row.room_id for row in new]):
            match step:
                case Remove(first, last):
                    self.beginRemoveRows(QModelIndex(), first, last)
                    del self._shown[first : last + 1]
                    self.endRemoveRows()
                case Insert(first, last, source):
                    self.beginInsertRows(QModelIndex(), first, last)
                    self._shown[first:first] = new[source : source + last - first + 1]
                    self.endInsertRows()
                case Move(start, to):
                    self.beginMoveRows(QModelIndex(), start, start, QModelIndex(), to)
                    self._shown.insert(to, self._shown.pop(start))
                    self.endMoveRows()
        self._tell_changed(new)
        self.counted.emit()

    def _tell_changed(self, new: list[RoomRow]) -> None:
        """Take the new rows and name those that read differently, one signal a run."""
        first: int | None = None
        before = self._shown
        self._shown = new
        for number in range(len(new) + 1):
            differs = number < len(new) and before[number] != new[number]
            if differs and first is None:
                first = number
            elif not differs and first is not None:
                self.dataChanged.emit(self.index(first), self.index(number - 1), _CONTENT)
                first = None


def preview(row: RoomRow) -> str:
    """The second line of a room: who said what last."""
    if row.membership == "invite":
        return f"Invitation from {words.local_part(row.inviter)}" if row.inviter else "Invitation"
    text = words.one_line(row.last_text or "")
    if not text:
        return ""
    if row.last_is_own:
        return f"You: {text}"
    return text if row.is_dm or not row.last_sender_name else f"{row.last_sender_name}: {text}"
