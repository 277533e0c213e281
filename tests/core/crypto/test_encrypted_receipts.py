"""Confirmations over the encrypted way: asked for inside the message, proven, said once, and seen by one device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core import settings
from tandem_core.receipts import encrypted_body, marker
from tandem_core.receipts.gate import Reason
from tandem_core.receipts.marker import Asks
from tandem_core.receipts.transports import Outcome
from tandem_core.store import rooms
from tandem_core.types import EventId, Json, RoomId
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import DAY, befriend, confirms, heard, hears, owed, reads, writes
from tests.core.crypto.world import ROOM, Device, StillClock, user

OTHER_ROOM = RoomId("!other:example.org")


def request_in(device: Device, event_id: str) -> Json | None:
    found = device.event(event_id).opened_content or {}
    return found.get(marker.KEY)


def to_device_sizes(server: KeyServer, by: Device) -> list[int]:
    """Lengths of the ciphertexts that a device has sent, in order."""
    return [
        len(ciphertext["body"])
        for request in server.asked("sendToDevice/m.room.encrypted")
        if request.by == by.me
        for devices in request.body["messages"].values()
        for content in devices.values()
        for ciphertext in content["ciphertext"].values()
    ]


def test_a_message_that_asks_is_confirmed_and_its_author_sees_it(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    alice.receive()
    assert heard(alice) == [(event_id, bob.me.user_id, "", "olm")]
    assert owed(bob) == [(event_id, "sent", "olm", None)]


def test_a_person_who_shares_the_device_names_it_and_proves_it(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    confirms(bob, alice, event_id, share="device")
    alice.receive()
    assert [row[2] for row in heard(alice)] == ["", bob.me.device_id]


def test_the_time_that_is_told_is_that_of_the_sending_by_the_minute(
    chat: tuple[Device, Device], clock: StillClock
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    clock.time_ms += 7 * 60_000 + 12_345
    confirms(bob, alice, event_id)
    clock.time_ms += 60_000
    alice.receive()
    [(ts,)] = alice.rows("SELECT ts FROM delivery")
    assert ts % 60_000 == 0
    assert clock.time_ms - 3 * 60_000 < ts < clock.time_ms - 60_000


def test_the_server_sees_one_olm_message_whose_length_tells_no_count(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    first = hears(alice, bob)
    confirms(bob, alice, first)
    some = [hears(alice, bob, f"line {number}") for number in range(3)]
    confirms(bob, alice, *some)
    sizes = to_device_sizes(server, bob)
    assert len(sizes) == 2
    # One is a pre-key message, or the answer to one, which is a little longer.
    assert abs(sizes[0] - sizes[1]) < 300
    assert "receipt" not in {part for request in server.requests for part in request.path.split("/")}


def test_no_key_is_claimed_for_a_receipt(chat: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    server.requests.clear()
    confirms(bob, alice, event_id)
    assert server.asked("keys/claim") == []


def test_without_a_session_a_confirmation_waits_for_one(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    bob.write(lambda txn: txn.execute("DELETE FROM olm_session"))
    server.requests.clear()
    assert confirms(bob, alice, event_id) == {event_id: Outcome.LATER}
    assert server.asked("sendToDevice/m.room.encrypted") == []
    assert server.asked("keys/claim") == []
    assert bob.rows("SELECT state FROM receipt_owed") == [("owed",)]
    writes(bob, "this sets up a session")
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    alice.receive()
    assert {row[0] for row in heard(alice)} == {event_id}


def test_a_message_that_does_not_ask_gets_no_answer(chat: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = chat
    alice.write(settings.set_value, "receipts.ask_direct", False, now_ms=alice.clock.now_ms())
    event_id = hears(alice, bob)
    assert request_in(bob, event_id) is None
    before = len(server.requests)
    assert confirms(bob, alice, event_id) == {event_id: Outcome.NO_WAY}
    assert len(server.requests) == before


def test_the_request_names_the_asking_device_and_lies_inside_the_encryption(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    said = request_in(bob, event_id)
    assert said == request_in(alice, event_id)
    assert said is not None
    assert said["to"] == [alice.me.device_id]
    assert said["want"] == ["delivered", "failed"]
    assert marker.KEY not in server.events[ROOM][-1]["content"]
    assert said["tok"] != (request_in(alice, hears(alice, bob)) or {})["tok"]


@pytest.mark.parametrize(
    "content",
    [
        {"m.new_content": {"body": "x"}, "m.relates_to": {"rel_type": "m.replace", "event_id": "$e"}},
        {"msgtype": "m.notice"},
        {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$e", "key": "x"}},
    ],
)
def test_what_nobody_confirms_does_not_ask(chat: tuple[Device, Device], content: Json) -> None:
    alice, _ = chat
    event_id = writes(alice, **content)
    assert request_in(alice, event_id) is None


def test_a_reply_asks(chat: tuple[Device, Device]) -> None:
    alice, _ = chat
    event_id = writes(alice, **{"m.relates_to": {"m.in_reply_to": {"event_id": "$e"}}})
    assert request_in(alice, event_id) is not None


@pytest.mark.parametrize(
    ("facts", "chosen", "asks"),
    [
        ({"is_dm": 0, "joined_count": 21}, {}, Asks.ALWAYS),
        ({"is_dm": 0, "joined_count": 22}, {}, Asks.BY_CHOICE),
        ({"is_dm": 0, "joined_count": 9}, {"receipts.ask_groups_max": 7}, Asks.BY_CHOICE),
        ({"is_dm": 0, "joined_count": 101}, {}, Asks.BY_CHOICE),
        ({"is_dm": 0, "joined_count": 102}, {}, Asks.NEVER),
        ({"is_dm": 0, "joined_count": 22}, {"receipts.ask_groups_max": 100}, Asks.ALWAYS),
        ({"is_dm": 0, "joined_count": 102}, {"receipts.ask_groups_max": 100}, Asks.NEVER),
        ({"is_dm": 0}, {"receipts.ask_groups": False}, Asks.NEVER),
        ({"is_dm": 0, "joined_count": 22}, {"receipts.ask_groups": False}, Asks.NEVER),
        ({"is_dm": 0}, {"receipts.ask_direct": False}, Asks.ALWAYS),
        ({"is_dm": 1}, {"receipts.ask_direct": False}, Asks.NEVER),
        ({"join_rule": "public"}, {}, Asks.NEVER),
        ({"joined_count": None}, {}, Asks.NEVER),
    ],
)
def test_a_group_is_asked_up_to_a_size_and_a_public_room_never(
    chat: tuple[Device, Device], facts: Json, chosen: dict[str, Any], asks: Asks
) -> None:
    alice, _ = chat
    alice.write(rooms.set_room, alice.role, ROOM, facts)
    for key, value in chosen.items():
        alice.write(settings.set_value, key, value, now_ms=alice.clock.now_ms())
    assert alice.read(marker.asks, ROOM) is asks


def test_in_a_large_group_only_a_message_that_asks_is_confirmed_and_only_where_the_reader_chose_it(
    chat: tuple[Device, Device],
) -> None:
    alice, bob = chat
    for device in chat:
        device.write(rooms.set_room, device.role, ROOM, {"is_dm": 0, "joined_count": 41})
    hears(alice, bob)
    asking = hears(alice, bob, asks=True)
    assert request_in(alice, asking) is not None
    assert {row[3] for row in owed(bob)} == {Reason.TOO_MANY_PEOPLE}
    bob.write(settings.set_value, "receipts.room", "on", now_ms=bob.clock.now_ms(), room_id=ROOM)
    unasked = hears(alice, bob)
    assert request_in(alice, unasked) is None
    assert {row[0]: row[3] for row in owed(bob)}[unasked] == Reason.NOT_ASKED
    asking = hears(alice, bob, asks=True)
    assert confirms(bob, alice, asking) == {asking: Outcome.SENT}


@pytest.mark.parametrize("facts", [{"is_dm": 1}, {"is_dm": 0, "joined_count": 102}, {"join_rule": "public"}])
def test_what_a_person_asks_for_beside_the_settings_changes_nothing_where_there_is_no_choice(
    chat: tuple[Device, Device], facts: Json
) -> None:
    alice, _ = chat
    alice.write(rooms.set_room, alice.role, ROOM, facts)
    request = request_in(alice, writes(alice, asks=True))
    assert (request is not None) is (alice.read(marker.asks, ROOM) is Asks.ALWAYS)


def test_what_is_encrypted_anew_asks_with_the_same_token(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    server.lose_request.append("/send/")
    with pytest.raises(Exception, match="lost"):
        writes(alice)
    [(content,)] = alice.rows("SELECT content FROM send_queue")
    from tandem_core.store import outbox

    alice.write(outbox.encrypt_again)
    asyncio.run(alice.sender.step())
    event_id = str(server.events[ROOM][-1]["event_id"])
    reads(bob, event_id)
    assert (request_in(bob, event_id) or {})["tok"] in content


def test_a_confirmation_is_stored_before_it_is_sent_and_sent_once_whatever_breaks(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    server.lose_request.append("sendToDevice")
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}
    assert owed(bob) == [(event_id, "sent", "olm", None)]
    bob = bob.restarted()
    try:
        server.lose_answer.append("sendToDevice")
        with pytest.raises(Exception, match="lost"):
            asyncio.run(bob.flush())
        asyncio.run(bob.flush())
    finally:
        bob.close()
    assert len(alice.fetch()) == 1
    alice.drain()
    assert len(heard(alice)) == 1


def test_a_program_that_dies_in_the_middle_neither_loses_nor_doubles(
    chat: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is one transaction: before its commit nothing has happened."""
    from tandem_core.receipts import encrypted

    alice, bob = chat
    event_id = hears(alice, bob)

    class Dead(BaseException):
        pass

    def die(*_: object) -> None:
        raise Dead

    with monkeypatch.context() as patched:
        patched.setattr(encrypted.store, "mark_sent", die)
        with pytest.raises(Dead):
            confirms(bob, alice, event_id)
    assert [row[1] for row in owed(bob)] == ["owed"]
    assert bob.rows("SELECT 1 FROM to_device_out WHERE done = 0") == []
    bob = bob.restarted()
    try:
        confirms(bob, alice, event_id)
    finally:
        bob.close()
    alice.receive()
    assert len(heard(alice)) == 1


