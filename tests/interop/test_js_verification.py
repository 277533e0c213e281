"""Verification between Tandem and matrix-js-sdk, begun by either side, of people and of one's own devices."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_demo.device import DemoFailed, wait_for
from tandem_demo.synapse import SynapseServer
from tests.interop.peer import Peer, Person
from tests.interop.tandem import Tandem, tandem
from tests.interop.verifying import Verifying, verifying

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

Json = dict[str, Any]


@pytest.fixture
def bob(synapse: SynapseServer, peer: Peer) -> Person:
    """Somebody new in each test: whoever is verified stays so."""
    return peer.sign_up(synapse, "bob")


@pytest.fixture
def room(alice: Tandem, bob: Person) -> str:
    """A direct chat of both, in which something was said; only Alice's notifier runs."""
    alice.only("notifier")
    made = str(alice.ctl("create", "--direct", "--invite", bob.user_id)["room_id"])
    bob.join(made)
    bob.knows_members(made, alice.user_id)
    alice.say(made, "hello")
    bob.message(made, "hello")
    return made


def shown(rows: list[list[str]]) -> list[str]:
    """The pictures; whether they ask for colour is each side's own affair."""
    return [symbol.replace("\ufe0f", "") for symbol, _ in rows]


def compare(here: Verifying, there: Person, row: Json, other: str) -> None:
    """Both sides show the same, and both people say so."""
    view = here.at("compare")

    def look() -> Json | None:
        found = there.verification(other, "started", id=row["id"])
        return found if found["emoji"] else None

    theirs: Json = wait_for("their emoji", look)
    assert len(view["emoji"]) == 7
    assert shown(view["emoji"]) == shown(theirs["emoji"])
    assert view["decimals"] == theirs["numbers"]
    there.do("verify_confirm", id=row["id"])
    here.answer("yes")
    assert here.ended() == 0, here.said()
    there.verification(other, "done", id=row["id"])


def are_verified(alice: Tandem, bob: Person) -> None:
    """Each of them sees the other one verified, with the device."""
    assert alice.trusts(bob.user_id) == "verified"
    assert alice.trusts_device(bob.user_id, bob.device_id) == "verified"

    def look() -> bool:
        seen = bob.do("trust", user=alice.user_id)
        return bool(seen["verified"] and seen["devices"][alice.device_id]["verified"])

    wait_for("alice verified in bob's eyes", look, every_s=0.3)


def test_a_person_is_verified_by_emoji_that_tandem_begins(alice: Tandem, bob: Person, room: str) -> None:
    with verifying(alice, bob.user_id) as here:
        row = bob.verification(alice.user_id, "requested")
        bob.do("verify_accept", id=row["id"])
        compare(here, bob, row, alice.user_id)
    are_verified(alice, bob)
    alice.say(room, "now I know that it is you")
    assert bob.message(room, "now I know that it is you")["shield"] == 0


def test_a_person_is_verified_by_emoji_that_they_begin(alice: Tandem, bob: Person, room: str) -> None:
    with verifying(alice, "--wait") as here:
        row = bob.do("verify", user=alice.user_id, room=room)
        here.at("asked")
        here.answer("yes")
        bob.verification(alice.user_id, "ready", id=row["id"])
        bob.do("verify_start", id=row["id"])
        compare(here, bob, row, alice.user_id)
    are_verified(alice, bob)


def test_a_new_tandem_is_verified_with_their_device_and_gets_the_secrets(
    synapse: SynapseServer, bob: Person, tmp_path: Path
) -> None:
    bob.do("set_up_recovery")
    with tandem(synapse, tmp_path / "new", "new", bob.login) as new:
        new.only("notifier")
        with verifying(new) as here:
            row = bob.verification(bob.user_id, "requested")
            bob.do("verify_accept", id=row["id"])
            compare(here, bob, row, bob.user_id)
        assert new.trusts(bob.user_id) == "verified"
        assert new.trusts_device(bob.user_id, bob.device_id) == "verified"
        seen = bob.do("trust", user=bob.user_id)["devices"][new.device_id]
        assert seen == {"verified": True, "signed": True}
        wait_for("the secrets", lambda: missing(new) == [], every_s=0.5)


def missing(new: Tandem) -> list[str]:
    """The account's secrets that this device lacks."""
    names: list[str] = new.ctl("recovery")["missing_here"]
    return names


