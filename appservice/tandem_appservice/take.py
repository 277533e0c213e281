"""An account takes what waits for it: one transaction, with the functions that sync has (laws 1, 2 and 13).

The place of the last piece is noted in the account's own store with the pieces' effect, so each has it once,
whatever dies. Events are known again by their ids and encrypted to-device events by their content besides, so that
what sync had brought before, or brings later, changes nothing.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem_appservice.queue import Piece
from tandem_appservice.routing import Kind
from tandem_appservice.sight import LINK, People, Sight, is_joined, keep_members, room_of
from tandem_core.clock import Chance
from tandem_core.store import inbox, members
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.sync.apply import apply
from tandem_core.sync.response import E2ee, Reader, Response, Room
from tandem_core.types import Json, Me, RoomId, UserId

_TAKEN = "appservice.taken"
_PRIVATE = "m.read.private"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a batch of pieces brought."""

    to_device: int = 0
    events: int = 0
    skipped: int = 0


@dataclass(slots=True)
class _Batch:
    """The pieces of one transaction, by kind."""

    to_device: list[Json] = field(default_factory=list)
    e2ee: list[Json] = field(default_factory=list)
    account: list[Json] = field(default_factory=list)
    room_account: list[tuple[RoomId, Json]] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    receipts: list[tuple[RoomId, Json]] = field(default_factory=list)
    again: list[RoomId] = field(default_factory=list)


def place(conn: sqlite3.Connection, epoch: str) -> int:
    """The last piece of this queue that the account has taken; 0 for a queue that it does not know."""
    said = sessions.fact(conn, _TAKEN)
    return int(said["piece"]) if isinstance(said, dict) and said.get("epoch") == epoch else 0


def set_place(txn: Transaction, epoch: str, piece: int) -> None:
    """Note the last piece that was taken."""
    sessions.set_fact(txn, _TAKEN, {"epoch": epoch, "piece": piece})


def wanted(conn: sqlite3.Connection, me: UserId, pieces: Iterable[Piece]) -> set[RoomId]:
    """The rooms whose state must be asked for before these pieces are taken."""
    found: set[RoomId] = set()
    left: set[RoomId] = set()
    for piece in pieces:
        room_id = RoomId(piece.content.get("room_id", ""))
        if piece.kind is Kind.LOOK_AGAIN:
            found.add(room_id)
        elif piece.kind is Kind.EVENT and _is_own(piece.content, me):
            if piece.content["content"].get("membership") != "join":
                left.add(room_id)
            elif room_id in left or not _is_known(conn, room_id):
                found.add(room_id)
    return found


def take(
    txn: Transaction,
    me: Me,
    epoch: str,
    pieces: Sequence[Piece],
    sights: Mapping[RoomId, Sight],
    *,
    now_ms: int,
    chance: Chance,
) -> Taken:
    """Take these pieces, in order, each transaction of the server as one; what was taken before is passed over."""
    before = place(txn.conn, epoch)
    fresh = [piece for piece in pieces if piece.id > before]
    if not fresh:
        return Taken()
    to_device = events = skipped = 0
    for _, group in itertools.groupby(fresh, key=lambda piece: piece.seq):
        batch = _sorted(group)
        joins = {
            RoomId(event["room_id"])
            for event in batch.events
            if _is_own(event, me.user_id) and event["content"].get("membership") == "join"
        }
        see(txn, me, [sights[room] for room in joins if room in sights], now_ms=now_ms, chance=chance)
        to_device += inbox.put_batch(txn, LINK, batch.to_device, None, now_ms)
        response = _response(txn.conn, me.user_id, batch, joins)
        events += sum(len(room.timeline) for room in response.rooms)
        skipped += apply(txn, LINK, me, response, now_ms=now_ms, chance=chance).skipped
        see(txn, me, [sights[room] for room in batch.again if room in sights], now_ms=now_ms, chance=chance)
    set_place(txn, epoch, fresh[-1].id)
    return Taken(to_device, events, skipped)


def see(txn: Transaction, me: Me, sights: Sequence[Sight], *, now_ms: int, chance: Chance) -> None:
    """Keep what these rooms are, as the server has just told it."""
    if sights:
        seen = tuple(room_of(txn.conn, me.user_id, sight) for sight in sights)
        apply(txn, LINK, me, Response(None, rooms=seen), now_ms=now_ms, chance=chance)
        for sight in sights:
            keep_members(txn, sight)


def _sorted(pieces: Iterable[Piece]) -> _Batch:
    batch = _Batch()
    for piece in pieces:
        content = piece.content
        match piece.kind:
            case Kind.TO_DEVICE:
                batch.to_device.append(content)
            case Kind.E2EE:
                batch.e2ee.append(content)
            case Kind.ACCOUNT_DATA:
                batch.account += content["events"]
            case Kind.ROOM_ACCOUNT_DATA:
                batch.room_account += [(RoomId(content["room_id"]), event) for event in content["events"]]
            case Kind.EVENT:
                batch.events.append(content)
            case Kind.RECEIPT:
                batch.receipts.append((RoomId(content["room_id"]), content["content"]))
            case Kind.LOOK_AGAIN:
                batch.again.append(RoomId(content["room_id"]))
    return batch


