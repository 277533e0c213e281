"""Which confirmations an author believes: proven ones, from devices that got the key, of people who were there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.receipts import encrypted_body, encrypted_inbound, inbound, proof, validate
from tandem_core.receipts.encrypted_body import RECEIPT, Confirmed
from tandem_core.store import account_data, events
from tandem_core.types import EventId, Json, RoomId
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import (
    DAY,
    befriend,
    confirms,
    heard,
    hears,
    reads,
    token,
    whispers,
    writes,
)
from tests.core.crypto.world import ROOM, Device, StillClock

MINUTE = 60_000


def body_for(
    reader: Device, event_id: str, *, room: str = ROOM, named: str = "", tok: bytes | None = None
) -> Json:
    said = proof.prove(tok or token(reader, event_id), event_id, reader.me.user_id, named)
    one = Confirmed(RoomId(room), EventId(event_id), said)
    [body] = encrypted_body.build([one], shares_device=bool(named), now_ms=reader.clock.now_ms())
    return body


def test_the_kit_itself_makes_what_is_believed(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    whispers(bob, alice, RECEIPT, body_for(bob, event_id))
    alice.receive()
    assert len(heard(alice)) == 1


def test_a_proof_with_another_token_is_not_believed(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    whispers(bob, alice, RECEIPT, body_for(bob, event_id, tok=bytes(16)))
    alice.receive()
    assert heard(alice) == []


def test_a_proof_of_the_person_proves_no_device(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    body = body_for(bob, event_id)
    body["scope"] = "device"
    whispers(bob, alice, RECEIPT, body)
    alice.receive()
    assert heard(alice) == []


def test_another_room_is_not_believed(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    whispers(bob, alice, RECEIPT, body_for(bob, event_id, room="!other:example.org"))
    alice.receive()
    assert heard(alice) == []


def test_a_device_that_did_not_get_the_key_is_not_believed(
    chat: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    """Bob's new login is told the token by the old one, and still has not had the message from Alice."""
    alice, bob = chat
    event_id = hears(alice, bob)
    tablet = make_device("bob", "TABLET")
    body = body_for(bob, event_id)
    alice.knows(bob, tablet)
    whispers(tablet, alice, RECEIPT, body)
    alice.receive()
    assert heard(alice) == []


