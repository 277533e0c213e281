"""A bad network between two real programs and a real Synapse: nothing lost, nothing twice, nobody signed out."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tandem_demo.device import Device, wait_for
from tandem_demo.raw import CLIENT
from tandem_demo.synapse import SynapseServer
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS, Scene, playing

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_SEED = 3885
_OUTAGE_S = 5.0
_FUTURE = "999999999"
_READABLE = "SELECT 1 FROM event WHERE body = ? AND seal = 'opened'"
_TO_DEVICE = ("extensions", "to_device")


@pytest.fixture(scope="module")
def scene(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with playing(synapse, tmp_path_factory.mktemp("network"), seed=_SEED) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(scene: Scene) -> Iterator[None]:
    """Whatever a test did, once the faults have ended all is as if they had not been."""
    yield
    scene.proxy.heal()
    scene.settle()
    scene.assert_tokens_tell_the_truth()
    scene.assert_tokens_never_led()
    scene.assert_signed_in_and_running()


def test_answers_to_sync_that_never_come_or_cannot_be_used(scene: Scene) -> None:
    chance = random.Random(_SEED)
    faults = {
        "lost request": actions.drop_request(),
        "lost answer": actions.drop_answer(),
        "late": actions.delay(1.0),
        "twice": actions.duplicate(),
        "half": actions.truncate(),
        "headers only": actions.truncate(0.01),
        "no json": actions.corrupt(),
        "types": actions.wrong_types(),
        "events no list": actions.wrong_types_inside(*_TO_DEVICE, "events", value={"a": 1}),
        "rooms a number": actions.wrong_types_inside("extensions", value=7),
        "no block": actions.without(*_TO_DEVICE),
        "no token": actions.without(*_TO_DEVICE, "next_batch"),
        "no pos": actions.without("pos"),
        "bad gateway": actions.page(502),
        "internal": actions.refuse(500, "M_UNKNOWN"),
        "slow down": actions.limited(700),
        "slow down, no word how long": actions.limited(header="1"),
    }
    rules = []
    for name in chance.sample(sorted(faults), len(faults)):
        for link in LINKS:
            # A share, so that good answers come between.
            rules.append(scene.proxy.add(name, faults[name], conn_id=link, share=0.6))
    scene.write_until(lambda: all(rule.met for rule in rules), chance)


def test_what_is_sent_is_lost_on_the_way_doubled_or_refused_for_a_while(scene: Scene) -> None:
    chance = random.Random(_SEED + 1)
    faults = {
        "lost request": actions.drop_request(),
        "lost answer": actions.drop_answer(),
        "twice": actions.duplicate(),
        "half": actions.truncate(),
        "bad gateway": actions.page(502),
        "internal": actions.refuse(504, "M_UNKNOWN"),
        "slow down": actions.limited(300),
    }
    rules = [
        scene.proxy.add(name, faults[name], path=path, share=0.6)
        for path in ("/send/", "/sendToDevice/")
        for name in chance.sample(sorted(faults), len(faults))
    ]
    scene.write_until(lambda: all(rule.met for rule in rules), chance, within_s=90)


def test_keys_whose_upload_query_and_claim_fail_are_asked_for_again(scene: Scene) -> None:
    bob = scene.as_bob()
    user_id, device_id = scene.alice.ask("SELECT user_id, device_id FROM session")[0]
    rules = [
        scene.proxy.add(name, action, path=path)
        for path in ("/keys/upload", "/keys/query", "/keys/claim")
        for name, action in (
            ("lost answer", actions.drop_answer()),
            ("gateway", actions.page(504)),
            ("twice", actions.duplicate()),
        )
    ]
    # More than half of Alice's one-time keys are gobbled up, and Bob has a device that she must find first.
    wish = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    for _ in range(30):
        bob.ok("POST", f"{CLIENT}/keys/claim", wish)
    tablet = scene.another_of_bobs()
    scene.write("bob")
    wait_for("the tablet on Alice's list", lambda: _knows(scene.alice, tablet))
    body = scene.write("alice")
    wait_for("the faults", lambda: all(rule.met for rule in rules))
    wait_for("the word on the tablet", lambda: tablet.ask(_READABLE, (body,)))
    scene.settle()
    assert 400 not in [line.status for line in scene.proxy.seen("/keys/upload")]
    wait_for("no upload under way", lambda: not scene.alice.ask("SELECT 1 FROM key_upload WHERE done = 0"))
    tablet.stop("notifier")


def test_an_outage_is_told_waited_out_without_haste_and_signs_nobody_out(scene: Scene) -> None:
    for name, action in (("gone", actions.drop_request()), ("gateway", actions.page(502))):
        scene.proxy.add(name, action, path="", times=None, share=0.5)
    scene.proxy.add("rest", actions.refuse(503, "M_UNKNOWN"), path="", times=None)
    scene.write("bob")
    scene.write("alice")
    begun = len(scene.proxy.log)
    time.sleep(_OUTAGE_S)
    asked = scene.proxy.log[begun:]
    programs = scene.alice.ctl("status")["programs"]
    scene.assert_signed_in_and_running()
    assert [programs[link]["state"] for link in LINKS] == ["offline", "offline"]
    for link in LINKS:
        assert 1 <= sum(line.conn_id == link for line in asked) <= 10
    assert len(asked) <= 10 * _OUTAGE_S, Counter((line.method, line.path) for line in asked)


def test_a_server_that_always_asks_to_slow_down_is_not_hurried(scene: Scene) -> None:
    scene.proxy.add("limited", actions.limited(0), path="", times=None)
    scene.write("bob")
    begun = len(scene.proxy.log)
    time.sleep(_OUTAGE_S)
    asked = scene.proxy.log[begun:]
    for link in LINKS:
        assert sum(line.conn_id == link for line in asked) <= 12
    assert len(asked) <= 10 * _OUTAGE_S


def test_receipts_that_must_slow_down_do_not_slow_down_sync(scene: Scene) -> None:
    rule = scene.proxy.add("limited", actions.limited(3_600_000), path="/receipt/|/read_markers", times=None)
    scene.window.open_room(scene.room)
    scene.write("bob")
    wait_for("a receipt that is refused", lambda: rule.met)
    for _ in range(3):
        scene.write("bob")
        scene.settle()


def test_places_and_tokens_that_the_server_does_not_know(scene: Scene) -> None:
    chance = random.Random(_SEED + 2)
    for link in LINKS:
        faults = [
            ("unknown pos", actions.unknown_pos()),
            ("garbage token", actions.send_since("s72594_4483_1934")),
            ("malformed token", actions.send_since("1.5")),
            ("stale", actions.Stale()),
        ]
        for name, action in chance.sample(faults, len(faults)):
            times = 3 if name == "stale" else 1
            scene.proxy.add(name, action, conn_id=link, share=0.6, times=times)
    rules = list(scene.proxy.rules)
    scene.write_until(lambda: all(rule.met == rule.times for rule in rules), chance)


def test_a_token_from_the_future_is_given_up_after_the_next_break(scene: Scene) -> None:
    """The server answers such a token with silence and echoes it: only a request without it tells."""
    rules = [
        scene.proxy.add(
            "future", actions.send_since(_FUTURE), conn_id=link, when=lambda one: "since" in one.to_device
        )
        for link in LINKS
    ]
    wait_for("the faults", lambda: (scene.write("bob"), all(rule.met for rule in rules))[1], every_s=0.5)
    wait_for("the echo", lambda: all(_holds(scene, link) for link in LINKS))
    starved = scene.write("bob")
    for link in LINKS:
        scene.proxy.add("lost answer", actions.drop_answer(), conn_id=link)
    scene.settle()
    assert starved in scene.said["bob"]
    assert not any(_holds(scene, link) for link in LINKS)


def test_a_server_that_never_keeps_a_place_is_not_asked_in_a_hurry(scene: Scene) -> None:
    scene.proxy.add("unknown pos", actions.unknown_pos(), times=None, when=lambda one: "pos=" in one.query)
    scene.write("bob")
    begun = len(scene.proxy.log)
    time.sleep(_OUTAGE_S)
    for link in LINKS:
        asked = [line for line in scene.proxy.log[begun:] if line.conn_id == link]
        assert 2 <= len(asked) <= 24


def _knows(device: Device, other: Device) -> bool:
    """Whether a device has the keys of another one."""
    ids = other.ask("SELECT user_id, device_id FROM session")[0]
    return bool(device.ask("SELECT 1 FROM device WHERE user_id = ? AND device_id = ?", ids))


def _holds(scene: Scene, link: str) -> bool:
    return scene.alice.ask("SELECT since FROM connection WHERE conn = ?", (link,)) == [(_FUTURE,)]
