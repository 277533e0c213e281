"""Put one sync response into the store: one response, one transaction (laws 1 and 13).

To-device events and the token that acknowledges them are written together with everything else, or not
at all. A piece that cannot be used is skipped with a line in the log; it never holds up the rest.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tandem_core import judge, settings
from tandem_core.clock import Chance
from tandem_core.receipts import bridge, inbound, planning
from tandem_core.store import account_data, devices, inbox, members, reads, rooms, timeline
from tandem_core.store import session as sessions
from tandem_core.store.codec import dumps
from tandem_core.store.database import Transaction
from tandem_core.sync.readers import Poll
from tandem_core.sync.response import E2ee, Response, Room
from tandem_core.types import EventId, Json, Me, Role, RoomId, Seal, Topic, UserId

log = logging.getLogger("tandem.sync.apply")

READ_TYPES = {"m.read": False, "m.read.private": True}
_MOST_TIME = 2**53
_MOST_ID = 255
_MOST_SERVICE_MEMBERS = 50
_ANEW = Poll()


@dataclass(frozen=True, slots=True)
class Applied:
    """What a response brought, for the loop and the log."""

    rooms: int
    to_device: int
    judged: int
    skipped: int


def apply(
    txn: Transaction,
    link: Role,
    me: Me,
    response: Response,
    *,
    now_ms: int,
    chance: Chance,
    poll: Poll = _ANEW,
) -> Applied:
    """Apply the response to a request and move this connection's place and token; all of it or nothing.

    A token that was answered with no event stays: there is nothing to acknowledge beyond it, and what is kept is then
    what the server was told.
    """
    apply_one = _Apply(txn, link, me, now_ms, chance)
    fresh = 0
    if response.to_device is not None:
        block = response.to_device
        token = block.next_batch if block.events or poll.since is None else None
        fresh = inbox.put_batch(txn, link, block.events, token, now_ms)
    if response.e2ee is not None:
        apply_one.e2ee(response.e2ee)
    for event in response.account_data:
        apply_one.guarded(apply_one.account_data, event, about=event["type"])
    for room in response.rooms:
        apply_one.guarded(apply_one.room, room, about=room.room_id)
    for room_id, event in response.room_account_data:
        apply_one.guarded(account_data.put_room, txn, room_id, event["type"], event["content"], about=room_id)
    for room_id, content in response.receipts:
        apply_one.guarded(apply_one.receipts, room_id, content, about=room_id)
    for room_id, users in response.typing:
        apply_one.guarded(apply_one.typing, room_id, users, about=room_id)
    if response.pos is None:
        sessions.note_synced(txn, link, now_ms)
    else:
        planning.note_answer(txn, now_ms, chance)
        sessions.set_pos(txn, link, response.pos, now_ms, covered=poll.asks)
    return Applied(len(response.rooms), fresh, apply_one.judged, response.skipped + apply_one.skipped)


def judge_events(
    txn: Transaction,
    link: Role,
    me: Me,
    events: list[timeline.StoredEvent],
    *,
    now_ms: int,
    chance: Chance,
) -> int:
    """Judge what can be read of these events; sealed ones are judged by whoever opens them.

    Returns how many were judged.
    """
    apply_one = _Apply(txn, link, me, now_ms, chance)
    apply_one.judge(events)
    return apply_one.judged


class _Apply:
    """The parts of one response; ``guarded`` runs each on its own savepoint."""

    def __init__(self, txn: Transaction, link: Role, me: Me, now_ms: int, chance: Chance) -> None:
        self._txn = txn
        self._link = link
        self._me = me
        self._now_ms = now_ms
        self._chance = chance
        self.judged = 0
        self.skipped = 0

    def guarded(self, part: Callable[..., Any], *values: Any, about: str) -> None:
        """Run a part; if it fails on what the server sent, undo and skip just this part."""
        self._txn.execute("SAVEPOINT part")
        try:
            part(*values)
        except (sqlite3.OperationalError, MemoryError):
            raise  # the disk or the machine, not the piece
        except Exception:
            self._txn.execute("ROLLBACK TO part")
            self.skipped += 1
            log.exception("%s: a piece of the sync response could not be used", about)
        self._txn.execute("RELEASE part")

    def e2ee(self, block: E2ee) -> None:
        if block.changed:
            devices.mark_outdated(self._txn, block.changed)
        if block.left:
            devices.forget_users(self._txn, block.left)
        if block.one_time is not None:
            # Not said is not zero: who reads it so uploads fifty keys at each answer (matrix-js-sdk #5501).
            devices.note_key_counts(self._txn, block.one_time, list(block.fallback_types), self._now_ms)

    def account_data(self, event: Json) -> None:
        account_data.put(self._txn, event["type"], event["content"])
        settings.note_account_data(self._txn, event["type"], event["content"])
        if event["type"] == "m.direct":
            rooms.set_direct(self._txn, event["content"])

    def room(self, room: Room) -> None:
        if room.stripped_state is not None:
            self._invite(room)
            return
        fields = self._facts(room)
        for event in room.required_state:
            fields |= self._state(room.room_id, event)
        rooms.set_room(self._txn, self._link, room.room_id, fields)
        fresh = timeline.append_live(
            self._txn,
            self._link,
            room.room_id,
            room.timeline,
            limited=room.limited,
            prev_batch=room.prev_batch,
            initial=room.initial,
            expanded=room.expanded,
            num_live=room.num_live,
            now_ms=self._now_ms,
        )
        later: dict[str, Any] = {}
        for event in room.timeline:
            if isinstance(event.get("state_key"), str):
                later |= self._state(room.room_id, event)
        if later:
            rooms.set_room(self._txn, self._link, room.room_id, later)
        rooms.refresh_at_commit(self._txn, room.room_id)
        self.judge(fresh)

    def judge(self, events: list[timeline.StoredEvent]) -> None:
        for event in events:
            if event.seal in (Seal.PLAIN, Seal.OPENED):
                self.guarded(self._judge, event, about=event.event_id)

    def receipts(self, room_id: RoomId, content: Json) -> None:
        for event_id, by_type in content.items():
            if not isinstance(by_type, dict):
                continue
            for kind, is_private in READ_TYPES.items():
                readers = by_type.get(kind)
                if isinstance(readers, dict):
                    for user_id, said in readers.items():
                        self._read(room_id, EventId(event_id), UserId(user_id), said, is_private)
        inbound.accept(self._txn, self._me, room_id, content, self._now_ms)

    def typing(self, room_id: RoomId, users: tuple[UserId, ...]) -> None:
        others = [user for user in users if user != self._me.user_id]
        self._txn.execute(
            "INSERT OR REPLACE INTO typing (room_id, user_ids, changed_at) VALUES (?, ?, ?)",
            (room_id, dumps(others), self._now_ms),
        )
        self._txn.changed(Topic.TYPING, room_id)

    def _judge(self, event: timeline.StoredEvent) -> None:
        judge.judge(self._txn, self._me, self._link, event, now_ms=self._now_ms, chance=self._chance)
        self.judged += 1

    def _facts(self, room: Room) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "name": room.name,
            "avatar_url": room.avatar_url,
            "is_dm": None if room.is_dm is None else int(room.is_dm),
            "joined_count": room.joined_count,
            "invited_count": room.invited_count,
            "bump_stamp": room.bump_stamp,
        }
        if room.heroes is not None:
            fields["heroes"] = dumps(
                [
                    {"user_id": hero.user_id, "name": hero.name, "avatar": hero.avatar_url}
                    for hero in room.heroes
                ]
            )
        said = {column: value for column, value in fields.items() if value is not None}
        if room.initial:
            said["membership"] = "join"
        if room.limited or room.initial:
            # What the hole hides may hold membership changes.
            said["members_complete"] = 0
        return said

    def _invite(self, room: Room) -> None:
        state = room.stripped_state or ()
        own = next(
            (
                event
                for event in reversed(state)
                if event["type"] == "m.room.member" and event["state_key"] == self._me.user_id
            ),
            None,
        )
        membership = own["content"].get("membership") if own else "invite"
        membership = membership if membership in ("invite", "knock") else "invite"
        fields = self._facts(room) | {"membership": membership, "last_at": self._now_ms}
        for event in state:
            fields |= self._state(room.room_id, event)
        sender = own.get("sender") if own else None
        if isinstance(sender, str):
            fields["inviter"] = sender
        if own and own["content"].get("is_direct") is True:
            fields["is_dm"] = 1
        rooms.set_room(self._txn, self._link, room.room_id, fields | {"membership": membership})

    def _state(self, room_id: RoomId, event: Json) -> dict[str, Any]:
        """Keep a state event; returns what it says of the room's own row."""
        content, state_key = event["content"], event["state_key"]
        if event["type"] == "m.room.member":
            at = event.get("origin_server_ts")
            changed_at = at if type(at) is int else 0
            sound = members.set_member(self._txn, self._link, room_id, UserId(state_key), content, changed_at)
            if not sound or state_key != self._me.user_id:
                return {}
            if content["membership"] == "join":
                # Whichever of our devices it was: nobody is in a room without having said yes.
                rooms.accept(self._txn, room_id, "accepted_invite")
            return {"membership": content["membership"]}
        if event["type"] in bridge.STATE_TYPES:
            bridge.keep_state(self._txn, self._link, room_id, event)
            return {}
        if state_key != "":
            return {}
        if event["type"] == "m.room.encryption":
            # An empty content (a redaction, an attack) does not turn encryption off.
            if not content.get("algorithm"):
                return {}
            rooms.note_encryption(self._txn, room_id, content)
            return {"encryption": dumps(content)}
        return _state_fields(event["type"], content)

    def _read(self, room_id: RoomId, event_id: EventId, user_id: UserId, said: Any, is_private: bool) -> None:
        if not isinstance(said, dict) or said.get("thread_id") not in (None, "main"):
            return
        ts = said.get("ts")
        at = ts if type(ts) is int and 0 <= ts <= _MOST_TIME else self._now_ms
        is_me = user_id == self._me.user_id
        reads.put_marker(self._txn, room_id, user_id, event_id, at, is_private=is_private, is_me=is_me)
        if is_me and not is_private:
            planning.attend(self._txn, room_id, at, self._now_ms)


