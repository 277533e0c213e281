"""A person with Tandem, both programs in this process, and a person with stock matrix-nio."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nio import AsyncClient, AsyncClientConfig, InviteMemberEvent, MegolmEvent, RoomMessageText
from nio.store import SqliteMemoryStore

from tandem_core import session as sessions_api
from tandem_core import settings
from tandem_core.engine import Engine
from tandem_core.paths import ProfilePaths
from tandem_core.sending import enqueue
from tandem_core.store import devices, rooms, timeline
from tandem_core.store.database import Database
from tandem_core.sync import rooms_api
from tandem_core.types import Me, Role, RoomId, UserId
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user

APP, NOTIFIER = Role.APP, Role.NOTIFIER


async def until(
    look: Callable[[], Any], explain: Callable[[], Any] | None = None, *, within_s: float = 60
) -> Any:
    """What ``look`` finds, once it finds something."""
    end = asyncio.get_running_loop().time() + within_s
    while not (found := look()):
        assert asyncio.get_running_loop().time() < end, f"it never came: {explain() if explain else found}"
        await asyncio.sleep(0.02)
    return found


class Tandem:
    """One running program of one device."""

    def __init__(self, engine: Engine, conn: sqlite3.Connection) -> None:
        self.engine = engine
        self.conn = conn
        self.me = engine.me
        self.role = engine.role

    async def create_encrypted(self, *people: str) -> RoomId:
        room_id = await rooms_api.create(
            self.engine.http, self.engine.db, invite=[UserId(person) for person in people], encrypted=True
        )
        await until(lambda: rooms.room(self.conn, self.role, room_id))
        return room_id

    async def accept(self, room_id: str) -> None:
        # Nobody can encrypt for a device whose keys the server does not have yet.
        await until(
            lambda: self.conn.execute("SELECT 1 FROM crypto_account WHERE device_keys_uploaded").fetchone()
        )
        await until(lambda: rooms.room(self.conn, self.role, RoomId(room_id)))
        await rooms_api.accept(self.engine.http, self.engine.db, RoomId(room_id))
        await until(lambda: self._membership(room_id) == "join")

    async def say(self, room_id: str, body: str) -> str:
        """Write a message and wait until the server has it; returns its transaction id."""
        txn_id = await self.queue(room_id, body)
        await until(lambda: self.state_of(txn_id) == "sent", lambda: self.state_of(txn_id))
        return txn_id

    async def queue(self, room_id: str, body: str) -> str:
        return await self.engine.db.write(
            enqueue,
            RoomId(room_id),
            "m.room.message",
            {"msgtype": "m.text", "body": body},
            body=body,
            now_ms=self.engine.clock.now_ms(),
        )

    def bodies(self, room_id: str) -> list[str]:
        """What can be read in the room, oldest first."""
        shown = timeline.page(self.conn, self.role, RoomId(room_id), limit=1000)
        return [row.body for row in reversed(shown) if row.kind == "text"]

    def state_of(self, txn_id: str) -> str:
        row = self.conn.execute("SELECT state FROM send_queue WHERE txn_id = ?", (txn_id,)).fetchone()
        return str(row["state"])

    def sealed(self, room_id: str) -> list[str | None]:
        found = self.conn.execute(
            "SELECT seal_reason FROM event WHERE room_id = ? AND seal != 'opened' AND type = 'm.room.encrypted'",
            (room_id,),
        )
        return [reason for (reason,) in found]

    def devices_of(self, user_id: str) -> list[str]:
        return [device.device_id for device in devices.devices_of(self.conn, [user_id])]  # type: ignore[list-item]

    def _membership(self, room_id: str) -> str | None:
        row = rooms.room(self.conn, self.role, RoomId(room_id))
        return row.membership if row else None


async def sign_in(
    server: SynapseServer, paths: ProfilePaths, name: str = "alice", login: tuple[str, str] | None = None
) -> Me:
    """Sign Tandem in as a new device of a fresh (or this) account."""
    localpart, password = login or new_user(server, name)
    return await sessions_api.login(
        server.base_url, localpart, password, device_name=f"Tandem of {name}", paths=paths
    )


@asynccontextmanager
async def running(paths: ProfilePaths, role: Role = APP) -> AsyncIterator[Tandem]:
    """A program of the account in these paths."""
    db = Database.open(paths.database)
    # Stock nio knows no cross-signing: nobody vouches for its devices.
    await db.write(settings.set_value, "encryption.exclude_unsigned", False, now_ms=0)
    engine = Engine(paths, db, sessions_api.current(db), role)
    task = asyncio.ensure_future(engine.run())
    conn = db.reader()
    try:
        yield Tandem(engine, conn)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        conn.close()
        db.close()


class NioPerson:
    """Somebody with matrix-nio's own AsyncClient, its encryption and its sync v2."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.read: list[tuple[str, str]] = []
        """(sender, body) of what was decrypted, in order."""
        self.unread: list[MegolmEvent] = []
        """What could not be decrypted when it came."""

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    def bodies(self) -> list[str]:
        return [body for _, body in self.read]

    async def say(self, room_id: str, body: str) -> None:
        answer = await self.client.room_send(
            room_id, "m.room.message", {"msgtype": "m.text", "body": body}, ignore_unverified_devices=True
        )
        assert getattr(answer, "event_id", None), answer

    async def create_encrypted(self, *people: str) -> str:
        state = [
            {
                "type": "m.room.encryption",
                "state_key": "",
                "content": {"algorithm": "m.megolm.v1.aes-sha2"},
            }
        ]
        answer = await self.client.room_create(invite=list(people), initial_state=state)
        room_id = str(answer.room_id)
        await until(lambda: room_id in self.client.rooms)
        return room_id

    async def joined(self, room_id: str, *people: str) -> None:
        """Wait until this client knows that they joined."""
        await until(lambda: set(people) <= set(self.client.rooms[room_id].users))

    def _on_text(self, _: Any, event: RoomMessageText) -> None:
        if event.decrypted:
            self.read.append((event.sender, event.body))

    def _on_sealed(self, _: Any, event: MegolmEvent) -> None:
        self.unread.append(event)

    async def _on_invite(self, room: Any, event: InviteMemberEvent) -> None:
        if event.state_key == self.client.user_id and event.membership == "invite":
            await self.client.join(room.room_id)


@asynccontextmanager
async def nio_person(server: SynapseServer, name: str = "bob") -> AsyncIterator[NioPerson]:
    """A fresh account with a stock nio client that syncs and joins where it is invited."""
    localpart, password = new_user(server, name)
    config = AsyncClientConfig(store=SqliteMemoryStore, encryption_enabled=True, request_timeout=60)
    client = AsyncClient(server.base_url, localpart, store_path="", config=config)
    person = NioPerson(client)
    answer = await client.login(password, device_name=f"nio of {name}")
    assert getattr(answer, "access_token", None), answer
    client.add_event_callback(person._on_text, RoomMessageText)
    client.add_event_callback(person._on_sealed, MegolmEvent)
    client.add_event_callback(person._on_invite, InviteMemberEvent)
    task = asyncio.ensure_future(client.sync_forever(timeout=2000, full_state=True))
    try:
        await asyncio.wait_for(client.synced.wait(), 60)
        yield person
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def paths_in(folder: Path) -> ProfilePaths:
    """A profile of a person's own in this folder."""
    paths = ProfilePaths("default", folder / "data", folder / "run", folder / "log")
    paths.make()
    return paths
