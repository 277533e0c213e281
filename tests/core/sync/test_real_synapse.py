"""The engine's sync against a real Synapse: what the server really says, not what we believe it says."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session as sessions_api
from tandem_core.engine import Engine
from tandem_core.errors import SignedOut, WrongPassword
from tandem_core.paths import profile_paths
from tandem_core.store import members, reads, rooms, session, timeline
from tandem_core.store.database import Database
from tandem_core.sync import rooms_api
from tandem_core.sync.members import ensure_members
from tandem_core.types import Role, RoomId
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.support.aio import in_loop

pytestmark = pytest.mark.synapse
APP, NOTIFIER = Role.APP, Role.NOTIFIER


class Program:
    """One running engine on Alice's store."""

    def __init__(self, engine: Engine, conn: sqlite3.Connection) -> None:
        self.engine = engine
        self.conn = conn
        self.role = engine.role

    def room(self, room_id: str) -> rooms.RoomRow | None:
        return rooms.room(self.conn, self.role, RoomId(room_id))

    def bodies(self, room_id: str) -> list[str]:
        rows = timeline.page(self.conn, self.role, RoomId(room_id), limit=1000)
        return [row.body for row in reversed(rows) if row.kind == "text"]

    def own_bodies(self, room_id: str) -> list[str]:
        """Only what this connection itself has, nothing borrowed."""
        found = self.conn.execute(
            "SELECT e.body FROM timeline t JOIN event e USING (event_id)"
            " WHERE t.conn = ? AND t.room_id = ? AND e.kind = 'text' ORDER BY t.ord",
            (self.role, room_id),
        )
        return [body for (body,) in found]


@asynccontextmanager
async def running(role: Role = APP) -> AsyncIterator[Program]:
    """An engine of the account in TANDEM_HOME."""
    paths = profile_paths()
    db = Database.open(paths.database)
    engine = Engine(paths, db, sessions_api.current(db), role)
    task = asyncio.ensure_future(engine.run())
    conn = db.reader()
    try:
        yield Program(engine, conn)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        conn.close()
        db.close()


