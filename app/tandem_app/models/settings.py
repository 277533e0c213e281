"""The settings page, from the declarations in ``tandem_core.settings``: rows for QML, and what they change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_core.types import Role, RoomId, Topic, UserId

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.types import Change

_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Delivery confirmations",
        "A confirmation tells the author of a message that it reached you. Nobody else sees it.",
        (
            "receipts.direct",
            "receipts.groups",
            "receipts.groups_max",
            "receipts.plain",
            "receipts.public",
            "receipts.notifier",
            "receipts.device_detail",
        ),
    ),
    ("Reading and typing", "", ("reads.mode", "typing.send")),
    ("Notifications", "", ("notifications.enabled", "notifications.hide_content", "background.notifier")),
    ("Appearance", "", ("appearance.theme",)),
)
_ROOM_KEYS = ("receipts.room", "notifications.room")
_WORDS = {
    "on": "On",
    "off": "Off",
    "never": "Never",
    "default": "Default",
    "nobody": "Nobody",
    "verified": "Verified contacts",
    "accepted": "Accepted contacts",
    "public": "Everybody in the room",
    "private": "Only I",
    "system": "System",
    "light": "Light",
    "dark": "Dark",
    "all": "All messages",
    "mentions": "Mentions",
    "mute": "None",
}
_KINDS = {
    "direct": "encrypted direct chats",
    "private_group": "encrypted private groups",
    "private_plain": "private rooms without encryption",
    "public": "public rooms",
    "unknown": "rooms like this",
}


class SettingsModel(QObject):
    """The account's page, or (with a room) that room's."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._room_id = ""
        self._title = ""
        self._lines: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._problem = ""
        self._is_leaving = False
        thread.changed.connect(self._follow)

    @Slot(str)
    def open(self, room_id: str) -> None:
        """Show the account's settings (empty), or a room's."""
        self._room_id = room_id
        self._problem = ""
        self._read()

    @Slot(str, str)
    def choose(self, key: str, value: str) -> None:
        """Set a switch (``true``/``false``), a choice or a number, as text."""
        self._write(key, value, self._room_id, "")

    @Slot(str, str, str)
    def forget(self, key: str, room_id: str, user_id: str) -> None:
        """Take back an exception for a room or a person."""
        self._write(key, "default", room_id, user_id)

    @Slot()
    def signOut(self) -> None:
        """Sign this device out and remove its files here."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self.changed.emit()

        async def work() -> None:
            from tandem_core import session

            await session.logout(self._thread.paths)

        self._thread.call(work(), lambda _: self._left(""), lambda error: self._left(_sentence(error)))

    def _left(self, problem: str) -> None:
        self._is_leaving = False
        self._problem = problem
        self.changed.emit()
        if not problem:
            self._thread.restart()

    def _write(self, key: str, text: str, room_id: str, user_id: str) -> None:
        from tandem_core import settings

        async def work() -> None:
            value = settings.parse_text(key, text)
            db = await self._thread.opened()
            await db.write(
                settings.set_value,
                key,
                value,
                room_id=RoomId(room_id) if room_id else None,
                user_id=UserId(user_id) if user_id else None,
                now_ms=time.time_ns() // 1_000_000,
            )

        self._thread.call(work(), lambda _: self._read(), self._failed)

    def _failed(self, error: Exception) -> None:
        self._problem = _sentence(error)
        self._read()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        if any(change.topic is Topic.SETTINGS for change in changes):
            self._read()

    def _read(self) -> None:
        conn = self._reader()
        self._title, self._lines, self._rows = "", [], []
        if conn is not None:
            if self._room_id:
                self._read_room(conn)
            else:
                self._read_account(conn)
        self.changed.emit()

    def _read_account(self, conn: sqlite3.Connection) -> None:
        self._title = "Settings"
        for heading, words, keys in _SECTIONS:
            for number, key in enumerate(keys):
                row = _public_row() if key == "receipts.public" else _row(conn, key, None)
                row |= {"heading": heading, "words": words} if number == 0 else {}
                self._rows.append(row)
            if heading == "Delivery confirmations":
                self._rows += _exceptions(conn)
        session = conn.execute("SELECT user_id, device_id, homeserver FROM session").fetchone()
        if session is not None:
            self._lines = [f"{session[0]}", f"Device {session[1]} at {session[2]}"]

    def _read_room(self, conn: sqlite3.Connection) -> None:
        from tandem_core.store import rooms

        room_id = RoomId(self._room_id)
        room = rooms.room(conn, Role.APP, room_id)
        self._title = room.name if room is not None else self._room_id
        if room is not None:
            people = f"{room.joined_count} people" if room.joined_count else "People not counted yet"
            self._lines = [line for line in (room.topic or "", people) if line]
            self._lines.append("Encrypted" if room.encrypted else "Not encrypted")
        kind = rooms.kind(conn, room_id)
        for number, key in enumerate(_ROOM_KEYS):
            row = _row(conn, key, room_id)
            row["heading"] = "In this room" if number == 0 else ""
            if key == "receipts.room":
                row["help"] += f" Default here: {_default_here(conn, kind)}."
            self._rows.append(row)

    title = Property(str, lambda self: self._title, notify=changed)
    isRoom = Property(bool, lambda self: bool(self._room_id), notify=changed)
    lines = Property("QVariantList", lambda self: self._lines, notify=changed)  # type: ignore[arg-type]
    """About the room, or the account: short sentences."""
    rows = Property("QVariantList", lambda self: self._rows, notify=changed)  # type: ignore[arg-type]
    """``{key, kind, heading, words, title, help, value, options: [{value, label}], room, person}``."""
    problem = Property(str, lambda self: self._problem, notify=changed)
    isLeaving = Property(bool, lambda self: self._is_leaving, notify=changed)


def _row(conn: sqlite3.Connection, key: str, room_id: RoomId | None) -> dict[str, Any]:
    from tandem_core import settings

    setting = settings.declared(key)
    value = settings.get(conn, key, room_id)
    kind = setting.kind
    options = [{"value": word, "label": _WORDS.get(word, word.capitalize())} for word in setting.choices]
    if kind == "choice" and setting.choices == ("on", "off"):
        # Two words are a switch to a person.
        kind, value, options = "onoff", value == "on", []
    return _blank() | {
        "key": key,
        "kind": kind,
        "title": setting.title,
        "help": setting.help,
        "value": value,
        "options": options,
        "least": setting.least,
        "most": setting.most,
    }


def _blank() -> dict[str, Any]:
    """A row with every key QML asks for."""
    return {
        "key": "", "kind": "", "heading": "", "words": "", "title": "", "help": "", "value": "",
        "options": [], "least": 0, "most": 0, "room": "", "person": "",
    }  # fmt: skip


def _public_row() -> dict[str, Any]:
    return _blank() | {
        "kind": "fixed",
        "title": "Public rooms",
        "help": "Anyone may join a public room and would learn when you are here. It can be turned on for one"
        " room, in that room's settings.",
        "value": "Never",
    }


def _exceptions(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    from tandem_core import settings
    from tandem_core.store import rooms

    found = []
    for chosen in settings.all_values(conn):
        if chosen.setting.key not in ("receipts.room", "receipts.person"):
            continue
        is_room = chosen.setting.key == "receipts.room"
        room = rooms.room(conn, Role.APP, RoomId(chosen.target)) if is_room else None
        word = str(chosen.effective.value)
        found.append(
            _blank()
            | {
                "key": chosen.setting.key,
                "kind": "exception",
                "title": room.name if room is not None else chosen.target,
                "help": "Exception: always confirm here" if word == "on" else "Exception: never confirm",
                "room": chosen.target if is_room else "",
                "person": "" if is_room else chosen.target,
            }
        )
    return found


def _default_here(conn: sqlite3.Connection, kind: str) -> str:
    from tandem_core import settings

    key = {
        "direct": "receipts.direct",
        "private_group": "receipts.groups",
        "private_plain": "receipts.plain",
    }.get(kind)
    word = "on" if key is not None and settings.get(conn, key) == "on" else "off"
    return f"{word}, as for {_KINDS.get(kind, _KINDS['unknown'])}"


def _sentence(error: Exception) -> str:
    from tandem_core.errors import Expected

    return error.sentence if isinstance(error, Expected) else "Something went wrong; the log knows more."
