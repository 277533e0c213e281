"""The info panel: who has a message of ours, on which devices, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models import info_rows
from tandem_app.models.words import moment
from tandem_core.receipts.words import quantity
from tandem_core.types import Role, RoomId, Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.receipts.words import DeviceDelivery, PersonDelivery
    from tandem_core.store.audience import SentMessage
    from tandem_core.types import Change

LINK = Role.APP
_TOPICS = frozenset({Topic.DELIVERY, Topic.READS, Topic.OUTBOX, Topic.TIMELINE, Topic.DEVICES, Topic.ROOMS})
_NOT_OURS = "Only messages that you sent have delivery information."


class MessageInfoModel(QObject):
    """One message at a time; follows what arrives while it is shown."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._reader = reader
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        self._key = ""
        self._summary = ""
        self._facts: list[str] = []
        self._people: list[PersonDelivery] = []
        self._own: list[DeviceDelivery] = []
        self._tracked = True
        self._rows: list[dict[str, Any]] = []
        self._unfolded: set[str] = set()
        self._wanted = ""
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, key: str) -> None:
        """Show a message by its transaction id or event id; empty: nothing."""
        self._key = key
        self._unfolded = set()
        self._wanted = ""
        self.look()

    @Slot()
    def look(self) -> None:
        """Read everything again."""
        conn = self._reader() if self._key else None
        before = (self._summary, self._facts, self._rows, self._tracked)
        self._summary, self._facts, self._people, self._own, self._tracked = "", [], [], [], True
        if conn is not None:
            self._fill(conn)
        self._arrange()
        if before != (self._summary, self._facts, self._rows, self._tracked):
            self.changed.emit()

    @Slot(str)
    def toggle(self, group: str) -> None:
        """Fold a group's people away, or show them."""
        self._unfolded ^= {group}
        self._arrange()
        self.changed.emit()

    @Slot(str)
    def find(self, wanted: str) -> None:
        """Show only people with this in their name or id, whatever group they are in."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._arrange()
            self.changed.emit()

    @Slot()
    def copy(self) -> None:
        """Put what the panel says on the clipboard, as text."""
        from PySide6.QtGui import QGuiApplication

        QGuiApplication.clipboard().setText(self.as_text())

    def as_text(self) -> str:
        """What the panel says, in lines."""
        shown = info_rows.rows(
            self._people, self._own, self._clock_ms(), tracked=self._tracked, unfolded=info_rows.ALL
        )
        return "\n".join([self._summary, *self._facts, *info_rows.as_lines(shown)]) + "\n"

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if self._key and any(change.topic in _TOPICS for change in changes):
            self.look()

    def _fill(self, conn: sqlite3.Connection) -> None:
        from tandem_core.receipts import summary
        from tandem_core.store import audience

        sent = audience.sent_messages(conn, [self._key]).get(self._key)
        if sent is None:
            self._summary = _NOT_OURS
            return
        now_ms = self._clock_ms()
        said = summary.summary(conn, LINK, self._key, now_ms)
        self._people = summary.details(conn, LINK, self._key, now_ms)
        self._own = summary.own_devices(conn, self._key)
        self._summary = said.accessible
        self._facts = [
            _sent_line(sent, now_ms),
            _seal_line(conn, sent, said.people_total, said.devices_total),
            *_left_out_lines(conn, sent),
        ]
        counted = [person for person in self._people if person.counted]
        self._tracked = not counted or any(person.tracked for person in counted)

    def _arrange(self) -> None:
        self._rows = info_rows.rows(
            self._people,
            self._own,
            self._clock_ms(),
            tracked=self._tracked,
            unfolded=self._unfolded,
            wanted=self._wanted,
        )

    # PySide's stub wants a type, but a QVariantList is only known by name.
    summary = Property(str, lambda self: self._summary, notify=changed)
    """How far it got, in a sentence."""
    facts = Property("QVariantList", lambda self: self._facts, notify=changed)  # type: ignore[arg-type]
    """Short lines: when it was sent, how it is protected and for whom, and which devices were left out."""
    rows = Property("QVariantList", lambda self: self._rows, notify=changed)  # type: ignore[arg-type]
    """As ``info_rows`` makes them."""
    blank = Property("QVariantMap", lambda self: info_rows.BLANK, constant=True)  # type: ignore[arg-type]
    """A row with nothing in it."""
    many = Property(bool, lambda self: info_rows.are_many(self._people), notify=changed)
    """Whether there are so many people that they are looked for by name."""
    tracked = Property(bool, lambda self: self._tracked, notify=changed)
    """Whether confirmations can be expected at all."""


def _sent_line(sent: SentMessage, now_ms: int) -> str:
    verb = "Sent" if sent.send_state == "sent" else "Written"
    return f"{verb} {moment(sent.sent_at, now_ms)}"


def _seal_line(conn: sqlite3.Connection, sent: SentMessage, people: int, devices: int) -> str:
    if not _is_encrypted(conn, sent):
        return f"Not encrypted · for {quantity(people, 'person', 'people')}"
    if not devices:
        return f"Encrypted · for {quantity(people, 'person', 'people')}"
    return f"Encrypted · key sent to {quantity(devices, 'device', 'devices')} of {quantity(people, 'person', 'people')}"


_LEFT_OUT = {
    "m.unverified": "not confirmed by its owner, or not verified",
    "m.blacklisted": "blocked",
    "m.no_olm": "it gave no keys to reach it with",
}
_MOST_LEFT_OUT = 5


def _left_out_lines(conn: sqlite3.Connection, sent: SentMessage) -> list[str]:
    """Which devices cannot read it, and why; the first few by name."""
    from tandem_core.store import audience, members

    found = audience.left_out(conn, sent.event_id) if sent.event_id else []
    lines = [
        f"Left out: {members.display_name(conn, RoomId(sent.room_id), device.user_id)}'s {device.device_name}"
        f" ({_LEFT_OUT.get(device.code, 'not entitled')})"
        for device in found[:_MOST_LEFT_OUT]
    ]
    more = len(found) - _MOST_LEFT_OUT
    return [*lines, f"and {quantity(more, 'more device', 'more devices')}"] if more > 0 else lines


def _is_encrypted(conn: sqlite3.Connection, sent: SentMessage) -> bool:
    """As it went to the server; before it did, as it will."""
    from tandem_core.store import events, rooms

    event = events.get(conn, sent.event_id) if sent.event_id else None
    if event is not None:
        return event.type == "m.room.encrypted"
    return rooms.encryption(conn, RoomId(sent.room_id)) is not None
