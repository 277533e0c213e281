"""From word of changes to what is read again: the room list, the timeline, the marks, the typing line.

Hints may be lost, or tell only a part (law 11), so every two seconds SQLite is asked whether anybody has
committed meanwhile. While hints come, what they name is read, and everything only once they pause.
"""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from tandem_app.reader import reading
from tandem_app.store_source import StoreSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tandem_app.models.room_list import RoomListModel
    from tandem_app.models.timeline import TimelineModel
    from tandem_app.reader import Reader
    from tandem_core.store.rooms import RoomRow
    from tandem_core.types import Change

POLL_MS = 2000
ORDER_MS = 250
MINUTE_MS = 60_000
"""So often it is looked whether marks are to be read again, since some change with time alone."""
_MOST_PUT_OFF = 5
"""So many looks in a row may be put off because hints keep coming."""
FIRST_ROOMS = 40
_MANY = 20
_MARK_TOPICS = frozenset({"delivery", "reads", "outbox", "devices", "settings"})
_ROW_TOPICS = frozenset({"timeline", "outbox", "keys"})


class Watch(QObject):
    """Keeps the models as the store is. Lives in the Qt thread; long reads happen in a thread of their own."""

    room_changed = Signal()
    """The open room's own facts (name, membership, who is typing) may have changed."""
    session_changed = Signal()
    settings_changed = Signal()
    loaded = Signal()
    """The whole room list is there."""
    _rooms_read = Signal(object, int)
    _order_read = Signal(str, object, int)

    def __init__(
        self,
        reader: Reader,
        source: StoreSource,
        rooms: RoomListModel,
        timeline: TimelineModel,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._reader = reader
        self._source = source
        self._rooms = rooms
        self._timeline = timeline
        self._rooms_asked = 0
        self._order_asked = 0
        self._hinted = False
        self._behind = 0
        self._order_timer = QTimer(self, singleShot=True, interval=ORDER_MS)
        self._order_timer.timeout.connect(self._read_order)
        self._poll = QTimer(self, interval=POLL_MS)
        self._poll.timeout.connect(self.look)
        self._minute = QTimer(self, interval=MINUTE_MS)
        self._minute.timeout.connect(self._ripen)
        self._rooms_read.connect(self._take_rooms)
        self._order_read.connect(self._take_order)

    def start(self) -> None:
        """Show the first screenful of rooms now, the rest as soon as it is read."""
        self._rooms.set_rooms(self._source.rooms(limit=FIRST_ROOMS))
        self._poll.start()
        self._minute.start()

    def stop(self) -> None:
        self._poll.stop()
        self._minute.stop()
        self._order_timer.stop()
        self._rooms_asked += 1
        self._order_asked += 1

    def open_room(self, room_id: str) -> None:
        """The timeline shows another room: count its rows."""
        self._order_asked += 1
        if room_id:
            self._read_order()

    def look(self) -> None:
        """Read everything on the screen again if anybody has written since, unless hints are just coming."""
        hinted, self._hinted = self._hinted, False
        if self._reader.changed_elsewhere() or self._behind:
            self._behind += 1
            if not hinted or self._behind > _MOST_PUT_OFF:
                self._behind = 0
                self.refresh_all()

    def refresh_all(self) -> None:
        """Read everything on the screen again."""
        self.read_rooms()
        self._timeline.refresh()
        self._timeline.refresh_marks()
        self._order_timer.start()
        self.room_changed.emit()
        self.settings_changed.emit()

    @Slot(object)
    def take(self, changes: frozenset[Change]) -> None:
        """Read again what these changes concern."""
        here = self._timeline.room_id
        topics = {str(change.topic) for change in changes}
        topics_here = {str(change.topic) for change in changes if change.room_id in (None, here)}
        self._hinted = True
        if here and topics_here & _ROW_TOPICS:
            self._timeline.refresh()
            self._order_timer.start()
        if here and topics_here & _MARK_TOPICS:
            self._timeline.refresh_marks()
        touched = {
            change.room_id for change in changes if str(change.topic) in ("rooms", "reads", "timeline")
        }
        if touched:
            self._touch({room for room in touched if room is not None}, None in touched)
        if here and topics_here & {"typing", "rooms"}:
            self.room_changed.emit()
        if "session" in topics:
            self.session_changed.emit()
        if "settings" in topics or "account_data" in topics:
            self.settings_changed.emit()

    def read_rooms(self) -> None:
        """Read the whole room list in another thread."""
        self._rooms_asked += 1
        asked, path = self._rooms_asked, self._reader.path

        def work() -> None:
            with reading(path) as conn:
                found = StoreSource(lambda: conn).rooms()
            self._tell(lambda: self._rooms_read.emit(found, asked))

        threading.Thread(target=work, name="tandem-rooms", daemon=True).start()

    @Slot()
    def _ripen(self) -> None:
        if self._timeline.room_id and self._source.marks_ripen():
            self._timeline.refresh_marks()

    def _touch(self, room_ids: set[str], everything: bool) -> None:
        if everything or len(room_ids) > _MANY:
            self.read_rooms()
            return
        fresh = {}
        for room_id in room_ids:
            row = self._source.room(room_id)
            fresh[room_id] = row if row is not None and row.membership in ("join", "invite") else None
        self._rooms.update_rooms(fresh)

    def _read_order(self) -> None:
        room_id = self._timeline.room_id
        if not room_id:
            return
        self._order_asked += 1
        asked, path = self._order_asked, self._reader.path

        def work() -> None:
            with reading(path) as conn:
                found = StoreSource(lambda: conn).order(room_id)
            self._tell(lambda: self._order_read.emit(room_id, found, asked))

        threading.Thread(target=work, name="tandem-order", daemon=True).start()

    def _tell(self, emit: Callable[[], None]) -> None:
        try:
            emit()
        except RuntimeError:
            # The window was closed while this was being read.
            return

    @Slot(object, int)
    def _take_rooms(self, found: Sequence[RoomRow], asked: int) -> None:
        if asked == self._rooms_asked:
            self._rooms.set_rooms(found)
            self.loaded.emit()

    @Slot(str, object, int)
    def _take_order(self, room_id: str, found: array[int], asked: int) -> None:
        if asked == self._order_asked:
            self._timeline.set_order(room_id, found)
