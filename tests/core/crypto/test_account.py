"""Our own keys on the server: never too few, never two under one id, whatever dies when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.crypto.account import (
    FALLBACK_AGE_MS,
    FALLBACK_REST_MS,
    FORKED_FACT,
    ONE_TIME_KEYS,
    UPLOADS_AN_HOUR,
)
from tandem_core.crypto.keys import Keys, StoreForked
from tandem_core.crypto.signed import device_from_keys, is_signed_by
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import Offline, ServerRefused, StoreCorrupt
from tandem_core.store import devices, session
from tandem_core.store.crypto import RESTORED_FACT
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.world import Device, StillClock


def _uploads(server: KeyServer) -> list[Any]:
    return [request.body for request in server.asked("/keys/upload")]


def _upload(device: Device) -> None:
    asyncio.run(device.keys.upload())


def test_a_new_device_uploads_signed_keys_of_every_kind(alice: Device, server: KeyServer) -> None:
    keys = server.devices[alice.me.user_id][alice.me.device_id]
    found = device_from_keys(alice.me.user_id, alice.me.device_id, keys)
    assert found is not None
    ed25519 = found[0].ed25519
    assert len(server.one_time[me_key(alice.me)]) == ONE_TIME_KEYS
    signed = [*server.one_time[me_key(alice.me)].values(), *server.fallback[me_key(alice.me)].values()]
    assert all(is_signed_by(key, alice.me.user_id, alice.me.device_id, ed25519) for key in signed)
    assert [key["fallback"] for key in server.fallback[me_key(alice.me)].values()] == [True]


def test_keys_that_were_changed_on_the_way_are_not_believed(alice: Device, server: KeyServer) -> None:
    keys = server.devices[alice.me.user_id][alice.me.device_id]
    for path in ("curve25519:ONE", "ed25519:ONE"):
        changed = {**keys, "keys": {**keys["keys"], path: "A" * 43}}
        assert device_from_keys(alice.me.user_id, alice.me.device_id, changed) is None
    assert device_from_keys(alice.me.user_id, "OTHER", keys) is None
    assert device_from_keys(alice.me.user_id, alice.me.device_id, {**keys, "signatures": {}}) is None


def test_nothing_is_uploaded_while_half_of_the_keys_are_left(alice: Device, server: KeyServer) -> None:
    for left, expected in ((50, 0), (25, 0), (24, 26)):
        server.requests.clear()
        alice.write(
            devices.note_key_counts, {"signed_curve25519": left}, ["signed_curve25519"], alice.clock.now_ms()
        )
        _upload(alice)
        assert sum(len(body["one_time_keys"]) for body in _uploads(server)) == expected


@pytest.mark.parametrize("counts", [{"signed_curve25519": 0}, {}, {"curve25519": 50}])
def test_a_count_of_none_or_no_count_fills_up_again(
    alice: Device, server: KeyServer, counts: dict[str, int]
) -> None:
    server.one_time[me_key(alice.me)].clear()
    alice.write(devices.note_key_counts, counts, ["signed_curve25519"], alice.clock.now_ms())
    _upload(alice)
    assert len(server.one_time[me_key(alice.me)]) == ONE_TIME_KEYS


def test_a_server_that_always_says_none_gets_no_keys_for_ever(alice: Device, server: KeyServer) -> None:
    for _ in range(3 * UPLOADS_AN_HOUR):
        alice.write(devices.note_key_counts, {}, ["signed_curve25519"], alice.clock.now_ms())
        _upload(alice)
    assert len(server.asked("/keys/upload")) == UPLOADS_AN_HOUR
    alice.clock.time_ms += 3_600_000
    alice.write(devices.note_key_counts, {}, ["signed_curve25519"], alice.clock.now_ms())
    _upload(alice)
    assert len(server.asked("/keys/upload")) == UPLOADS_AN_HOUR + 1


@pytest.mark.parametrize("where", ["lose_request", "lose_answer"])
def test_an_upload_cut_off_is_repeated_byte_for_byte_after_a_restart(
    make_device: Callable[..., Device], server: KeyServer, where: str
) -> None:
    alice = make_device("alice", is_new=True)
    getattr(server, where).append("/keys/upload")
    with pytest.raises(Offline):
        _upload(alice)
    alice = alice.restarted()
    try:
        _upload(alice)
        _upload(alice)
        bodies = _uploads(server)
        assert len(bodies) == 2
        assert bodies[0] == bodies[1]
        assert len(server.one_time[me_key(alice.me)]) == ONE_TIME_KEYS
    finally:
        alice.close()


def test_keys_uploaded_before_a_crash_still_open_messages(
    make_device: Callable[..., Device], bob: Device, server: KeyServer
) -> None:
    alice = make_device("alice", is_new=True)
    server.lose_answer.append("/keys/upload")
    with pytest.raises(Offline):
        _upload(alice)
    alice = alice.restarted()
    try:
        bob.knows(alice)
        asyncio.run(bob.keys.claim(bob.devices(alice)))
        wire = bob.seal("hello", {alice.me.user_id})
        asyncio.run(bob.flush())
        alice.receive()
        assert alice.body(alice.sees(wire, bob)) == "hello"
    finally:
        alice.close()


def test_two_programs_upload_once(make_device: Callable[..., Device], server: KeyServer) -> None:
    app = make_device("alice", is_new=True)
    notifier = app.other_program()

    async def both() -> None:
        await asyncio.gather(app.keys.upload(), notifier.keys.upload())

    try:
        asyncio.run(both())
        assert len(_uploads(server)) == 1
    finally:
        notifier.close()


_TAKEN = ServerRefused(400, "M_UNKNOWN", "One time key signed_curve25519:AAAA already exists")


def test_keys_under_our_ids_that_are_never_free_stop_uploads_and_are_told_each_time(
    alice: Device, server: KeyServer
) -> None:
    server.one_time[me_key(alice.me)].clear()
    alice.hear_counts()
    server.refuse += [("/keys/upload", _TAKEN)] * 20
    server.requests.clear()
    with pytest.raises(StoreForked):
        _upload(alice)
    tried = [key_id for body in _uploads(server) for key_id in body["one_time_keys"]]
    assert len(_uploads(server)) < 10
    assert len(set(tried)) == len(tried)
    server.requests.clear()
    alice = alice.restarted()
    try:
        with pytest.raises(StoreForked) as told:
            _upload(alice)
        assert "old copy" in told.value.title
        assert _uploads(server) == []
    finally:
        alice.close()


def test_another_device_is_not_kept_from_uploading_by_what_an_older_one_met(
    alice: Device, server: KeyServer
) -> None:
    server.one_time[me_key(alice.me)].clear()
    alice.hear_counts()
    alice.write(session.set_fact, FORKED_FACT, "ANOTHER")
    _upload(alice)
    assert len(server.one_time[me_key(alice.me)]) == ONE_TIME_KEYS


@pytest.mark.parametrize("uploads", [1, 4])
def test_an_older_copy_of_the_account_moves_on_to_ids_that_are_free(
    alice: Device, make_device: Callable[..., Device], server: KeyServer, uploads: int
) -> None:
    """Two stores with one account each make keys under the same ids; the server tells the second one."""
    copy = make_device("alice-copy", is_new=True)
    copy.me = alice.me
    copy.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO crypto_account (id, pickle, identity, device_keys_uploaded, fallback_made_at)"
            " VALUES (1, ?, ?, 1, ?)",
            alice.rows("SELECT pickle, identity, ? FROM crypto_account", alice.clock.now_ms())[0],
        )
    )
    copy.state = CryptoState(copy.db, alice.me, copy.state.pickle_key)
    copy.keys = Keys(copy.paths, copy.db, server.http(alice.me), copy.state, clock=alice.clock)
    here = server.one_time[me_key(alice.me)]
    for _ in range(uploads):
        alice.write(devices.note_key_counts, {}, ["signed_curve25519"], alice.clock.now_ms())
        _upload(alice)
    before = dict(here)
    copy.write(devices.note_key_counts, {}, ["signed_curve25519"], alice.clock.now_ms())
    fallback = dict(server.fallback[me_key(alice.me)])
    _upload(copy)
    assert {key_id: here[key_id] for key_id in before} == before
    assert len(here) == len(before) + ONE_TIME_KEYS
    assert server.fallback[me_key(alice.me)] != fallback, "the other's fallback key opens nothing here"
    assert copy.read(session.fact, RESTORED_FACT) == {"at": alice.clock.now_ms(), "put_away": False}
    assert not copy.read(session.fact, FORKED_FACT)


def test_a_used_fallback_key_is_replaced_but_not_twice_in_an_hour(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    def fallback() -> list[str]:
        return list(server.fallback[me_key(alice.me)])

    first = fallback()
    next(iter(server.fallback[me_key(alice.me)].values()))["_used"] = True
    alice.hear_counts()
    _upload(alice)
    assert fallback() == first
    clock.time_ms += FALLBACK_REST_MS + 1
    _upload(alice)
    second = fallback()
    assert second != first
    alice.hear_counts()
    _upload(alice)
    assert fallback() == second


def test_an_unused_fallback_key_is_replaced_after_a_week(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    first = list(server.fallback[me_key(alice.me)])
    clock.time_ms += FALLBACK_AGE_MS
    _upload(alice)
    assert list(server.fallback[me_key(alice.me)]) == first
    clock.time_ms += 1
    _upload(alice)
    assert list(server.fallback[me_key(alice.me)]) != first


def test_the_fallback_key_opens_a_session_when_one_time_keys_ran_out(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    server.one_time[me_key(bob.me)].clear()
    alice.knows(bob)
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    wire = alice.seal("over the fallback key", {bob.me.user_id})
    asyncio.run(alice.flush())
    bob.receive()
    assert bob.body(bob.sees(wire, alice)) == "over the fallback key"


def test_the_account_opens_with_the_vaults_key_only(alice: Device) -> None:
    stranger = CryptoState(alice.db, alice.me, bytes(32))
    with pytest.raises(StoreCorrupt) as told:
        alice.write(stranger.account)
    assert "keyring" in told.value.advice
