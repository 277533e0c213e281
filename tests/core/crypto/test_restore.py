"""Keys come back out of the backup: one by one when a message waits, and all of them; hostile backups too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from vodozemac import GroupSession, InboundGroupSession, SessionKey

from tandem_core.codec import canonical
from tandem_core.crypto import backup as backups
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import backup_worker, megolm, olm, secrets
from tandem_core.errors import Offline, ServerRefused
from tandem_core.http import TooBig
from tandem_core.store import backup as rows
from tandem_core.types import Json, RoomId, Seal
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_backup import entry, session
from tests.core.crypto.test_backup_worker import BOTH, put, step
from tests.core.crypto.test_megolm import _room_key
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

BOB = user("bob")
OTHER = RoomId("!other:example.org")


@pytest.fixture
def history(friends: tuple[Device, Device], server: KeyServer) -> tuple[Device, Device, list[Json]]:
    """Alice wrote to Bob, whose phone has all keys in the backup; and what she wrote."""
    alice, bob = friends
    asyncio.run(bob.backup.create())
    wires = []
    for number in range(3):
        alice.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1"))
        wires.append(alice.seal(f"line {number}", BOTH))
    asyncio.run(alice.flush())
    bob.receive()
    step(bob)
    return alice, bob, wires


@pytest.fixture
def tablet(history: tuple[Device, Device, list[Json]], make_device: Callable[..., Device]) -> Device:
    """Bob's new device, which has nothing yet."""
    return make_device("bob", "TABLET")


def _key(device: Device) -> str:
    return str(device.read(secrets.read, device.state, secrets.BACKUP))


def _unlock(device: Device, history: tuple[Device, Device, list[Json]]) -> bool:
    """Recovery, or another device, gives the key."""
    step(device)
    return bool(device.write(backups.adopt_key, device.state, _key(history[1]), NOW))


def _asked(server: KeyServer, part: str) -> int:
    return sum(request.method == "GET" for request in server.asked(part))


def _without_job(device: Device) -> None:
    device.write(lambda txn: txn.execute("DELETE FROM backup_restore"))


