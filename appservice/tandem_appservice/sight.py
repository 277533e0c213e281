"""What sync would say of a room at first: its state and members, asked of the homeserver when they are needed.

Transactions bring only what happens after the account joined.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.store import account_data, members
from tandem_core.store.database import Transaction
from tandem_core.sync.response import Hero, Reader, Room
from tandem_core.types import Json, Role, RoomId, UserId

log = logging.getLogger("tandem.appservice.sight")

LINK = Role.NOTIFIER
"""A hosted account has one connection, that of a program without a window."""
_HEROES = 5


@dataclass(frozen=True, slots=True)
class Sight:
    """A room's state as the server has just told it; what the account takes next may be older."""

    room_id: RoomId
    state: tuple[Json, ...]


@dataclass(slots=True)
class People:
    """Who is in a room, kept up to date while events pass by."""

    memberships: dict[str, str]
    names: dict[str, str | None]

    @classmethod
    def known(cls, conn: sqlite3.Connection, room_id: RoomId) -> People:
        """As the store has them."""
        found = members.members(conn, LINK, room_id)
        return cls(
            {member.user_id: member.membership for member in found},
            {member.user_id: member.display_name for member in found},
        )

    def note(self, event: Json) -> None:
        """Take in a membership event."""
        said, name = event["content"].get("membership"), event["content"].get("displayname")
        if isinstance(said, str):
            self.memberships[event["state_key"]] = said
            self.names[event["state_key"]] = name if isinstance(name, str) else None

    def count(self, membership: str) -> int:
        return sum(said == membership for said in self.memberships.values())

    def heroes(self, me: UserId) -> tuple[Hero, ...]:
        """Those after whom a room without a name is named."""
        there = sorted(
            user for user, said in self.memberships.items() if said in ("join", "invite") and user != me
        )
        return tuple(Hero(UserId(user), self.names.get(user), None) for user in there[:_HEROES])


async def look(http: Http, room_id: RoomId) -> Sight | None:
    """Ask for a room's state; None where the server does not tell it us (left meanwhile).

    Raises Offline, RateLimited, SignedOut.
    """
    try:
        answer = await http.request_list(path("rooms", room_id, "state"))
    except ServerRefused as refused:
        if refused.status not in (403, 404):
            raise
        log.info("%s: its state is not told: %s", room_id, refused.errcode)
        return None
    return Sight(room_id, Reader().state(answer))


def room_of(conn: sqlite3.Connection, me: UserId, sight: Sight) -> Room:
    """The record that sync would bring of this room at first, without events."""
    people = People({}, {})
    for event in _members(sight):
        people.note(event)
    return Room(
        room_id=sight.room_id,
        initial=True,
        is_dm=True if sight.room_id in _direct_rooms(conn) else None,
        joined_count=people.count("join"),
        invited_count=people.count("invite"),
        heroes=people.heroes(me),
        required_state=sight.state,
    )


def is_joined(conn: sqlite3.Connection, room_id: RoomId) -> bool:
    """Whether we are in the room, as far as this connection was told."""
    row = conn.execute(
        "SELECT membership FROM room WHERE conn = ? AND room_id = ?", (LINK, room_id)
    ).fetchone()
    return row is not None and row["membership"] == "join"


def keep_members(txn: Transaction, sight: Sight) -> None:
    """The state has every member: the list is complete."""
    above = members.newest_place(txn.conn, LINK, sight.room_id)
    members.put_complete(txn, LINK, sight.room_id, list(_members(sight)), above)


def _members(sight: Sight) -> Iterable[Json]:
    return (event for event in sight.state if event["type"] == "m.room.member")


def _direct_rooms(conn: sqlite3.Connection) -> set[str]:
    listed = account_data.get(conn, "m.direct") or {}
    return {
        room
        for chats in listed.values()
        if isinstance(chats, list)
        for room in chats
        if isinstance(room, str)
    }
