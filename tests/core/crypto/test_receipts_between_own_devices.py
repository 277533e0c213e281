"""One device answers for all of a person's; each tells the others what it has; every device shows the same picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tandem_core.receipts import election, encrypted_body
from tandem_core.receipts.encrypted_body import LEASE, SYNC
from tandem_core.receipts.gate import Reason
from tandem_core.receipts.schedule import MOST_AUTHORS, SPACING_MS
from tandem_core.receipts.transports import Outcome
from tandem_core.types import EventId
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.receipts_kit import (
    DAY,
    befriend,
    confirms,
    heard,
    hears,
    owed,
    own_devices,
    reads,
    token,
    whispers,
    works,
    writes,
)
from tests.core.crypto.world import ROOM, Device, StillClock

LONGEST_WAIT_MS = round(election.SILENT_S[1] * 1000)


@pytest.fixture
def phone(make_device: Callable[..., Device]) -> Device:
    return make_device("bob", "PHONE")


@pytest.fixture
def laptop(make_device: Callable[..., Device]) -> Device:
    """Alice's second device."""
    return make_device("alice", "LAPTOP")


def deliver(event_id: str, *readers: Device) -> None:
    for reader in readers:
        reads(reader, event_id)


def first_answer(alice: Device, clock: StillClock, *bobs: Device) -> str:
    """Nobody has answered yet: the first device to end its wait answers, and the others hear of it."""
    event_id = writes(alice)
    deliver(event_id, *bobs)
    confirms(bobs[0], alice, event_id)
    clock.time_ms += LONGEST_WAIT_MS
    confirms(bobs[0], alice, event_id)
    for device in bobs:
        device.receive()
    return event_id


# ── One device answers ──────────────────────────────────────────────────────────────────────────


def test_with_one_device_there_is_nothing_to_agree_on(alice: Device, bob: Device) -> None:
    befriend(alice, bob)
    event_id = hears(alice, bob)
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    assert bob.rows("SELECT 1 FROM receipt_lease") == []


def test_of_two_devices_one_answers_and_the_other_learns_of_it(
    alice: Device, bob: Device, phone: Device, clock: StillClock, server: KeyServer
) -> None:
    befriend(alice, bob, phone)
    event_id = first_answer(alice, clock, bob, phone)
    assert confirms(phone, alice, event_id) == {}
    assert owed(phone) == [(event_id, "dropped", None, Reason.OTHER_DEVICE)]
    alice.receive()
    assert len(heard(alice)) == 1
    to_alice = [
        request
        for request in server.asked("sendToDevice/m.room.encrypted")
        if alice.me.user_id in request.body["messages"] and request.by.user_id == bob.me.user_id
    ]
    assert [request.by.device_id for request in to_alice] == [bob.me.device_id]