def _response(conn: sqlite3.Connection, me: UserId, batch: _Batch, joins: Collection[RoomId]) -> Response:
    """What sync would have said instead."""
    joined = _Joined(conn, me)
    return Response(
        None,
        e2ee=_e2ee(conn, me, batch.e2ee),
        account_data=tuple(batch.account),
        room_account_data=tuple(batch.room_account),
        rooms=tuple(_rooms(conn, me, batch.events, joined)),
        receipts=tuple(
            (room, _without_others_private(said, me))
            for room, said in batch.receipts
            if joined(room) or room in joins
        ),
    )


class _Joined:
    """Whether we are in a room, while memberships of ours pass by."""

    def __init__(self, conn: sqlite3.Connection, me: UserId) -> None:
        self._conn = conn
        self._me = me
        self._rooms: dict[RoomId, bool] = {}

    def __call__(self, room_id: RoomId) -> bool:
        if room_id not in self._rooms:
            self._rooms[room_id] = is_joined(self._conn, room_id)
        return self._rooms[room_id]

    def note(self, room_id: RoomId, is_in: bool) -> None:
        self._rooms[room_id] = is_in


def _rooms(conn: sqlite3.Connection, me: UserId, events: Sequence[Json], joined: _Joined) -> list[Room]:
    """The events as sync's rooms, cut where somebody comes or goes, so that each is judged among whom it was sent."""
    changing = {e["room_id"] for e in events if e["type"] == "m.room.member" and "state_key" in e}
    people = {room: People.known(conn, RoomId(room)) for room in changing}
    made: list[Room] = []
    for event in events:
        room_id = RoomId(event["room_id"])
        was_joined = joined(room_id)
        if event["type"] != "m.room.member" or "state_key" not in event:
            if was_joined:
                made.append(_with_event(made, room_id, event))
            continue
        people[room_id].note(event)
        if event["state_key"] == me:
            membership = event["content"].get("membership")
            joined.note(room_id, membership == "join")
            if membership in ("invite", "knock") and not was_joined:
                made.append(_invitation(room_id, event))
                continue
        elif not was_joined:
            continue
        made.append(
            Room(
                room_id,
                timeline=(event,),
                joined_count=people[room_id].count("join"),
                invited_count=people[room_id].count("invite"),
                heroes=people[room_id].heroes(me),
            )
        )
    return made


def _with_event(made: list[Room], room_id: RoomId, event: Json) -> Room:
    """One more event of a room: it goes with those right before it, if they are of the same room."""
    last = made[-1] if made else None
    if last is None or last.room_id != room_id or last.joined_count is not None or last.stripped_state:
        return Room(room_id, timeline=(event,))
    made.pop()
    return Room(room_id, timeline=(*last.timeline, event))


def _invitation(room_id: RoomId, event: Json) -> Room:
    unsigned = event.get("unsigned")
    said: Any = unsigned if isinstance(unsigned, dict) else {}
    stripped = Reader().state(said.get("invite_room_state", said.get("knock_room_state")))
    return Room(room_id, stripped_state=(*stripped, event))


def _e2ee(conn: sqlite3.Connection, me: UserId, blocks: Sequence[Json]) -> E2ee | None:
    """What was said of devices and keys. Whoever left a room of the service may still share one with us."""
    if not blocks:
        return None
    reader = Reader()
    said = [found for block in blocks if (found := reader.e2ee(block)) is not None]
    counts = next((found for found in reversed(said) if found.one_time is not None), E2ee())
    left = {user for found in said for user in found.left}
    still = {user for user in left if _shares_room(conn, me, user)}
    return E2ee(
        tuple(dict.fromkeys([user for found in said for user in found.changed] + sorted(still))),
        tuple(sorted(left - still)),
        counts.one_time,
        counts.fallback_types,
    )


def _shares_room(conn: sqlite3.Connection, me: UserId, user_id: UserId) -> bool:
    row = conn.execute(
        "SELECT 1 FROM member AS m JOIN room AS r ON r.conn = m.conn AND r.room_id = m.room_id"
        " WHERE m.user_id = ? AND m.membership IN ('join', 'invite') AND m.user_id != ?"
        " AND r.membership = 'join' LIMIT 1",
        (user_id, me),
    ).fetchone()
    return row is not None


def _without_others_private(content: Json, me: UserId) -> Json:
    """Receipts without the private ones of other accounts of this service, which are none of our business."""
    found: Json = {}
    for event_id, kinds in content.items():
        if isinstance(kinds, dict) and isinstance(private := kinds.get(_PRIVATE), dict):
            kinds = {**kinds, _PRIVATE: {user: said for user, said in private.items() if user == me}}
        found[event_id] = kinds
    return found


def _is_known(conn: sqlite3.Connection, room_id: RoomId) -> bool:
    return is_joined(conn, room_id) and members.is_complete(conn, LINK, room_id)


def _is_own(event: Json, me: str) -> bool:
    """Whether it is about our own membership."""
    return event.get("type") == "m.room.member" and event.get("state_key") == me
