"""tandemctl identity: what the store knows, setting up and replacing with a server that asks for the password."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tandem_core.ctl import world
from tandem_core.ctl.identity import CONSEQUENCES
from tandem_core.ctl.main import main
from tandem_core.paths import profile_paths
from tandem_core.store import devices
from tandem_core.store.database import Transaction
from tandem_core.types import UserId
from tests.core.crypto.identity_kit import Identity
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import Device, StillClock, named

ALICE = named("alice", "ONE")


class _Door:
    """A device's door to the server in memory, as a command uses it."""

    def __init__(self, server: KeyServer) -> None:
        self.request = server.http(ALICE).request
        self.base_url = "http://127.0.0.1:9"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> KeyServer:
    made = KeyServer()
    monkeypatch.setattr(world.World, "door", lambda _: nullcontext(_Door(made)))
    return made


@pytest.fixture
def alice(tandem_home: Path, server: KeyServer) -> Iterator[Device]:
    """Alice's device, in the place where tandemctl looks for it."""
    paths = profile_paths()
    device = Device(tandem_home, ALICE, server, StillClock(), paths=paths)
    asyncio.run(device.keys.upload())
    yield device
    device.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        status = main(["identity", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def _password(folder: Path, words: str = "correct horse") -> str:
    file = folder / "password"
    file.write_text(words)
    return str(file)


def test_an_identity_is_set_up_and_shown(alice: Device, run: Any) -> None:
    status, out, _ = run("--json")
    assert (status, json.loads(out)["trust"]) == (0, "no_identity")
    assert run("set-up")[0] == 0
    found = json.loads(run("--json")[1])
    assert (found["trust"], found["keys_here"]) == ("verified", ["master", "self_signing", "user_signing"])
    assert [(device["device_id"], device["trust"]) for device in found["devices"]] == [("ONE", "verified")]
    words = run()[1]
    assert "confirmed on this device" in words
    assert found["master"] in words.replace(" ", "")


def test_a_reset_asks_first_and_then_for_the_password(
    alice: Device, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("set-up")
    before = json.loads(run("--json")[1])["master"]
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    status, _, err = run("reset", "--password-file", _password(tmp_path))
    assert status == 1
    assert all(line in err for line in CONSEQUENCES)
    assert json.loads(run("--json")[1])["master"] == before
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert run("reset", "--password-file", _password(tmp_path))[0] == 0
    after = json.loads(run("--json")[1])
    assert after["master"] != before
    assert after["trust"] == "verified"


@pytest.mark.parametrize("words", [[], ["--password-file", "wrong"]])
def test_a_reset_without_the_right_password_changes_nothing(
    alice: Device, run: Any, tmp_path: Path, words: list[str]
) -> None:
    run("set-up")
    before = run("--json")[1]
    given = [_password(tmp_path, "battery staple") if word == "wrong" else word for word in words]
    status, _, err = run("reset", "--yes", *given)
    assert status in (1, 2)
    assert "assword" in err
    assert run("--json")[1] == before


def test_another_identity_of_a_person_is_told_and_accepted(
    alice: Device, run: Any, server: KeyServer
) -> None:
    bob = named("bob", "ONE").user_id
    for seed in (2, 9):
        Identity.make(bob, seed).publish(server)
        server.devices.setdefault(bob, {})
        alice.write(_track, bob)
        _query(alice)
    status, out, _ = run("--user", bob)
    assert status == 0
    assert "changed since it was first seen" in out
    assert run("accept", bob)[0] == 0
    assert "not verified" in run("--user", bob)[1]
    for nobody in ("bob", ALICE.user_id):
        assert run("accept", nobody)[0] == 2


def _track(txn: Transaction, user_id: UserId) -> None:
    devices.track(txn, [user_id])
    devices.mark_all_outdated(txn)


def _query(device: Device) -> None:
    asyncio.run(device.keys.query())