def test_what_was_lost_on_the_way_is_repeated_with_the_next_one(
    chat: tuple[Device, Device], server: KeyServer, clock: StillClock
) -> None:
    alice, bob = chat
    lost = hears(alice, bob, "lost")
    confirms(bob, alice, lost)
    server.inboxes.clear()
    kept = hears(alice, bob, "kept")
    clock.time_ms += 60_000
    confirms(bob, alice, kept)
    alice.receive()
    assert {row[0] for row in heard(alice)} == {lost, kept}


def test_it_is_repeated_for_a_day_and_no_longer(
    chat: tuple[Device, Device], server: KeyServer, clock: StillClock
) -> None:
    alice, bob = chat
    lost = hears(alice, bob, "lost")
    confirms(bob, alice, lost)
    server.inboxes.clear()
    clock.time_ms += DAY + 1
    kept = hears(alice, bob, "kept")
    confirms(bob, alice, kept)
    alice.receive()
    assert {row[0] for row in heard(alice)} == {kept}


def test_only_what_is_allowed_now_is_repeated_and_no_device_that_was_not_told_before(
    chat: tuple[Device, Device], server: KeyServer, clock: StillClock
) -> None:
    """A room that was switched off since is not in the flush, and is not spoken of."""
    alice, bob = chat
    befriend(alice, bob, room=OTHER_ROOM)
    elsewhere = writes(alice, room=OTHER_ROOM)
    reads(bob, elsewhere, room=OTHER_ROOM)
    here = hears(alice, bob, "here")
    confirms(bob, alice, elsewhere, here)
    server.inboxes.clear()
    later = hears(alice, bob, "later")
    confirms(bob, alice, later, share="device")
    alice.receive()
    assert [(row[0], row[2]) for row in heard(alice)] == [(later, ""), (later, bob.me.device_id)]
    last = hears(alice, bob, "last")
    confirms(bob, alice, last)
    alice.receive()
    assert {row[0] for row in heard(alice)} == {here, later, last}


