"""Encrypted talk with a foreign client: stock matrix-nio on the other side of a real Synapse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.interop.people import NOTIFIER, nio_person, paths_in, running, sign_in, until
from tests.support.aio import in_loop

pytestmark = pytest.mark.synapse


@pytest.fixture(autouse=True)
def key_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_VAULT", "file")


@in_loop
async def test_a_conversation_that_tandem_begins(synapse: SynapseServer, tmp_path: Path) -> None:
    paths = paths_in(tmp_path / "alice")
    me = await sign_in(synapse, paths)
    async with nio_person(synapse) as bob, running(paths) as alice:
        room_id = await alice.create_encrypted(bob.user_id)
        await until(lambda: room_id in bob.client.rooms and me.user_id in bob.client.rooms[room_id].users)
        said = [f"from Tandem {number}" for number in range(3)]
        for body in said:
            await alice.say(room_id, body)
        await until(lambda: bob.bodies() == said)
        answers = [f"from nio {number}" for number in range(3)]
        for body in answers:
            await bob.say(room_id, body)
        await until(lambda: alice.bodies(room_id) == said + answers)
        assert bob.unread == []
        assert alice.sealed(room_id) == []


@in_loop
async def test_a_conversation_that_nio_begins_and_both_programs_follow(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    paths = paths_in(tmp_path / "alice")
    me = await sign_in(synapse, paths)
    async with nio_person(synapse) as bob, running(paths) as app, running(paths, NOTIFIER) as notifier:
        room_id = await bob.create_encrypted(me.user_id)
        await app.accept(room_id)
        await bob.joined(room_id, me.user_id)
        said: list[str] = []
        for number in range(12):
            body = f"line {number}"
            said.append(body)
            match number % 3:
                case 0:
                    await bob.say(room_id, body)
                case 1:
                    await app.say(room_id, body)
                case 2:
                    await notifier.say(room_id, body)
            await until(
                lambda: app.bodies(room_id) == said and notifier.bodies(room_id) == said,
                lambda: (app.bodies(room_id), notifier.bodies(room_id), app.sealed(room_id)),
            )
        await until(lambda: bob.bodies() == said, bob.bodies)
        assert bob.unread == []
        # Both programs wrote with one session, each index once.
        sessions = app.conn.execute("SELECT messages FROM megolm_outbound").fetchall()
        assert [tuple(row) for row in sessions] == [(8,)]
        places = app.conn.execute("SELECT session_id, message_index FROM megolm_replay").fetchall()
        assert len(places) == len({tuple(row) for row in places}) == len(said)


@in_loop
async def test_two_tandem_people_with_three_devices(synapse: SynapseServer, tmp_path: Path) -> None:
    login = new_user(synapse, "bob")
    alice_paths, laptop_paths, desk_paths = (
        paths_in(tmp_path / name) for name in ("alice", "laptop", "desk")
    )
    await sign_in(synapse, alice_paths)
    bob = await sign_in(synapse, laptop_paths, "laptop", login)
    async with running(alice_paths) as alice, running(laptop_paths) as laptop:
        room_id = await alice.create_encrypted(bob.user_id)
        await laptop.accept(room_id)
        said = ["one"]
        await alice.say(room_id, "one")
        await until(lambda: laptop.bodies(room_id) == said, lambda: laptop.sealed(room_id))
        # A new device reads from now on, without a new session; what came before waits for its key.
        await sign_in(synapse, desk_paths, "desk", login)
        async with running(desk_paths) as desk:
            await until(
                lambda: len(alice.devices_of(bob.user_id)) == 2, lambda: alice.devices_of(bob.user_id)
            )
            for sender, body in ((alice, "two"), (laptop, "three"), (desk, "four"), (alice, "five")):
                said.append(body)
                await sender.say(room_id, body)
                await until(
                    lambda: all(who.bodies(room_id) == said for who in (alice, laptop)),
                    lambda: [(who.bodies(room_id), who.sealed(room_id)) for who in (alice, laptop)],
                )
            await until(
                lambda: desk.bodies(room_id) == said[1:], lambda: (desk.bodies(room_id), desk.sealed(room_id))
            )
            sessions = alice.conn.execute(
                "SELECT count(*) FROM megolm_inbound WHERE source = 'own'"
            ).fetchone()
            assert sessions[0] == 1
            before = alice.conn.execute("SELECT session_id FROM megolm_outbound").fetchone()[0]
            await desk.engine.http.request("POST", "/_matrix/client/v3/logout", {})
        # A device that went away must not read on.
        await until(lambda: len(alice.devices_of(bob.user_id)) == 1, lambda: alice.devices_of(bob.user_id))
        await alice.say(room_id, "six")
        await until(lambda: laptop.bodies(room_id)[-1] == "six", lambda: laptop.sealed(room_id))
        assert alice.conn.execute("SELECT session_id FROM megolm_outbound").fetchone()[0] != before