def test_who_answered_goes_on_answering_at_once(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    befriend(alice, bob, phone)
    first_answer(alice, clock, bob, phone)
    event_id = writes(alice, "again")
    deliver(event_id, bob, phone)
    assert confirms(phone, alice, event_id) == {}
    assert owed(phone)[-1][1] == "owed"
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    phone.receive()
    assert confirms(phone, alice, event_id) == {}
    assert owed(phone)[-1][1] == "dropped"


def test_when_it_falls_silent_another_one_takes_over_and_it_gives_way_when_it_is_back(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    befriend(alice, bob, phone)
    first_answer(alice, clock, bob, phone)
    event_id = writes(alice, "is anybody there")
    reads(phone, event_id)
    assert confirms(phone, alice, event_id) == {}
    clock.time_ms += LONGEST_WAIT_MS
    assert confirms(phone, alice, event_id) == {event_id: Outcome.SENT}
    alice.receive()
    assert event_id in {row[0] for row in heard(alice)}
    reads(bob, event_id)
    assert confirms(bob, alice, event_id) == {}
    assert ("dropped", None, Reason.OTHER_DEVICE) in [row[1:] for row in owed(bob)]
    later = writes(alice, "later")
    deliver(later, bob, phone)
    assert confirms(bob, alice, later) == {}
    assert confirms(phone, alice, later) == {later: Outcome.SENT}


def test_the_wait_is_drawn_once_and_survives_a_restart(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    befriend(alice, bob, phone)
    first_answer(alice, clock, bob, phone)
    event_id = writes(alice)
    reads(phone, event_id)
    confirms(phone, alice, event_id)
    [(until,)] = phone.rows("SELECT until FROM receipt_wait WHERE event_id = ?", event_id)
    clock.time_ms += 1000
    phone = phone.restarted()
    try:
        confirms(phone, alice, event_id)
        assert phone.rows("SELECT until FROM receipt_wait WHERE event_id = ?", event_id) == [(until,)]
        clock.time_ms = until - 1
        assert confirms(phone, alice, event_id) == {}
        clock.time_ms = until
        assert confirms(phone, alice, event_id) == {event_id: Outcome.SENT}
    finally:
        phone.close()


def test_a_device_that_left_the_account_holds_nothing(
    alice: Device, bob: Device, phone: Device, clock: StillClock, server: KeyServer
) -> None:
    befriend(alice, bob, phone)
    first_answer(alice, clock, bob, phone)
    del server.devices[bob.me.user_id][bob.me.device_id]
    phone.knows(alice)
    event_id = writes(alice)
    reads(phone, event_id)
    assert confirms(phone, alice, event_id) == {event_id: Outcome.SENT}


def test_of_two_that_answered_at_once_one_gives_way(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    """Neither had heard of the other; the first by name goes on, whatever their clocks say."""
    befriend(alice, bob, phone)
    event_id = writes(alice)
    deliver(event_id, bob, phone)
    for device in (bob, phone):
        confirms(device, alice, event_id)
    clock.time_ms += LONGEST_WAIT_MS
    for device in (bob, phone):
        confirms(device, alice, event_id)
    bob.receive()
    phone.receive()
    assert bob.me.device_id < phone.me.device_id
    for device in (bob, phone):
        assert device.one("SELECT device_id FROM receipt_lease") == bob.me.device_id


def test_nobody_else_can_say_that_another_device_answers(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    befriend(alice, bob, phone)
    event_id = writes(alice)
    deliver(event_id, bob)
    [body] = encrypted_body.build_lease([EventId(event_id)])
    whispers(alice, bob, LEASE, body)
    bob.receive()
    assert bob.rows("SELECT 1 FROM receipt_lease") == []
    assert bob.rows("SELECT 1 FROM receipt_by_other") == []


def test_one_that_answers_often_is_heard_still(
    alice: Device, bob: Device, phone: Device, clock: StillClock
) -> None:
    """Who does not hear that it has answered answers, too, and shows that there are two."""
    befriend(alice, bob, phone)
    first_answer(alice, clock, bob, phone)
    a_minutes_flushes = MOST_AUTHORS * 60_000 // SPACING_MS
    for number in range(a_minutes_flushes):
        [body] = encrypted_body.build_lease([EventId(f"$e{number}")])
        whispers(bob, phone, LEASE, body)
    event_id = writes(alice, "one of many")
    deliver(event_id, bob, phone)
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    phone.receive()
    clock.time_ms += LONGEST_WAIT_MS
    assert confirms(phone, alice, event_id) == {}
    assert owed(phone)[-1][1:] == ("dropped", None, Reason.OTHER_DEVICE)


def test_what_own_devices_say_is_kept_within_bounds(bob: Device, phone: Device) -> None:
    from tandem_core.store import confirmations

    many = [EventId(f"$e{number}") for number in range(confirmations.MOST_KEPT + 100)]
    bob.write(confirmations.note_by_other, many, bob.clock.now_ms())
    assert bob.one("SELECT count(*) FROM receipt_by_other") == confirmations.MOST_KEPT


# ── Own devices tell each other ─────────────────────────────────────────────────────────────────


def test_a_second_device_of_the_author_confirms_to_the_first_by_name(
    alice: Device, bob: Device, laptop: Device, server: KeyServer
) -> None:
    befriend(alice, bob, laptop)
    event_id = writes(alice)
    reads(laptop, event_id)
    server.requests.clear()
    works(laptop)
    alice.receive()
    assert heard(alice) == [(event_id, alice.me.user_id, laptop.me.device_id, "olm")]
    told = {user for request in server.asked("sendToDevice") for user in request.body["messages"]}
    assert told == {alice.me.user_id}
    works(laptop)
    assert alice.fetch() == []


def test_own_devices_confirm_though_nobody_else_is_told_anything(
    alice: Device, bob: Device, laptop: Device
) -> None:
    from tandem_core import settings

    befriend(alice, bob, laptop)
    laptop.write(settings.set_value, "receipts.direct", "off", now_ms=laptop.clock.now_ms())
    event_id = writes(alice)
    reads(laptop, event_id)
    works(laptop)
    alice.receive()
    assert len(heard(alice)) == 1


def test_a_device_that_came_later_confirms_nothing_of_before(
    alice: Device, bob: Device, make_device: Callable[..., Device]
) -> None:
    befriend(alice, bob)
    event_id = writes(alice)
    laptop = make_device("alice", "LAPTOP")
    befriend(alice, bob, laptop)
    reads(laptop, event_id)
    works(laptop)
    alice.receive()
    assert heard(alice) == []


def test_what_one_device_heard_the_other_shows_too(alice: Device, bob: Device, laptop: Device) -> None:
    befriend(alice, bob, laptop)
    event_id = writes(alice)
    deliver(event_id, laptop, bob)
    confirms(bob, alice, event_id, share="device")
    alice.receive()
    works(alice)
    laptop.receive()
    both = [(event_id, bob.me.user_id, "", "olm"), (event_id, bob.me.user_id, bob.me.device_id, "olm")]
    assert [row for row in heard(laptop) if row[1] == bob.me.user_id] == both
    assert [row for row in heard(alice) if row[1] == bob.me.user_id] == both


def test_it_is_passed_on_once_a_minute_at_most(
    alice: Device, bob: Device, laptop: Device, clock: StillClock, server: KeyServer
) -> None:
    befriend(alice, bob, laptop)
    first, second = writes(alice), writes(alice)
    deliver(first, bob)
    deliver(second, bob)
    server.inboxes.pop(me_key(laptop.me), None)
    confirms(bob, alice, first)
    alice.receive()
    worker = own_devices(alice)
    asyncio.run(worker.step())
    confirms(bob, alice, second)
    alice.receive()
    clock.time_ms += 30_000
    assert asyncio.run(worker.step()) == 30.0
    assert len(server.inboxes[me_key(laptop.me)]) == 1
    clock.time_ms += 30_000
    asyncio.run(worker.step())
    assert len(server.inboxes[me_key(laptop.me)]) == 2


def test_a_device_that_was_away_for_weeks_shows_the_same_when_it_is_back(
    alice: Device, bob: Device, laptop: Device, clock: StillClock
) -> None:
    """Its inbox comes before the room's history does."""
    befriend(alice, bob, laptop)
    event_id = writes(alice)
    reads(bob, event_id)
    confirms(bob, alice, event_id)
    alice.receive()
    works(alice)
    clock.time_ms += 20 * DAY
    laptop.receive()
    assert heard(laptop) == []
    clock.time_ms += DAY
    reads(laptop, event_id)
    assert heard(laptop) == [(event_id, bob.me.user_id, "", "olm")]


def test_an_author_who_was_away_for_weeks_hears_it_when_back(
    alice: Device, bob: Device, clock: StillClock
) -> None:
    befriend(alice, bob)
    events = [hears(alice, bob, f"line {number}") for number in range(3)]
    for event_id in events:
        confirms(bob, alice, event_id)
        clock.time_ms += 60_000
    clock.time_ms += 20 * DAY
    alice = alice.restarted()
    try:
        alice.receive()
        assert [row[0] for row in heard(alice)] == sorted(events)
    finally:
        alice.close()


def test_what_an_own_device_passes_on_needs_its_proof(alice: Device, bob: Device, laptop: Device) -> None:
    befriend(alice, bob, laptop)
    event_id = writes(alice)
    deliver(event_id, laptop)
    forged = encrypted_body.Passed(ROOM, EventId(event_id), bob.me.user_id, "", 1, "A" * 22)
    [body] = encrypted_body.build_sync([forged])
    whispers(alice, laptop, SYNC, body)
    laptop.receive()
    assert heard(laptop) == []


def test_somebody_elses_device_passes_nothing_on(alice: Device, bob: Device) -> None:
    from tandem_core.receipts import proof

    befriend(alice, bob)
    event_id = hears(alice, bob)
    said = proof.prove(token(bob, event_id), event_id, bob.me.user_id, "")
    [body] = encrypted_body.build_sync(
        [encrypted_body.Passed(ROOM, EventId(event_id), bob.me.user_id, "", 1, said)]
    )
    whispers(bob, alice, SYNC, body)
    alice.receive()
    assert heard(alice) == []


def test_an_account_with_one_device_forgets_what_nobody_is_to_be_told(alice: Device, bob: Device) -> None:
    befriend(alice, bob)
    event_id = hears(alice, bob)
    confirms(bob, alice, event_id)
    alice.receive()
    works(alice)
    assert alice.rows("SELECT 1 FROM receipt_forward") == []
    assert alice.rows("SELECT 1 FROM to_device_out WHERE done = 0") == []
