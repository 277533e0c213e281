"""A homeserver in memory, for thousands of confirmations in a minute: the victim's engine asks it as it asks any other.

What the product does is whole: sync, decryption, gate, schedule, outbox, its own store. What the server does is as
little as the engine needs to be told of rooms and messages and to be rid of its receipts, each with its time.
"""

from __future__ import annotations

import base64
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vodozemac import GroupSession, InboundGroupSession

from tandem_core import settings
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths, paths_below
from tandem_core.store import crypto as rows
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.sync.request import LIST, SYNC_PATH
from tandem_core.types import DeviceId, Json, Me, Role, RoomId, UserId
from tests.privacy.stepped import LeapingClock, Stepped, stepped
from tests.scenarios.peer import MEGOLM, sealed_in

FEATURES = {"org.matrix.simplified_msc3575": True, "org.matrix.msc4089": True, "im.tandem.delivery.v1": True}
KEY = bytes(range(32))
_JOINED_BEFORE_MS = 3_600_000


@dataclass
class Writer:
    """An author in one room of his own with the victim."""

    user_id: UserId
    room_id: RoomId
    session: GroupSession = field(default_factory=GroupSession)

    def sealed(self, content: Any, kind: Any = "m.room.message") -> Json:
        return sealed_in(
            self.room_id, self.session, kind, content, "sender key of " + self.user_id, "ATTACKER"
        )


@dataclass
class MemoryServer:
    """What waits for the victim, and what the victim has posted."""

    clock: LeapingClock
    victim: UserId
    writers: list[Writer]
    direct: bool = True
    events: dict[RoomId, list[Json]] = field(default_factory=dict)
    posted: list[tuple[int, str, str]] = field(default_factory=list)
    """Time (ms), event and device of every receipt."""
    requests: list[tuple[int, str]] = field(default_factory=list)
    """Time and path of every request that was no sync."""
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def say(self, writer: Writer, content: Any = None, kind: Any = "m.room.message") -> str:
        """The author writes now, encrypted; returns the event's id."""
        text = {"msgtype": "m.text", "body": f"hello {secrets.token_hex(3)}"} if content is None else content
        return self.put(writer, {"type": "m.room.encrypted", "content": writer.sealed(text, kind)})

    def put(self, writer: Writer, event: Json) -> str:
        """An event of the author's as it stands; returns its id."""
        event_id = f"$e{next(self._numbers)}"
        told = {"event_id": event_id, "sender": writer.user_id, "origin_server_ts": self.clock.now_ms()}
        self.events.setdefault(writer.room_id, []).append(event | told)
        return event_id

    def room(self, writer: Writer) -> Json:
        """What the first answer says of a room."""
        people = (writer.user_id, self.victim)
        state = [
            {"type": "m.room.create", "state_key": "", "content": {}},
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "invite"}},
            {
                "type": "m.room.history_visibility",
                "state_key": "",
                "content": {"history_visibility": "shared"},
            },
            {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}},
            *(
                {"type": "m.room.member", "state_key": user, "content": {"membership": "join"}}
                for user in people
            ),
        ]
        joined_at = self.clock.now_ms() - _JOINED_BEFORE_MS
        return {
            "initial": True,
            "is_dm": self.direct,
            "joined_count": len(people),
            "invited_count": 0,
            "required_state": [
                event
                | {"sender": people[0], "event_id": f"$s{next(self._numbers)}", "origin_server_ts": joined_at}
                for event in state
            ],
            "timeline": [],
        }

    def door(self, me: Me) -> Door:
        """One device's way to this server; it stays where it was when its programs end."""
        return Door(self, me)


