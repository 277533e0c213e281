"""Other people's device lists: asked for when they changed, believed only where they are signed."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.errors import ServerRefused
from tandem_core.store import devices
from tandem_core.types import DeviceId
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.world import Device, StillClock, user


def _names(alice: Device, *others: Device) -> list[str]:
    return [device.device_id for device in alice.devices(*others)]


def test_only_changed_lists_are_asked_for(alice: Device, bob: Device, server: KeyServer) -> None:
    alice.knows(bob)
    server.requests.clear()
    asyncio.run(alice.keys.query())
    assert server.asked("/keys/query") == []
    alice.write(devices.mark_outdated, [bob.me.user_id, user("stranger")])
    asyncio.run(alice.keys.query())
    assert [list(request.body["device_keys"]) for request in server.asked("/keys/query")] == [
        [bob.me.user_id]
    ]


def test_new_and_deleted_devices_are_noticed(
    alice: Device, bob: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice.knows(bob)
    make_device("bob", "TWO")
    alice.knows(bob)
    assert _names(alice, bob) == ["ONE", "TWO"]
    del server.devices[bob.me.user_id][DeviceId("ONE")]
    alice.knows(bob)
    assert _names(alice, bob) == ["TWO"]


def test_a_change_while_the_list_is_on_its_way_is_not_lost(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    alice.write(devices.track, [bob.me.user_id])
    server.before.append(("/keys/query", lambda: alice.write(devices.mark_outdated, [bob.me.user_id])))
    server.requests.clear()
    asyncio.run(alice.keys.query())
    asyncio.run(alice.keys.query())
    asyncio.run(alice.keys.query())
    assert len(server.asked("/keys/query")) == 2


def test_lists_that_cannot_be_had_are_asked_for_again_in_a_minute(
    alice: Device, bob: Device, server: KeyServer, clock: StillClock
) -> None:
    server.unreachable.add("far.example")
    far = user("x").replace("example.org", "far.example")
    alice.write(devices.track, [bob.me.user_id, far])
    server.requests.clear()
    for pause_ms, expected in ((0, 1), (59_000, 1), (2_000, 2)):
        clock.time_ms += pause_ms
        asyncio.run(alice.keys.query())
        assert len(server.asked("/keys/query")) == expected
    assert _names(alice, bob) == ["ONE"]
    assert list(server.asked("/keys/query")[-1].body["device_keys"]) == [far]


def test_one_name_that_the_server_refuses_does_not_hide_the_others(
    alice: Device, bob: Device, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server._query

    def picky(body: Any, me: Any) -> Any:
        if "@bad" in body["device_keys"]:
            raise ServerRefused(400, "M_INVALID_PARAM", "no user id")
        return answer(body, me)

    monkeypatch.setattr(server, "_query", picky)
    alice.write(devices.track, [bob.me.user_id, user("carol"), "@bad", user("dora")])
    asyncio.run(alice.keys.query())
    assert _names(alice, bob) == ["ONE"]
    assert list(alice.read(devices.outdated, alice.clock.now_ms() + 60_001)) == ["@bad"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: keys.update(user_id="@mallory:example.org"),
        lambda keys: keys.update(device_id="OTHER"),
        lambda keys: keys.pop("signatures"),
        lambda keys: keys["keys"].update({"curve25519:ONE": "A" * 43}),
        lambda keys: keys.update(keys=[]),
        lambda keys: keys.update(algorithms=None),
        lambda keys: keys.update(extra="unsigned"),
        lambda keys: keys["keys"].update({"ed25519:ONE": "A" * 44}),
        lambda keys: keys["keys"].update({"ed25519:ONE": "A" * 44 + "="}),
    ],
)
def test_a_device_that_is_not_properly_signed_is_no_device(
    alice: Device, bob: Device, server: KeyServer, spoil: Callable[[Any], None]
) -> None:
    spoil(server.devices[bob.me.user_id][bob.me.device_id])
    alice.knows(bob)
    assert _names(alice, bob) == []


def test_a_device_never_changes_its_keys(
    alice: Device, bob: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice.knows(bob)
    before = alice.devices(bob)
    impostor = make_device("impostor")
    impostor.me = bob.me
    impostor.state.me = bob.me
    server.devices[bob.me.user_id][bob.me.device_id] = impostor.write(impostor.state.device_keys)
    alice.knows(bob)
    assert alice.devices(bob) == before


def test_the_name_of_a_deleted_device_is_free_for_another(
    alice: Device, bob: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    alice.knows(bob)
    before = alice.devices(bob)
    del server.devices[bob.me.user_id][bob.me.device_id]
    alice.knows(bob)
    successor = make_device("successor")
    successor.me = bob.me
    successor.state.me = bob.me
    server.devices[bob.me.user_id][bob.me.device_id] = successor.write(successor.state.device_keys)
    alice.knows(bob)
    assert [device.device_id for device in alice.devices(bob)] == ["ONE"]
    assert alice.devices(bob) != before


def test_a_lost_place_in_sync_outdates_every_list_durably(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    alice.knows(bob)
    alice.write(devices.mark_all_outdated)
    server.requests.clear()
    alice = alice.restarted()
    try:
        asyncio.run(alice.keys.query())
        asked = server.asked("/keys/query")[0].body["device_keys"]
        assert set(asked) == {alice.me.user_id, bob.me.user_id}
    finally:
        alice.close()


def test_people_who_are_forgotten_are_asked_for_anew_when_met_again(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    alice.knows(bob)
    alice.write(devices.forget_users, [bob.me.user_id])
    alice.write(devices.mark_outdated, [bob.me.user_id])
    server.requests.clear()
    asyncio.run(alice.keys.query())
    assert server.asked("/keys/query") == []
    alice.write(devices.track, [bob.me.user_id])
    asyncio.run(alice.keys.query())
    assert len(server.asked("/keys/query")) == 1


# ── Claiming ───────────────────────────────────────────────────────────────────────────────────


def test_a_session_that_appeared_meanwhile_wins_over_the_claimed_key(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    """Bob's message comes while Alice waits for his one-time key."""
    alice.knows(bob)
    bob.knows(alice)
    asyncio.run(bob.keys.claim(bob.devices(alice)))
    bob.seal("hello", {alice.me.user_id})
    asyncio.run(bob.flush())
    server.before.append(("/keys/claim", alice.receive))
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    assert len(alice.rows("SELECT * FROM olm_session")) == 1


