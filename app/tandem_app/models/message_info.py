"""The info panel: who has a message of ours, on which devices, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_app.models.words import clock_time, hue, list_time
from tandem_core.types import Role, RoomId, Topic

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.receipts.words import DeviceDelivery, PersonDelivery
    from tandem_core.store.audience import SentMessage
    from tandem_core.types import Change

LINK = Role.APP
_TOPICS = frozenset({Topic.DELIVERY, Topic.READS, Topic.OUTBOX, Topic.TIMELINE, Topic.DEVICES, Topic.ROOMS})
_GROUPS = (
    ("waiting", "Waiting"),
    ("delivered", "Delivered"),
    ("read", "Read"),
    ("other", "Not counted: not among those it was sent to"),
)
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
        self._people: list[dict[str, Any]] = []
        self._tracked = True
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, key: str) -> None:
        """Show a message by its transaction id or event id; empty: nothing."""
        self._key = key
        self.look()

    @Slot()
    def look(self) -> None:
        """Read everything again."""
        conn = self._reader() if self._key else None
        before = (self._summary, self._facts, self._people, self._tracked)
        self._summary, self._facts, self._people, self._tracked = "", [], [], True
        if conn is not None:
            self._fill(conn)
        if before != (self._summary, self._facts, self._people, self._tracked):
            self.changed.emit()

    @Slot()
    def copy(self) -> None:
        """Put what the panel says on the clipboard, as text."""
        from PySide6.QtGui import QGuiApplication

        QGuiApplication.clipboard().setText(self.as_text())

    def as_text(self) -> str:
        """What the panel says, in lines."""
        lines = [self._summary, *self._facts]
        for row in self._people:
            if row["heading"]:
                lines += ["", row["heading"]]
            lines.append(f"- {row['name']} ({row['userId']}): {row['line']}")
            lines += [f"    {device['name']}: {device['line']}" for device in row["devices"]]
        return "\n".join(lines) + "\n"

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
        said = summary.summary(conn, LINK, self._key)
        people = summary.details(conn, LINK, self._key)
        self._summary = said.accessible
        self._facts = [
            _sent_line(sent, now_ms),
            _seal_line(conn, sent, said.people_total, said.devices_total),
            *_left_out_lines(conn, sent),
        ]
        self._tracked = all(person.tracked for person in people)
        rows = [_person(person, now_ms) for person in people]
        for group, heading in _GROUPS:
            members = [row for row in rows if row["group"] == group]
            for number, row in enumerate(members):
                row["heading"] = f"{heading} ({len(members)})" if number == 0 else ""
            self._people += members

    # PySide's stub wants a type, but a QVariantList is only known by name.
    summary = Property(str, lambda self: self._summary, notify=changed)
    """How far it got, in a sentence."""
    facts = Property("QVariantList", lambda self: self._facts, notify=changed)  # type: ignore[arg-type]
    """Short lines: when it was sent, how it is protected and for whom, and which devices were left out."""
    people = Property("QVariantList", lambda self: self._people, notify=changed)  # type: ignore[arg-type]
    """``{heading, name, userId, hue, line, devices: [{name, line, has}], spoken}``, those waited for first."""
    tracked = Property(bool, lambda self: self._tracked, notify=changed)
    """Whether confirmations can be expected at all."""


def moment(at_ms: int, now_ms: int) -> str:
    """A time to the minute, with its day unless that is today: 11:50, yesterday 11:50, 3 Nov 11:50."""
    day = list_time(at_ms, now_ms)
    hour = clock_time(at_ms)
    if day == hour:
        return hour
    return f"{'yesterday' if day == 'Yesterday' else day} {hour}"


def _sent_line(sent: SentMessage, now_ms: int) -> str:
    verb = "Sent" if sent.send_state == "sent" else "Written"
    return f"{verb} {moment(sent.sent_at, now_ms)}"


def _seal_line(conn: sqlite3.Connection, sent: SentMessage, people: int, devices: int) -> str:
    if not _is_encrypted(conn, sent):
        return f"Not encrypted · for {_count(people, 'person', 'people')}"
    if not devices:
        return f"Encrypted · for {_count(people, 'person', 'people')}"
    return f"Encrypted · key sent to {_count(devices, 'device', 'devices')} of {_count(people, 'person', 'people')}"


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
    return [*lines, f"and {_count(more, 'more device', 'more devices')}"] if more > 0 else lines


def _is_encrypted(conn: sqlite3.Connection, sent: SentMessage) -> bool:
    """As it went to the server; before it did, as it will."""
    from tandem_core.store import events, rooms

    event = events.get(conn, sent.event_id) if sent.event_id else None
    if event is not None:
        return event.type == "m.room.encrypted"
    return rooms.encryption(conn, RoomId(sent.room_id)) is not None


def _person(person: PersonDelivery, now_ms: int) -> dict[str, Any]:
    shares_devices = any(device.delivered_at is not None for device in person.devices)
    # Who confirms as a person does not say on which device; showing the others as waiting would be a guess.
    silent = person.delivered_at is not None and not shares_devices
    devices = [] if silent or not person.tracked else [_device(d, now_ms) for d in person.devices]
    line = _person_line(person, shares_devices, now_ms)
    return {
        "group": _group(person),
        "heading": "",
        "name": person.name,
        "userId": person.user_id,
        "hue": hue(person.user_id),
        "line": line,
        "devices": devices,
        "spoken": ". ".join([f"{person.name}: {line}", *(f"{d['name']}: {d['line']}" for d in devices)]),
    }


def _group(person: PersonDelivery) -> str:
    if not person.counted:
        return "other"
    if person.read_at is not None:
        return "read"
    return "delivered" if person.delivered_at is not None else "waiting"


def _person_line(person: PersonDelivery, shares_devices: bool, now_ms: int) -> str:
    parts = []
    if person.read_at is not None:
        parts.append(f"read {moment(person.read_at, now_ms)}")
    if person.delivered_at is not None:
        parts.append(f"delivered {moment(person.delivered_at, now_ms)}")
        if not shares_devices:
            parts.append("device details not shared")
        else:
            parts.append(_devices_heard(person.devices))
    if not parts:
        return "No confirmation yet" if person.tracked else "Delivery is not tracked here"
    words = " · ".join(parts)
    return words[0].upper() + words[1:]


def _devices_heard(devices: Sequence[DeviceDelivery]) -> str:
    counted = [device for device in devices if device.counted]
    heard = sum(device.delivered_at is not None for device in counted)
    return f"{heard} of {_count(len(counted), 'device', 'devices')}"


def _device(device: DeviceDelivery, now_ms: int) -> dict[str, Any]:
    has = device.delivered_at is not None
    return {
        "name": device.name,
        "has": has,
        "line": moment(device.delivered_at or 0, now_ms) if has else "no answer yet",
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
