"""The full member list of a room, fetched when somebody needs it (encrypting, the info panel)."""

from __future__ import annotations

import logging
from typing import ClassVar

from tandem_core.clock import Chance
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.store import members, rooms
from tandem_core.store.database import Database
from tandem_core.types import Role, RoomId, Topic
from tandem_core.worker import Worker

log = logging.getLogger("tandem.sync.members")

MOST_FETCHED = 2_000
"""A bigger room is shown with the members that sync mentions; only encrypting in it fetches them all."""
_TRIES = 3


async def ensure_members(
    http: Http, db: Database, link: Role, room_id: RoomId, *, force: bool = False
) -> None:
    """Make this connection know all members of a room; does nothing if it does (unless ``force``).

    What sync brings while the list is on its way is applied on top of it. Raises as ``Http.request``.
    """
    for _ in range(_TRIES):
        if not force and await db.read(members.is_complete, link, room_id):
            return
        asked_above = await db.read(members.newest_place, link, room_id)
        answer = await http.request(
            "GET", path("rooms", room_id, "members"), query={"not_membership": "leave"}
        )
        chunk = answer.get("chunk")
        events = [event for event in chunk if isinstance(event, dict)] if isinstance(chunk, list) else []
        if await db.write(members.put_complete, link, room_id, events, asked_above):
            return
    log.warning("%s: the member list changed faster than it could be fetched", room_id)


class OpenRoomMembers(Worker):
    """Fetches the member list of the room that stands open, so that everybody in it has a name."""

    name: ClassVar[str] = "members"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.ROOMS})

    def __init__(self, db: Database, http: Http, role: Role, *, chance: Chance) -> None:
        super().__init__(chance)
        self._db = db
        self._http = http
        self._role = role
        self._room_id: RoomId | None = None

    def open_room(self, room_id: RoomId | None) -> None:
        """The room that stands open now. Call it on the engine's loop."""
        self._room_id = room_id
        self._woken.set()

    async def step(self) -> float | None:
        room_id = self._room_id
        if room_id is None or await self._db.read(members.is_complete, self._role, room_id):
            return None
        room = await self._db.read(rooms.room, self._role, room_id)
        if room is None or room.membership != "join" or room.joined_count > MOST_FETCHED:
            return None
        try:
            await ensure_members(self._http, self._db, self._role, room_id)
        except ServerRefused as refused:
            log.info("%s: its members are not told: %s", room_id, refused.errcode)
            self._room_id = None
        return None
