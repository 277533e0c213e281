"""Key backups as a hostile server could make them: nothing opens that should not, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from vodozemac import GroupSession, InboundGroupSession, SessionKey

from tandem_core.codec import canonical
from tandem_core.crypto import backup as backups
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import megolm, olm
from tandem_core.store import backup as rows
from tandem_core.types import Json, RoomId, Seal
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_backup import entry
from tests.core.crypto.test_backup_worker import step
from tests.core.crypto.test_megolm import _room_key
from tests.core.crypto.test_restore import private_key, unlock
from tests.core.crypto.world import NOW, ROOM, Device, user

BOB = user("bob")
OTHER = RoomId("!other:example.org")


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
    unlock(tablet, history)
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
    unlock(tablet, history)
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
    unlock(tablet, history)
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
    unlock(tablet, history)
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
        form.public_key(private_key(bob)),
        sender_key=bob.keys_of()[f"curve25519:{bob.me.device_id}"],
    )
    _rewrite(server, lambda rooms: rooms[ROOM].update({group.session_id: lie}))
    event_id = tablet.sees(wire, alice)
    unlock(tablet, history)
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
