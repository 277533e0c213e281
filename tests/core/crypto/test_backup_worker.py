"""The backup's upload: what becomes due, what goes out, and what happens when the server says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from vodozemac import GroupSession, InboundGroupSession

from tandem_core.crypto import backup as backups
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import backup_worker, megolm, secrets
from tandem_core.crypto.signing import SigningKey
from tandem_core.errors import Offline, RateLimited, ServerRefused
from tandem_core.store import account_data, identities
from tandem_core.store import backup as rows
from tandem_core.store.backup import Standing
from tandem_core.types import Change, Json, RoomId, Topic
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.room_keys import Version
from tests.core.crypto.test_backup import ALICE, SECRET, identity_of, session
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

BOTH = {user("alice"), user("bob")}


def step(device: Device) -> float | None:
    return asyncio.run(device.backups.step())


def put(device: Device, made: InboundGroupSession, room: RoomId = ROOM, source: str = "forward") -> None:
    device.write(megolm.keep_copy, device.state.pickle_key, room, made, "key", "fingerprint", source, NOW)


def uploads(server: KeyServer) -> list[Json]:
    return [
        request.body for request in server.requests if request.method == "PUT" and "room_keys" in request.path
    ]


def kept(device: Device, server: KeyServer, room: str = ROOM) -> dict[str, int]:
    """What of a room is in the backup and opens with its key: session id and first index."""
    version = server.backups.current(device.me.user_id)
    assert version is not None
    key = form.opener(device.read(secrets.read, device.state, secrets.BACKUP))
    return {
        session_id: form.read_entry(key, session_id, entry).session.first_known_index
        for session_id, entry in version.rooms.get(room, {}).items()
    }


@pytest.fixture
def backed(alice: Device) -> Device:
    """Alice, with a backup."""
    asyncio.run(alice.backup.create())
    return alice


# ── What becomes due ───────────────────────────────────────────────────────────────────────────


def test_sessions_from_every_source_reach_the_backup(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    asyncio.run(bob.backup.create())
    wire = alice.seal("from a device", BOTH)
    asyncio.run(alice.flush())
    bob.receive()
    asyncio.run(bob.keys.claim(bob.devices(alice)))
    own = bob.seal("our own", BOTH)
    brought = [session(), session()]
    put(bob, brought[0], source="import")
    put(bob, brought[1], source="forward")
    assert bob.read(rows.waiting_count) == 4
    step(bob)
    expected = {wire["session_id"], own["session_id"], *(one.session_id for one in brought)}
    assert set(kept(bob, server)) == expected
    assert bob.read(backups.status).waiting == 0
    assert bob.read(backups.status).on_server == 4


def test_what_the_other_program_stored_is_uploaded_by_whichever_runs(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    asyncio.run(bob.backup.create())
    notifier = bob.other_program()
    try:
        wire = alice.seal("x", BOTH)
        asyncio.run(alice.flush())
        notifier.receive()
        notifier.close()
        step(bob)
        assert set(kept(bob, server)) == {wire["session_id"]}
    finally:
        notifier.close()


def test_both_programs_upload_a_session_once(backed: Device, server: KeyServer) -> None:
    notifier = backed.other_program()
    put(backed, session())

    async def both() -> None:
        await asyncio.gather(backed.backups.step(), notifier.backups.step())

    try:
        asyncio.run(both())
    finally:
        notifier.close()
    assert len(uploads(server)) == 1


def test_a_better_copy_is_due_again_and_replaces_the_one_in_the_backup(
    backed: Device, server: KeyServer
) -> None:
    group = GroupSession()
    early = InboundGroupSession(group.session_key)
    group.encrypt(b"x")
    put(backed, InboundGroupSession(group.session_key))
    step(backed)
    assert kept(backed, server) == {early.session_id: 1}
    put(backed, early)
    step(backed)
    assert kept(backed, server) == {early.session_id: 0}


def test_a_better_copy_that_comes_during_the_upload_stays_due(backed: Device, server: KeyServer) -> None:
    group = GroupSession()
    early = InboundGroupSession(group.session_key)
    group.encrypt(b"x")
    put(backed, InboundGroupSession(group.session_key))
    server.before.append(("room_keys/keys", lambda: put(backed, early)))
    step(backed)
    assert kept(backed, server) == {early.session_id: 0}
    assert len(uploads(server)) == 2


def test_many_sessions_go_in_batches(
    backed: Device, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_worker, "UPLOAD_BATCH", 3)
    made = [session() for _ in range(7)]
    for number, one in enumerate(made):
        put(backed, one, RoomId(f"!{number % 2}:x"))
    step(backed)
    sizes = [sum(len(room["sessions"]) for room in body["rooms"].values()) for body in uploads(server)]
    assert sizes == [3, 3, 1]
    assert kept(backed, server, "!0:x") | kept(backed, server, "!1:x") == {one.session_id: 0 for one in made}


def test_a_session_that_cannot_be_read_holds_up_no_other(backed: Device, server: KeyServer) -> None:
    broken, good = session(), session()
    put(backed, broken)
    put(backed, good)
    backed.write(
        lambda txn: txn.execute(
            "UPDATE megolm_inbound SET pickle = 'x' WHERE session_id = ?", (broken.session_id,)
        )
    )
    step(backed)
    assert kept(backed, server) == {good.session_id: 0}
    assert backed.read(rows.waiting_count) == 0


def test_no_session_is_written_in_clear(backed: Device, server: KeyServer) -> None:
    made = session()
    put(backed, made)
    step(backed)
    exported = made.export_at(0)
    assert exported is not None
    assert exported.to_base64() not in str(uploads(server))


# ── Interruptions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
def test_a_program_that_dies_at_the_upload_repeats_it_and_nothing_is_lost_or_doubled(
    backed: Device, server: KeyServer, lost: str
) -> None:
    made = [session() for _ in range(3)]
    for one in made:
        put(backed, one)
    getattr(server, lost).append("room_keys/keys")
    with pytest.raises(Offline):
        step(backed)
    assert backed.read(rows.waiting_count) == 3
    again = backed.restarted()
    try:
        step(again)
        assert kept(again, server) == {one.session_id: 0 for one in made}
        assert again.read(rows.waiting_count) == 0
    finally:
        again.close()


@pytest.mark.parametrize(
    "trouble", [Offline("HTTP 502"), RateLimited(7.0), ServerRefused(403, "M_FORBIDDEN", "no")]
)
def test_a_refusal_is_told_and_the_keys_stay_due(
    backed: Device, server: KeyServer, trouble: Exception
) -> None:
    put(backed, session())
    server.refuse.append(("room_keys/keys", trouble))
    with pytest.raises(type(trouble)):
        step(backed)
    assert backed.read(rows.waiting_count) == 1
    step(backed)
    assert backed.read(rows.waiting_count) == 0


@pytest.mark.parametrize("answer", [{}, {"count": "7"}, {"count": None, "etag": 5}])
def test_an_odd_answer_to_an_upload_is_one_all_the_same(
    backed: Device, server: KeyServer, answer: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backed, session())
    monkeypatch.setattr(type(server.backups), "_put", lambda *_: answer)
    step(backed)
    assert backed.read(rows.waiting_count) == 0


# ── Versions ───────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_uploaded_without_a_backup_and_everything_once_there_is_one(
    alice: Device, server: KeyServer
) -> None:
    made = session()
    put(alice, made)
    step(alice)
    assert uploads(server) == []
    asyncio.run(alice.backup.create())
    step(alice)
    assert kept(alice, server) == {made.session_id: 0}


def test_nothing_is_encrypted_to_a_version_that_is_not_trusted(alice: Device, server: KeyServer) -> None:
    server.backups.versions[ALICE] = [Version("1", form.ALGORITHM, {"public_key": form.public_key(SECRET)})]
    put(alice, session())
    step(alice)
    assert uploads(server) == []
    assert alice.read(backups.status).standing is Standing.UNTRUSTED
    alice.write(backups.adopt_key, alice.state, SECRET, NOW)
    step(alice)
    assert len(uploads(server)) == 1


def test_a_version_that_another_of_our_clients_made_is_taken_up_with_every_key(
    backed: Device, server: KeyServer
) -> None:
    """It is signed by our identity; its key has not come to this device."""
    made = session()
    put(backed, made)
    step(backed)
    new = _signed_elsewhere(backed, server)
    late = session()
    put(backed, late)
    step(backed)
    assert set(new.rooms[ROOM]) == {made.session_id, late.session_id}
    state = backed.read(backups.status)
    assert (state.version, state.has_key, state.waiting) == ("2", False, 0)


def test_a_version_made_by_somebody_else_stops_the_upload_and_is_told(
    backed: Device, server: KeyServer
) -> None:
    server.backups.versions[ALICE].append(
        Version("2", form.ALGORITHM, {"public_key": form.public_key(form.new_secret())})
    )
    put(backed, session())
    step(backed)
    assert server.backups.versions[ALICE][1].rooms == {}
    assert backed.read(backups.status).standing is Standing.UNTRUSTED
    assert len(uploads(server)) == 1  # the one that was told of the new version
    step(backed)
    assert len(uploads(server)) == 1


def test_a_backup_that_was_deleted_elsewhere_stops_the_upload_and_is_told(
    backed: Device, server: KeyServer
) -> None:
    server.backups.versions[ALICE][0].is_deleted = True
    put(backed, session())
    step(backed)
    state = backed.read(backups.status)
    assert (state.standing, state.has_key, state.version) == (Standing.NONE, False, None)
    assert backed.read(rows.waiting_count) == 1


def test_a_server_that_shows_a_version_and_does_not_take_it_is_not_asked_in_a_circle(
    backed: Device, server: KeyServer
) -> None:
    put(backed, session())
    wrong = ServerRefused(403, "M_WRONG_ROOM_KEYS_VERSION", "Wrong room_keys version.")
    server.refuse += [("room_keys/keys", wrong)] * 9
    with pytest.raises(ServerRefused):
        step(backed)
    assert len(uploads(server)) == 1


def test_the_same_name_with_another_key_is_another_version(backed: Device, server: KeyServer) -> None:
    """A server that lost everything begins with version 1 again."""
    made = session()
    put(backed, made)
    step(backed)
    master = identity_of(backed)
    signed = master.sign({"public_key": form.public_key(SECRET)}, ALICE)
    server.backups.versions[ALICE] = [Version("1", form.ALGORITHM, signed)]
    asyncio.run(backed.backup.look())
    step(backed)
    assert set(server.backups.versions[ALICE][0].rooms[ROOM]) == {made.session_id}


def _signed_elsewhere(device: Device, server: KeyServer) -> Version:
    """A new version, signed by our identity on another of our devices."""
    signed = identity_of(device).sign({"public_key": form.public_key(form.new_secret())}, ALICE)
    server.backups.versions[ALICE].append(Version("2", form.ALGORITHM, signed))
    return server.backups.versions[ALICE][-1]


# ── When the server is asked ───────────────────────────────────────────────────────────────────


def _looks(server: KeyServer) -> int:
    return sum(
        request.method == "GET" and request.path.endswith("room_keys/version") for request in server.requests
    )


def test_the_server_is_asked_now_and_then_and_by_one_program(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    notifier = alice.other_program()
    try:
        pause_s = step(alice)
        asyncio.run(notifier.backups.step())
        assert _looks(server) == 1
        assert pause_s == backup_worker.LOOK_EVERY_MS / 1000
        clock.time_ms += backup_worker.LOOK_EVERY_MS
        asyncio.run(notifier.backups.step())
        step(alice)
        assert _looks(server) == 2
    finally:
        notifier.close()


def test_the_server_is_asked_when_account_data_changed_but_not_for_each_change(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    step(alice)
    alice.write(account_data.put, "m.megolm_backup.v1", {})
    for _ in range(3):
        alice.backups.wake([Change(Topic.ACCOUNT_DATA)])
        assert step(alice) == backup_worker.LOOK_AT_MOST_EVERY_MS / 1000
    assert _looks(server) == 1
    clock.time_ms += backup_worker.LOOK_AT_MOST_EVERY_MS
    step(alice)
    step(alice)
    assert _looks(server) == 2


def test_a_version_becomes_trusted_as_soon_as_the_identity_that_signed_it_is_ours(
    alice: Device, server: KeyServer
) -> None:
    master = SigningKey.generate()
    signed = master.sign({"public_key": form.public_key(SECRET)}, ALICE)
    server.backups.versions[ALICE] = [Version("1", form.ALGORITHM, signed)]
    put(alice, session())
    step(alice)
    assert uploads(server) == []
    alice.write(identities.put, ALICE, identities.Published(master.public, None, None, {}), NOW)
    step(alice)
    assert uploads(server) == []
    alice.write(identities.confirm_own, ALICE, master.public)
    step(alice)
    assert (len(uploads(server)), _looks(server)) == (1, 1)


def test_the_worker_wakes_for_a_new_key(backed: Device, server: KeyServer) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        backed.db.listen(lambda changes: loop.call_soon_threadsafe(backed.backups.wake, changes))
        working = asyncio.create_task(backed.backups.run())
        await _until(lambda: _looks(server) > 1)
        await asyncio.to_thread(put, backed, session())
        await _until(lambda: len(uploads(server)) == 1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    backed.write(lambda txn: txn.execute("UPDATE backup SET looked_at = 0"))
    asyncio.run(work())


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)
