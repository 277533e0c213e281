"""The real tandemctl against a real Synapse: two people, encrypted, with receipts, and no other program needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user

pytestmark = pytest.mark.synapse
PROGRAM = str(Path(sys.executable).with_name("tandemctl"))
WITHIN_S = 60.0


class Person:
    """Somebody with a machine of their own, where only tandemctl is used."""

    def __init__(self, server: SynapseServer, home: Path, name: str, password: str) -> None:
        self.server = server
        self.home = home
        self.name = name
        self.password = password
        self.user_id = f"@{name}:{server.server_name}"
        self._environment = {**os.environ, "TANDEM_HOME": str(home), "TANDEM_VAULT": "file"}

    def run(self, *words: str, say: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [PROGRAM, *words],
            env=self._environment,
            input=say,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def value(self, *words: str, say: str = "") -> Any:
        status, out, err = self.run(*words, "--json", say=say)
        assert (status, err) == (0, "")
        return json.loads(out)

    def login(self) -> Any:
        return self.value(
            *("login", "--homeserver", self.server.base_url, "--user", self.name, "--password-file", "-"),
            say=self.password + "\n",
        )

    def bodies(self, room: str) -> list[str]:
        return [m["body"] for m in self.value("messages", room, "-n", "100") if m["kind"] == "text"]

    def listen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, "listen", "--json", *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def is_listening(self) -> bool:
        said = self.value("status")["programs"]["notifier"]
        return bool(said["running"] and said["state"] == "syncing")


def until(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)
    return found


def ended(child: subprocess.Popen[str], number: signal.Signals) -> tuple[int, list[Any], str]:
    """End a listener; its status, what it heard, and its complaints."""
    child.send_signal(number)
    out, err = child.communicate(timeout=WITHIN_S)
    return child.returncode, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture(scope="module")
def alice(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(synapse, tmp_path_factory.mktemp("alice"), *new_user(synapse, "alice"))
    person.login()
    return person


@pytest.fixture(scope="module")
def bob(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(synapse, tmp_path_factory.mktemp("bob"), *new_user(synapse, "bob"))
    person.login()
    return person


@pytest.fixture(scope="module")
def chat(alice: Person, bob: Person) -> str:
    """An encrypted direct chat that both are in."""
    room: str = alice.value("create", "--invite", bob.user_id, "--direct")["room_id"]
    assert bob.value("accept", room) == {"room_id": room}
    return room


@pytest.fixture
def listener(bob: Person) -> Iterator[subprocess.Popen[str]]:
    child = bob.listen()
    until(bob.is_listening)
    yield child
    if child.poll() is None:
        child.kill()
    child.communicate()


def test_a_message_goes_encrypted_from_one_to_the_other(alice: Person, bob: Person, chat: str) -> None:
    [there] = [room for room in bob.value("rooms") if room["room_id"] == chat]
    assert (there["membership"], there["encrypted"], there["direct"]) == ("join", True, True)
    sent = alice.value("send", chat, "-", say="two lines\nof text\n")
    assert sent["state"] == "sent"
    [got] = [m for m in bob.value("messages", chat) if m["event_id"] == sent["event_id"]]
    assert (got["body"], got["sender"], got["own"]) == ("two lines\nof text", alice.user_id, False)
    assert (got["encrypted"], got["seal"], got["links"]) == (True, "opened", ["notifier"])
    [own] = [m for m in alice.value("messages", chat) if m["event_id"] == sent["event_id"]]
    assert (own["body"], own["own"], own["send_state"], own["txn_id"]) == (
        "two lines\nof text",
        True,
        "sent",
        sent["txn_id"],
    )
    said = bob.run("messages", chat)[1]
    assert "two lines\n    of text" in said


def test_a_receipt_goes_from_a_listening_device_to_the_author(
    alice: Person, bob: Person, chat: str, listener: subprocess.Popen[str]
) -> None:
    bob.value("settings", "set", "receipts.answered", "true")
    bob.value("settings", "set", "receipts.device_detail", "accepted")
    bob.value("settings", "set", "receipts.timing", "quick")
    event = alice.value("send", chat, "did it reach you?")["event_id"]
    assert alice.value("receipts", event)["state"] in ("sent", "delivered_all")
    said = until(lambda: (v := alice.value("receipts", event))["state"] == "delivered_all" and v)
    assert (said["people_total"], said["people_delivered"]) == (1, 1)
    [person] = said["people"]
    assert (person["user_id"], person["transport"]) == (bob.user_id, "server")
    bobs_device = bob.value("status")["device_id"]
    assert [d["device_id"] for d in person["devices"] if d["delivered_at"] is not None] == [bobs_device]
    assert "Delivered to" in alice.run("receipts", event)[1]
    assert (person["state"], said["people_troubled"], said["own_devices"]) == ("delivered", 0, [])
    # What is known of one's own message only concerns its author.
    assert bob.run("receipts", event)[0] == 2
    status, heard, complaints = ended(listener, signal.SIGTERM)
    assert (status, complaints) == (0, "")
    assert [m["body"] for m in heard if m["event_id"] == event] == ["did it reach you?"]


def test_commands_work_through_a_program_that_runs(
    alice: Person, bob: Person, chat: str, listener: subprocess.Popen[str]
) -> None:
    sent = bob.value("send", chat, "through the listener")
    assert sent["state"] == "sent"
    assert "through the listener" in alice.bodies(chat)
    until(lambda: "through the listener" in bob.bodies(chat))
    status, heard, complaints = ended(listener, signal.SIGINT)
    assert (status, complaints) == (0, "")
    [own] = [m for m in heard if m["event_id"] == sent["event_id"]]
    assert (own["body"], own["own"]) == ("through the listener", True)


def test_two_listeners_share_one_connection_and_one_goes_on_alone(
    alice: Person, bob: Person, chat: str, listener: subprocess.Popen[str]
) -> None:
    second = bob.listen("--count", "1")
    until(lambda: second.poll() is None)
    ended(listener, signal.SIGKILL)
    until(bob.is_listening)
    alice.value("send", chat, "to the second")
    out, complaints = second.communicate(timeout=WITHIN_S)
    assert (second.returncode, complaints) == (0, "")
    assert json.loads(out)["body"] == "to the second"


def test_plain_rooms_invitations_and_leaving(alice: Person, bob: Person) -> None:
    room = alice.value("create", "--plain", "--name", "Open air", "--invite", bob.user_id)["room_id"]
    [invitation] = [r for r in bob.value("rooms") if r["room_id"] == room]
    assert (invitation["membership"], invitation["inviter"]) == ("invite", alice.user_id)
    bob.value("decline", room)
    assert room not in [r["room_id"] for r in bob.value("rooms")]
    alice.value("invite", "Open air", bob.user_id)
    bob.value("join", room)
    alice.value("send", "Open air", "in clear")
    [got] = [m for m in bob.value("messages", room) if m["kind"] == "text"]
    assert (got["body"], got["encrypted"], got["seal"]) == ("in clear", False, "plain")
    bob.value("leave", room)
    assert room not in [r["room_id"] for r in bob.value("rooms")]
    assert bob.run("send", room, "too late")[0] == 1


def test_a_public_room_is_joined_by_its_address(alice: Person, bob: Person) -> None:
    room = alice.value("create", "--public", "--plain", "--name", "Square")["room_id"]
    server = alice.server.server_name
    assert bob.value("join", f"matrix:roomid/{room[1:]}?via={server}")["room_id"] == room
    event = bob.value("send", room, "hello all")["event_id"]
    said = bob.value("receipts", event)
    assert (said["state"], said["text"]) == ("untracked", "Sent. Delivery is not tracked here (public room)")
    status, out, err = bob.run("join", "!nowhere:nowhere.invalid")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_a_new_device_reads_old_messages_with_a_key_file(
    alice: Person, bob: Person, chat: str, tmp_path: Path
) -> None:
    alice.value("send", chat, "before the new device")
    assert "before the new device" in bob.bodies(chat)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    keys = str(tmp_path / "keys.txt")
    assert bob.value("keys", "export", keys, "--passphrase-file", str(passphrase))["keys"] > 0
    assert (tmp_path / "keys.txt").stat().st_mode & 0o077 == 0
    new = Person(bob.server, tmp_path / "home", bob.name, bob.password)
    new.login()
    assert "before the new device" not in new.bodies(chat)
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect horse\n")
    assert new.run("keys", "import", keys, "--passphrase-file", str(wrong))[0] == 2
    assert new.value("keys", "import", keys, "--passphrase-file", str(passphrase))["keys"] > 0
    assert "before the new device" in new.bodies(chat)
    new.value("logout")


def test_the_doctor_is_content_and_logging_out_leaves_nothing(synapse: SynapseServer, tmp_path: Path) -> None:
    carol = Person(synapse, tmp_path / "home", *new_user(synapse, "carol"))
    status, out, err = carol.run(
        "login", "--homeserver", synapse.base_url, "--user", carol.name, "--password-file", "-", say="wrong\n"
    )
    assert (status, out) == (1, "")
    assert err == "tandemctl: User name or password is wrong. Check both and try again.\n"
    assert carol.login()["user_id"] == carol.user_id
    found = carol.value("doctor")
    assert found["ok"], found
    assert carol.value("logout") == {"user_id": carol.user_id}
    assert carol.run("status")[0] == 1
    kept = [f.name for f in tmp_path.rglob("*") if f.is_file() and not f.name.endswith((".lock", ".log"))]
    assert kept == []
