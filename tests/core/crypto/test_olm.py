"""Olm between devices: opened once and in order, whoever sends what, and mended when broken."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from vodozemac import Account, Curve25519PublicKey, PreKeyMessage

from tandem_core.crypto import drain, olm
from tandem_core.errors import Offline
from tandem_core.store import crypto as rows
from tandem_core.store.codec import loads
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import Device, StillClock, user


def whisper(sender: Device, recipient: Device, number: int = 0, kind: str = "im.tandem.test") -> Json:
    """An Olm event from one device to another, as the server would deliver it."""
    to = next(d for d in sender.devices(recipient) if d.device_id == recipient.me.device_id)
    content = sender.write(olm.encrypt, sender.state, to, kind, {"n": number}, sender.clock.now_ms())
    assert content is not None
    return {"type": "m.room.encrypted", "sender": sender.me.user_id, "content": content}


def opened(device: Device, event: Json) -> int:
    """Open one event outside the inbox and return its number."""
    found = device.write(
        olm.open_event, device.state, user(event["sender"][1:].partition(":")[0]), event["content"], 0
    )
    return int(found.content["n"])


def test_two_devices_talk_both_ways(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    assert opened(bob, whisper(alice, bob, 1)) == 1
    assert opened(alice, whisper(bob, alice, 2)) == 2
    assert opened(bob, whisper(alice, bob, 3)) == 3
    assert len(alice.rows("SELECT * FROM olm_session")) == len(bob.rows("SELECT * FROM olm_session")) == 1


def test_both_may_begin_at_once_and_then_agree_on_one_session(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    asyncio.run(bob.keys.claim(bob.devices(alice)))
    from_alice, from_bob = whisper(alice, bob, 1), whisper(bob, alice, 2)
    assert opened(bob, from_alice) == 1
    assert opened(alice, from_bob) == 2
    for number in range(3, 9):
        sender, recipient = (alice, bob) if number % 2 else (bob, alice)
        assert opened(recipient, whisper(sender, recipient, number)) == number
    last = [
        device.one("SELECT session_id FROM olm_session ORDER BY used_at DESC LIMIT 1") for device in friends
    ]
    assert last[0] == last[1]


def test_a_session_used_last_is_used_next_even_if_the_clock_went_back(
    friends: tuple[Device, Device], clock: StillClock
) -> None:
    alice, bob = friends
    whisper(alice, bob)
    first = alice.one("SELECT session_id FROM olm_session")
    clock.time_ms -= 3_600_000
    asyncio.run(bob.keys.claim(bob.devices(alice)))
    assert opened(alice, whisper(bob, alice, 1)) == 1
    assert alice.one("SELECT session_id FROM olm_session ORDER BY used_at DESC LIMIT 1") != first


def test_a_hundred_messages_are_opened_in_order_and_so_none_is_lost(
    friends: tuple[Device, Device],
) -> None:
    """vodozemac keeps 40 skipped keys: the last one first would lose most of the others."""
    alice, bob = friends
    sent = [whisper(alice, bob, number) for number in range(100)]
    bob.put_inbox(*sent[:60])
    notifier = bob.other_program()
    try:
        notifier.put_inbox(*sent)  # its own connection brings the first sixty again
        while notifier.write(drain.drain, notifier.state, 0) and bob.write(drain.drain, bob.state, 0):
            pass
    finally:
        notifier.close()
    assert bob.rows("SELECT state, count(*) FROM inbox GROUP BY state") == [(1, 100)]


def test_the_last_of_a_hundred_first_loses_others_which_is_why_order_matters(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    assert opened(bob, whisper(alice, bob)) == 0
    assert opened(alice, whisper(bob, alice)) == 0  # from now on alice sends normal messages
    sent = [whisper(alice, bob, number) for number in range(100)]
    bob.put_inbox(sent[99], *sent[:99])
    bob.drain()
    states = dict(bob.rows("SELECT state, count(*) FROM inbox GROUP BY state"))
    assert states[2] > 50


def test_the_same_event_from_both_connections_has_one_effect(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    event = whisper(alice, bob)
    bob.put_inbox(event)
    bob.drain()
    bob.put_inbox(copy.deepcopy(event))
    bob.drain()
    assert bob.rows("SELECT state FROM inbox") == [(1,)]


def test_a_rolled_back_step_has_no_effect_and_the_message_opens_later(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    bob.put_inbox(whisper(alice, bob, 1), whisper(alice, bob, 2))
    before = bob.rows("SELECT pickle, generation FROM crypto_account")

    class PowerCut(Exception):
        pass

    def drained_then_cut(txn: Any) -> None:
        assert drain.drain(txn, bob.state, 0) == 2
        raise PowerCut

    for _ in range(3):
        with pytest.raises(PowerCut):
            bob.write(drained_then_cut)
    assert bob.rows("SELECT pickle, generation FROM crypto_account") == before
    assert bob.rows("SELECT * FROM olm_session") == []
    bob.drain()
    assert bob.rows("SELECT state FROM inbox") == [(1,), (1,)]


def test_a_one_time_key_goes_with_the_message_it_opened_and_not_before(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    good = whisper(alice, bob, 1)
    damaged = copy.deepcopy(good)
    for sealed in damaged["content"]["ciphertext"].values():
        raw = bytearray(base64.b64decode(sealed["body"] + "=" * (-len(sealed["body"]) % 4)))
        raw[-1] ^= 1  # the authentication code
        sealed["body"] = base64.b64encode(raw).decode().rstrip("=")
    bob.put_inbox(damaged)
    bob.drain()
    assert bob.inbox_errors() == ["no session can be made from it"]
    assert opened(bob, good) == 1
    again = bob.restarted()
    try:
        # Without the session it made, the same message finds no key: that is gone for good.
        again.write(lambda txn: txn.execute("DELETE FROM olm_session"))
        with pytest.raises(olm.CannotOpen):
            opened(again, good)
    finally:
        again.close()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("sender", "@mallory:example.org"),
        ("recipient", "@mallory:example.org"),
        ("recipient_keys", {"ed25519": "A" * 43}),
        ("keys", {"ed25519": "A" * 43}),
        ("keys", None),
        ("content", "no object"),
        ("type", 7),
        ("sender_device_keys", {"device_id": "ONE"}),
        ("sender_device_keys", "ONE"),
    ],
)
def test_a_payload_that_does_not_fit_its_channel_is_refused(
    friends: tuple[Device, Device], part: str, value: Any
) -> None:
    alice, bob = friends
    event = forged(alice, bob, {part: value})
    bob.put_inbox(event)
    bob.drain()
    assert len(bob.inbox_errors()) == 1
    assert bob.rows("SELECT * FROM unwedge") == []


def test_device_keys_of_another_device_in_the_payload_are_refused(
    friends: tuple[Device, Device], make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice, bob = friends
    other = make_device("alice", "TWO")
    keys = server.devices[other.me.user_id][other.me.device_id]
    bob.put_inbox(forged(alice, bob, {"sender_device_keys": keys}))
    bob.drain()
    assert bob.inbox_errors() == ["the sender shows another device's keys"]


def test_an_event_under_another_senders_name_is_refused(friends: tuple[Device, Device]) -> None:
    alice, bob = friends
    bob.put_inbox(whisper(alice, bob) | {"sender": "@mallory:example.org"})
    bob.drain()
    assert bob.inbox_errors() == ["written for somebody else, or by somebody else"]


def test_each_message_shows_the_keys_of_the_device_that_wrote_it(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    event = whisper(alice, bob)
    raw = _plaintext(bob, event)
    assert raw["sender_device_keys"] == server.devices[alice.me.user_id][alice.me.device_id]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"algorithm": "m.olm.v1.curve25519-aes-sha2"},
        {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "x", "ciphertext": []},
        {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "x", "ciphertext": {"k": {"type": 0}}},
        {"algorithm": "m.megolm.v1.aes-sha2", "sender_key": "x"},
    ],
)
def test_garbage_is_set_aside_and_the_next_event_is_opened(
    friends: tuple[Device, Device], content: Json
) -> None:
    alice, bob = friends
    bob.put_inbox({"type": "m.room.encrypted", "sender": "@m:x", "content": content}, whisper(alice, bob))
    bob.drain()
    assert bob.rows("SELECT state FROM inbox ORDER BY seq") == [(2,), (1,)]


@pytest.mark.parametrize("body", ["", "!", "AwA", "A" * 300, "é"])
@pytest.mark.parametrize("kind", [0, 1, 2, True, "0"])
def test_damaged_ciphertexts_are_set_aside(friends: tuple[Device, Device], body: str, kind: Any) -> None:
    alice, bob = friends
    damaged = whisper(alice, bob)
    for sealed in damaged["content"]["ciphertext"].values():
        sealed["body"], sealed["type"] = body, kind
    bob.put_inbox(damaged)
    bob.drain()
    assert len(bob.inbox_errors()) == 1


def test_an_event_that_breaks_its_step_takes_nothing_with_it(
    friends: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ratchet goes back with it; the key that the first one used up stays used."""
    alice, bob = friends
    bob.put_inbox(*(whisper(alice, bob, number, "m.room_key") for number in range(3)))

    def keep(txn: Any, state: Any, found: olm.Opened, now_ms: int) -> str | None:
        if found.content["n"] == 1:
            raise RuntimeError
        found.content.update(room_id="!room", session_id="session")  # a key that is kept has both
        return None

    monkeypatch.setattr(drain.megolm, "keep_room_key", keep)
    bob.drain()
    assert bob.rows("SELECT state, error FROM inbox ORDER BY seq") == [
        (1, None),
        (2, "unexpected: RuntimeError"),
        (1, None),
    ]
    assert opened(bob, whisper(alice, bob, 9)) == 9