def test_a_redacted_message_is_not_repeated(chat: tuple[Device, Device], server: KeyServer) -> None:
    from tandem_core.store import events

    alice, bob = chat
    gone = hears(alice, bob, "gone")
    confirms(bob, alice, gone)
    server.inboxes.clear()
    bob.write(events.redact, ROOM, EventId(gone), "$redaction")
    kept = hears(alice, bob, "kept")
    confirms(bob, alice, kept)
    alice.receive()
    assert {row[0] for row in heard(alice)} == {kept}


def test_many_go_in_one_message_and_too_many_in_two(
    chat: tuple[Device, Device], server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypted_body, "MOST_OK", 4)
    alice, bob = chat
    events = [writes(alice, f"line {number}") for number in range(encrypted_body.MOST_OK + 1)]
    for event_id in events:
        reads(bob, event_id)
    before = len(to_device_sizes(server, bob))
    confirms(bob, alice, *events)
    assert len(to_device_sizes(server, bob)) == before + 2
    alice.receive()
    assert {row[0] for row in heard(alice)} == set(events)


def test_a_device_of_the_author_that_is_gone_is_told_nothing(
    chat: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    del server.devices[alice.me.user_id][alice.me.device_id]
    bob.knows(alice)
    assert confirms(bob, alice, event_id) == {event_id: Outcome.NO_WAY}


def test_an_author_whose_list_of_devices_is_not_known_yet_is_asked_for_first(
    chat: tuple[Device, Device],
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    bob.write(lambda txn: txn.execute("DELETE FROM device_list WHERE user_id = ?", (alice.me.user_id,)))
    bob.write(lambda txn: txn.execute("DELETE FROM device WHERE user_id = ?", (alice.me.user_id,)))
    assert confirms(bob, alice, event_id) == {event_id: Outcome.SENT}


def test_all_people_of_a_group_confirm_each_to_the_author(
    make_device: Callable[..., Device], alice: Device, bob: Device
) -> None:
    carol = make_device("carol")
    befriend(alice, bob, carol, is_dm=False)
    event_id = writes(alice)
    for reader in (bob, carol):
        reads(reader, event_id)
        confirms(reader, alice, event_id)
    alice.receive()
    assert [row[1] for row in heard(alice)] == [user("bob"), user("carol")]
