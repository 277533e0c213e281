"""Notifications of hosted accounts: handed to a command, or told in the log. Text only where it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tandem_appservice.sight import LINK
from tandem_core import settings
from tandem_core.clock import Chance, Clock
from tandem_core.errors import Expected
from tandem_core.store import members, notifications, rooms
from tandem_core.store.database import Database
from tandem_core.store.notifications import Due
from tandem_core.types import Json, Topic, UserId
from tandem_core.worker import Worker

log = logging.getLogger("tandem.appservice.notify")

COMMAND_S = 30.0
"""A command that takes longer is ended, and its notification tried again."""
MOST_TRIES = 5


class CommandFailed(Expected):
    title = "The notification command failed"
    advice = "It is run again; see --notify-command."


class Notify(Protocol):
    """Where a notification goes. Returns once it is handed over, or raises Expected."""

    async def __call__(self, note: Json) -> None: ...


async def to_log(note: Json) -> None:
    """Say that there is a message; what it says never stands in a log."""
    log.info("message %s by %s in %s", note["event_id"], note["sender"], note["room_id"])


class Command:
    """Runs a command for each notification, with one JSON object on its standard input."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    async def __call__(self, note: Json) -> None:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            raise CommandFailed(error.strerror or "") from error
        try:
            async with asyncio.timeout(COMMAND_S):
                await child.communicate(json.dumps(note, ensure_ascii=False).encode("utf-8") + b"\n")
        except TimeoutError:
            raise CommandFailed(f"it took longer than {COMMAND_S:.0f} s") from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode:
            raise CommandFailed(f"exit status {child.returncode}")


@dataclass(frozen=True, slots=True)
class _Look:
    is_enabled: bool
    hides_content: bool
    items: list[tuple[Due, str, str]]
    """What is due, with the names of its sender and its room."""


class NotificationWorker(Worker):
    """Hands over each due notification once; death between that and the note of it repeats one, at most."""

    name: ClassVar[str] = "notifications"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.NOTIFICATIONS, Topic.SETTINGS, Topic.TIMELINE})

    def __init__(
        self, db: Database, me: UserId, notify: Notify, *, with_text: bool, clock: Clock, chance: Chance
    ) -> None:
        super().__init__(chance)
        self._db = db
        self._me = me
        self._notify = notify
        self._with_text = with_text
        self._clock = clock
        self._tries: dict[str, int] = {}

    async def step(self) -> float | None:
        look = await self._db.read(self._look)
        for due, sender_name, room_name in look.items:
            reason = _reason_to_skip(look, due)
            if not reason:
                reason = await self._hand_over(look, due, sender_name, room_name)
            now_ms = self._clock.now_ms()
            if reason:
                await self._db.write(notifications.skip, [due.event_id], reason, now_ms)
            else:
                await self._db.write(notifications.mark_shown, [due.event_id], now_ms)
        return 0.0 if len(look.items) >= notifications.MOST_AT_ONCE else None

    async def _hand_over(self, look: _Look, due: Due, sender_name: str, room_name: str) -> str:
        """Returns why it was given up, or nothing; raises CommandFailed while it is worth another try."""
        note: Json = {
            "user_id": self._me,
            "room_id": due.room_id,
            "room_name": room_name,
            "event_id": due.event_id,
            "sender": due.sender,
            "sender_name": sender_name,
            "kind": due.kind,
            "at_ms": due.made_at,
        }
        if self._with_text and not look.hides_content:
            note["body"] = due.body
        try:
            await self._notify(note)
        except CommandFailed as failed:
            tries = self._tries.pop(due.event_id, 0) + 1
            if tries < MOST_TRIES:
                self._tries[due.event_id] = tries
                raise
            log.error("%s (%s); given up for %s", failed.title, failed.detail, due.event_id)
            return "command_failed"
        self._tries.pop(due.event_id, None)
        return ""

    def _look(self, conn: sqlite3.Connection) -> _Look:
        items = []
        for due in notifications.due(conn, self._me):
            row = rooms.room(conn, LINK, due.room_id)
            name = members.display_name(conn, due.room_id, due.sender)
            items.append((due, name, row.name if row else rooms.EMPTY_ROOM))
        return _Look(
            settings.get(conn, "notifications.enabled") is True,
            settings.get(conn, "notifications.hide_content") is True,
            items,
        )


def _reason_to_skip(look: _Look, due: Due) -> str:
    if due.is_gone:
        return "redacted"
    if due.is_read:
        return "read"
    return "" if look.is_enabled else "disabled"
