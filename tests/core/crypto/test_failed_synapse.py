"""Failed delivery against a real Synapse: a key is lost, its author hears of it, sends it again, and the tick comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session as sessions
from tandem_core import settings
from tandem_core.clock import SystemClock
from tandem_core.engine import Engine
from tandem_core.paths import paths_below
from tandem_core.receipts import failed, failed_heard
from tandem_core.role import take_role
from tandem_core.sending import enqueue
from tandem_core.store import devices, identities, room_facts
from tandem_core.store.database import Database
from tandem_core.store.room_facts import RoomKind
from tandem_core.sync import rooms_api
from tandem_core.types import Change, EventId, Role, RoomId, Topic
from tandem_demo.device import Device
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.support.aio import in_loop

pytestmark = pytest.mark.synapse

DAY_MS = 86_400_000
_PATIENCE_S = 60.0


class MovedClock(SystemClock):
    """The machine's clock, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Program:
    """A running program of one device."""

    def __init__(self, engine: Engine, clock: MovedClock) -> None:
        self.engine = engine
        self.clock = clock
        self.user_id = engine.me.user_id

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.engine.db.read_now(lambda conn: [tuple(row) for row in conn.execute(sql, values)])

    async def change(self, sql: str, *values: object) -> None:
        await self.engine.db.write(lambda txn: txn.execute(sql, values) and None)

    async def until(self, what: str, look: Callable[[], Any]) -> Any:
        """What ``look`` finds, once it finds something."""
        end = asyncio.get_running_loop().time() + _PATIENCE_S
        while not (found := look()):
            assert asyncio.get_running_loop().time() < end, f"{self.user_id}: {what} never came"
            await asyncio.sleep(0.03)
        return found

    async def until_time_brings(
        self, what: str, look: Callable[[], Any], friend: Program, room: RoomId
    ) -> Any:
        """The same, while this program's minutes pass quickly; its friend's typing shows that the server is there."""
        is_typing = False
        while not (found := look()):
            assert self.clock.ahead_ms < DAY_MS, f"{self.user_id}: {what} never came"
            is_typing = not is_typing
            await rooms_api.typing(friend.engine.http, friend.engine.db, room, is_typing)
            self.clock.ahead_ms += 60_000
            self.engine.wake([Change(Topic.OWED), Change(Topic.SETTINGS)])
            await asyncio.sleep(0.2)
        return found

    async def say(self, room_id: RoomId, body: str) -> EventId:
        content = {"msgtype": "m.text", "body": body}
        now_ms = self.clock.now_ms()
        txn_id = await self.engine.db.write(
            enqueue, room_id, "m.room.message", content, body=body, now_ms=now_ms
        )
        sent = "SELECT event_id FROM send_queue WHERE txn_id = ? AND state = 'sent'"
        found = await self.until("the message on the server", lambda: self.rows(sent, txn_id))
        return EventId(found[0][0])

    def seal(self, event_id: str) -> tuple[Any, ...] | None:
        found = self.rows("SELECT seal, seal_reason FROM event WHERE event_id = ?", event_id)
        return found[0] if found else None

    async def trust(self, other: Program) -> None:
        """Verify a person, as after a comparison of emoji."""

        def master() -> str | None:
            found = self.engine.db.read_now(identities.identity, other.user_id)
            return None if found is None else found.master

        signed = "SELECT 1 FROM device WHERE user_id = ? AND signed_by IS NOT NULL"
        await other.until("their own identity", lambda: other.rows(signed, other.user_id))
        await self.engine.db.write(devices.track, [other.user_id])
        await self.engine.db.write(devices.mark_outdated, [other.user_id])
        own = await self.engine.encryption.cross_signing()
        await self.until("the other's identity", master)
        await own.confirm_person(other.user_id, str(master()))
        await own.flush()
        await self.engine.db.write(devices.mark_outdated, [other.user_id])
        signed = "SELECT 1 FROM identity WHERE user_id = ? AND signed_by IS NOT NULL"
        await self.until("our signature", lambda: self.rows(signed, other.user_id))