def test_their_new_device_is_verified_with_tandem_and_gets_the_secrets(
    synapse: SynapseServer, peer: Peer, tmp_path: Path
) -> None:
    with tandem(synapse, tmp_path / "frida", "frida") as frida:
        frida.only("notifier")
        frida.ctl("recovery", "set-up")
        new = peer.sign_in(synapse, frida.login)
        frida.sees_device(frida.user_id, new.device_id)
        with verifying(frida, "--wait") as here:
            row = new.do("verify")
            here.at("asked")
            here.answer("yes")
            new.verification(frida.user_id, "ready", id=row["id"])
            new.do("verify_start", id=row["id"])
            compare(here, new, row, frida.user_id)
        assert frida.trusts_device(frida.user_id, new.device_id) == "verified"
        wait_for("the secrets", lambda: new.do("recovery_state")["cross_signing"], every_s=0.3)
        wait_for("the backup", lambda: new.do("backup_state")["trusted"], every_s=0.3)


@pytest.mark.complete
def test_a_person_is_verified_by_a_code_that_tandem_shows(alice: Tandem, bob: Person, room: str) -> None:
    with verifying(alice, bob.user_id, "--code") as here:
        row = bob.verification(alice.user_id, "requested")
        bob.do("verify_accept", id=row["id"])
        text = here.at("ready")["text_code"]
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        bob.do("verify_scan", id=row["id"], code=base64.b64encode(raw).decode())
        here.at("shown")
        here.answer("yes")
        assert here.ended() == 0, here.said()
        bob.verification(alice.user_id, "done", id=row["id"])
    are_verified(alice, bob)


@pytest.mark.complete
def test_a_person_is_verified_by_a_code_that_they_show(alice: Tandem, bob: Person, room: str) -> None:
    with verifying(alice, "--wait", "--yes", "--scan", "-") as here:
        row = bob.do("verify", user=alice.user_id, room=room)
        bob.verification(alice.user_id, "ready", id=row["id"])
        here.give(bob.do("verify_code", id=row["id"]))
        wait_for(
            "the scan at bob", lambda: bob.verification(alice.user_id, "started", id=row["id"])["scanned"]
        )
        bob.do("verify_confirm", id=row["id"])
        assert here.ended() == 0, here.said()
        bob.verification(alice.user_id, "done", id=row["id"])
    are_verified(alice, bob)


def tandem_says_no(here: Verifying, bob: Person, row: Json) -> None:
    here.answer("no")


def they_say_no(here: Verifying, bob: Person, row: Json) -> None:
    bob.do("verify_mismatch", id=row["id"])


def they_cancel(here: Verifying, bob: Person, row: Json) -> None:
    bob.do("verify_cancel", id=row["id"])


@pytest.mark.complete
@pytest.mark.parametrize(
    ("end", "code"),
    [(tandem_says_no, "m.mismatched_sas"), (they_say_no, "m.mismatched_sas"), (they_cancel, "m.user")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_nobody_is_verified_when_somebody_stops(
    alice: Tandem, bob: Person, room: str, end: Callable[[Verifying, Person, Json], None], code: str
) -> None:
    with verifying(alice, bob.user_id) as here:
        row = bob.verification(alice.user_id, "requested")
        bob.do("verify_accept", id=row["id"])
        here.at("compare")
        wait_for("their emoji", lambda: bob.verification(alice.user_id, "started", id=row["id"])["emoji"])
        end(here, bob, row)
        assert here.at("cancelled")["code"] == code
        assert here.ended() == 1
    assert bob.verification(alice.user_id, "cancelled", id=row["id"])["cancel_code"] == code
    assert alice.trusts(bob.user_id) == "seen"
    assert not bob.do("trust", user=alice.user_id)["verified"]


def test_the_notifier_tells_that_somebody_waits_and_answers_nothing(
    alice: Tandem, bob: Person, room: str
) -> None:
    before = len(alice.device.popups())
    row = bob.do("verify", user=alice.user_id, room=room)
    wait_for(
        "a popup",
        lambda: [popup for popup in alice.device.popups()[before:] if "asks to verify" in str(popup)],
    )
    assert bob.verification(alice.user_id, "requested", id=row["id"])
    bob.do("verify_cancel", id=row["id"])


@pytest.mark.complete
def test_a_verified_person_who_replaced_their_identity_gets_nothing_until_it_is_decided(
    alice: Tandem, bob: Person, room: str
) -> None:
    with verifying(alice, bob.user_id) as here:
        row = bob.verification(alice.user_id, "requested")
        bob.do("verify_accept", id=row["id"])
        compare(here, bob, row, alice.user_id)
    bob.do("cross_sign", anew=True)
    wait_for("the notice", lambda: alice.trusts(bob.user_id) == "violated")
    with pytest.raises(DemoFailed, match=r"verified identity of .* has changed"):
        alice.say(room, "not before I decide")
    alice.ctl("identity", "accept", bob.user_id)
    alice.say(room, "I have decided")
    bob.message(room, "I have decided")
    assert "not before I decide" not in bob.bodies(room)