async def until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, once it finds something."""
    async with asyncio.timeout(60):
        while not (found := look()):
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
def sign_in(synapse: SynapseServer, tandem_home: Path) -> Callable[[], Any]:
    """Make an account and sign Tandem in with it."""

    async def sign_in() -> Any:
        localpart, password = new_user(synapse, "alice")
        return await sessions_api.login(
            synapse.base_url, localpart, password, device_name="Tandem", paths=profile_paths()
        )

    return sign_in


async def _chat(program: Program, bob: RawClient, me: Any, *said: str) -> str:
    """A room in clear where Bob said things; Alice has joined."""
    room_id = bob.create_room(invite=[me.user_id], preset="private_chat")
    for body in said:
        bob.say(room_id, body)
    await until(lambda: program.room(room_id))
    await rooms_api.accept(program.engine.http, program.engine.db, RoomId(room_id))
    await until(lambda: (row := program.room(room_id)) and row.membership == "join")
    bob.say(room_id, "welcome")
    await until(lambda: program.own_bodies(room_id)[-1:] == ["welcome"])
    return room_id


@in_loop
async def test_an_invitation_comes_is_accepted_and_talk_begins(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    async with running() as alice:
        room_id = bob.create_room(invite=[me.user_id], name="Kitchen", preset="private_chat")
        row = await until(lambda: alice.room(room_id))
        assert (row.membership, row.inviter, row.name) == ("invite", bob.user_id, "Kitchen")
        await rooms_api.accept(alice.engine.http, alice.engine.db, RoomId(room_id))
        await until(lambda: (row := alice.room(room_id)) and row.membership == "join")
        bob.say(room_id, "hello")
        await until(lambda: "hello" in alice.bodies(room_id))
        row = alice.room(room_id)
        assert row is not None
        assert (row.unread, row.last_text) == (1, "hello")
        assert rooms.kind(alice.conn, RoomId(room_id)) is rooms.RoomKind.PRIVATE_PLAIN
        accepted = alice.conn.execute(
            "SELECT accepted FROM room_fact WHERE room_id = ?", (room_id,)
        ).fetchone()
        assert accepted["accepted"] == "accepted_invite"


@in_loop
async def test_an_invitation_is_declined_and_gone(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    async with running() as alice:
        room_id = bob.create_room(invite=[me.user_id])
        await until(lambda: alice.room(room_id))
        await rooms_api.decline(alice.engine.http, alice.engine.db, RoomId(room_id))
        assert rooms.room_list(alice.conn, APP) == []


@in_loop
async def test_opening_a_room_brings_its_history_once_and_in_order(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    said = [f"m{number}" for number in range(30)]
    async with running() as alice:
        room_id = await _chat(alice, bob, me, *said)
        alice.engine.watch_room(RoomId(room_id))
        await until(lambda: len(alice.bodies(room_id)) == 31)
        assert alice.bodies(room_id) == [*said, "welcome"]


@in_loop
async def test_what_was_said_while_one_program_slept_is_filled_in_without_loss_or_doubling(
    sign_in: Any, make_user: Any
) -> None:
    me, bob = await sign_in(), make_user("bob")
    said = ["welcome"]
    async with running(NOTIFIER) as notifier:
        async with running(APP) as alice:
            room_id = await _chat(alice, bob, me)
        said += [f"m{number}" for number in range(130)]
        for body in said[1:]:
            bob.say(room_id, body)
        await until(lambda: notifier.own_bodies(room_id)[-1:] == said[-1:])
        async with running(APP) as alice:
            await until(lambda: alice.own_bodies(room_id) == said)
        await until(lambda: notifier.own_bodies(room_id) == said)
        assert timeline.gaps(notifier.conn, NOTIFIER) == []


@in_loop
async def test_scrolling_back_reaches_the_rooms_start(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    said = [f"m{number}" for number in range(25)]
    async with running() as alice:
        room_id = await _chat(alice, bob, me, *said)
        rounds = 0
        while await alice.engine.history.back(RoomId(room_id), 10):
            rounds += 1
            assert rounds < 10
        assert alice.bodies(room_id) == [*said, "welcome"]
        origins = {
            row["origin"] for row in alice.conn.execute("SELECT origin FROM timeline WHERE origin != 'live'")
        }
        assert origins == {"back"}


@pytest.mark.parametrize("place", ["garbage", "99999/s1_1_0_1_1_1_1_1_0_1_1_1_1_1", ""])
@in_loop
async def test_a_place_the_server_does_not_know_costs_nothing(
    sign_in: Any, make_user: Any, place: str
) -> None:
    me, bob = await sign_in(), make_user("bob")
    async with running() as alice:
        room_id = await _chat(alice, bob, me)
    db = Database.open(profile_paths().database)
    db.write_now(session.set_pos, APP, place, None)
    since = db.read_now(session.token, APP)
    db.close()
    bob.send_to_device("im.tandem.test", {me.user_id: {me.device_id: {"n": 1}}})
    bob.say(room_id, "two")
    async with running() as alice:
        await until(lambda: alice.own_bodies(room_id) == ["welcome", "two"])
        await until(lambda: session.token(alice.conn, APP) not in (None, since))
        types = [row["type"] for row in alice.conn.execute("SELECT type FROM inbox")]
        assert types.count("im.tandem.test") >= 1


@in_loop
async def test_reading_reaches_the_server_and_both_programs(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    async with running(APP) as alice, running(NOTIFIER) as notifier:
        room_id = await _chat(alice, bob, me)
        bob.say(room_id, "two")
        await until(lambda: "two" in alice.bodies(room_id) and "two" in notifier.own_bodies(room_id))
        assert (alice.room(room_id).unread, notifier.room(room_id).unread) == (2, 2)  # type: ignore[union-attr]
        await rooms_api.mark_room_read(alice.engine.db, APP, RoomId(room_id))
        assert alice.room(room_id).unread == 0  # type: ignore[union-attr]
        await until(lambda: not reads.owed(alice.conn))
        assert notifier.room(room_id).unread == 0  # type: ignore[union-attr]
        _, seen = await asyncio.to_thread(
            bob.sliding_sync,
            {"lists": {"a": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 1}},
             "extensions": {"receipts": {"enabled": True}}},
        )  # fmt: skip
        assert me.user_id in str(seen["extensions"]["receipts"])


@in_loop
async def test_the_full_member_list_is_fetched_and_kept_current(sign_in: Any, make_user: Any) -> None:
    me, bob, carol = await sign_in(), make_user("bob"), make_user("carol")
    async with running() as alice:
        room_id = RoomId(await _chat(alice, bob, me))
        await ensure_members(alice.engine.http, alice.engine.db, APP, room_id)
        assert members.agreed_members(alice.conn, room_id) == {me.user_id, bob.user_id}
        bob.invite(room_id, carol.user_id)
        # Both changes in one answer are more than a list shows of a room, and a hole leaves the members unknown.
        await until(lambda: members.joined(alice.conn, APP, room_id, ("invite",)) >= {carol.user_id})
        carol.join(room_id)
        await until(lambda: carol.user_id in (members.agreed_members(alice.conn, room_id) or ()))
        bob.leave(room_id)
        await until(lambda: members.agreed_members(alice.conn, room_id) == {me.user_id, carol.user_id})


@in_loop
async def test_opening_a_room_names_everybody_and_opening_a_strange_one_harms_nothing(
    sign_in: Any, make_user: Any
) -> None:
    me, bob, carol = await sign_in(), make_user("bob"), make_user("carol")
    async with running() as alice:
        room_id = RoomId(await _chat(alice, bob, me))
        bob.invite(room_id, carol.user_id)
        alice.engine.watch_room(RoomId("!nowhere:localhost"))
        carol.join(room_id)
        bob.say(room_id, "still here")
        await until(lambda: "still here" in alice.bodies(room_id))
        alice.engine.watch_room(room_id)
        await until(lambda: members.is_complete(alice.conn, APP, room_id))
        assert members.agreed_members(alice.conn, room_id) == {me.user_id, bob.user_id, carol.user_id}


@in_loop
async def test_a_redaction_takes_the_message_away_here_and_there(sign_in: Any, make_user: Any) -> None:
    me, bob = await sign_in(), make_user("bob")
    async with running() as alice:
        room_id = await _chat(alice, bob, me)
        event_id = bob.say(room_id, "regret")
        await until(lambda: "regret" in alice.bodies(room_id))
        bob.ok("PUT", f"/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/t1", {})
        await until(lambda: "regret" not in alice.bodies(room_id))
        assert "regret" not in str(
            [tuple(row) for row in alice.conn.execute("SELECT content, body FROM event")]
        )


@in_loop
async def test_a_device_removed_elsewhere_ends_the_program(synapse: SynapseServer, tandem_home: Path) -> None:
    localpart, password = new_user(synapse, "alice")
    paths = profile_paths()
    with pytest.raises(WrongPassword):
        await sessions_api.login(synapse.base_url, localpart, "no", device_name="Tandem", paths=paths)
    me = await sessions_api.login(synapse.base_url, localpart, password, device_name="Tandem", paths=paths)
    db = Database.open(paths.database)
    engine = Engine(paths, db, sessions_api.current(db), APP)
    task = asyncio.ensure_future(engine.run())
    await until(lambda: db.read_now(session.connection, APP).pos)
    token = sessions_api.current(db).access_token
    RawClient(synapse.base_url, token or "", me.user_id, me.device_id).ok(
        "POST", "/_matrix/client/v3/logout", {}
    )
    with pytest.raises(SignedOut) as ended:
        await asyncio.wait_for(task, 60)
    assert not ended.value.soft
    db.close()