def _state_fields(kind: str, content: Json) -> dict[str, Any]:
    """The room columns that a state event sets; an emptied one is told as such, so it may clear."""
    match kind:
        case "m.room.name":
            return {"name": _text(content.get("name"))}
        case "m.room.topic":
            return {"topic": _text(content.get("topic"))}
        case "m.room.avatar":
            return {"avatar_url": _text(content.get("url"))}
        case "m.room.canonical_alias":
            return {"canonical_alias": _text(content.get("alias"))}
        case "m.room.join_rules":
            return {"join_rule": _text(content.get("join_rule"))}
        case "m.room.history_visibility":
            return {"history_visibility": _text(content.get("history_visibility"))}
        case "m.room.guest_access":
            return {"guest_access": _text(content.get("guest_access"))}
        case "m.room.power_levels":
            return {"power_levels": dumps(content)}
        case "io.element.functional_members":
            return {"service_members": _user_ids(content.get("service_members"))}
    return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _user_ids(value: Any) -> str | None:
    """A JSON list of the user ids in a list; None without any."""
    said = value if isinstance(value, list) else []
    found = [
        item for item in said if isinstance(item, str) and item.startswith("@") and len(item) <= _MOST_ID
    ]
    return dumps(found[:_MOST_SERVICE_MEMBERS]) if found else None
