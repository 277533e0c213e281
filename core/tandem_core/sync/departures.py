"""Rooms that we left while nobody looked: after a start without a place the server does not mention them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Set as AbstractSet

from tandem_core.http import Http, path
from tandem_core.store import rooms
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Role, RoomId

log = logging.getLogger("tandem.sync.departures")


async def settle_departures(http: Http, db: Database, link: Role, heard: AbstractSet[RoomId]) -> int:
    """Mark rooms as left that were not heard of in a whole fresh sync and that the server does not count
    among the joined ones; returns how many. Raises as ``Http.request``."""
    if not await db.read(_unheard, link, heard):
        return 0
    answer = await http.request("GET", path("joined_rooms"))
    joined = answer.get("joined_rooms")
    if not isinstance(joined, list):
        return 0
    return await db.write(_settle, link, heard | {room for room in joined if isinstance(room, str)})


def _settle(txn: Transaction, link: Role, present: AbstractSet[str]) -> int:
    gone = _unheard(txn.conn, link, present)
    for room_id in gone:
        log.info("%s: %s was left meanwhile", link, room_id)
        rooms.set_room(txn, link, room_id, {"membership": "leave"})
    return len(gone)


def _unheard(conn: sqlite3.Connection, link: Role, heard: AbstractSet[str]) -> list[RoomId]:
    rows = conn.execute(
        "SELECT room_id FROM room WHERE conn = ? AND membership IN ('join', 'invite')", (link,)
    )
    return [row["room_id"] for row in rows if row["room_id"] not in heard]
