"""Backups and recovery keys: what one client wrote, the other one opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_demo.device import DemoFailed, wait_for
from tandem_demo.synapse import SynapseServer
from tests.interop.peer import Peer, PeerRefused, Person
from tests.interop.tandem import Tandem, tandem

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

ALL_SECRETS = {
    "m.cross_signing.master",
    "m.cross_signing.self_signing",
    "m.cross_signing.user_signing",
    "m.megolm_backup.v1",
}


@pytest.fixture
def frida(synapse: SynapseServer, tmp_path: Path) -> Iterator[Tandem]:
    """A fresh account whose first device is Tandem, with only the notifier running."""
    with tandem(synapse, tmp_path / "frida", "frida") as made:
        made.only("notifier")
        yield made


def chat(bob: Person, other: Tandem | Person, room: str, *, keys: int = 3) -> list[str]:
    """Some words of both, each with a key of its own; returns them when both have read them."""
    said: list[str] = []
    bob.knows_members(room, other.user_id)
    for number in range(keys):
        said += [f"bob {number}", f"other {number}"]
        bob.do("discard", room=room)
        bob.say(room, said[-2])
        if isinstance(other, Tandem):
            other.reads(room, said[-2])
            other.new_key(room)
        else:
            other.message(room, said[-2])
            other.do("discard", room=room)
        other.say(room, said[-1])
        bob.message(room, said[-1])
    return said


def test_tandems_recovery_key_opens_identity_and_backup_for_them(
    synapse: SynapseServer, peer: Peer, bob: Person, frida: Tandem
) -> None:
    room = frida.create(bob.user_id)
    bob.join(room)
    said = chat(bob, frida, room)
    key = frida.ctl("recovery", "set-up")["recovery_key"]
    # What comes after the backup was made goes into it as well, by the notifier alone.
    said += chat(bob, frida, room, keys=1)
    wait_for("everything in the backup", lambda: frida.ctl("backup")["waiting"] == 0, every_s=0.5)
    new = peer.sign_in(synapse, frida.login)
    assert set(new.do("recover", key=key)) == ALL_SECRETS
    assert new.do("recovery_state") == {
        "storage": True,
        "cross_signing": True,
        "masterKey": True,
        "selfSigningKey": True,
        "userSigningKey": True,
    }
    assert new.do("backup_state")["trusted"]
    restored = new.do("restore")
    assert restored["imported"] == restored["total"] >= 8
    for body in said:
        new.message(room, body)
    assert new.bodies(room) == said
    # The new device is one of the account's for everybody.
    wait_for("the signature", lambda: frida.trusts_device(frida.user_id, new.device_id) == "verified")
    seen = bob.do("trust", user=frida.user_id)
    assert seen["devices"][new.device_id]["signed"]


def test_their_recovery_key_opens_identity_and_backup_for_tandem(
    synapse: SynapseServer, peer: Peer, bob: Person, tmp_path: Path
) -> None:
    dora = peer.sign_up(synapse, "dora")
    key = dora.do("set_up_recovery")
    room = bob.create(dora.user_id)
    dora.join(room)
    said = chat(bob, dora, room)
    wait_for("her keys in the backup", lambda: dora.do("backup_state")["count"] >= 6)
    with tandem(synapse, tmp_path / "dora", "dora-tandem", dora.login) as new:
        new.only("notifier")
        found = new.ctl("recovery", "unlock", "--key-file", "-", secret=f"{key}\n")
        assert set(found["found"]) == ALL_SECRETS
        assert new.ctl("backup", "restore")["state"] == "done"
        new.ctl("messages", room, "-n", "50")
        new.reads(room, *said)
        assert new.sealed(room) == []
        wait_for("the signature in bob's eyes", lambda: is_signed(bob, new), every_s=0.3)
        assert new.trusts(new.user_id) == "verified"
        # It goes on with their backup.
        before = dora.do("backup_state")["count"]
        new.new_key(room)
        new.say(room, "from the new one")
        wait_for("its key in their backup", lambda: dora.do("backup_state")["count"] > before)


def is_signed(person: Person, owner: Tandem) -> bool:
    devices = person.do("trust", user=owner.user_id)["devices"]
    return bool(devices.get(owner.device_id, {}).get("signed"))


@pytest.mark.complete
def test_a_passphrase_opens_what_the_other_client_locked_with_it(
    synapse: SynapseServer, peer: Peer, frida: Tandem, tmp_path: Path
) -> None:
    words = "correct horse bättery staple"
    file = tmp_path / "words"
    file.write_text(words, "utf-8")
    frida.ctl("recovery", "set-up", "--passphrase-file", str(file))
    new = peer.sign_in(synapse, frida.login)
    assert set(new.do("recover", passphrase=words)) == ALL_SECRETS

    dora = peer.sign_up(synapse, "dora")
    dora.do("set_up_recovery", passphrase=words)
    with tandem(synapse, tmp_path / "dora", "dora-tandem", dora.login) as theirs:
        found = theirs.ctl("recovery", "unlock", "--key-file", "-", secret=f"{words}\n")
        assert set(found["found"]) == ALL_SECRETS


@pytest.mark.complete
def test_a_wrong_recovery_key_opens_nothing_on_either_side(
    synapse: SynapseServer, peer: Peer, frida: Tandem, tmp_path: Path
) -> None:
    frida.ctl("recovery", "set-up")
    dora = peer.sign_up(synapse, "dora")
    key = dora.do("set_up_recovery")
    new = peer.sign_in(synapse, frida.login)
    with pytest.raises(PeerRefused):
        new.do("recover", key=key)
    other = peer.sign_up(synapse, "other").do("set_up_recovery")
    with tandem(synapse, tmp_path / "dora", "dora-tandem", dora.login) as theirs:
        with pytest.raises(DemoFailed, match="not the recovery key"):
            theirs.ctl("recovery", "unlock", "--key-file", "-", secret=f"{other}\n")
        found = theirs.ctl("recovery", "unlock", "--key-file", "-", secret=f"{key}\n")
        assert set(found["found"]) == ALL_SECRETS


@pytest.mark.complete
@pytest.mark.timeout(400)
def test_a_backup_is_complete_whatever_is_killed_while_it_is_written(
    synapse: SynapseServer, peer: Peer, bob: Person, frida: Tandem
) -> None:
    frida.only("app", "notifier")
    room = frida.create(bob.user_id)
    bob.join(room)
    key = frida.ctl("recovery", "set-up")["recovery_key"]
    bob.knows_members(room, frida.user_id)
    said = []
    for number in range(16):
        said.append(f"line {number}")
        if number % 2:
            bob.do("discard", room=room)
            bob.say(room, said[-1])
        else:
            frida.new_key(room)
            frida.queue(room, said[-1])
        if number % 4 == 2:
            frida.kill("app" if number % 8 == 2 else "notifier")
        elif number % 4 == 0:
            frida.start("app")
            frida.start("notifier")
    frida.only("notifier")
    frida.reads(room, *said)
    wait_for("everything in the backup", lambda: frida.ctl("backup")["waiting"] == 0, every_s=0.5)
    new = peer.sign_in(synapse, frida.login)
    new.do("recover", key=key)
    new.do("restore")
    for body in said:
        new.message(room, body)
    assert sorted(map(str, new.bodies(room))) == sorted(said)
