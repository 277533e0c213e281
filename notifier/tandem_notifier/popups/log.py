"""Popups for machines without a notification service: one JSON line each, to a private file or to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tandem_core.types import Json, RoomId
from tandem_notifier.popup import Click, Popup, PopupsUnavailable, ignore


class LogPopups:
    """Writes what a popup would say. What was written stays, so there is nothing to close and nothing to click."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.on_click: Callable[[Click], None] = ignore
        self.on_gone: Callable[[RoomId], None] = ignore

    @property
    def where(self) -> str:
        """For people."""
        return f"the file {self.file}" if self.file else "standard output"

    async def run(self) -> None:
        """There is nothing to keep in touch with."""

    async def show(self, popup: Popup) -> None:
        """Write one line: ``room``, ``title``, ``body``, ``event_id`` (the newest), ``events``, ``ts``."""
        self._write(
            {
                "room": popup.room_id,
                "title": popup.title,
                "body": popup.body,
                "event_id": popup.event_id,
                "events": list(popup.events),
                "ts": popup.at_ms,
            }
        )

    async def close(self, room_id: RoomId) -> None:
        """Nothing: a line that is written stays."""

    async def notice(self, title: str, body: str) -> None:
        """Write one line without a room."""
        self._write({"title": title, "body": body})

    def _write(self, entry: Json) -> None:
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        try:
            if self.file is None:
                sys.stdout.write(line)
                sys.stdout.flush()
                return
            place = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(place, line.encode("utf-8", "replace"))
            finally:
                os.close(place)
        except OSError as error:
            raise PopupsUnavailable(f"{self.where}: {error.strerror}") from error