# ── One by one ─────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_waits_for_its_key_gets_it_from_the_backup(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history
    _unlock(tablet, history)
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
    _unlock(tablet, history)
    alice.write(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1"))
    wire = alice.seal("not backed up yet", BOTH)
    event_id = tablet.sees(wire, alice)
    for _ in range(3):
        step(tablet)
        tablet.sees(wire, alice, event_id=event_id)
    assert _asked(server, "room_keys/keys/") == 1
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
    _unlock(tablet, history)
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
    assert _asked(server, "room_keys/keys") == 0
    with pytest.raises(backups.NoBackupKey):
        asyncio.run(tablet.backup.restore())


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
def test_a_question_whose_answer_is_lost_is_asked_again(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer, lost: str
) -> None:
    alice, _, wires = history
    _unlock(tablet, history)
    _without_job(tablet)
    event_id = tablet.sees(wires[0], alice)
    getattr(server, lost).append("room_keys/keys/")
    with pytest.raises(Offline):
        step(tablet)
    step(tablet)
    tablet.drain()
    assert tablet.body(event_id) == "line 0"


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
    assert _unlock(tablet, history)
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
    _unlock(tablet, history)
    step(tablet)
    for room, sessions in rooms.items():
        here = {
            row[0] for row in tablet.rows("SELECT session_id FROM megolm_inbound WHERE room_id = ?", room)
        }
        assert sessions <= here
    assert _asked(server, "room_keys/keys/") == 2
    done = tablet.read(rows.restore)
    assert (done.state, done.total, done.seen, done.new) == ("done", 18, 18, 18)


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
    _unlock(tablet, history)
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
    _unlock(tablet, history)
    server.before.append(("room_keys/keys/%21room", lambda: tablet.write(rows.end_restore, "cancelled")))
    step(tablet)
    stopped = tablet.read(rows.restore)
    assert (stopped.state, stopped.seen) == ("cancelled", 5)
    asyncio.run(tablet.backup.restore())
    step(tablet)
    assert tablet.read(rows.restore).state == "done"
    assert len(tablet.rows("SELECT * FROM megolm_inbound")) == 18
    assert _asked(server, "%21other") == 1


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
    _unlock(tablet, history)
    step(tablet)
    assert sum(sizes) == 39
    assert max(sizes) <= backup_worker.KEEP_BATCH == 15


def test_a_restore_of_a_version_that_is_gone_ends_with_a_word(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    _unlock(tablet, history)
    server.backups.versions[BOB][0].is_deleted = True
    asyncio.run(tablet.backup.look())
    step(tablet)
    ended = tablet.read(rows.restore)
    assert (ended.state, ended.error) == ("failed", "version")


def test_a_restore_that_the_server_refuses_ends_with_a_word(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    _unlock(tablet, history)
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
    _unlock(tablet, history)

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
    _unlock(tablet, history)
    server.refuse.append(("room_keys/keys/%21room", TooBig()))
    step(tablet)
    assert tablet.read(rows.restore).state == "done"
    assert rooms[OTHER] <= {row[0] for row in tablet.rows("SELECT session_id FROM megolm_inbound")}


# ── Hostile backups ────────────────────────────────────────────────────────────────────────────


def _rewrite(server: KeyServer, change: Callable[[dict[str, dict[str, Json]]], None]) -> None:
    version = server.backups.current(BOB)
    assert version is not None
    change(version.rooms)


def test_damaged_sessions_are_left_out_and_the_others_are_restored(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history

    def damage(rooms: dict[str, dict[str, Json]]) -> None:
        rooms[ROOM][wires[0]["session_id"]]["session_data"]["mac"] = "AAAAAAAAAAA"
        rooms["!odd"] = {"x": {}, "y": None, "z": {"session_data": {"ciphertext": "A" * 100_000}}}  # type: ignore[dict-item]

    _rewrite(server, damage)
    events = [tablet.sees(wire, alice) for wire in wires]
    _unlock(tablet, history)
    step(tablet)
    tablet.drain()
    assert [tablet.body(event_id) for event_id in events] == [None, "line 1", "line 2"]
    assert tablet.read(rows.restore).unusable == 4
    assert tablet.event(events[0]).seal is Seal.SEALED


@pytest.mark.parametrize(
    "answer", [{}, {"rooms": []}, {"rooms": {"!r": []}}, {"rooms": {"!r": {"sessions": 7}}}, {"rooms": None}]
)
def test_an_answer_that_is_no_backup_restores_nothing_and_ends(
    history: tuple[Device, Device, list[Json]],
    tablet: Device,
    server: KeyServer,
    answer: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _unlock(tablet, history)
    monkeypatch.setattr(type(server.backups), "_get", lambda *_: answer)
    step(tablet)
    assert tablet.read(rows.restore).state == "done"
    assert tablet.rows("SELECT * FROM megolm_inbound") == []


def test_a_session_under_another_id_is_left_out(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history
    first, second = wires[0]["session_id"], wires[1]["session_id"]

    def swap(rooms: dict[str, dict[str, Json]]) -> None:
        here = rooms[ROOM]
        here[first], here[second] = here[second], here[first]

    _rewrite(server, swap)
    events = [tablet.sees(wire, alice) for wire in wires]
    _unlock(tablet, history)
    step(tablet)
    tablet.drain()
    assert [tablet.body(event_id) for event_id in events] == [None, None, "line 2"]


def test_a_session_that_lies_in_another_room_opens_nothing_there(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    alice, _, wires = history
    _rewrite(server, lambda rooms: rooms.update({OTHER: rooms.pop(ROOM)}))
    moved = tablet.sees(wires[0], alice, room=OTHER)
    at_home = tablet.sees(wires[1], alice)
    _unlock(tablet, history)
    step(tablet)
    tablet.drain()
    assert (tablet.body(moved), tablet.event(moved).seal_reason) == (None, "forged")
    assert (tablet.body(at_home), tablet.event(at_home).seal_reason) == (None, "no_key")


def test_whoever_writes_into_the_backup_cannot_silence_anybody(
    history: tuple[Device, Device, list[Json]], tablet: Device, server: KeyServer
) -> None:
    """The server knows the public key. It says that Alice's session is Bob's: then it waits for better word."""
    alice, bob, _ = history
    alice.knows(tablet)
    tablet.knows(alice)
    asyncio.run(alice.keys.claim(alice.devices(tablet)))
    group = GroupSession()
    content = _room_key(group)
    (to,) = (found for found in alice.devices(tablet) if found.device_id == tablet.me.device_id)
    payload = {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "mine"}, "room_id": ROOM}
    wire = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": group.encrypt(canonical(payload)).to_base64(),
        "session_id": group.session_id,
    }
    lie = entry(
        InboundGroupSession(SessionKey(content["session_key"])),
        form.public_key(_key(bob)),
        sender_key=bob.keys_of()[f"curve25519:{bob.me.device_id}"],
    )
    _rewrite(server, lambda rooms: rooms[ROOM].update({group.session_id: lie}))
    event_id = tablet.sees(wire, alice)
    _unlock(tablet, history)
    step(tablet)
    tablet.drain()
    assert (tablet.event(event_id).seal, tablet.event(event_id).seal_reason) == (Seal.SEALED, "bad_key")
    letter = alice.write(olm.encrypt, alice.state, to, "m.room_key", content, NOW)
    tablet.put_inbox({"type": "m.room.encrypted", "sender": alice.me.user_id, "content": letter})
    tablet.drain()
    assert tablet.inbox_errors() == []
    assert tablet.body(event_id) == "mine"


def test_a_restored_key_never_replaces_one_that_is_as_good_and_keeps_a_proven_sender(
    history: tuple[Device, Device, list[Json]], server: KeyServer
) -> None:
    _, bob, _ = history
    before = bob.rows(
        "SELECT session_id, sender, sender_key, source, first_index FROM megolm_inbound ORDER BY 1"
    )
    asyncio.run(bob.backup.restore())
    step(bob)
    assert bob.read(rows.restore).new == 0
    after = bob.rows(
        "SELECT session_id, sender, sender_key, source, first_index FROM megolm_inbound ORDER BY 1"
    )
    assert after == before


def test_a_wrong_ratchet_under_a_right_id_does_not_make_messages_unreadable_for_ever(
    history: tuple[Device, Device, list[Json]], tablet: Device
) -> None:
    alice, _, wires = history
    group = GroupSession()
    wrong = InboundGroupSession(group.session_key)
    row = backups.crypto_rows.InboundRow(
        wrong.pickle(tablet.state.pickle_key), user(""), "key", None, 0, "backup"
    )
    tablet.write(backups.crypto_rows.put_inbound, ROOM, wires[0]["session_id"], row, NOW)
    event_id = tablet.sees(wires[0], alice)
    assert (tablet.event(event_id).seal, tablet.event(event_id).seal_reason) == (Seal.SEALED, "bad_key")
    assert megolm.Reason.BAD_KEY.final is False
