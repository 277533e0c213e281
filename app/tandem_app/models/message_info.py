"""The info panel: who has a message of ours, on which devices, since when; and whether we confirmed another's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models import info_facts, info_rows
from tandem_core.errors import BadInput, Expected, Offline
from tandem_core.receipts import summary as summaries
from tandem_core.receipts import why
from tandem_core.store import audience
from tandem_core.store import session as sessions
from tandem_core.types import DeviceId, EventId, Role, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.receipts.words import DeviceDelivery, PersonDelivery
    from tandem_core.types import Change

LINK = Role.APP
_TOPICS = frozenset(
    {
        Topic.DELIVERY,
        Topic.READS,
        Topic.OUTBOX,
        Topic.TIMELINE,
        Topic.DEVICES,
        Topic.ROOMS,
        Topic.OWED,
        Topic.SETTINGS,
    }
)
_NO_QUESTION: dict[str, Any] = {"title": "", "words": "", "userId": "", "deviceId": ""}


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
        self._thread = thread
        self._reader = reader
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        self._key = ""
        self._event_id = ""
        self._summary = ""
        self._facts: list[str] = []
        self._people: list[PersonDelivery] = []
        self._own: list[DeviceDelivery] = []
        self._tracked = True
        self._rows: list[dict[str, Any]] = []
        self._unfolded: set[str] = set()
        self._wanted = ""
        self._question = _NO_QUESTION
        self._busy = False
        self._note = ("", "")
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, key: str) -> None:
        """Show a message by its transaction id or event id; empty: nothing."""
        self._key = key
        self._unfolded = set()
        self._wanted = ""
        self._question, self._busy, self._note = _NO_QUESTION, False, ("", "")
        self.look()
        self.changed.emit()

    @Slot()
    def look(self) -> None:
        """Read everything again."""
        conn = self._reader() if self._key else None
        before = (self._summary, self._facts, self._rows, self._tracked)
        self._summary, self._facts, self._people, self._own, self._tracked = "", [], [], [], True
        self._event_id = ""
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

    # The key once more, always by hand.

    @Slot(str, str)
    def ask(self, user_id: str, device_id: str) -> None:
        """Ask whether a device that cannot decrypt the message is to get its key again."""
        for person in self._people:
            for device in person.failing:
                if (person.user_id, device.device_id) == (user_id, device_id):
                    self._question = info_rows.question(person, device)
                    self._note = ("", "")
                    self.changed.emit()

    @Slot()
    def cancel(self) -> None:
        """Rather not."""
        self._question = _NO_QUESTION
        self.changed.emit()

    @Slot()
    def sendKey(self) -> None:
        """Send the key to the device that was asked about."""
        asked = self._question
        if self._busy or not asked["deviceId"]:
            return
        self._busy = True
        self.changed.emit()
        key = self._key
        self._thread.call(
            self._sending(self._event_id, asked["userId"], asked["deviceId"]),
            lambda _: self._sent(key, "good", "The key is on its way."),
            lambda error: self._refused(key, error),
        )

    async def _sending(self, event_id: str, user_id: str, device_id: str) -> None:
        engine = self._thread.engine
        if engine is None:
            raise Offline
        await engine.encryption.send_key_again(EventId(event_id), UserId(user_id), DeviceId(device_id))

    def _refused(self, key: str, error: Exception) -> None:
        if not isinstance(error, Expected):
            raise error
        self._sent(key, "danger", f"The key was not sent: {error.title}. {error.advice}")

    def _sent(self, key: str, tone: str, words: str) -> None:
        if key != self._key:
            return
        self._busy, self._question, self._note = False, _NO_QUESTION, (tone, words)
        self.look()
        self.changed.emit()

    # What is shown.

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if self._key and any(change.topic in _TOPICS for change in changes):
            self.look()

    def _fill(self, conn: sqlite3.Connection) -> None:
        now_ms = self._clock_ms()
        sent = audience.sent_messages(conn, [self._key]).get(self._key)
        if sent is None:
            self._fill_theirs(conn, EventId(self._key), now_ms)
            return
        said = summaries.summary(conn, LINK, self._key, now_ms)
        self._event_id = sent.event_id or ""
        self._people = summaries.details(conn, LINK, self._key, now_ms)
        self._own = summaries.own_devices(conn, self._key)
        self._summary = said.accessible
        self._facts = info_facts.of_ours(conn, sent, said, now_ms)
        counted = [person for person in self._people if person.counted]
        self._tracked = not counted or any(
            person.tracked or person.delivered_at is not None or person.read_at is not None
            for person in counted
        )

    def _fill_theirs(self, conn: sqlite3.Connection, event_id: EventId, now_ms: int) -> None:
        account = sessions.session(conn)
        if account is None:
            return
        try:
            told = why.why(conn, account.me, event_id, now_ms)
        except BadInput:
            return  # it has left the store
        self._summary, self._facts = info_facts.of_theirs(conn, event_id, told, now_ms)

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
    question = Property("QVariantMap", lambda self: self._question, notify=changed)  # type: ignore[arg-type]
    """``{title, words, userId, deviceId}``, with an empty title while nothing is asked."""
    busy = Property(bool, lambda self: self._busy, notify=changed)
    noteTone = Property(str, lambda self: self._note[0], notify=changed)
    noteWords = Property(str, lambda self: self._note[1], notify=changed)
    """What came of sending the key."""
