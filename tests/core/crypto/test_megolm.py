"""Reading in rooms: what opens, what waits, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from vodozemac import GroupSession, InboundGroupSession

from tandem_core.crypto import drain, megolm
from tandem_core.store import crypto as rows
from tandem_core.types import Json, RoomId, Seal
from tests.core.crypto.test_olm import forged
from tests.core.crypto.world import ROOM, Device, user

BOTH = {user("alice"), user("bob")}


@pytest.fixture
def told(friends: tuple[Device, Device]) -> tuple[Device, Device, list[Json]]:
    """Alice has written five lines; Bob has the key."""
    alice, bob = friends
    wires = [alice.seal(f"line {number}", BOTH) for number in range(5)]
    asyncio.run(alice.flush())
    bob.receive()
    return alice, bob, wires


def _verdict(device: Device, event_id: str) -> tuple[str, str | None]:
    event = device.event(event_id)
    return str(event.seal), event.seal_reason


def test_events_that_came_before_their_key_open_by_themselves_in_order(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    wires = [alice.seal(f"line {number}", BOTH) for number in range(40)]
    waiting = [bob.sees(wire, alice, ts=number) for number, wire in enumerate(wires)]
    assert {_verdict(bob, event_id) for event_id in waiting} == {("sealed", "no_key")}
    asyncio.run(alice.flush())
    bob.receive()
    assert [bob.body(event_id) for event_id in waiting] == [f"line {number}" for number in range(40)]


def test_a_key_that_the_other_program_got_opens_events_here(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    notifier = bob.other_program()
    try:
        wire = alice.seal("hello", BOTH)
        event_id = bob.sees(wire, alice)
        asyncio.run(alice.flush())
        notifier.fetch()
        while notifier.write(_drain_inbox_only, notifier):
            pass
        assert bob.body(event_id) is None
        asyncio.run(bob.opener.step())
        assert bob.body(event_id) == "hello"
    finally:
        notifier.close()


def test_lines_open_in_any_order(told: tuple[Device, Device, list[Json]]) -> None:
    alice, bob, wires = told
    for number in (4, 0, 2, 3, 1):
        assert bob.body(bob.sees(wires[number], alice)) == f"line {number}"


def test_the_same_ciphertext_in_another_event_is_a_replay(told: tuple[Device, Device, list[Json]]) -> None:
    alice, bob, wires = told
    first = bob.sees(wires[0], alice)
    assert _verdict(bob, bob.sees(wires[0], alice)) == ("refused", "replay")
    assert bob.body(first) == "line 0"


def test_a_replay_is_refused_after_a_restart_and_by_the_other_program_too(
    told: tuple[Device, Device, list[Json]],
) -> None:
    alice, bob, wires = told
    first = bob.sees(wires[0], alice)
    again, notifier = bob.restarted(), bob.other_program()
    try:
        assert _verdict(again, again.sees(wires[0], alice)) == ("refused", "replay")
        assert _verdict(notifier, notifier.sees(wires[0], alice)) == ("refused", "replay")
        assert again.body(again.sees(wires[0], alice, event_id=first)) == "line 0"
    finally:
        again.close()
        notifier.close()


def test_our_own_ciphertext_in_another_event_is_a_replay(told: tuple[Device, Device, list[Json]]) -> None:
    alice, _, wires = told
    alice.write(megolm.note_own, wires[0], "$sent", 5)
    assert _verdict(alice, alice.sees(wires[0], alice, event_id="$other")) == ("refused", "replay")
    assert alice.body(alice.sees(wires[0], alice, event_id="$sent", ts=5)) == "line 0"


def test_a_message_under_another_senders_name_is_refused(told: tuple[Device, Device, list[Json]]) -> None:
    _, bob, wires = told
    assert _verdict(bob, bob.sees(wires[0], user("mallory"))) == ("refused", "forged")


def test_a_message_moved_to_another_room_does_not_open(told: tuple[Device, Device, list[Json]]) -> None:
    alice, bob, wires = told
    other = RoomId("!other:example.org")
    assert _verdict(bob, bob.sees(wires[0], alice, room=other)) == ("sealed", "no_key")
    session_id = wires[0]["session_id"]
    bob.write(
        lambda txn: txn.execute(
            "UPDATE megolm_inbound SET room_id = ? WHERE session_id = ?", (other, session_id)
        )
    )
    assert _verdict(bob, bob.sees(wires[1], alice, room=other)) == ("refused", "forged")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"algorithm": "m.new"}, "unknown_algorithm"),
        ({"algorithm": None}, "unknown_algorithm"),
        ({"ciphertext": "AwgA"}, "malformed"),
        ({"ciphertext": ["x"]}, "malformed"),
        ({"ciphertext": "é"}, "malformed"),
        ({"session_id": None}, "malformed"),
    ],
)
def test_damaged_events_are_refused_and_hold_nobody_up(
    told: tuple[Device, Device, list[Json]], change: Json, reason: str
) -> None:
    alice, bob, wires = told
    bad = bob.sees(wires[0] | change, alice, drain_too=False)
    good = bob.sees(wires[1], alice)
    assert _verdict(bob, bad) == ("refused", reason)
    assert bob.body(good) == "line 1"


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"type": "m.room.message", "content": {}}',
        b'{"type": 1, "content": {}, "room_id": "!room:example.org"}',
        b'{"type": "x", "content": [], "room_id": "!room:example.org"}',
        b"[" * 100_000,
        b'{"type": "x", "content": {"a": NaN}, "room_id": "!room:example.org"}',
    ],
)
def test_damaged_payloads_are_refused_and_hold_nobody_up(
    told: tuple[Device, Device, list[Json]], plaintext: bytes
) -> None:
    alice, bob, wires = told
    bad = bob.sees(_sealed_by(alice, plaintext), alice, drain_too=False)
    good = bob.sees(wires[1], alice)
    assert bob.event(bad).seal is Seal.REFUSED
    assert bob.body(good) == "line 1"


def test_half_a_surrogate_pair_in_a_message_is_mended(told: tuple[Device, Device, list[Json]]) -> None:
    """SQLite cannot hold one, and an event that cannot be stored would block all others for good."""
    alice, bob, wires = told
    text = (
        '{"type":"m.room.message","content":{"msgtype":"m.text","body":"a\\ud800b"},"room_id":"' + ROOM + '"}'
    )
    odd = bob.sees(_sealed_by(alice, text.encode()), alice, drain_too=False)
    good = bob.sees(wires[1], alice)
    assert bob.body(odd) == "a\N{REPLACEMENT CHARACTER}b"
    assert bob.body(good) == "line 1"


def test_an_event_that_cannot_be_judged_is_open_all_the_same(
    told: tuple[Device, Device, list[Json]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, wires = told

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("tandem_core.judge.judge", broken)
    assert bob.body(bob.sees(wires[0], alice)) == "line 0"


# ── Room keys ──────────────────────────────────────────────────────────────────────────────────


def _room_key(session: GroupSession, **change: Any) -> Json:
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": session.session_id,
        "session_key": session.session_key.to_base64(),
    } | change


def _give(sender: Device, recipient: Device, content: Json) -> None:
    recipient.put_inbox(forged(sender, recipient, {"type": "m.room_key", "content": content}))
    recipient.drain()


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "m.other"},
        {"room_id": 7},
        {"session_id": None},
        {"session_id": "another"},
        {"session_key": "AgAAAA"},
        {"session_key": 7},
        {"session_key": None},
    ],
)
def test_damaged_room_keys_are_set_aside(friends: tuple[Device, Device], change: Json) -> None:
    alice, bob = friends
    _give(alice, bob, _room_key(GroupSession(), **change))
    assert len(bob.inbox_errors()) == 1
    _give(alice, bob, _room_key(GroupSession()))
    assert len(bob.rows("SELECT * FROM megolm_inbound")) == 1


def test_half_a_surrogate_pair_in_a_room_key_blocks_nothing(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    _give(alice, bob, _room_key(GroupSession(), room_id="!\ud800"))
    _give(alice, bob, _room_key(GroupSession()))
    assert bob.rows("SELECT room_id FROM megolm_inbound ORDER BY room_id = ?", ROOM) == [
        ("!\N{REPLACEMENT CHARACTER}",),
        (ROOM,),
    ]


def test_of_two_copies_the_one_that_reaches_further_back_is_kept(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    session = GroupSession()
    early = _room_key(session)
    session.encrypt(b"x")
    late = _room_key(session)
    for content in (late, early, late):
        _give(alice, bob, content)
    assert bob.rows("SELECT first_index, source FROM megolm_inbound") == [(0, "olm")]
    assert bob.inbox_errors() == []


def test_a_copy_that_comes_from_another_device_is_refused(
    friends: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = friends
    mallory = make_device("mallory")
    mallory.knows(bob)
    asyncio.run(mallory.keys.claim(mallory.devices(bob)))
    session = GroupSession()
    session.encrypt(b"x")
    _give(alice, bob, _room_key(session))
    _give(mallory, bob, _room_key(session))
    assert bob.inbox_errors() == ["a room key of another device"]
    assert bob.rows("SELECT sender FROM megolm_inbound") == [(alice.me.user_id,)]


def test_a_copy_of_another_ratchet_under_the_same_id_is_refused(
    friends: tuple[Device, Device],
) -> None:
    assert (
        megolm.better(
            InboundGroupSession(GroupSession().session_key), InboundGroupSession(GroupSession().session_key)
        )
        is None
    )
    session = GroupSession()
    first = InboundGroupSession(session.session_key)
    session.encrypt(b"x")
    second = InboundGroupSession(session.session_key)
    assert megolm.better(first, second) is first
    assert megolm.better(second, first) is first
    assert megolm.better(second, InboundGroupSession(session.session_key)) is second


def test_the_senders_word_replaces_a_key_files_but_not_its_reach(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    session = GroupSession()
    own = InboundGroupSession(session.session_key)
    session.encrypt(b"x")
    row = rows.InboundRow(own.pickle(bob.state.pickle_key), user(""), "key", None, 0, "import")
    bob.write(rows.put_inbound, ROOM, session.session_id, row, 0)
    _give(alice, bob, _room_key(session))
    assert bob.rows("SELECT sender, first_index, source FROM megolm_inbound") == [
        (alice.me.user_id, 0, "olm")
    ]


@pytest.mark.parametrize("kind", ["m.room_key", "m.forwarded_room_key"])
def test_a_room_key_in_clear_is_not_taken(friends: tuple[Device, Device], kind: str) -> None:
    alice, bob = friends
    bob.put_inbox({"type": kind, "sender": alice.me.user_id, "content": _room_key(GroupSession())})
    bob.drain()
    assert bob.rows("SELECT * FROM megolm_inbound") == []


# ── Withheld ───────────────────────────────────────────────────────────────────────────────────


def _withheld(alice: Device, wire: Json, **change: Any) -> Json:
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": wire["session_id"],
        "sender_key": wire["sender_key"],
        "code": "m.unverified",
        "reason": "no",
    } | change
    return {"type": "m.room_key.withheld", "sender": alice.me.user_id, "content": content}


def test_why_a_key_is_withheld_is_told_on_the_event_until_the_key_comes(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    wire = alice.seal("hello", BOTH)
    event_id = bob.sees(wire, alice)
    bob.put_inbox(_withheld(alice, wire), _withheld(alice, wire))
    bob.drain()
    assert _verdict(bob, event_id) == ("sealed", "withheld:m.unverified")
    asyncio.run(alice.flush())
    bob.receive()
    assert bob.body(event_id) == "hello"


def test_a_strangers_withheld_notice_says_nothing_about_others(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    wire = alice.seal("hello", BOTH)
    event_id = bob.sees(wire, alice)
    bob.put_inbox(_withheld(alice, wire) | {"sender": "@mallory:example.org"})
    bob.drain()
    assert _verdict(bob, event_id) == ("sealed", "no_key")


@pytest.mark.parametrize(
    "change", [{"code": None}, {"code": 7}, {"algorithm": "x"}, {"room_id": 7}, {"session_id": []}]
)
def test_damaged_withheld_notices_change_nothing(friends: tuple[Device, Device], change: Json) -> None:
    alice, bob = friends
    wire = alice.seal("hello", BOTH)
    bob.put_inbox(_withheld(alice, wire, **change))
    bob.drain()
    assert bob.rows("SELECT * FROM withheld") == []


def _sealed_by(alice: Device, plaintext: bytes) -> Json:
    """An event of Alice's session that holds these bytes."""

    def step(txn: Any) -> Json:
        row = rows.outbound(txn.conn, ROOM)
        assert row is not None
        session = GroupSession.from_pickle(row.pickle, alice.state.pickle_key)
        ciphertext = session.encrypt(plaintext).to_base64()
        pickle = session.pickle(alice.state.pickle_key)
        rows.put_outbound(txn, ROOM, row.session_id, pickle, row.made_at, row.messages + 1)
        return {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": ciphertext, "session_id": row.session_id}

    content = alice.write(step)
    assert isinstance(content, dict)
    return content


def _drain_inbox_only(txn: Any, device: Device) -> int:
    return drain.drain(txn, device.state, 0)