@asynccontextmanager
async def running(server: SynapseServer, folder: Path, name: str) -> AsyncIterator[Program]:
    """Somebody's only device, signed in since yesterday and asked about receipts, with its program running."""
    folder.mkdir(mode=0o700)
    paths = paths_below(folder)
    paths.make()
    localpart, password = new_user(server, name)
    await sessions.login(server.base_url, localpart, password, device_name=name, paths=paths)
    db = Database.open(paths.database)
    choices = {"receipts.answered": True, failed.SETTING: True, "receipts.timing": "quick"}
    for key, value in choices.items():
        await db.write(settings.set_value, key, value, now_ms=0)
    await db.write(
        lambda txn: txn.execute("UPDATE session SET signed_in_at = signed_in_at - ?", (DAY_MS,)) and None
    )
    clock = MovedClock()
    engine = Engine(paths, db, sessions.current(db), Role.NOTIFIER, clock=clock)
    with take_role(paths, Role.NOTIFIER):
        task = asyncio.ensure_future(engine.run())
        try:
            yield Program(engine, clock)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            db.close()


async def direct_chat(alice: Program, bob: Program) -> RoomId:
    """An encrypted direct chat of two people who have verified each other."""
    for one, other in ((alice, bob), (bob, alice)):
        await one.trust(other)
    room_id = await rooms_api.create(alice.engine.http, alice.engine.db, invite=[bob.user_id])
    invited = "SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'"
    await bob.until("the invitation", lambda: bob.rows(invited, room_id))
    await rooms_api.accept(bob.engine.http, bob.engine.db, room_id)
    for one in (alice, bob):
        await one.until(
            "the direct chat",
            lambda one=one: one.engine.db.read_now(room_facts.kind, room_id) is RoomKind.DIRECT,
        )
    both = "SELECT 1 FROM member WHERE room_id = ? AND user_id = ? AND membership = 'join'"
    await alice.until("the guest", lambda: alice.rows(both, room_id, bob.user_id))
    return room_id


@pytest.fixture(params=["synapse", "stock_synapse"])
def place(request: pytest.FixtureRequest) -> tuple[SynapseServer, bool]:
    """With our module, whose receipts name the device, and without, where they travel encrypted (False)."""
    return request.getfixturevalue(request.param), request.param == "synapse"


@in_loop
async def test_from_the_lost_key_to_the_tick(
    place: tuple[SynapseServer, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, with_module = place
    monkeypatch.setenv("TANDEM_VAULT", "file")
    async with AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(running(server, tmp_path / name, name))
            for name in ("alice", "bob")
        ]
        room_id = await direct_chat(alice, bob)
        first = await alice.say(room_id, "hello")
        await bob.until("the first message", lambda: bob.seal(first) == ("opened", None))

        await bob.change("DELETE FROM megolm_inbound WHERE source = 'olm'")
        event_id = await alice.say(room_id, "lost")
        await bob.until("the message that cannot be read", lambda: bob.seal(event_id) == ("sealed", "no_key"))
        await bob.until("the other ways", lambda: bob.rows("SELECT 1 FROM backup"))

        (device,) = await bob.until_time_brings("the report", lambda: _heard(alice, event_id), alice, room_id)
        assert (device.user_id, device.device_id) == (bob.user_id, bob.engine.me.device_id)
        assert device.code is failed.Code.NO_KEY
        assert _heard(alice, first) == []

        if with_module:
            await alice.engine.encryption.send_key_again(event_id, device.user_id, device.device_id)
        else:
            words = ("receipts", event_id, "--send-key-again", device.user_id, device.device_id)
            command = Device("alice", tmp_path / "alice", headless=True)
            said = await asyncio.to_thread(command.ctl, *words)
            assert said["event_id"] == event_id
        await bob.until("the key", lambda: bob.seal(event_id) == ("opened", None))
        delivered = "SELECT 1 FROM delivery WHERE event_id = ? AND user_id = ? AND device_id = ?"
        await bob.until_time_brings(
            "the tick",
            lambda: alice.rows(delivered, event_id, bob.user_id, bob.engine.me.device_id),
            alice,
            room_id,
        )
        await bob.until_time_brings(
            "the word that it is over", lambda: _heard(alice, event_id) == [], alice, room_id
        )


def _heard(program: Program, event_id: EventId) -> list[failed_heard.FailedDevice]:
    found = program.engine.db.read_now(failed_heard.heard, [event_id])
    return found.get(event_id, [])