def test_both_programs_claim_one_key(alice: Device, bob: Device, server: KeyServer) -> None:
    alice.knows(bob)
    notifier = alice.other_program()

    async def both() -> None:
        wanted = alice.devices(bob)
        await asyncio.gather(alice.keys.claim(wanted), notifier.keys.claim(wanted))

    try:
        asyncio.run(both())
    finally:
        notifier.close()
    assert len(server.asked("/keys/claim")) == 1


def test_a_device_without_keys_is_let_be_for_a_minute(
    alice: Device, bob: Device, server: KeyServer, clock: StillClock
) -> None:
    server.one_time.pop(me_key(bob.me))
    server.fallback.pop(me_key(bob.me))
    alice.knows(bob)
    server.requests.clear()
    for pause_ms, expected in ((0, 1), (59_000, 1), (1_000, 2)):
        clock.time_ms += pause_ms
        asyncio.run(alice.keys.claim(alice.devices(bob)))
        assert len(server.asked("/keys/claim")) == expected


@pytest.mark.parametrize("spoil", ["signature", "key", "shape", "kind"])
def test_a_one_time_key_that_is_not_properly_signed_is_not_used(
    alice: Device, bob: Device, server: KeyServer, spoil: str
) -> None:
    alice.knows(bob)
    here = server.one_time[me_key(bob.me)]
    key_id, key = next(iter(copy.deepcopy(here).items()))
    here.clear()
    match spoil:
        case "signature":
            here[key_id] = {**key, "signatures": {}}
        case "key":
            here[key_id] = {**key, "key": "A" * 43}
        case "shape":
            here[key_id] = []  # type: ignore[assignment]
        case "kind":
            here["curve25519:AAAA"] = key
    asyncio.run(alice.keys.claim(alice.devices(bob)))
    assert alice.rows("SELECT * FROM olm_session") == []
