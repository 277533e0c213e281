"""One-time keys: the fallback behind them, kills around their upload, and first messages that are wrong."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import pytest
from vodozemac import GroupSession

from tandem_demo.device import wait_for
from tests.scenarios.peer import Peer
from tests.scenarios.stage import Ear, Stage, killing
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]


def test_the_fallback_key_serves_everybody_once_the_others_are_used_up(stage: Stage) -> None:
    bob, charlie = (Peer.sign_up(stage.server, name) for name in ("bob", "charlie"))
    room = stage.room_with(bob, charlie, bob=False)
    rule = stage.proxy.add("gateway", actions.page(504), path="/keys/upload", times=None)
    for _ in range(120):
        if (last := bob.claim(stage.address)).is_fallback:
            break
    both = [peer.begin(stage.address) for peer in (bob, charlie)]
    assert last.is_fallback
    assert both == [last, last]
    for peer in (bob, charlie):
        stage.read_by(stage.alice, peer.say(stage.address, room), *LINKS)
    wait_for("uploads that fail", lambda: rule.met)
    stage.proxy.heal()
    wait_for("keys again", lambda: not bob.claim(stage.address).is_fallback, every_s=0.5)


@pytest.mark.parametrize("link", LINKS)
def test_a_program_killed_before_it_heard_of_its_upload_repeats_the_same_keys(
    stage: Stage, link: str
) -> None:
    peer = Peer.sign_up(stage.server, "gobbler")
    room = stage.room_with(peer)
    stage.only(link)
    ear = Ear()
    blow = killing(stage.blow(link))
    uploaded: list[dict[str, Any]] = []

    async def note(asked: Any, forward: Any) -> Any:
        uploaded.append(asked.body)
        return await blow(asked, forward)

    stage.proxy.add("blow", note, path="/keys/upload")
    stage.proxy.add("ear", ear, path="/keys/upload", times=None)
    claimed = [peer.claim(stage.address) for _ in range(30)]
    stage.bob_sends(room)
    assert blow.struck.wait(60)
    stage.bury(link)
    stage.only(link)
    wait_for("the upload again", lambda: ear.heard)
    wait_for("no upload under way", lambda: not stage.alice.ask("SELECT 1 FROM key_upload WHERE done = 0"))
    asked, answer = ear.heard[0]
    assert answer.status == 200
    assert asked.body == uploaded[0]
    assert len(uploaded[0]["one_time_keys"]) >= 25
    # A key from before and one from that upload: both still have their private halves.
    for one in (claimed[-1], peer.claim(stage.address)):
        peer.begin(stage.address, one)
        stage.read_by(stage.alice, peer.say(stage.address, room), link)


def test_a_one_time_key_that_was_used_is_refused_to_the_next(stage: Stage) -> None:
    honest, thief = (Peer.sign_up(stage.server, name) for name in ("honest", "thief"))
    room = stage.room_with(honest, thief, bob=False)
    key = honest.begin(stage.address)
    stage.read_by(stage.alice, honest.say(stage.address, room), *LINKS)
    thief.begin(stage.address, key)
    session, body = GroupSession(), f"stolen {secrets.token_hex(4)}"
    thief.share(stage.address, room, session)
    thief.post(room, session, body)
    wait_for("its refusal", stage.unusable)
    assert stage.unusable() == [(thief.user_id, "no session can be made from it")]
    assert stage.alice.ask("SELECT 1 FROM event WHERE body = ?", (body,)) == []
    # Nobody else suffers, and the thief may begin again with a key of their own.
    stage.read_by(stage.alice, honest.say(stage.address, room), *LINKS)
    thief.begin(stage.address)
    stage.read_by(stage.alice, thief.say(stage.address, room), *LINKS)
    stage.forget_unusable()


@pytest.mark.parametrize("harm", ["mac", "cut", "noise"])
def test_a_first_message_that_is_damaged_costs_no_key(stage: Stage, harm: str) -> None:
    peer = Peer.sign_up(stage.server, "clumsy")
    room = stage.room_with(peer, bob=False)
    peer.begin(stage.address)
    session, body = GroupSession(), f"clumsy {secrets.token_hex(4)}"
    sealed = peer.seal(stage.address, "m.room_key", peer.room_key(room, session))
    part = sealed["ciphertext"][stage.address.curve25519]
    raw = bytearray(base64.b64decode(part["body"] + "=="))
    whole = part["body"]
    if harm == "mac":
        raw[-1] ^= 1
    elif harm == "cut":
        del raw[-20:]
    else:
        raw[len(raw) // 2] ^= 0xFF
    part["body"] = base64.b64encode(bytes(raw)).decode().rstrip("=")
    peer.deliver(stage.address, sealed)
    wait_for("its refusal", stage.unusable)
    assert [sender for sender, _ in stage.unusable()] == [peer.user_id]
    # The very same message undamaged needs the very same one-time key.
    part["body"] = whole
    peer.deliver(stage.address, sealed)
    peer.post(room, session, body)
    stage.read_by(stage.alice, body, *LINKS)
    stage.forget_unusable()