def test_a_later_message_of_the_same_session_entitles_to_no_earlier_one(
    chat: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = chat
    early = hears(alice, bob)
    tablet = make_device("bob", "TABLET")
    alice.knows(bob, tablet)
    late = writes(alice, "with the tablet")
    tablet.is_in(ROOM, alice.me.user_id)
    reads(tablet, late)
    body = body_for(bob, early)
    whispers(tablet, alice, RECEIPT, body)
    whispers(tablet, alice, RECEIPT, body_for(tablet, late))
    alice.receive()
    assert [row[0] for row in heard(alice)] == [late]


def test_a_stranger_in_no_room_of_ours_is_not_believed(
    chat: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    mallory = make_device("mallory")
    body = body_for(bob, event_id)
    whispers(mallory, alice, RECEIPT, body)
    alice.receive()
    alice.knows(bob, mallory)
    whispers(mallory, alice, RECEIPT, body)
    alice.receive()
    assert heard(alice) == []
    assert alice.inbox_errors() == []


def test_a_member_confirms_for_nobody_else(
    alice: Device, bob: Device, make_device: Callable[..., Device]
) -> None:
    carol = make_device("carol")
    befriend(alice, bob, carol, is_dm=False)
    event_id = writes(alice)
    for reader in (bob, carol):
        reads(reader, event_id)
    whispers(carol, alice, RECEIPT, body_for(bob, event_id))
    alice.receive()
    assert heard(alice) == []


def test_who_joined_after_the_message_is_not_believed(
    chat: tuple[Device, Device], make_device: Callable[..., Device]
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    carol = make_device("carol")
    befriend(alice, bob, carol, is_dm=False)
    said = proof.prove(token(bob, event_id), event_id, carol.me.user_id, "")
    one = Confirmed(ROOM, EventId(event_id), said)
    [body] = encrypted_body.build([one], shares_device=False, now_ms=carol.clock.now_ms())
    whispers(carol, alice, RECEIPT, body)
    alice.receive()
    assert heard(alice) == []


def test_ignored_people_are_not_heard(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    content = {"ignored_users": {bob.me.user_id: {}}}
    alice.write(account_data.put, "m.ignored_user_list", content)
    confirms(bob, alice, event_id)
    alice.receive()
    assert heard(alice) == []


def test_a_room_that_we_left_hears_nothing_more(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    alice.write(lambda txn: txn.execute("UPDATE room SET membership = 'leave'"))
    confirms(bob, alice, event_id)
    alice.receive()
    assert heard(alice) == []


def test_a_redacted_message_is_confirmed_no_more(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    alice.write(events.redact, ROOM, EventId(event_id), "$redaction")
    confirms(bob, alice, event_id)
    alice.receive()
    assert heard(alice) == []


def test_a_message_of_somebody_else_is_not_confirmed_to_us(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(bob, alice)
    whispers(bob, alice, RECEIPT, body_for(bob, event_id))
    alice.receive()
    assert heard(alice) == []
    assert alice.rows("SELECT 1 FROM delivery_early") == []


@pytest.mark.parametrize(("said", "kept"), [(0, "sent"), (2**52, "now")])
def test_a_time_is_kept_between_the_sending_and_now(
    chat: tuple[Device, Device], clock: StillClock, said: int, kept: str
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    clock.time_ms += 5 * MINUTE
    body = body_for(bob, event_id)
    body["ts"] = said
    whispers(bob, alice, RECEIPT, body)
    alice.receive()
    sent_at = alice.event(event_id).sent_at
    assert alice.rows("SELECT ts FROM delivery") == [(sent_at if kept == "sent" else clock.time_ms,)]


def test_a_repetition_changes_nothing(chat: tuple[Device, Device], clock: StillClock) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    body = body_for(bob, event_id)
    whispers(bob, alice, RECEIPT, body)
    alice.receive()
    before = alice.rows("SELECT * FROM delivery")
    clock.time_ms += 10 * MINUTE
    whispers(bob, alice, RECEIPT, body)
    whispers(bob, alice, RECEIPT, body_for(bob, event_id))
    alice.receive()
    assert alice.rows("SELECT * FROM delivery") == before


def test_a_device_that_writes_too_often_is_not_heard_for_a_while(
    chat: tuple[Device, Device], clock: StillClock
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    good = body_for(bob, event_id)
    for number in range(encrypted_inbound.PER_MINUTE + 1):
        junk = {**good, "batch": f"junk{number}", "rooms": {}}
        alice.write(_take, alice, bob, junk)
    alice.write(_take, alice, bob, good)
    clock.time_ms += encrypted_inbound.MUTED_MS - 1
    alice.write(_take, alice, bob, {**good, "batch": "later"})
    assert heard(alice) == []
    clock.time_ms += 1
    alice.write(_take, alice, bob, {**good, "batch": "last"})
    assert len(heard(alice)) == 1


def test_what_came_while_we_were_away_is_no_flood(chat: tuple[Device, Device], clock: StillClock) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    good = body_for(bob, event_id)
    clock.time_ms += 7 * DAY
    for number in range(300):
        alice.write(_take, alice, bob, {**good, "batch": f"day{number}", "rooms": {}})
    alice.write(_take, alice, bob, good)
    assert len(heard(alice)) == 1


def test_nothing_is_answered_whatever_comes(chat: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    good = body_for(bob, event_id)
    for body in (good, {**good, "v": 2}, {}, {**good, "rooms": 7}):
        whispers(bob, alice, RECEIPT, body)
    server.requests.clear()
    alice.receive()
    assert alice.inbox_errors() == []
    assert alice.rows("SELECT 1 FROM to_device_out WHERE done = 0") == []
    assert server.requests == []


# ── Receipts that come before their message is known ────────────────────────────────────────────


@pytest.fixture
def forgetful(chat: tuple[Device, Device]) -> tuple[Device, Device, str, Callable[[], None]]:
    """Alice sent a message whose id she does not know yet; Bob has it. The last one lets her learn it."""
    alice, bob = chat
    event_id = hears(alice, bob)
    kept: dict[str, list[tuple[Any, ...]]] = {
        table: alice.rows(f"SELECT * FROM {table} WHERE event_id = ?", event_id)
        for table in ("event", "send_queue")
    }
    alice.write(lambda txn: txn.execute("DELETE FROM event WHERE event_id = ?", (event_id,)))
    alice.write(
        lambda txn: txn.execute(
            "UPDATE send_queue SET event_id = NULL, state = 'sending' WHERE event_id = ?", (event_id,)
        )
    )

    def learn() -> None:
        def put(txn: Any) -> None:
            row = kept["event"][0]
            txn.execute(f"INSERT INTO event VALUES ({','.join('?' * len(row))})", row)
            txn.execute("UPDATE send_queue SET event_id = ?, state = 'sent'", (event_id,))
            inbound.claim_early(txn, EventId(event_id), alice.clock.now_ms())

        alice.write(put)

    return alice, bob, event_id, learn


def test_a_confirmation_that_overtakes_its_message_waits_for_it(
    forgetful: tuple[Device, Device, str, Callable[[], None]],
) -> None:
    alice, bob, event_id, learn = forgetful
    confirms(bob, alice, event_id, share="device")
    alice.receive()
    assert heard(alice) == []
    learn()
    assert [row[1:] for row in heard(alice)] == [
        (bob.me.user_id, "", "olm"),
        (bob.me.user_id, bob.me.device_id, "olm"),
    ]
    assert alice.rows("SELECT 1 FROM delivery_early") == []


def test_what_waits_is_looked_at_as_hard_as_what_comes_late(
    forgetful: tuple[Device, Device, str, Callable[[], None]],
) -> None:
    alice, bob, event_id, learn = forgetful
    whispers(bob, alice, RECEIPT, body_for(bob, event_id, tok=bytes(16)))
    alice.receive()
    learn()
    assert heard(alice) == []


def test_a_false_early_word_does_not_keep_a_true_one_out(
    forgetful: tuple[Device, Device, str, Callable[[], None]],
) -> None:
    """The server's word, and a device's, wait side by side."""
    alice, bob, event_id, learn = forgetful
    whispers(bob, alice, RECEIPT, body_for(bob, event_id, tok=bytes(16)))
    alice.receive()
    said = {event_id: {"m.delivery": {bob.me.user_id: {"ts": alice.clock.now_ms()}}}}
    alice.write(inbound.accept, alice.me, ROOM, said, alice.clock.now_ms())
    learn()
    assert [row[3] for row in heard(alice)] == ["server"]


def test_an_early_confirmation_is_forgotten_after_a_quarter_of_an_hour(
    forgetful: tuple[Device, Device, str, Callable[[], None]], clock: StillClock
) -> None:
    alice, bob, event_id, learn = forgetful
    confirms(bob, alice, event_id)
    alice.receive()
    clock.time_ms += validate.EARLY_MS + 1
    learn()
    assert heard(alice) == []


# ── Proven words and the server's ───────────────────────────────────────────────────────────────


def test_a_proven_word_beats_the_servers_and_not_the_other_way_round(
    chat: tuple[Device, Device], clock: StillClock
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    said = {event_id: {"m.delivery": {bob.me.user_id: {"ts": clock.time_ms + 1}}}}
    clock.time_ms += 2 * MINUTE
    alice.write(inbound.accept, alice.me, ROOM, said, clock.time_ms)
    assert [row[3] for row in heard(alice)] == ["server"]
    confirms(bob, alice, event_id)
    alice.receive()
    proven = alice.rows("SELECT ts, via FROM delivery")
    assert proven[0][1] == "olm"
    alice.write(inbound.accept, alice.me, ROOM, said, clock.time_ms)
    assert alice.rows("SELECT ts, via FROM delivery") == proven


def test_a_server_that_names_devices_without_the_key_is_not_believed_about_them(
    chat: tuple[Device, Device],
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    now_ms = alice.clock.now_ms()
    word = {"ts": now_ms, "im.tandem.devices": {name: {"ts": now_ms} for name in (bob.me.device_id, "GHOST")}}
    alice.write(inbound.accept, alice.me, ROOM, {event_id: {"m.delivery": {bob.me.user_id: word}}}, now_ms)
    assert [row[2] for row in heard(alice)] == ["", bob.me.device_id]


def test_a_server_is_not_believed_about_ignored_people(chat: tuple[Device, Device]) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    alice.write(account_data.put, "m.ignored_user_list", {"ignored_users": {bob.me.user_id: {}}})
    said = {event_id: {"m.delivery": {bob.me.user_id: {"ts": 1}}}}
    assert alice.write(inbound.accept, alice.me, ROOM, said, alice.clock.now_ms()) == 0


# ── What our own server kept for us (durable receipts) ──────────────────────────────────────────


def kept_by_server(event_id: str, reader: Device, sender: str = "@:example.org") -> Json:
    receipts = {event_id: {"org.matrix.msc4089.delivery": {reader.me.user_id: {"ts": 1}}}}
    return {"type": "im.tandem.delivery", "sender": sender, "content": {"rooms": {ROOM: receipts}}}


def test_what_the_server_kept_while_we_were_away_counts_when_we_are_back(
    chat: tuple[Device, Device], clock: StillClock
) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    clock.time_ms += 8 * DAY
    alice.put_inbox(kept_by_server(event_id, bob), kept_by_server(event_id, bob))
    alice.drain()
    assert heard(alice) == [(event_id, bob.me.user_id, "", "server")]


@pytest.mark.parametrize("sender", ["@bob:example.org", "@:evil.example", "@:", ":example.org"])
def test_nobody_but_our_server_keeps_receipts_for_us(chat: tuple[Device, Device], sender: str) -> None:
    alice, bob = chat
    event_id = hears(alice, bob)
    alice.put_inbox(kept_by_server(event_id, bob, sender))
    alice.drain()
    assert heard(alice) == []


def test_kept_receipts_wait_for_a_message_that_is_not_here_yet(
    forgetful: tuple[Device, Device, str, Callable[[], None]], clock: StillClock
) -> None:
    """The device that was away has its inbox before it has the room's history."""
    alice, bob, event_id, learn = forgetful
    alice.put_inbox(kept_by_server(event_id, bob))
    alice.drain()
    clock.time_ms += 3 * DAY
    learn()
    assert [row[3] for row in heard(alice)] == ["server"]


def test_kept_receipts_of_a_wrong_form_do_no_harm(chat: tuple[Device, Device]) -> None:
    alice, _ = chat
    for rooms in (None, [], {ROOM: 7}, {"nonsense": {}}, {ROOM: {"$e": {"m.delivery": []}}}):
        alice.put_inbox(
            {"type": "im.tandem.delivery", "sender": "@:example.org", "content": {"rooms": rooms}}
        )
    alice.drain()
    assert heard(alice) == []


def _take(txn: Any, alice: Device, bob: Device, body: Json) -> int:
    content = json.loads(json.dumps(body))
    key = bob.keys_of()[f"curve25519:{bob.me.device_id}"]
    now_ms = alice.clock.now_ms()
    return encrypted_inbound.take(txn, alice.me, bob.me.user_id, key, RECEIPT, content, now_ms)
