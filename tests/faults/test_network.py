"""A bad network between two real programs and a real Synapse: nothing lost, nothing twice, nobody signed out."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tandem_demo.device import Device, wait_for
from tandem_demo.raw import CLIENT
from tandem_demo.synapse import SynapseServer
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS, Scene
from tests.support.proxy.wire import SYNC, Asked

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_SEED = 3885
_OUTAGE_S = 4.0
_FUTURE = "999999999"
_READABLE = "SELECT 1 FROM event WHERE body = ? AND seal = 'opened'"
_TO_DEVICE = ("extensions", "to_device")


@pytest.fixture(scope="module")
def scene(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene.playing(synapse, tmp_path_factory.mktemp("network"), seed=_SEED) as made:
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
    # Each failure makes the next pause longer, and all nine may come one after the other.
    wait_for("the faults", lambda: all(rule.met for rule in rules), within_s=120)
    wait_for("the word on the tablet", lambda: tablet.ask(_READABLE, (body,)))
    scene.settle()
    assert 400 not in [line.status for line in scene.proxy.seen("/keys/upload")]
    wait_for("no upload under way", lambda: not scene.alice.ask("SELECT 1 FROM key_upload WHERE done = 0"))
    tablet.stop("notifier")


def test_an_outage_is_told_waited_out_without_haste_and_signs_nobody_out(scene: Scene) -> None:
    faults = {
        "gone": actions.drop_request(),
        "gateway": actions.page(502),
        "says more than it knows": actions.refuse(502, "M_UNKNOWN_TOKEN", soft_logout=False),
    }
    for name, action in faults.items():
        scene.proxy.add(name, action, path="", times=None, share=0.4)
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
    # Each worker of both programs tries by itself, with pauses that double; without any there would be hundreds.
    assert len(asked) <= 20 * _OUTAGE_S, Counter((line.method, line.path) for line in asked)


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
    for program in ("window", "notifier"):
        scene.alice.stop(
            program
        )  # with what it knows of the tests before, which lengthens every rest to 30 s
    scene.start()
    for link in LINKS:
        scene.proxy.add("unknown pos", actions.unknown_pos(), conn_id=link, share=0.6)
        scene.proxy.add("stale", actions.Stale(), conn_id=link, share=0.6, times=3)
    for name, value in (("garbage token", "s72594_4483_1934"), ("malformed token", "1.5")):
        # Whichever program tells a token next; they take turns.
        scene.proxy.add(name, actions.send_since(value), times=2, share=0.6, when=_has_token)
    rules = list(scene.proxy.rules)
    # One of them starts over seven times at most, and rests before each for twice as long as before: 32 s in all.
    scene.write_until(lambda: all(rule.met == rule.times for rule in rules), chance, within_s=120)


def test_a_token_from_the_future_is_given_up_after_the_next_break(scene: Scene) -> None:
    """The server answers such a token with silence and echoes it: only a request without it tells."""
    future = actions.wrong_types_inside(*_TO_DEVICE, "next_batch", value=_FUTURE)
    scene.proxy.add("future", future, times=None, when=lambda asked: asked.to_device.get("enabled") is True)
    wait_for("somebody who believes it", lambda: (scene.write("bob"), _holders(scene))[1], every_s=0.5)
    scene.proxy.heal()
    for link in LINKS:
        scene.proxy.add("lost answer", actions.drop_answer(), conn_id=link)
    scene.settle()
    wait_for("tokens of this server", lambda: not _holders(scene))


def test_an_answer_that_comes_after_newer_ones_of_the_other_program(scene: Scene) -> None:
    for link, other in (LINKS, LINKS[::-1]):
        hold = actions.Hold()
        scene.proxy.add("held", hold, conn_id=link)
        while not hold.reached.wait(0.3):
            scene.write("bob")
        begun = len(scene.proxy.log)

        def newer(begun: int = begun, other: str = other) -> bool:
            scene.write("bob")
            return (
                len([one for one in scene.proxy.seen(SYNC, conn_id=other, since_number=begun) if one.status])
                > 2
            )

        wait_for("newer answers", newer, every_s=0.3)
        hold.release()
        scene.settle()


def test_one_transaction_id_stands_for_one_text_over_kills_and_restarts(scene: Scene) -> None:
    """The server drops another text under a known id without a word: Bob would have no key."""
    repeated = actions.Repeated()
    rule = scene.proxy.add("asked twice", repeated, path="/send/|/sendToDevice/", method="PUT", times=None)
    scene.write("alice")
    wait_for("something on its way", lambda: rule.met)
    for program in ("notifier", "window"):
        scene.alice.stop(program, signal.SIGKILL)
    scene.write("alice")
    scene.start()
    scene.write("alice")
    scene.settle()
    assert len(repeated.said) >= 2 * 3  # a key and a message each
    for address, said in repeated.said.items():
        assert len(set(said)) == 1
        # A message may come back by sync before it is sent again; a key cannot.
        assert len(said) >= 2 or "/sendToDevice/" not in address


def test_a_token_that_ran_out_is_renewed_whatever_the_way_to_the_next_one_is_like(scene: Scene) -> None:
    chance = random.Random(_SEED + 2)
    before = scene.alice.ask("SELECT access_token, refresh_token FROM session")
    faults = {
        "lost request": actions.drop_request(),
        "lost answer": actions.drop_answer(),
        "twice": actions.duplicate(),
        "half": actions.truncate(),
        "no json": actions.corrupt(),
        "bad gateway": actions.page(502),
        "internal": actions.refuse(500, "M_UNKNOWN"),
        "slow down": actions.limited(300),
    }
    for name in chance.sample(sorted(faults), len(faults)):
        rule = scene.proxy.add(name, faults[name], path="/refresh")
        scene.proxy.add("expired", actions.signed_out(soft=True), conn_id=chance.choice(LINKS))
        scene.write("bob")
        wait_for(name, lambda rule=rule: rule.met)
    scene.settle()
    after = scene.alice.ask("SELECT access_token, refresh_token FROM session")
    assert None not in after[0]
    assert not set(after[0]) & set(before[0])


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_an_expired_token_ends_the_session_and_signing_in_goes_on_with_it(scene: Scene, soft: bool) -> None:
    device_id = scene.alice.ask("SELECT device_id FROM session")
    scene.proxy.add("expired", actions.signed_out(soft=soft), path="", times=None)
    notifier = scene.alice.running["notifier"]
    if soft:  # what is said meanwhile, here and there
        scene.write("alice")
        scene.write("bob")
    else:
        scene.as_bob().send_to_device(
            "im.news", {scene.alice.ask("SELECT user_id FROM session")[0][0]: {"*": {}}}
        )
    state = "soft_logged_out" if soft else "signed_out"
    if not soft:
        assert notifier.wait(60) == 1
    wait_for("the end", lambda: scene.alice.ask("SELECT state FROM session") == [(state,)])
    assert scene.alice.ask("SELECT access_token, refresh_token FROM session") == [(None, None)]
    assert scene.alice.runs("window")
    wait_for("silence", lambda: _is_silent(scene))
    scene.proxy.heal()
    scene.sign_in_again()
    assert (scene.alice.ask("SELECT device_id FROM session") == device_id) is soft
    if soft:
        assert scene.alice.running["notifier"] is notifier, "it has waited and goes on"
        wait_for("its connection", lambda: scene.alice.is_syncing("notifier"))


def test_a_server_that_never_keeps_a_place_is_not_asked_in_a_hurry(scene: Scene) -> None:
    scene.proxy.add("unknown pos", actions.unknown_pos(), times=None, when=lambda one: "pos=" in one.query)
    scene.write("bob")
    begun = len(scene.proxy.log)
    time.sleep(_OUTAGE_S)
    asked = Counter(line.conn_id for line in scene.proxy.log[begun:])
    assert all(asked[link] <= 24 for link in LINKS), asked

    def goes_on() -> bool:
        tries = Counter(line.conn_id for line in scene.proxy.log[begun:])
        return all(tries[link] >= 2 for link in LINKS)

    wait_for("both to try again", goes_on)


def _knows(device: Device, other: Device) -> bool:
    """Whether a device has the keys of another one."""
    ids = other.ask("SELECT user_id, device_id FROM session")[0]
    return bool(device.ask("SELECT 1 FROM device WHERE user_id = ? AND device_id = ?", ids))


def _is_silent(scene: Scene) -> bool:
    begun = len(scene.proxy.log)
    time.sleep(1.0)
    return len(scene.proxy.log) == begun


def _has_token(asked: Asked) -> bool:
    return "since" in asked.to_device


def _holders(scene: Scene) -> list[tuple[str]]:
    """Who believes the token from the future."""
    return scene.alice.ask("SELECT conn FROM connection WHERE since = ?", (_FUTURE,))
