"""What the fake homeserver knows: accounts, devices, rooms, and one stream that numbers every change."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.cross_signing import CrossSigningKeys
from tests.support.fake.push_rules import push_rules

Json = dict[str, Any]
SERVER_NAME = "fake.test"
DELIVERY = "org.matrix.msc4089.delivery"
BUMPING = ("m.room.create", "m.room.message", "m.room.encrypted", "m.sticker")
STRIPPED = ("m.room.create", "m.room.name", "m.room.join_rules", "m.room.encryption", "m.room.member")


class Refused(Exception):
    """An answer that is a Matrix error."""

    def __init__(self, status: int, errcode: str, error: str, **more: Any) -> None:
        super().__init__(errcode)
        self.status = status
        self.body: Json = {"errcode": errcode, "error": error, **more}


@dataclass
class Device:
    """One device; its queue of to-device events is one, whichever connection reads it."""

    user_id: str
    device_id: str
    name: str = ""
    keys: Json | None = None
    one_time: dict[str, Any] = field(default_factory=dict)
    fallback: dict[str, Any] = field(default_factory=dict)
    used_fallback: set[str] = field(default_factory=set)
    queue: list[tuple[int, Json]] = field(default_factory=list)

    def counts(self) -> Json:
        """How many one-time keys are left, by algorithm."""
        found: Json = {"signed_curve25519": 0}
        for key_id in self.one_time:
            algorithm = key_id.partition(":")[0]
            found[algorithm] = found.get(algorithm, 0) + 1
        return found

    def unused_fallbacks(self) -> list[str]:
        kinds = {key_id.partition(":")[0] for key_id in self.fallback if key_id not in self.used_fallback}
        return sorted(kinds)


@dataclass
class Event:
    """One event of a room; ``at`` is its place in the stream."""

    at: int
    raw: Json

    @property
    def member(self) -> str | None:
        return self.raw["state_key"] if self.raw["type"] == "m.room.member" else None


@dataclass
class Room:
    """A room: its events in order, and the current state."""

    room_id: str
    events: list[Event] = field(default_factory=list)
    state: dict[tuple[str, str], Event] = field(default_factory=dict)
    receipts: dict[tuple[str, str, str], tuple[int, str, Json]] = field(default_factory=dict)
    typing: dict[str, float] = field(default_factory=dict)
    typing_at: int = 0

    def membership(self, user_id: str) -> str:
        event = self.state.get(("m.room.member", user_id))
        return str(event.raw["content"].get("membership", "leave")) if event else "leave"

    def membership_at(self, user_id: str) -> int:
        event = self.state.get(("m.room.member", user_id))
        return event.at if event else 0

    def people(self, *memberships: str) -> list[str]:
        return [
            key for kind, key in self.state if kind == "m.room.member" and self.membership(key) in memberships
        ]

    def bump(self) -> int:
        return max((event.at for event in self.events if event.raw["type"] in BUMPING), default=0)

    def find(self, event_id: str) -> Event | None:
        return next((event for event in self.events if event.raw["event_id"] == event_id), None)


@dataclass
class Account:
    """A user: password and account data with the place of each change."""

    user_id: str
    password: str
    data: dict[str, tuple[int, Json]] = field(default_factory=dict)
    room_data: dict[tuple[str, str], tuple[int, Json]] = field(default_factory=dict)


class State:
    """Everything; lives in the server's loop only."""

    def __init__(self, *, with_module: bool) -> None:
        self.with_module = with_module
        self.at = 0
        self.to_device_at = 0
        self.accounts: dict[str, Account] = {}
        self.devices: dict[tuple[str, str], Device] = {}
        self.tokens: dict[str, tuple[str, str]] = {}
        self.soft: set[str] = set()
        self.rooms: dict[str, Room] = {}
        self.device_changes: list[tuple[int, str]] = []
        self.cross_signing = CrossSigningKeys()
        self.done: dict[tuple[str, str], Json] = {}
        self.connections: dict[tuple[str, str, str], dict[int, Any]] = {}
        self.positions = itertools.count(1)
        self.bell = asyncio.Event()

    def step(self) -> int:
        """The next place in the stream; whoever waits looks again."""
        self.at += 1
        self.ring()
        return self.at

    def ring(self) -> None:
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()

    def register(self, localpart: str, password: str) -> str:
        user_id = f"@{localpart}:{SERVER_NAME}"
        data = {"m.push_rules": (self.step(), push_rules(user_id))}
        self.accounts[user_id] = Account(user_id, password, data)
        return user_id

    def sign_in(self, user_id: str, device_id: str | None, name: str) -> Json:
        device_id = device_id or secrets.token_hex(5).upper()
        for token, owner in list(self.tokens.items()):
            if owner == (user_id, device_id):
                del self.tokens[token]
        token = secrets.token_urlsafe(24)
        self.tokens[token] = (user_id, device_id)
        self.devices.setdefault((user_id, device_id), Device(user_id, device_id, name))
        return {"access_token": token, "user_id": user_id, "device_id": device_id, "home_server": SERVER_NAME}

    def who(self, token: str) -> Device:
        """The device of a token; refuses one that is missing, unknown or expired."""
        if not token:
            raise Refused(401, "M_MISSING_TOKEN", "Missing access token")
        owner = self.tokens.get(token)
        if owner is None or token in self.soft:
            raise Refused(401, "M_UNKNOWN_TOKEN", "Invalid access token", soft_logout=token in self.soft)
        return self.devices[owner]

    def sign_out(self, device: Device) -> None:
        owner = (device.user_id, device.device_id)
        self.tokens = {token: who for token, who in self.tokens.items() if who != owner}
        self.devices.pop(owner, None)
        self.device_changes.append((self.step(), device.user_id))

    def devices_of(self, user_id: str) -> list[Device]:
        return [device for (owner, _), device in self.devices.items() if owner == user_id]

    def add_event(
        self, room: Room, sender: str, kind: str, content: Json, state_key: str | None = None, **more: Any
    ) -> Json:
        """Append an event; returns it."""
        raw: Json = {
            "event_id": f"${secrets.token_urlsafe(24)}",
            "type": kind,
            "sender": sender,
            "content": content,
            "origin_server_ts": int(time.time() * 1000),
            **more,
        }
        if state_key is not None:
            raw["state_key"] = state_key
        event = Event(self.step(), raw)
        room.events.append(event)
        if state_key is not None:
            room.state[kind, state_key] = event
        return raw

    def set_membership(self, room: Room, sender: str, user_id: str, membership: str, **more: Any) -> None:
        content = {"membership": membership, "displayname": user_id[1:].partition(":")[0], **more}
        self.add_event(room, sender, "m.room.member", content, user_id)

    def joined_room(self, room_id: str, user_id: str) -> Room:
        room = self.rooms.get(room_id)
        if room is None or room.membership(user_id) != "join":
            raise Refused(403, "M_FORBIDDEN", f"User {user_id} not in room {room_id}")
        return room

    def sharers(self, user_id: str) -> set[str]:
        """Who is joined to a room together with this user, and the user."""
        shared = {user_id}
        for room in self.rooms.values():
            if room.membership(user_id) == "join":
                shared.update(room.people("join"))
        return shared

    def queue_to_device(self, sender: str, kind: str, messages: Json) -> None:
        self.to_device_at += 1
        for user_id, by_device in messages.items():
            for device in self.devices_of(user_id):
                content = by_device.get(device.device_id, by_device.get("*"))
                if content is not None:
                    device.queue.append(
                        (self.to_device_at, {"type": kind, "sender": sender, "content": content})
                    )
        self.ring()
