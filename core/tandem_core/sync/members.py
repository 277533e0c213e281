"""The full member list of a room, fetched when somebody needs it (encrypting, the info panel)."""

from __future__ import annotations

import logging

from tandem_core.http import Http, path
from tandem_core.store import members
from tandem_core.store.database import Database
from tandem_core.types import Role, RoomId

log = logging.getLogger("tandem.sync.members")

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
