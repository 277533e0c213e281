"""Which hosted account gets which piece of a transaction: pure.

A room's events go to the accounts that have joined it. ``homes`` says so; it follows the membership events that
pass by, in their order. An account that is not prepared yet gets every room's events and sorts them itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tandem_appservice.transaction import Transaction
from tandem_core.types import Json


class Kind(StrEnum):
    """What a piece holds."""

    EVENT = "event"
    RECEIPT = "receipt"
    TO_DEVICE = "to_device"
    E2EE = "e2ee"
    ACCOUNT_DATA = "account_data"
    ROOM_ACCOUNT_DATA = "room_account_data"
    LOOK_AGAIN = "look_again"
    """A room whose state came out of order: it is asked for afresh."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """An account, as far as routing goes. ``is_prepared``: ``homes`` has all of its rooms.

    Without ``is_hosted`` it is kept in sync by another program, and gets nothing but the to-device events of its
    device: a server may delete what we answer with 200.
    """

    user_id: str
    device_id: str
    is_prepared: bool
    is_hosted: bool = True


@dataclass(frozen=True, slots=True)
class Addressed:
    """A piece and the accounts that get it."""

    kind: Kind
    content: Json
    users: frozenset[str]


@dataclass(slots=True)
class Routed:
    """What became of a transaction; what nobody here is concerned with is counted, by its kind."""

    pieces: list[Addressed] = field(default_factory=list)
    ignored_users: int = 0
    ignored_devices: int = 0
    ignored_events: int = 0

    @property
    def users(self) -> frozenset[str]:
        return frozenset().union(*(piece.users for piece in self.pieces))


def route(
    said: Transaction,
    accounts: Mapping[str, Hosted],
    homes: dict[str, set[str]],
    *,
    in_order: bool = True,
) -> Routed:
    """Split a transaction; changes ``homes`` (room to the accounts that joined it) as memberships change.

    ``in_order`` False: a later transaction was taken before, so nobody is taken out of a room by this one.
    """
    routed = Routed()
    hosted = {user: account for user, account in accounts.items() if account.is_hosted}
    newcomers = {user for user, account in hosted.items() if not account.is_prepared}

    def put(kind: Kind, content: Json, users: set[str]) -> None:
        if users:
            routed.pieces.append(Addressed(kind, content, frozenset(users)))

    for item in said.to_device:
        account = accounts.get(item.user_id)
        if account is None:
            routed.ignored_users += 1
        elif account.device_id != item.device_id:
            routed.ignored_devices += 1
        else:
            put(Kind.TO_DEVICE, item.event, {item.user_id})
    if said.changed or said.left:
        lists = {"device_lists": {"changed": list(said.changed), "left": list(said.left)}}
        put(Kind.E2EE, lists, set(hosted))
    for user_id, device_id, counts in said.keys:
        account = hosted.get(user_id)
        if account is not None and account.device_id == device_id:
            put(Kind.E2EE, counts, {user_id})
    for user_id, events in said.account_data:
        routed.ignored_users += user_id not in hosted
        put(Kind.ACCOUNT_DATA, {"events": list(events)}, {user_id} & hosted.keys())
    for user_id, room_id, events in said.room_account_data:
        routed.ignored_users += user_id not in hosted
        put(Kind.ROOM_ACCOUNT_DATA, {"room_id": room_id, "events": list(events)}, {user_id} & hosted.keys())
    for event in said.events:
        users = _concerned(event, hosted, homes, in_order) | newcomers
        routed.ignored_events += not users
        put(Kind.EVENT, event, users)
    for room_id, content in said.receipts:
        put(Kind.RECEIPT, {"room_id": room_id, "content": content}, homes.get(room_id, set()) | newcomers)
    if not in_order:
        for room_id in dict.fromkeys(event["room_id"] for event in said.events if "state_key" in event):
            put(Kind.LOOK_AGAIN, {"room_id": room_id}, homes.get(room_id, set()) | newcomers)
    return routed


def _concerned(
    event: Json, hosted: Mapping[str, Hosted], homes: dict[str, set[str]], in_order: bool
) -> set[str]:
    """Who gets an event: who is in the room before or after it."""
    room_id, target = event["room_id"], event.get("state_key")
    users = set(homes.get(room_id, ()))
    if event["type"] != "m.room.member" or not isinstance(target, str) or target not in hosted:
        return users
    if event["content"].get("membership") == "join":
        homes.setdefault(room_id, set()).add(target)
    elif in_order:
        homes.get(room_id, set()).discard(target)
    return users | {target}
