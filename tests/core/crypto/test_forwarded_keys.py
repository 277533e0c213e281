"""Requests for room keys and forwarded keys that should not be: malformed, unasked for, from the wrong device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vodozemac import GroupSession, InboundGroupSession

from tandem_core.crypto import olm
from tandem_core.crypto.key_requests import FORWARDED, REQUEST
from tandem_core.store import crypto as rows
from tandem_core.store import identities
from tandem_core.store import key_requests as request_rows
from tandem_core.types import Json, Seal
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_backup import session
from tests.core.crypto.test_gossip import verify
from tests.core.crypto.test_key_requests import asks, waits, work
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

BOTH = {user("alice"), user("bob")}
ALICE = user("alice")


@pytest.mark.parametrize(
    "change",
    [
        {"requesting_device_id": 7},
        {"requesting_device_id": ""},
        {"request_id": None},
        {"request_id": "x" * 300},
        {"action": "dance"},
        {"body": None},
        {"body": []},
        {"body": {"algorithm": "m.megolm.v1.aes-sha2", "room_id": 7, "session_id": "s"}},
        {"body": {"algorithm": "m.megolm.v1.aes-sha2", "room_id": "!r", "session_id": {}}},
    ],
)
def test_malformed_requests_are_set_aside(written: tuple[Device, list[Json]], change: Json) -> None:
    laptop, wires = written
    laptop.put_inbox(asks(wires[0]["session_id"], **change))
    laptop.drain()
    assert laptop.inbox_errors() == ["malformed request for a room key"]
    assert laptop.rows("SELECT * FROM key_asked") == []


_JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([ROOM, "PHONE", "request"]),
    lambda more: (
        st.dictionaries(
            st.sampled_from(["action", "body", "algorithm", "room_id", "session_id", "request_id"]), more
        )
        | st.lists(more, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["action", "body", "request_id", "requesting_device_id"]), _JUNK, max_size=4
    )
)
def test_no_request_whatever_breaks_the_inbox(alice: Device, content: Json) -> None:
    alice.put_inbox({"type": REQUEST, "sender": ALICE, "content": content})
    alice.drain()
    assert not [error for error in alice.inbox_errors() if error and error.startswith("unexpected")]


def test_somebody_else_gets_no_answer(
    written: tuple[Device, list[Json]], bob: Device, server: KeyServer
) -> None:
    laptop, wires = written
    event = asks(wires[0]["session_id"], requesting_device_id=bob.me.device_id) | {"sender": bob.me.user_id}
    laptop.put_inbox(event)
    work(laptop)
    assert laptop.inbox_errors() == ["somebody else asks for a room key"]
    assert laptop.rows("SELECT * FROM key_asked") == []


def _forwards(writer: Device, reader: Device, made: InboundGroupSession, **change: Any) -> None:
    """A device sends a forwarded key, as a client of its own might."""
    exported = made.export_at(made.first_known_index)
    assert exported is not None
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "forwarding_curve25519_key_chain": [],
        "room_id": ROOM,
        "sender_claimed_ed25519_key": "fingerprint",
        "sender_key": "key",
        "session_id": made.session_id,
        "session_key": exported.to_base64(),
    } | change
    writer.knows(reader)
    to = next(one for one in writer.devices(reader) if one.device_id == reader.me.device_id)
    asyncio.run(writer.keys.claim([to]))
    letter = writer.write(olm.encrypt, writer.state, to, FORWARDED, content, NOW)
    reader.put_inbox({"type": olm.SEALED, "sender": writer.me.user_id, "content": letter})
    reader.drain()


def _laptops(laptop: Device, session_id: str) -> InboundGroupSession:
    pickle = laptop.one("SELECT pickle FROM megolm_inbound WHERE session_id = ?", session_id)
    return InboundGroupSession.from_pickle(pickle, laptop.state.pickle_key)


def test_a_key_that_nobody_asked_for_is_not_taken(written: tuple[Device, list[Json]], phone: Device) -> None:
    laptop, _ = written
    verify(laptop, phone)
    _forwards(laptop, phone, session())
    assert phone.inbox_errors() == ["a forwarded room key that was not asked for"]
    assert phone.rows("SELECT * FROM megolm_inbound") == []


def test_a_key_from_somebody_else_or_from_an_unverified_device_is_not_taken(
    written: tuple[Device, list[Json]],
    phone: Device,
    bob: Device,
    make_device: Callable[..., Device],
    clock: StillClock,
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    work(phone)
    wanted = _laptops(laptop, wires[0]["session_id"])
    phone.knows(bob)
    _forwards(bob, phone, wanted)
    stranger = make_device("alice", "STRANGER")
    phone.knows()
    _forwards(stranger, phone, wanted)
    assert phone.inbox_errors() == [
        "a forwarded room key from somebody else",
        "a forwarded room key from a device that is not verified",
    ]
    assert phone.rows("SELECT * FROM megolm_inbound") == []


def test_a_key_from_a_verified_device_that_was_not_asked_is_not_taken(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    work(phone)
    phone.write(lambda txn: txn.execute("UPDATE key_request SET devices = '[\"OTHER\"]'"))
    _forwards(laptop, phone, _laptops(laptop, wires[0]["session_id"]))
    assert phone.inbox_errors() == ["a forwarded room key from a device that was not asked"]


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "m.other"},
        {"room_id": "!other:example.org"},
        {"session_id": "another"},
        {"session_key": None},
        {"session_key": "AgAAAA"},
        {"sender_key": 7},
        {"sender_key": "x" * 300},
    ],
)
def test_a_damaged_key_is_not_taken_and_a_good_one_is_taken_after_it(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock, change: Json
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    events = waits(phone, wires, clock)
    work(phone)
    wanted = _laptops(laptop, wires[0]["session_id"])
    _forwards(laptop, phone, wanted, **change)
    assert len(phone.inbox_errors()) == 1
    assert phone.rows("SELECT * FROM megolm_inbound") == []
    _forwards(laptop, phone, wanted)
    assert phone.body(events[0]) == "line 0"


def test_another_ratchet_under_the_wanted_id_is_not_taken(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    work(phone)
    _forwards(laptop, phone, session(), session_id=wires[0]["session_id"])
    assert phone.inbox_errors() == ["a forwarded room key under a wrong id"]


def test_a_forwarded_copy_reaches_further_back_but_keeps_the_senders_own_word(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock
) -> None:
    laptop, _ = written
    verify(laptop, phone)
    group = GroupSession()
    full = InboundGroupSession(group.session_key)
    group.encrypt(b"x")
    part = InboundGroupSession(group.session_key)
    row = rows.InboundRow(part.pickle(phone.state.pickle_key), user("bob"), "bobs", "f", 1, "olm")
    phone.write(rows.put_inbound, ROOM, full.session_id, row, NOW)
    request = request_rows.Request("r", ROOM, full.session_id, clock.now_ms(), (laptop.me.device_id,))
    phone.write(request_rows.put_request, request)
    _forwards(laptop, phone, full, sender_key="mallorys")
    assert phone.rows("SELECT sender, sender_key, source, first_index FROM megolm_inbound") == [
        (user("bob"), "bobs", "olm", 0)
    ]


def test_the_senders_own_key_replaces_a_forwarded_ones_claim(
    written: tuple[Device, list[Json]], phone: Device, bob: Device, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    events = waits(phone, wires, clock)
    work(phone)
    wanted = _laptops(laptop, wires[0]["session_id"])
    phone.knows(bob)
    mine = phone.keys_of()[f"curve25519:{phone.me.device_id}"]
    _forwards(laptop, phone, wanted, sender_key=mine)
    assert (phone.event(events[0]).seal, phone.event(events[0]).seal_reason) == (Seal.SEALED, "bad_key")
    bob.knows(phone)
    asyncio.run(bob.keys.claim(bob.devices(phone)))
    bob.seal("line 3", BOTH)
    asyncio.run(bob.flush())
    phone.receive()
    assert phone.rows("SELECT sender, source FROM megolm_inbound") == [(user("bob"), "olm")]
    assert phone.body(events[0]) == "line 0"


def test_a_device_that_lost_its_trust_meanwhile_gets_nothing(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    laptop.put_inbox(asks(wires[0]["session_id"]))
    laptop.drain()
    other = identities.Published("another", None, None, {})
    laptop.write(identities.put, ALICE, other, NOW)
    work(laptop)
    assert (ALICE, phone.me.device_id) not in server.inboxes
