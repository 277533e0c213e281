"""Tell the server how far we have read: public, private or only the marker, as ``reads.mode`` says."""

from __future__ import annotations

import logging
from typing import ClassVar

from tandem_core.clock import Chance
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import reads
from tandem_core.store.database import Database
from tandem_core.types import Json, Topic
from tandem_core.worker import Worker

log = logging.getLogger("tandem.sync.reads")


class ReadSender(Worker):
    """Sends what ``read_owed`` holds, in either program, one of them at a time."""

    name: ClassVar[str] = "reads"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.READS, Topic.SESSION})

    def __init__(self, paths: ProfilePaths, db: Database, http: Http, *, chance: Chance) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http

    async def step(self) -> float | None:
        if not await self._db.read(reads.owed):
            return None
        async with netlock(self._paths, "reads"):
            for owed in await self._db.read(reads.owed):
                try:
                    await self._http.request(
                        "POST", path("rooms", owed.room_id, "read_markers"), _body(owed.event_id, owed.kind)
                    )
                except ServerRefused as refused:
                    log.info("%s: a read receipt was refused: %s", owed.room_id, refused.errcode)
                await self._db.write(reads.settle, owed)
        return None


def _body(event_id: str, kind: str) -> Json:
    """The marker is always private to the account; the receipt is what others may see."""
    body: Json = {"m.fully_read": event_id}
    match kind:
        case "public":
            body["m.read"] = event_id
        case "private":
            body["m.read.private"] = event_id
    return body