class Door(Http):
    """One device's requests."""

    def __init__(self, server: MemoryServer, me: Me) -> None:
        super().__init__("http://127.0.0.1:9", token="token")
        self._server = server
        self._me = me
        self._read: dict[str, dict[RoomId, int]] = {}
        self._known: set[str] = set()

    async def request(self, method: str, path: str, body: Json | None = None, **more: Any) -> Json:
        if path == SYNC_PATH:
            return self._sync(body or {}, more.get("query") or {})
        server = self._server
        server.requests.append((server.clock.now_ms(), path))
        parts = [unquote(part) for part in path.split("/")]
        if path.endswith("/versions"):
            return {"versions": ["v1.11"], "unstable_features": FEATURES}
        if "receipt" in parts and any("delivery" in part for part in parts):
            server.posted.append((server.clock.now_ms(), parts[-1], self._me.device_id))
        elif "im.tandem.delivery.batch" in parts:
            for message in (body or {})["messages"].values():
                for content in message.values():
                    for events in content["rooms"].values():
                        server.posted += [
                            (server.clock.now_ms(), each, self._me.device_id) for each in events
                        ]
        return {}

    def _sync(self, body: Json, query: dict[str, str]) -> Json:
        conn = str(body["conn_id"])
        read = self._read.setdefault(conn, {})
        is_first = "pos" not in query
        rooms: dict[str, Json] = {}
        for writer in self._server.writers:
            events = self._server.events.get(writer.room_id, [])
            fresh = events[read.get(writer.room_id, 0) :]
            if is_first or fresh:
                known = self._server.room(writer) if is_first else {}
                rooms[writer.room_id] = known | {"timeline": fresh, "num_live": len(fresh)}
            read[writer.room_id] = len(events)
        answer: Json = {
            "pos": f"{len(self._server.posted)}-{secrets.token_hex(4)}",
            "lists": {LIST: {"count": len(self._server.writers)}},
            "rooms": rooms,
            "extensions": {},
        }
        if body["extensions"]["to_device"].get("enabled"):
            answer["extensions"]["to_device"] = {"next_batch": "1", "events": []}
        return answer

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Home:
    """One device of the victim: its folder, its identity, its door."""

    paths: ProfilePaths
    me: Me
    door: Door


def make_server(clock: LeapingClock, writers: int, *, direct: bool = True) -> MemoryServer:
    people = [
        Writer(UserId(f"@author{number}:example.org"), RoomId(f"!room{number}:example.org"))
        for number in range(writers)
    ]
    return MemoryServer(clock, UserId("@victim:example.org"), people, direct)


def make_home(server: MemoryServer, folder: Path) -> Home:
    """A signed-in device that has every author's room key and confirms as recommended."""
    me = Me(server.victim, DeviceId("VICTIM"))
    paths = paths_below(folder)
    paths.make()
    paths.vault_file.touch(mode=0o600)
    paths.vault_file.write_bytes(base64.b64encode(KEY))
    db = Database.open(paths.database)
    now_ms = server.clock.now_ms()

    def fill(txn: Transaction) -> None:
        sessions.set_session(txn, me, "http://127.0.0.1:9", "token", now_ms)
        settings.set_value(txn, "receipts.answered", True, now_ms=now_ms)
        for writer in server.writers:
            session = InboundGroupSession(writer.session.session_key)
            row = rows.InboundRow(
                session.pickle(KEY), writer.user_id, "sender key of " + writer.user_id, None, 0, "olm"
            )
            rows.put_inbound(txn, writer.room_id, writer.session.session_id, row, now_ms)

    try:
        db.write_now(fill)
    finally:
        db.close()
    return Home(paths, me, server.door(me))


@asynccontextmanager
async def at_home(home: Home, role: Role, clock: LeapingClock) -> AsyncIterator[Stepped]:
    """One program of this device, running until left; it knows its rooms."""
    async with stepped(home.paths, role, clock, http=home.door) as program:
        await program.sync()
        await program.sync()
        yield program


def delays(server: MemoryServer, sent: dict[str, int], events: Sequence[str]) -> list[float]:
    """Seconds from each of these events to its first receipt; those without one are left out."""
    first: dict[str, int] = {}
    for at, event_id, _ in server.posted:
        first.setdefault(event_id, at)
    return [(first[event] - sent[event]) / 1000 for event in events if event in first]
