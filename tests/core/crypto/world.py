"""Builders for tests of encryption: real stores, real vodozemac, one homeserver in memory, time that tests own."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tandem_core import settings
from tandem_core.crypto import drain, group
from tandem_core.crypto import outbox as to_device
from tandem_core.crypto.backup import Backup
from tandem_core.crypto.backup_worker import BackupWorker
from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.keys import Keys
from tandem_core.crypto.state import CryptoState
from tandem_core.crypto.worker import CryptoWorker, LocalOpener
from tandem_core.paths import ProfilePaths
from tandem_core.sending import Sender, enqueue
from tandem_core.store import devices, events, inbox, members, outbox, room_facts, rooms, session, timeline
from tandem_core.store.codec import loads
from tandem_core.store.database import Database, Transaction
from tandem_core.types import DeviceId, Json, Me, Role, RoomId, UserId
from tests.core.crypto.key_server import KeyServer, me_key

KEY = bytes(range(32))
NOW = 1_800_000_000_000
ROOM = RoomId("!room:example.org")
ENCRYPTION: Json = {"algorithm": "m.megolm.v1.aes-sha2"}
APP, NOTIFIER = Role.APP, Role.NOTIFIER

_names = itertools.count(1)


class StillClock:
    """Time stands until a test moves it."""

    def __init__(self) -> None:
        self.time_ms = NOW

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_s(self) -> float:
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1000)


class Device:
    """One program of one device: store, crypto state, and the network half of keys."""

    def __init__(
        self,
        folder: Path,
        me: Me,
        server: KeyServer,
        clock: StillClock,
        role: Role = APP,
        paths: ProfilePaths | None = None,
    ) -> None:
        self.folder = folder
        self.me = me
        self.server = server
        self.clock = clock
        self.role = role
        self.chance = random.Random(7)
        self._is_closed = False
        self.paths = paths or ProfilePaths("test", folder / "data", folder / "run", folder / "log")
        self.paths.make()
        self.paths.vault_file.touch(mode=0o600)
        self.paths.vault_file.write_bytes(base64.b64encode(KEY))
        self.db = Database.open(self.paths.database)
        self.db.write_now(session.set_session, me, "http://127.0.0.1:9", "token", NOW)
        # Most tests are about ratchets and not about whom to trust: a device need not be confirmed by its owner.
        self.db.write_now(settings.set_value, "encryption.exclude_unsigned", False, now_ms=NOW)
        self.state = CryptoState(self.db, me, KEY)
        self.http = server.http(me)
        self.keys = Keys(self.paths, self.db, self.http, self.state, clock=clock)
        self.cross_signing = CrossSigning(self.paths, self.db, self.http, self.state, clock=clock)
        self.opener = LocalOpener(self.paths, self.db, me, role, clock=clock, chance=self.chance)
        self.crypto = CryptoWorker(
            self.paths, self.db, self.http, self.opener, clock=clock, chance=self.chance
        )
        self.backup = Backup(self.paths, self.db, self.http, self.state, clock=clock)
        self.backups = BackupWorker(
            self.paths, self.db, self.http, self.opener, clock=clock, chance=self.chance
        )
        self.sender = Sender(
            self.paths,
            self.db,
            self.http,
            me,
            role,
            self.opener,
            self.crypto,
            clock=clock,
            chance=self.chance,
        )

    def other_program(self) -> Device:
        """The second program of the same device: own connections, own memory, same file."""
        return Device(self.folder, self.me, self.server, self.clock, self.role.other)

    def restarted(self) -> Device:
        """The same program after its death: nothing of its memory is left."""
        self.close()
        return Device(self.folder, self.me, self.server, self.clock, self.role)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.db.close()

    def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.write_now(work, *args, **kwargs)

    def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.read_now(work, *args, **kwargs)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.read(lambda conn: [tuple(row) for row in conn.execute(sql, values)])  # type: ignore[no-any-return]

    def one(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]

    def keys_of(self) -> Json:
        """Public identity keys."""
        return dict(self.server.devices[self.me.user_id][self.me.device_id]["keys"])

    def hear_counts(self) -> None:
        """What sync says of our keys."""
        one_time, unused = self.server.counts(*me_key(self.me))
        self.write(devices.note_key_counts, one_time, unused, self.clock.now_ms())

    def knows(self, *others: Device) -> None:
        """Have these people's device lists, and our own."""
        self.write(devices.track, {self.me.user_id, *(other.me.user_id for other in others)})
        self.write(devices.mark_all_outdated)
        asyncio.run(self.keys.query())

    def devices(self, *others: Device) -> list[devices.Device]:
        """These people's living devices, as this one knows them."""
        found = self.read(devices.devices_of, {other.me.user_id for other in others})
        return list(found)

    def is_in(self, room_id: RoomId = ROOM, *people: UserId, visibility: str = "shared") -> None:
        """This program's connection knows the encrypted room and all its members."""

        def put(txn: Transaction) -> None:
            fields = {
                "membership": "join",
                "history_visibility": visibility,
                "join_rule": "invite",
                "joined_count": len(people) + 1,
                "members_complete": 1,
            }
            rooms.set_room(txn, self.role, room_id, fields)
            room_facts.set_encryption(txn, self.role, room_id, ENCRYPTION)
            for user in (self.me.user_id, *people):
                members.set_member(txn, self.role, room_id, user, {"membership": "join"}, NOW)

        self.write(put)
        everybody = self.server.members.setdefault(room_id, {})
        everybody |= dict.fromkeys((self.me.user_id, *people), "join")
        self.server.encrypted.add(room_id)

    def leaves(self, user: UserId, room_id: RoomId = ROOM) -> None:
        """This program's connection hears that somebody left."""
        self.write(members.set_member, self.role, room_id, user, {"membership": "leave"}, NOW + 1)
        self.server.members[room_id][user] = "leave"

    def seal(
        self,
        body: str,
        users: set[UserId],
        encryption: Json = ENCRYPTION,
        *,
        room: RoomId = ROOM,
        extra: Json | None = None,
    ) -> Json:
        """Encrypt a message in one transaction and return its wire content; keys wait in the outbox."""

        content = {"msgtype": "m.text", "body": body} | (extra or {})

        def put(txn: Transaction) -> str:
            now_ms = self.clock.now_ms()
            txn_id = enqueue(txn, room, "m.room.message", content, body=body, now_ms=now_ms)
            queued = next(row for row in outbox.next_messages(txn.conn) if row.room_id == room)
            if queued.txn_id != txn_id:  # earlier ones of the same room were not sent in this test
                queued = dataclasses.replace(queued, txn_id=txn_id, content=content)
            group.encrypt(txn, self.state, queued, users, encryption, now_ms)
            return txn_id

        txn_id = self.write(put)
        wire = loads(self.one("SELECT wire_content FROM send_queue WHERE txn_id = ?", txn_id))
        assert isinstance(wire, dict)
        return wire

    async def flush(self) -> None:
        """Send the to-device messages that wait."""
        await to_device.flush(self.paths, self.db, self.http)

    def fetch(self) -> list[Json]:
        """Take this device's to-device events from the server into the inbox, in order."""
        waiting = self.server.inboxes.pop(me_key(self.me), [])
        self.write(inbox.put_batch, self.role, waiting, f"s{next(_names)}", self.clock.now_ms())
        return waiting

    def put_inbox(self, *events_: Json) -> None:
        """Put these to-device events into the inbox."""
        self.write(inbox.put_batch, self.role, list(events_), f"s{next(_names)}", self.clock.now_ms())

    def drain(self) -> None:
        """Process the whole inbox and open what opens."""
        while self.write(drain.drain, self.state, self.clock.now_ms()):
            pass
        while self.write(drain.open_sealed, self.state, self.role, self.clock.now_ms(), self.chance):
            pass

    def receive(self) -> None:
        self.fetch()
        self.drain()

    def sees(
        self,
        content: Json,
        sender: Device | UserId,
        *,
        event_id: str | None = None,
        ts: int = NOW,
        room: RoomId = ROOM,
        drain_too: bool = True,
    ) -> str:
        """An encrypted event comes by sync; returns its id."""
        user = sender.me.user_id if isinstance(sender, Device) else sender
        raw = {
            "event_id": event_id or f"$event{next(_names)}",
            "sender": user,
            "type": "m.room.encrypted",
            "origin_server_ts": ts,
            "content": content,
        }
        self.write(
            timeline.append_live,
            self.role,
            room,
            [raw],
            limited=False,
            prev_batch=None,
            now_ms=self.clock.now_ms(),
        )
        if drain_too:
            self.drain()
        return str(raw["event_id"])

    def event(self, event_id: str) -> events.StoredEvent:
        found = self.read(events.get, event_id)
        assert isinstance(found, events.StoredEvent)
        return found

    def body(self, event_id: str) -> str | None:
        """What an opened event says; None while it is sealed or refused."""
        event = self.event(event_id)
        return None if event.opened_content is None else str(event.opened_content.get("body"))

    def inbox_errors(self) -> list[str | None]:
        return [row[0] for row in self.rows("SELECT error FROM inbox WHERE state = 2 ORDER BY seq")]


def user(name: str) -> UserId:
    return UserId(f"@{name}:example.org")


def named(name: str, device: str) -> Me:
    return Me(user(name), DeviceId(device))
