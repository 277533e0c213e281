"""Keys come back out of the backup: one by one when a message waits, and all of them; hostile backups too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from vodozemac import InboundGroupSession

from tandem_core.crypto import backup as backups
from tandem_core.crypto import backup_worker, secrets
from tandem_core.errors import Offline, ServerRefused
from tandem_core.http import TooBig
from tandem_core.store import backup as rows
from tandem_core.types import Json, RoomId
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_backup import session
from tests.core.crypto.test_backup_worker import BOTH, put, step
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

BOB = user("bob")
OTHER = RoomId("!other:example.org")


def private_key(device: Device) -> str:
    return str(device.read(secrets.read, device.state, secrets.BACKUP))


def unlock(device: Device, history: tuple[Device, Device, list[Json]]) -> bool:
    """Recovery, or another device, gives the key."""
    step(device)
    return bool(device.write(backups.adopt_key, device.state, private_key(history[1]), NOW))


def asked(server: KeyServer, part: str) -> int:
    return sum(request.method == "GET" for request in server.asked(part))


def _without_job(device: Device) -> None:
    device.write(lambda txn: txn.execute("DELETE FROM backup_restore"))


# ── One by one ─────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_waits_for_its_key_gets_it_from_the_backup(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history
    unlock(tablet, history)
    _without_job(tablet)
    waiting = [tablet.sees(wire, alice) for wire in wires[:2]]
    step(tablet)
    tablet.drain()
    assert [tablet.body(event_id) for event_id in waiting] == ["line 0", "line 1"]
    assert tablet.rows("SELECT DISTINCT source FROM megolm_inbound") == [("backup",)]
    assert len(tablet.rows("SELECT * FROM megolm_inbound")) == 2
    assert tablet.read(rows.waiting_count) == 0


def test_the_backup_is_asked_once_for_a_session_that_it_has_not_and_again_after_hours(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer, clock: StillClock
) -> None:
    alice, bob, _ = history
    unlock(tablet, history)
    alice.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1"))
    wire = alice.seal("not backed up yet", BOTH)
    event_id = tablet.sees(wire, alice)
    for _ in range(3):
        step(tablet)
        tablet.sees(wire, alice, event_id=event_id)
    assert asked(server, "room_keys/keys/") == 1
    asyncio.run(alice.flush())
    bob.receive()
    step(bob)
    clock.time_ms += rows.MISSING_FOR_MS
    step(tablet)
    tablet.drain()
    assert tablet.body(event_id) == "not backed up yet"


def test_a_key_that_reaches_further_back_is_asked_for_too(
    history: tuple[Device, Device, list[Json]], tablet: Device
) -> None:
    alice, _, wires = history
    unlock(tablet, history)
    _without_job(tablet)
    late = alice.seal("later", BOTH)
    row = alice.rows("SELECT pickle FROM megolm_inbound WHERE session_id = ?", wires[2]["session_id"])[0][0]
    full = InboundGroupSession.from_pickle(row, alice.state.pickle_key)
    part = full.export_at(1)
    assert part is not None
    put(tablet, InboundGroupSession.import_session(part))
    early, later = tablet.sees(wires[2], alice), tablet.sees(late, alice)
    assert (tablet.event(early).seal_reason, tablet.body(later)) == ("too_early", "later")
    step(tablet)
    tablet.drain()
    assert tablet.body(early) == "line 2"


def test_without_the_key_nobody_asks(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history
    tablet.sees(wires[0], alice)
    step(tablet)
    assert asked(server, "room_keys/keys") == 0
    with pytest.raises(backups.NoBackupKey):
        asyncio.run(tablet.backup.restore())


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
def test_a_question_whose_answer_is_lost_is_asked_again(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer, lost: str
) -> None:
    alice, _, wires = history
    unlock(tablet, history)
    _without_job(tablet)
    event_id = tablet.sees(wires[0], alice)
    getattr(server, lost).append("room_keys/keys/")
    with pytest.raises(Offline):
        step(tablet)
    step(tablet)
    tablet.drain()
    assert tablet.body(event_id) == "line 0"


def test_not_more_than_a_few_sessions_are_asked_for_in_one_go(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backup_worker, "FETCHES_A_STEP", 2)
    alice, _, wires = history
    unlock(tablet, history)
    _without_job(tablet)
    for number in range(5):
        tablet.sees(wires[0] | {"session_id": f"unknown{number}"}, alice)
    assert step(tablet) == backup_worker.FETCH_AGAIN_S
    assert asked(server, "room_keys/keys/") == 2
    step(tablet)
    assert step(tablet) != backup_worker.FETCH_AGAIN_S
    assert asked(server, "room_keys/keys/") == 5


def test_what_is_remembered_of_questions_is_bounded(alice: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MOST_MISSING", 3)
    for number in range(6):
        alice.write(rows.note_asked, ROOM, f"s{number}", NOW + number)
    assert alice.rows("SELECT session_id FROM backup_missing ORDER BY 1") == [("s3",), ("s4",), ("s5",)]


# ── Everything ─────────────────────────────────────────────────────────────────────────────────


def test_a_new_device_that_gets_the_key_restores_everything_by_itself(
    history: tuple[Device, Device, list[Json]], tablet: Device
) -> None:
    alice, bob, wires = history
    waiting = [tablet.sees(wire, alice) for wire in wires]
    assert unlock(tablet, history)
    step(tablet)
    tablet.drain()
    assert [tablet.body(event_id) for event_id in waiting] == ["line 0", "line 1", "line 2"]
    done = tablet.read(rows.restore)
    assert (done.state, done.total, done.unusable) == ("done", 3, 0)
    assert tablet.read(rows.waiting_count) == 0
    assert bob.rows("SELECT session_id FROM megolm_inbound ORDER BY 1") == tablet.rows(
        "SELECT session_id FROM megolm_inbound ORDER BY 1"
    )


def _many(bob: Device, count: int = 5) -> dict[RoomId, set[str]]:
    """So many sessions in each of three rooms go into the backup."""
    rooms = {ROOM: set[str](), OTHER: set[str](), RoomId("!left:example.org"): set[str]()}
    for room, sessions in rooms.items():
        for _ in range(count):
            made = session()
            put(bob, made, room)
            sessions.add(made.session_id)
    step(bob)
    return rooms


def test_a_large_backup_is_restored_room_by_room_and_the_rooms_nobody_knows_at_last(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = _many(history[1])
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(ROOM)
    tablet.is_in(OTHER)
    unlock(tablet, history)
    step(tablet)
    for room, sessions in rooms.items():
        here = {
            row[0] for row in tablet.rows("SELECT session_id FROM megolm_inbound WHERE room_id = ?", room)
        }
        assert sessions <= here
    assert asked(server, "room_keys/keys/") == 2
    done = tablet.read(rows.restore)
    assert (done.state, done.total, done.seen, done.new) == ("done", 18, 18, 18)


def test_rooms_where_messages_wait_are_restored_first(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, _, wires = history
    _many(history[1])
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(OTHER)
    event_id = tablet.sees(wires[0], alice)
    unlock(tablet, history)
    step(tablet)
    tablet.drain()
    rooms = [request.path.rpartition("/")[2] for request in server.asked("room_keys/keys/")]
    assert [room[:6] for room in rooms] == ["%21roo", "%21oth"]
    assert tablet.body(event_id) == "line 0"


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_restore_that_is_cut_off_at_any_request_goes_on_where_it_was(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
    at: int,
) -> None:
    _many(history[1])
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(ROOM)
    tablet.is_in(OTHER)
    unlock(tablet, history)
    getattr(server, lost).append(["%21other", "%21room", "room_keys/keys"][at])
    with pytest.raises(Offline):
        step(tablet)
    again = tablet.restarted()
    try:
        step(again)
        done = again.read(rows.restore)
        assert (done.state, done.seen, done.new) == ("done", 18, 18)
        assert len(again.rows("SELECT * FROM megolm_inbound")) == 18
    finally:
        again.close()


def test_a_restore_may_be_cancelled_and_taken_up_again(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _many(history[1])
    monkeypatch.setattr(backup_worker, "KEEP_BATCH", 2)
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(ROOM)
    tablet.is_in(OTHER)
    unlock(tablet, history)
    server.before.append(("room_keys/keys/%21room", lambda: tablet.write(rows.end_restore, "cancelled")))
    step(tablet)
    stopped = tablet.read(rows.restore)
    assert (stopped.state, stopped.seen) == ("cancelled", 5)
    asyncio.run(tablet.backup.restore())
    step(tablet)
    assert tablet.read(rows.restore).state == "done"
    assert len(tablet.rows("SELECT * FROM megolm_inbound")) == 18
    assert asked(server, "%21other") == 1


def test_a_restore_commits_few_sessions_at_a_time(
    history: tuple[Device, Device, list[Json]], tablet: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    _many(history[1], 12)
    sizes = []
    original = backup_worker._keep_many

    def counted(*args: Any) -> bool:
        sizes.append(len(args[4]))
        return original(*args)

    monkeypatch.setattr(backup_worker, "_keep_many", counted)
    unlock(tablet, history)
    step(tablet)
    assert sum(sizes) == 39
    assert max(sizes) <= backup_worker.KEEP_BATCH == 15


def test_a_restore_of_a_version_that_is_gone_ends_with_a_word(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    unlock(tablet, history)
    server.backups.versions[BOB][0].is_deleted = True
    asyncio.run(tablet.backup.look())
    step(tablet)
    ended = tablet.read(rows.restore)
    assert (ended.state, ended.error) == ("failed", "version")


def test_a_restore_that_the_server_refuses_ends_with_a_word(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    unlock(tablet, history)
    server.refuse.append(("room_keys/keys", ServerRefused(403, "M_FORBIDDEN", "no")))
    step(tablet)
    ended = tablet.read(rows.restore)
    assert (ended.state, ended.error) == ("failed", "M_FORBIDDEN")


def test_a_rest_that_is_too_big_does_not_undo_what_was_restored(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = _many(history[1])
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(ROOM)
    unlock(tablet, history)

    def refuse_the_next() -> None:
        server.refuse.append(("room_keys/keys", TooBig()))

    server.before.append(("room_keys/keys/%21room", lambda: server.before.append(("keys", refuse_the_next))))
    step(tablet)
    ended = tablet.read(rows.restore)
    assert (ended.state, ended.error) == ("done", "rest_too_big")
    here = {row[0] for row in tablet.rows("SELECT session_id FROM megolm_inbound")}
    assert rooms[ROOM] <= here
    assert not rooms[OTHER] & here


def test_a_room_that_is_too_big_does_not_end_the_restore(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = _many(history[1])
    monkeypatch.setattr(backup_worker, "ALL_AT_ONCE", 1)
    tablet.is_in(ROOM)
    tablet.is_in(OTHER)
    unlock(tablet, history)
    server.refuse.append(("room_keys/keys/%21room", TooBig()))
    step(tablet)
    assert tablet.read(rows.restore).state == "done"
    assert rooms[OTHER] <= {row[0] for row in tablet.rows("SELECT session_id FROM megolm_inbound")}
