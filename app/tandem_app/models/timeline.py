"""The rows of the open room, newest first: numbers in memory, content in a bounded cache over the store.

A row is identified by its key, which a local echo keeps when it becomes an event, so its place on the
screen is kept too. Only the newest part is compared on every change; the long rest is counted in another
thread and handed in by ``set_order``.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import Property, QAbstractListModel, QByteArray, QModelIndex, Signal, Slot

from tandem_app.models import row_words
from tandem_app.models.listdiff import Insert, Move, Remove, steps
from tandem_app.models.roles import DISPLAY_ROLE
from tandem_app.models.room_list import Index
from tandem_app.models.row_words import MARK_ROLES, NAMES, SHIELD_ROLES, Neighbours, RowRole
from tandem_app.models.words import one_line

if TYPE_CHECKING:
    from tandem_app.shields import Shield
    from tandem_core.receipts.summary import Summary
    from tandem_core.store.timeline import Row

PAGE = 100
MOST_ROWS = 1000
"""Rows kept in memory; a screen shows about twenty."""
_MOST_SAID = 80
_ALL_ROLES = [int(role) for role in RowRole]
_EDGE_ROLES = [int(role) for role in (RowRole.RUN_START, RowRole.RUN_END, RowRole.DAY, RowRole.MARK)]


class Source(Protocol):
    """Where rows come from; all of it quick indexed reads."""

    def page(self, room_id: str, before: int | None, limit: int) -> list[Row]:
        """Rows below ``before`` (or the newest), newest first."""
        ...

    def marks(self, room_id: str, keys: list[str]) -> dict[str, Summary]:
        """How far our own messages got."""
        ...


class TimelineModel(QAbstractListModel):
    """The open room's rows for the view; empty while no room is open."""

    counted = Signal()
    newest = Signal()
    """A row came to stand at the newest end."""
    told = Signal(str, bool)
    """News of a message of ours, to be said aloud; whether it needs attention."""

    def __init__(self, source: Source, now_ms: Callable[[], int], parent: Any = None) -> None:
        super().__init__(parent)
        self._source = source
        self._now_ms = now_ms
        self._room = ""
        self._ords: array[int] = array("q")
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._marks: dict[str, Summary] = {}
        self._said: set[tuple[str, str]] = set()
        self._shields: dict[str, Shield] = {}
        self._read_up_to: int | None = None

    # What the window does.

    def open(self, room_id: str, read_up_to: int | None) -> None:
        """Show a room's newest page; ``read_up_to`` is the number of the row last read, if known."""
        self.beginResetModel()
        self._room = room_id
        self._rows.clear()
        self._marks.clear()
        self._said.clear()
        self._shields = {}
        self._read_up_to = read_up_to
        head = self._source.page(room_id, None, PAGE) if room_id else []
        self._ords = array("q", (row.ord for row in head))
        self._keep(head)
        self._learn_marks(head)
        self.endResetModel()
        self.counted.emit()

    def refresh(self) -> None:
        """Read the newest page again, and what is on the screen below it when it is looked at."""
        if not self._room:
            return
        head = self._source.page(self._room, None, PAGE)
        stale = [number for number in self._rows if not head or number < head[-1].ord]
        top = self._ords[0] if self._ords else None
        before = {row.ord: row for row in self._rows.values()}
        self._learn_marks(head)
        self._arrange(head, self._ords)
        for number in stale:
            self._rows.pop(number, None)
        self._ask_marks(head)
        self._tell_changed(head, before)
        if stale and len(self._ords) > len(head):
            self.dataChanged.emit(self.index(len(head)), self.index(len(self._ords) - 1), _ALL_ROLES)
        if head and head[0].ord != top:
            self.newest.emit()

    def set_order(self, room_id: str, order: array[int]) -> None:
        """Take the numbers of all rows, as another thread read them a moment ago."""
        if room_id == self._room:
            self._arrange(self._source.page(room_id, None, PAGE), order)

    def refresh_marks(self) -> None:
        """Ask again how far our own messages got, as far as they are in memory."""
        self._ask_marks(list(self._rows.values()))

    def others_messages(self, limit: int) -> list[str]:
        """The event ids of others' messages in memory, newest first."""
        rows = sorted(self._rows.values(), key=lambda row: -row.ord)
        wanted = (row.event_id for row in rows if not row.is_own and row.kind != "state")
        return [event_id for event_id in wanted if event_id][:limit]

    def set_shields(self, room_id: str, shields: dict[str, Shield]) -> None:
        """What is to be said of senders, by event; messages without a word are not among them."""
        if room_id != self._room or shields == self._shields:
            return
        differ = {
            event_id
            for event_id in shields.keys() | self._shields.keys()
            if shields.get(event_id) != self._shields.get(event_id)
        }
        self._shields = shields
        changed = {row.ord for row in self._rows.values() if row.event_id in differ}
        places = [place for place, number in enumerate(self._ords) if number in changed]
        if places:
            self.dataChanged.emit(self.index(places[0]), self.index(places[-1]), SHIELD_ROLES)

    def refresh_days(self) -> None:
        """Say that Today may read differently now."""
        if self._ords:
            self.dataChanged.emit(self.index(0), self.index(len(self._ords) - 1), [int(RowRole.DAY)])

    # What the window asks.

    @property
    def room_id(self) -> str:
        return self._room

    @property
    def rows_in_memory(self) -> int:
        return len(self._rows)

    def row(self, place: int) -> Row | None:
        """The row at a place, newest 0; read from the store if it is not in memory."""
        if not 0 <= place < len(self._ords):
            return None
        number = self._ords[place]
        found = self._rows.get(number)
        if found is not None:
            self._rows.move_to_end(number)
            return found
        first = max(0, place - place % PAGE)
        before = self._ords[first - 1] if first else None
        self._keep(page := self._source.page(self._room, before, PAGE))
        self._learn_marks(page)
        return self._rows.get(number)

    def newest_event(self) -> str | None:
        """The newest row that has an event id: what may be marked as read."""
        for place in range(min(len(self._ords), PAGE)):
            row = self.row(place)
            if row is not None and row.event_id:
                return row.event_id
        return None

    def by_key(self, key: str) -> Row | None:
        """A row in memory by its key."""
        return next((row for row in self._rows.values() if row.key == key), None)

    @Slot(int, result=str)
    def keyAt(self, place: int) -> str:
        """The key of a row, or an empty string."""
        row = self.row(place)
        return row.key if row else ""

    @Slot(int, result=str)
    def infoAt(self, place: int) -> str:
        """The key of a row of which something is known about delivery: a message, ours or another's; else empty."""
        row = self.row(place)
        return row.key if row and row.kind != "state" else ""

    def keys(self) -> list[str]:
        """The keys of all rows, newest first. Reads everything: for tests of short rooms."""
        rows = [self.row(place) for place in range(len(self._ords))]
        return [row.key for row in rows if row is not None]

    def _count(self) -> int:
        return len(self._ords)

    def _unread_at(self) -> int:
        if self._read_up_to is None or not self._ords or self._ords[0] <= self._read_up_to:
            return -1
        newer = [
            place for place in range(min(len(self._ords), MOST_ROWS)) if self._ords[place] > self._read_up_to
        ]
        return newer[-1] if newer else -1

    count = Property(int, _count, notify=counted)
    unreadPlace = Property(int, _unread_at, notify=counted)

    # What Qt asks.

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  Qt's names and defaults
        return 0 if parent.isValid() else len(self._ords)

    def roleNames(self) -> dict[int, QByteArray]:
        return {int(role): QByteArray(name) for role, name in NAMES.items()}

    def data(self, index: Index, role: int = DISPLAY_ROLE) -> Any:
        place = index.row()
        row = self.row(place)
        if row is None:
            return row_words.missing(role)
        if role in _EDGE_ROLES:
            around = Neighbours(older=self.row(place + 1), newer=self.row(place - 1) if place else None)
            return row_words.edge(row, around, role, self._now_ms(), self._marks)
        if role == RowRole.UNREAD_LINE:
            return self._is_first_unread(place)
        shield = self._shields.get(row.event_id or "")
        return row_words.value(row, role, self._marks.get(row.key), shield)

    # How it is done.

    def _is_first_unread(self, place: int) -> bool:
        mark = self._read_up_to
        if mark is None or self._ords[place] <= mark:
            return False
        return place + 1 < len(self._ords) and self._ords[place + 1] <= mark

    def _keep(self, rows: list[Row]) -> None:
        for row in rows:
            self._rows[row.ord] = row
            self._rows.move_to_end(row.ord)
        while len(self._rows) > MOST_ROWS:
            _, gone = self._rows.popitem(last=False)
            self._marks.pop(gone.key, None)

    def _ask_marks(self, rows: list[Row]) -> None:
        """Read the marks of our own among these rows again, and name those that read differently."""
        own = [row for row in rows if row.is_own]
        if not own:
            return
        fresh = self._source.marks(self._room, [row.key for row in own])
        changed = {row.ord for row in own if fresh.get(row.key) != self._marks.get(row.key)}
        if changed:
            self._tell(own, fresh)
        self._marks.update(fresh)
        places = [place for place, number in enumerate(self._ords) if number in changed] if changed else []
        if places:
            # The row above may show or hide its own mark for it.
            last = min(places[-1] + 1, len(self._ords) - 1)
            self.dataChanged.emit(self.index(places[0]), self.index(last), MARK_ROLES)

    def _tell(self, own: list[Row], fresh: dict[str, Summary]) -> None:
        """Have said aloud what is new: all that needs attention, of the rest the newest message only, each once."""
        calm = ""
        for row in sorted(own, key=lambda row: row.ord):
            after = fresh.get(row.key)
            words = row_words.news(self._marks.get(row.key), after)
            if not words or after is None or (row.key, after.state) in self._said:
                continue
            self._said.add((row.key, after.state))
            if row_words.is_grave(after):
                self.told.emit(f"{words}. {one_line(row.body)[:_MOST_SAID]}", True)
            else:
                calm = words
        if calm:
            self.told.emit(calm, False)

    def _learn_marks(self, rows: list[Row]) -> None:
        own = [row.key for row in rows if row.is_own and row.key not in self._marks]
        if own:
            self._marks.update(self._source.marks(self._room, own))

    def _arrange(self, head: list[Row], rest: array[int]) -> None:
        """Bring the list to ``head`` followed by what of ``rest`` is older, step by step."""
        new = array("q", (row.ord for row in head))
        if len(head) == PAGE:
            new.extend(_below(rest, head[-1].ord))
        old = self._ords
        start = _common(old, new)
        end = _common(old[start:][::-1], new[start:][::-1])
        old_middle, new_middle = old[start : len(old) - end], new[start : len(new) - end]
        keys = {row.ord: row.key for row in head}
        before = [self._identity(number) for number in old_middle]
        after = [keys.get(number) or self._identity(number) for number in new_middle]
        self._keep(head)
        if not old_middle and not new_middle:
            return
        if len(set(before)) != len(before) or len(set(after)) != len(after):
            self._replace_all(new)
            return
        for step in steps(before, after):
            self._take(step, start, new_middle)
        self._ords = new
        self._tell_edges(start, start + len(new_middle))
        self.counted.emit()

    def _identity(self, number: int) -> str | int:
        row = self._rows.get(number)
        return row.key if row is not None else number

    def _take(self, step: Remove | Insert | Move, start: int, new: array[int]) -> None:
        match step:
            case Remove(first, last):
                self.beginRemoveRows(QModelIndex(), start + first, start + last)
                del self._ords[start + first : start + last + 1]
                self.endRemoveRows()
            case Insert(first, last, source):
                self.beginInsertRows(QModelIndex(), start + first, start + last)
                self._ords[start + first : start + first] = new[source : source + last - first + 1]
                self.endInsertRows()
            case Move(origin, to):
                parent = QModelIndex()
                self.beginMoveRows(parent, start + origin, start + origin, parent, start + to)
                self._ords.insert(start + to, self._ords.pop(start + origin))
                self.endMoveRows()

    def _replace_all(self, new: array[int]) -> None:
        self.beginResetModel()
        self._ords = new
        self.endResetModel()
        self.counted.emit()

    def _tell_edges(self, first: int, end: int) -> None:
        """The rows at both sides of a change begin or end runs and days differently now."""
        last = min(end, len(self._ords) - 1)
        if last >= 0:
            roles = [*_EDGE_ROLES, int(RowRole.UNREAD_LINE)]
            self.dataChanged.emit(self.index(max(0, first - 1)), self.index(last), roles)

    def _tell_changed(self, head: list[Row], before: dict[int, Row]) -> None:
        """Name the rows of the newest page that read differently, from the first to the last of them."""
        by_key = {row.key: row for row in before.values()}
        changed = [place for place, row in enumerate(head) if by_key.get(row.key, row) != row]
        if changed:
            self.dataChanged.emit(
                self.index(max(0, changed[0] - 1)),
                self.index(min(changed[-1] + 1, len(self._ords) - 1)),
                _ALL_ROLES,
            )


def _common(one: array[int], other: array[int]) -> int:
    """How many numbers both begin with; slices are compared by the machine, not in a loop."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _below(order: array[int], number: int) -> array[int]:
    """The part of a falling order that is below a number."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if order[middle] >= number:
            low = middle + 1
        else:
            high = middle
    return order[low:]
