"""Room keys between our own devices: asked for last, given to verified ones only, believed only if asked for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tandem_core.crypto import key_requests, olm
from tandem_core.crypto.key_requests import PATIENCE_MS, REQUEST, REQUEST_ENDS_MS, KeyRequests
from tandem_core.errors import Offline
from tandem_core.store import backup as backup_rows
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.test_backup import session
from tests.core.crypto.test_backup_worker import put, step
from tests.core.crypto.test_gossip import verify
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

BOTH = {user("alice"), user("bob")}
ALICE = user("alice")


def worker(device: Device) -> KeyRequests:
    return KeyRequests(
        device.paths,
        device.db,
        device.http,
        device.me,
        device.opener,
        device.crypto,
        clock=device.clock,
        chance=device.chance,
    )


def work(*devices: Device) -> None:
    """What these programs do about requests, one after the other."""
    for device in devices:
        device.receive()
        asyncio.run(worker(device).step())
        device.drain()


def waits(phone: Device, wires: list[Json], clock: StillClock) -> list[str]:
    """The events come to the phone, which cannot read them for a while."""
    found = [phone.sees(wire, user("bob")) for wire in wires]
    clock.time_ms += PATIENCE_MS
    return found


def sent(server: KeyServer, action: str) -> list[Json]:
    """The requests that went out, by device."""
    found: list[Json] = []
    for request in server.asked(f"sendToDevice/{REQUEST}"):
        for to in request.body["messages"].values():
            found += [content for content in to.values() if content["action"] == action]
    return found


def test_a_verified_device_gives_the_key_that_nobody_else_gives(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock, server: KeyServer
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    events = waits(phone, wires, clock)
    work(phone, laptop, phone)
    assert [phone.body(event_id) for event_id in events] == ["line 0", "line 1", "line 2"]
    assert phone.rows("SELECT source, sender FROM megolm_inbound") == [("forward", "")]
    work(phone, laptop)
    assert len(sent(server, "request")) == len(sent(server, "request_cancellation")) == 1
    assert "session_key" not in str([request.body for request in server.requests])


def test_the_key_that_a_device_gave_goes_to_the_backup(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    asyncio.run(phone.backup.create())
    step(phone)
    work(phone, laptop, phone)
    assert phone.read(backup_rows.waiting_count) == 1
    step(phone)
    assert phone.read(backup_rows.waiting_count) == 0


def test_nobody_is_asked_while_the_key_may_come_by_itself(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    clock.time_ms = NOW + 1000
    phone.sees(wires[0], user("bob"))
    work(phone)
    assert sent(server, "request") == []
    clock.time_ms += PATIENCE_MS
    work(phone)
    assert len(sent(server, "request")) == 1


def test_nobody_is_asked_before_the_backup_was(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    asyncio.run(phone.backup.create())
    waits(phone, wires, clock)
    work(phone)
    assert sent(server, "request") == []
    step(phone)
    work(phone)
    assert len(sent(server, "request")) == 1


def test_nobody_is_asked_while_it_is_not_known_whether_there_is_a_backup(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    phone.write(lambda txn: txn.execute("DELETE FROM backup"))
    waits(phone, wires, clock)
    work(phone)
    assert sent(server, "request") == []


def test_a_device_that_is_not_verified_gets_nothing_and_is_not_asked(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    events = waits(phone, wires, clock)
    work(phone)
    assert sent(server, "request") == []
    laptop.put_inbox(asks(wires[0]["session_id"]))
    work(laptop, phone)
    assert phone.body(events[0]) is None
    assert (ALICE, phone.me.device_id) not in server.inboxes


def test_a_device_that_is_verified_a_little_later_gets_its_answer_then(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock, server: KeyServer
) -> None:
    laptop, wires = written
    laptop.put_inbox(asks(wires[0]["session_id"]))
    work(laptop)
    verify(laptop, phone)
    work(laptop)
    assert len(server.inboxes[(ALICE, phone.me.device_id)]) == 1


def test_a_session_is_asked_for_once_and_an_event_twice_delivered_is_answered_once(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    work(phone, phone, phone)
    assert len(sent(server, "request")) == 1
    request = sent(server, "request")[0]
    event = {"type": REQUEST, "sender": ALICE, "content": request}
    for _ in range(3):
        laptop.put_inbox(event)
        work(laptop)
    sealed = [e for e in server.inboxes[(ALICE, phone.me.device_id)] if e["type"] == olm.SEALED]
    assert len(sealed) == 1


def test_a_request_is_given_up_after_a_week_and_then_made_once_more(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    waits(phone, wires, clock)
    work(phone)
    clock.time_ms += REQUEST_ENDS_MS
    work(phone)
    assert len(sent(server, "request_cancellation")) == 1
    work(phone)
    assert len(sent(server, "request")) == 1
    clock.time_ms += REQUEST_ENDS_MS + 1
    work(phone, phone)
    assert len(sent(server, "request")) == 2


def test_a_call_off_that_overtakes_the_answer_saves_it(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer
) -> None:
    laptop, wires = written
    laptop.put_inbox(asks(wires[0]["session_id"]), asks(None, action="request_cancellation"))
    laptop.drain()
    verify(laptop, phone)
    work(laptop)
    assert (ALICE, phone.me.device_id) not in server.inboxes


def test_the_budget_of_a_device_is_bounded(
    written: tuple[Device, list[Json]],
    phone: Device,
    server: KeyServer,
    clock: StillClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    laptop, _ = written
    monkeypatch.setattr(key_requests, "ANSWERS_PER_HOUR", 3)
    verify(laptop, phone)
    made = [session() for _ in range(6)]
    for number, one in enumerate(made):
        put(laptop, one)
        laptop.put_inbox(asks(one.session_id, request_id=f"r{number}"))
    work(laptop)
    assert len(server.inboxes[(ALICE, phone.me.device_id)]) == 3
    clock.time_ms += 3_600_000 - 1
    work(laptop)
    assert len(server.inboxes[(ALICE, phone.me.device_id)]) == 3


def test_more_answers_than_one_step_gives_are_given_all_the_same(
    written: tuple[Device, list[Json]], phone: Device, server: KeyServer
) -> None:
    laptop, _ = written
    verify(laptop, phone)
    for number in range(45):
        one = session()
        put(laptop, one)
        laptop.put_inbox(asks(one.session_id, request_id=f"r{number}"))
    work(laptop)
    assert len(server.inboxes[(ALICE, phone.me.device_id)]) == 45


def test_the_questions_of_others_are_bounded(
    written: tuple[Device, list[Json]], monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, wires = written
    monkeypatch.setattr(key_requests, "_MOST_ASKED", 2)
    laptop.put_inbox(*(asks(wires[0]["session_id"], request_id=f"r{number}") for number in range(4)))
    laptop.drain()
    assert laptop.inbox_errors() == ["too many requests for room keys"] * 2


def asks(session_id: Any, **change: Any) -> Json:
    content = {
        "action": "request",
        "body": {"algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session_id},
        "requesting_device_id": "PHONE",
        "request_id": "r1",
    } | change
    return {"type": REQUEST, "sender": ALICE, "content": content}


# ── Crashes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
@pytest.mark.parametrize("part", ["sendToDevice", "keys/claim"])
@pytest.mark.parametrize("who", ["phone", "laptop"])
def test_whoever_dies_at_a_request_the_key_comes_and_once(
    written: tuple[Device, list[Json]],
    phone: Device,
    server: KeyServer,
    clock: StillClock,
    lost: str,
    part: str,
    who: str,
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    events = waits(phone, wires, clock)
    if who == "laptop":
        work(phone)
    getattr(server, lost).append(part)
    with contextlib.suppress(Offline):
        work(phone if who == "phone" else laptop)
    getattr(server, lost).clear()
    again_phone, again_laptop = phone.restarted(), laptop.restarted()
    try:
        clock.time_ms += 61_000
        work(again_phone, again_laptop, again_phone)
        asyncio.run(again_phone.flush())
        asyncio.run(again_laptop.flush())
        work(again_laptop, again_phone)
        assert again_phone.body(events[0]) == "line 0"
        assert len(again_phone.rows("SELECT * FROM megolm_inbound")) == 1
    finally:
        again_phone.close()
        again_laptop.close()


def test_the_other_program_goes_on_with_what_this_one_began(
    written: tuple[Device, list[Json]], phone: Device, clock: StillClock
) -> None:
    laptop, wires = written
    verify(laptop, phone)
    events = waits(phone, wires, clock)
    work(phone)
    notifier = laptop.other_program()
    other = phone.other_program()
    try:
        laptop.fetch()
        laptop.close()
        work(notifier)
        phone.close()
        work(other)
        assert other.body(events[0]) == "line 0"
    finally:
        notifier.close()
        other.close()
