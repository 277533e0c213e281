"""The info panel's rows: who has a message of ours, on which devices, since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot
from PySide6.QtGui import QGuiApplication

from tandem_app.models.words import clock_time, day_words
from tandem_core.types import Role, Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.receipts.words import PersonDelivery
    from tandem_core.store.audience import SentMessage
    from tandem_core.types import Change

_TOPICS = {Topic.DELIVERY, Topic.READS, Topic.OUTBOX, Topic.TIMELINE, Topic.DEVICES}
_GROUPS = (("waiting", "Waiting"), ("delivered", "Delivered"), ("read", "Read"))


class MessageInfoModel(QObject):
    """One message at a time; follows what arrives while it is shown."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._reader = reader
        self._key = ""
        self._summary = ""
        self._facts: list[str] = []
        self._people: list[dict[str, Any]] = []
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, key: str) -> None:
        """Show a message by its transaction id or event id; empty: nothing."""
        self._key = key
        self._read()

    @Slot()
    def copy(self) -> None:
        """Put what the panel says on the clipboard, as text."""
        QGuiApplication.clipboard().setText(self._as_text())

    def _get_summary(self) -> str:
        return self._summary

    def _get_facts(self) -> list[str]:
        return self._facts

    def _get_people(self) -> list[dict[str, Any]]:
        return self._people

    summary = Property(str, _get_summary, notify=changed)
    """How far it got, in a sentence."""
    facts = Property("QVariantList", _get_facts, notify=changed)  # type: ignore[arg-type]
    """Short lines: when it was sent, how it is protected."""
    people = Property("QVariantList", _get_people, notify=changed)  # type: ignore[arg-type]
    """``{heading, name, userId, line, devices: [{name, line, has}], spoken}``, those still waited for first."""

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if self._key and any(change.topic in _TOPICS for change in changes):
            self._read()

    def _read(self) -> None:
        conn = self._reader() if self._key else None
        self._summary, self._facts, self._people = "", [], []
        if conn is not None:
            self._fill(conn)
        self.changed.emit()

    def _fill(self, conn: sqlite3.Connection) -> None:
        from tandem_core.errors import BadInput
        from tandem_core.receipts import summary
        from tandem_core.store import audience

        try:
            said = summary.summary(conn, Role.APP, self._key)
            people = summary.details(conn, Role.APP, self._key)
        except BadInput:
            self._summary = "Only messages that you sent have delivery information."
            return
        sent = audience.sent_messages(conn, [self._key])[self._key]
        self._summary = said.text
        self._facts = [_sent_line(sent), _seal_line(conn, sent, said.people_total, said.devices_total)]
        rows = [_person(person) for person in people]
        for group, heading in _GROUPS:
            members = [row for row in rows if row["group"] == group]
            for number, row in enumerate(members):
                row["heading"] = f"{heading} ({len(members)})" if number == 0 else ""
                self._people.append(row)

    def _as_text(self) -> str:
        lines = [self._summary, *self._facts]
        for row in self._people:
            lines += ["", f"{row['name']} ({row['userId']}): {row['line']}"]
            lines += [f"  {device['name']}: {device['line']}" for device in row["devices"]]
        return "\n".join(lines)


def _sent_line(sent: SentMessage) -> str:
    verb = "Sent" if sent.send_state == "sent" else "Written"
    return f"{verb} {day_words(sent.sent_at, time.time_ns() // 1_000_000)} {clock_time(sent.sent_at)}"


def _seal_line(conn: sqlite3.Connection, sent: SentMessage, people: int, devices: int) -> str:
    row = conn.execute(
        "SELECT coalesce(wire_type, type) FROM send_queue WHERE event_id = ?1 OR txn_id = ?2"
        " UNION ALL SELECT type FROM event WHERE event_id = ?1 LIMIT 1",
        (sent.event_id, sent.txn_id),
    ).fetchone()
    if row is None or row[0] != "m.room.encrypted":
        return "Not encrypted"
    if not devices:
        return "Encrypted"
    return (
        f"Encrypted · key sent to {devices} {'device' if devices == 1 else 'devices'}"
        f" of {people} {'person' if people == 1 else 'people'}"
    )


def _person(person: PersonDelivery) -> dict[str, Any]:
    devices = [
        {
            "name": device.name,
            "has": device.delivered_at is not None,
            "line": clock_time(device.delivered_at) if device.delivered_at is not None else "no answer yet",
        }
        for device in person.devices
    ]
    shares_detail = any(device["has"] for device in devices)
    if person.delivered_at is not None and not shares_detail:
        # Whoever confirms as a person does not say on which device: guessing would be a lie.
        devices = []
    group = (
        "read"
        if person.read_at is not None
        else "delivered"
        if person.delivered_at is not None
        else "waiting"
    )
    line = _person_line(person, shares_detail)
    spoken = ". ".join([f"{person.name}: {line}", *(f"{d['name']}: {d['line']}" for d in devices)])
    return {
        "group": group,
        "heading": "",
        "name": person.name,
        "userId": person.user_id,
        "line": line,
        "devices": devices,
        "spoken": spoken,
    }


def _person_line(person: PersonDelivery, shares_detail: bool) -> str:
    if not person.tracked:
        return "Delivery is not tracked here"
    parts = []
    if person.read_at is not None:
        parts.append(f"read {clock_time(person.read_at)}")
    if person.delivered_at is not None:
        parts.append(f"delivered {clock_time(person.delivered_at)}")
        if not shares_detail:
            parts.append("device details not shared")
    if not person.counted:
        parts.append("joined later")
    if not parts:
        return "No confirmation yet. Their app may not send any"
    words = " · ".join(parts)
    return words[0].upper() + words[1:]
