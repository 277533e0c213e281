"""``tandemctl verify`` against a real Synapse: own devices, people, codes, and a notifier that only tells."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_core.paths import profile_paths
from tandem_core.role import take_role
from tandem_core.types import Role
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.ctl.test_against_synapse import PROGRAM, WITHIN_S, Person, until

pytestmark = pytest.mark.synapse


class Talk:
    """One side: what it prints, and what its person says."""

    def __init__(self, person: Person, *words: str) -> None:
        self.child = subprocess.Popen(
            [PROGRAM, "verify", "--json", "--timeout", str(WITHIN_S), *words],
            env=person._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever still goes on is called off."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        self.child.communicate(timeout=WITHIN_S)

    def comes_to(self, *phases: str) -> Any:
        """What it says when it gets there."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            value = json.loads(line)
            if value["phase"] in phases:
                return value
        assert self.child.stderr is not None
        raise AssertionError(f"it ended before {phases}: {self.child.stderr.read()}")

    def say(self, words: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(words + "\n")
        self.child.stdin.flush()

    def status(self) -> int:
        return self.child.wait(WITHIN_S)


@pytest.fixture(scope="module")
def alice(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(synapse, tmp_path_factory.mktemp("alice"), *new_user(synapse, "alice"))
    person.login()
    return person


@pytest.fixture
def second(alice: Person, tmp_path: Path) -> Person:
    """Another device of Alice's, just signed in."""
    person = Person(alice.server, tmp_path / "second", alice.name, alice.password)
    person.home.mkdir()
    person.login()
    return person


@pytest.fixture
def bob(alice: Person, synapse: SynapseServer, tmp_path: Path) -> Person:
    """Somebody in an encrypted direct chat with Alice."""
    person = Person(synapse, tmp_path / "bob", *new_user(synapse, "bob"))
    person.home.mkdir()
    person.login()
    room = alice.value("create", "--invite", person.user_id, "--direct")["room_id"]
    person.value("accept", room)
    return person


def compare(asker: Talk, asked: Talk, *, answer: str = "yes") -> None:
    """Both persons look at what is shown; the one who was asked says this."""
    asked.comes_to("asked")
    asked.say("yes")
    ours, theirs = asker.comes_to("compare"), asked.comes_to("compare")
    assert len(ours["emoji"]) == 7
    assert (ours["emoji"], ours["decimals"]) == (theirs["emoji"], theirs["decimals"])
    asker.say("yes")
    asked.say(answer)


def trust(person: Person, user_id: str | None = None) -> str:
    words = ["identity", *(["--user", user_id] if user_id else [])]
    return str(person.value(*words)["trust"])


def test_a_new_device_is_verified_by_an_old_one(alice: Person, second: Person) -> None:
    assert trust(second) != "verified"
    with Talk(alice, "--wait") as old, Talk(second) as new:
        compare(new, old)
        assert old.comes_to("done")["code"] is None
        assert (old.status(), new.status()) == (0, 0)
    assert trust(second) == "verified"


def test_two_people_verify_each_other_and_a_no_is_a_no(alice: Person, bob: Person) -> None:
    with Talk(bob, "--wait") as his, Talk(alice, bob.user_id) as hers:
        compare(hers, his, answer="no")
        assert hers.comes_to("cancelled")["code"] == "m.mismatched_sas"
        assert (hers.status(), his.status()) == (1, 1)
    assert trust(alice, bob.user_id) == "seen"
    with Talk(bob, "--wait") as his, Talk(alice, bob.user_id) as hers:
        compare(hers, his)
        assert (hers.status(), his.status()) == (0, 0)
    assert trust(alice, bob.user_id) == trust(bob, alice.user_id) == "verified"


@contextlib.contextmanager
def notifier(person: Person, popups: Path) -> Iterator[None]:
    """The notifier alone, writing its popups into a file."""
    program = str(Path(sys.executable).with_name("tandem-notifier"))
    child = subprocess.Popen(
        [program, "run"],
        env={**person._environment, "TANDEM_POPUP_LOG": str(popups), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(person.is_listening)
        yield
    finally:
        child.terminate()
        child.wait(WITHIN_S)


def test_a_notifier_alone_tells_and_does_not_answer(alice: Person, second: Person, tmp_path: Path) -> None:
    popups = tmp_path / "popups"

    def told() -> list[Any]:
        lines = popups.read_text("utf-8").splitlines() if popups.exists() else []
        return [json.loads(line) for line in lines if json.loads(line).get("title", "").startswith("Verify")]

    sent = "SELECT count(*) FROM to_device_out WHERE type LIKE 'm.key.verification.%'"
    before = _ask(alice, sent)
    with notifier(alice, popups), Talk(second, "--scan", "-") as new:
        assert new.comes_to("asked")["we_asked"]
        until(told)
        assert _ask(alice, sent) == before
        assert _ask(alice, "SELECT phase FROM verification ORDER BY asked_at DESC LIMIT 1") == "asked"
        # The person comes to the terminal, where the code is shown; the notifier goes on beside.
        with Talk(alice, "--wait", "--code") as old:
            old.comes_to("asked")
            old.say("yes")
            new.say(old.comes_to("ready")["text_code"])
            old.comes_to("shown")
            old.say("yes")
            assert (old.status(), new.status()) == (0, 0)
        assert len(told()) == 1
        # The notifier gives the new device what it lacks, now that it is verified.
        until(lambda: second.value("recovery") and len(second.value("identity")["keys_here"]) == 3)
    assert trust(second) == "verified"


def _ask(person: Person, sql: str) -> Any:
    import sqlite3

    [file] = person.home.rglob("tandem.db")
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as conn:
        return conn.execute(sql).fetchone()[0]


def test_only_one_program_answers_and_the_window_comes_forward(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_HOME", str(alice.home))
    paths = profile_paths()
    with take_role(paths, Role.APP), socket.socket(socket.AF_UNIX) as door:
        paths.socket(Role.APP).unlink(missing_ok=True)
        door.bind(str(paths.socket(Role.APP)))
        door.listen()
        door.settimeout(WITHIN_S)
        status, _, said = alice.run("verify", "--wait")
        knock, _ = door.accept()
        with knock:
            assert json.loads(knock.recv(4096))["kind"] == "open"
    paths.socket(Role.APP).unlink()
    assert (status, said) == (
        1,
        "tandemctl: Tandem's window is open (app). Verify there, or close it first.\n",
    )


def test_there_must_be_somebody_to_verify(alice: Person) -> None:
    assert alice.run("verify", "NOSUCHDEVICE")[0] == 1
    assert alice.run("verify", alice.user_id)[0] == 2
    assert alice.run("verify", "--wait", "SOMEBODY")[0] == 2