# ── Mending ────────────────────────────────────────────────────────────────────────────────────


def _break(alice: Device, bob: Device) -> None:
    """Bob loses his half of the session; Alice does not know."""
    assert opened(bob, whisper(alice, bob)) == 0
    assert opened(alice, whisper(bob, alice)) == 0
    bob.write(lambda txn: txn.execute("DELETE FROM olm_session"))


def test_a_broken_session_is_mended_by_a_new_one_and_a_dummy(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    _break(alice, bob)
    bob.put_inbox(whisper(alice, bob, 1))
    bob.drain()
    assert bob.inbox_errors() == ["no session opens it"]
    asyncio.run(bob.keys.mend())
    asyncio.run(bob.flush())
    alice.receive()
    assert alice.inbox_errors() == []
    assert opened(bob, whisper(alice, bob, 2)) == 2
    assert len(server.asked("/keys/claim")) == 2  # alice's first session, and the mending


def test_mending_happens_once_an_hour_at_most(
    friends: tuple[Device, Device], server: KeyServer, clock: StillClock
) -> None:
    alice, bob = friends
    _break(alice, bob)
    server.requests.clear()
    for minutes, claims in ((0, 1), (30, 1), (59, 1), (61, 2), (90, 2)):
        clock.time_ms = bob.clock.time_ms = 1_800_000_000_000 + minutes * 60_000
        bob.put_inbox(whisper(alice, bob, minutes))
        bob.drain()
        asyncio.run(bob.keys.mend())
        assert len(server.asked("/keys/claim")) == claims


def test_mending_survives_a_lost_answer_and_two_programs_mend_once(
    friends: tuple[Device, Device], server: KeyServer
) -> None:
    alice, bob = friends
    _break(alice, bob)
    bob.put_inbox(whisper(alice, bob, 1))
    bob.drain()
    server.lose_request.append("/keys/claim")
    with pytest.raises(Offline):
        asyncio.run(bob.keys.mend())
    notifier = bob.other_program()

    async def both() -> None:
        await asyncio.gather(bob.keys.mend(), notifier.keys.mend())

    try:
        asyncio.run(both())
    finally:
        notifier.close()
    assert len(bob.rows("SELECT * FROM to_device_out")) == 1
    assert bob.read(rows.wedged) == []


def test_who_begins_a_new_session_gets_the_room_keys_in_use_again(friends: tuple[Device, Device]) -> None:
    """They may have lost the session that the keys went out with: what came by it they could not open."""
    alice, bob = friends
    everybody = {alice.me.user_id, bob.me.user_id}
    _break(alice, bob)
    lost = alice.seal("lost", everybody)
    asyncio.run(alice.flush())
    bob.receive()
    assert bob.body(bob.sees(lost, alice)) is None
    asyncio.run(bob.keys.mend())
    asyncio.run(bob.flush())
    alice.receive()
    wires = [alice.seal(body, everybody) for body in ("again", "and on")]
    asyncio.run(alice.flush())
    bob.receive()
    assert {wire["session_id"] for wire in wires} == {lost["session_id"]}
    assert [bob.body(bob.sees(wire, alice)) for wire in wires] == ["again", "and on"]
    assert alice.rows(
        "SELECT DISTINCT message_index FROM key_share WHERE device_id = ?", bob.me.device_id
    ) == [(1,)]
    assert bob.rows("SELECT state FROM inbox ORDER BY seq") == [(2,), (1,)]  # lost, and once again


def test_a_device_that_is_to_get_keys_again_still_counts_as_one_that_has_them(
    friends: tuple[Device, Device],
) -> None:
    alice, bob = friends
    first = alice.seal("both", {alice.me.user_id, bob.me.user_id})
    alice.write(lambda txn: rows.share_again(txn, bob.keys_of()[f"curve25519:{bob.me.device_id}"]))
    second = alice.seal("without bob", {alice.me.user_id})
    assert first["session_id"] != second["session_id"]


def test_no_session_is_opened_towards_a_stranger(friends: tuple[Device, Device], server: KeyServer) -> None:
    alice, bob = friends
    _break(alice, bob)
    broken = whisper(alice, bob, 1)
    server.requests.clear()
    bob.put_inbox(broken | {"sender": "@stranger:example.org"})
    bob.drain()
    asyncio.run(bob.keys.mend())
    assert server.asked("/keys/claim") == []
    assert "@stranger:example.org" in [row[0] for row in bob.rows("SELECT user_id FROM device_list")]


def forged(sender: Device, recipient: Device, parts: Json) -> Json:
    """A well encrypted event whose payload says something else in these parts."""
    to = sender.devices(recipient)[0]

    def make(txn: Any) -> Json:
        session = olm.best_session(txn, sender.state, to.curve25519)
        assert session is not None
        account = sender.state.account(txn)
        payload = {
            "type": "im.tandem.test",
            "content": {},
            "sender": sender.me.user_id,
            "recipient": recipient.me.user_id,
            "recipient_keys": {"ed25519": to.ed25519},
            "keys": {"ed25519": account.ed25519_key.to_base64()},
        } | parts
        kind, body = session.encrypt(json.dumps(payload).encode()).to_parts()
        sender.state.save_session(txn, to.curve25519, session, 0)
        sealed = {"type": kind, "body": base64.b64encode(body).decode()}
        return {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": account.curve25519_key.to_base64(),
            "ciphertext": {to.curve25519: sealed},
        }

    content = sender.write(make)
    return {"type": "m.room.encrypted", "sender": sender.me.user_id, "content": content}


def _plaintext(recipient: Device, event: Json) -> Json:
    """The payload of a pre-key event, opened by vodozemac alone on a copy of the account."""
    account = Account.from_pickle(
        recipient.one("SELECT pickle FROM crypto_account"), recipient.state.pickle_key
    )
    sealed = event["content"]["ciphertext"][account.curve25519_key.to_base64()]
    _, plaintext = account.create_inbound_session(
        Curve25519PublicKey.from_base64(event["content"]["sender_key"]),
        PreKeyMessage.from_base64(sealed["body"]),
    )
    payload = loads(plaintext.decode())
    assert isinstance(payload, dict)
    return payload
