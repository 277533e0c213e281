"""What the models read of the store, as quick indexed reads on the Qt thread's own connection."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tandem_core.clock import SystemClock
from tandem_core.store import rooms, view, window
from tandem_core.types import Role, RoomId

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from tandem_core.receipts.summary import Summary

LINK = Role.APP


class StoreSource:
    """Rows, marks and rooms of this account; empty as long as there is no store."""

    def __init__(
        self,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        self._reader = reader
        self._clock_ms = clock_ms or SystemClock().now_ms

    def session_state(self) -> str | None:
        """What the server last said of this account; None where nobody ever signed in."""
        conn = self._reader()
        return window.session_state(conn) if conn else None

    def has_synced(self) -> bool:
        """Whether the server has ever told us of our rooms."""
        conn = self._reader()
        return conn is not None and window.has_synced(conn, LINK)

    def theme(self) -> str:
        """system, light or dark."""
        conn = self._reader()
        return window.theme(conn) if conn else "system"

    def contrast(self) -> str:
        """system or high."""
        conn = self._reader()
        return window.contrast(conn) if conn else "system"

    def mark_style(self) -> str:
        """icons or words."""
        conn = self._reader()
        return window.marks(conn) if conn else "icons"

    def find_room(self, name: str) -> str:
        """The id of a room of this account by its id or address; empty if there is none."""
        conn = self._reader()
        return window.find_room(conn, LINK, name) if conn else ""

    def page(self, room_id: str, before: int | None, limit: int) -> list[view.Row]:
        """Rows of a room below ``before`` (or the newest), newest first."""
        conn = self._reader()
        return view.page(conn, LINK, RoomId(room_id), before=before, limit=limit) if conn else []

    def marks(self, room_id: str, keys: list[str]) -> dict[str, Summary]:
        """How far our own messages got."""
        from tandem_core.receipts.summary import summaries  # not needed for the first frame

        conn = self._reader()
        return summaries(conn, LINK, keys, self._clock_ms()) if conn else {}

    def marks_ripen(self) -> bool:
        """Whether what a device said a while ago may change a mark with time alone."""
        from tandem_core.receipts.failed_heard import PROVISIONAL_MS
        from tandem_core.store.failed import newest_heard

        conn = self._reader()
        heard_at = newest_heard(conn) if conn else None
        return heard_at is not None and self._clock_ms() - heard_at < 2 * PROVISIONAL_MS

    def read_up_to(self, room_id: str) -> int | None:
        """The number of the row we have read last, if this connection has it."""
        conn = self._reader()
        return window.read_place(conn, LINK, RoomId(room_id)) if conn else None

    def draft(self, room_id: str) -> str:
        """What was written in a room and not sent."""
        conn = self._reader()
        return window.draft(conn, RoomId(room_id)) if conn else ""

    def typing(self, room_id: str) -> list[str]:
        """The names of the others who are writing in a room just now."""
        conn = self._reader()
        return window.typing_names(conn, LINK, RoomId(room_id)) if conn else []

    def room(self, room_id: str) -> rooms.RoomRow | None:
        conn = self._reader()
        return rooms.room(conn, LINK, RoomId(room_id)) if conn else None

    def asks_by_choice(self, room_id: str) -> bool:
        """Whether their author chooses for which messages in a room to ask for confirmations."""
        from tandem_core.receipts import marker

        conn = self._reader()
        return conn is not None and marker.asks(conn, RoomId(room_id)) is marker.Asks.BY_CHOICE

    def rooms(self, limit: int | None = None, offset: int = 0) -> Sequence[rooms.RoomRow]:
        """The room list in its order."""
        conn = self._reader()
        return rooms.room_list(conn, LINK, limit=limit, offset=offset) if conn else []

    def order(self, room_id: str) -> array[int]:
        """The numbers of all rows of a room; not quick: for another thread."""
        conn = self._reader()
        return view.order(conn, LINK, RoomId(room_id)) if conn else array("q")
