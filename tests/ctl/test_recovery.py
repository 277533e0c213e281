"""tandemctl recovery: one device sets it up, another one unlocks it; what goes wrong is said in one line."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tandem_core.crypto import secret_storage, secrets
from tandem_core.crypto.recovery_state import CROSS_SIGNING, DEFAULT_KEY, NAMES
from tandem_core.ctl import world
from tandem_core.ctl.main import main
from tandem_core.paths import profile_paths
from tandem_core.store import session
from tandem_core.types import Me, Role
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.own_devices import held
from tests.core.crypto.world import Device, StillClock, named

PASSPHRASE = "correct horse battery staple"


class _Door:
    """A device's door to the server in memory, as a command uses it."""

    def __init__(self, server: KeyServer, me: Me) -> None:
        self.request = server.http(me).request
        self.base_url = "http://127.0.0.1:9"


class Machine:
    """A computer with one of Alice's devices, where tandemctl is used."""

    def __init__(self, device: Device, home: Path, prepare: Any, capsys: Any) -> None:
        self.device = device
        self._home = home
        self._prepare = prepare
        self._capsys = capsys

    def run(self, *words: str, say: str = "") -> tuple[int, str, str]:
        self._prepare.setenv("TANDEM_HOME", str(self._home))
        self._prepare.setattr("sys.stdin", io.StringIO(say))
        try:
            status = main(["recovery", *words])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def value(self, *words: str, say: str = "") -> Any:
        status, out, err = self.run(*words, "--json", say=say)
        assert (status, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> KeyServer:
    made = KeyServer()

    async def is_up_to_date(*_: Any, **__: Any) -> bool:
        return True

    monkeypatch.setattr(world.World, "door", lambda here: nullcontext(_Door(made, here.session.me)))
    monkeypatch.setattr(world, "refresh", is_up_to_date)
    monkeypatch.setattr(world, "until", is_up_to_date)
    monkeypatch.setattr(secret_storage, "_ITERATIONS", secret_storage.LEAST_ITERATIONS)
    monkeypatch.setenv("TANDEM_VAULT", "file")
    return made


@pytest.fixture
def machine(
    tmp_path: Path, server: KeyServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Iterator[Callable[[str], Machine]]:
    made: list[Device] = []

    def make(device_id: str) -> Machine:
        home = tmp_path / device_id
        home.mkdir(mode=0o700)
        monkeypatch.setenv("TANDEM_HOME", str(home))
        device = Device(home, named("alice", device_id), server, StillClock(), paths=profile_paths())
        made.append(device)
        asyncio.run(device.keys.upload())
        device.knows()
        device.write(session.set_pos, Role.APP, "1", device.clock.now_ms())
        return Machine(device, home, monkeypatch, capsys)

    yield make
    for device in made:
        device.close()


@pytest.fixture
def laptop(machine: Callable[[str], Machine]) -> Machine:
    """Alice's first device, which has given her account its identity."""
    made = machine("LAPTOP")
    asyncio.run(made.device.cross_signing.keep_up())
    return made


@pytest.fixture
def phone(laptop: Machine, machine: Callable[[str], Machine]) -> Machine:
    return machine("PHONE")


def test_one_device_sets_recovery_up_and_another_one_unlocks_it(laptop: Machine, phone: Machine) -> None:
    assert laptop.value()["question"] == "set_up_recovery"
    made = laptop.value("set-up")
    assert list(made) == ["recovery_key"]
    before = phone.value()
    assert (before["state"], before["question"]) == ("locked", "verify_or_recover")
    assert (before["missing_here"], before["missing_in_storage"]) == (list(NAMES), [])
    found = phone.value("unlock", "--key-file", "-", say=made["recovery_key"] + "\n")
    assert found == {"found": list(NAMES), "refused": {}, "stored": []}
    assert held(phone.device) == held(laptop.device)
    for device in (laptop, phone):
        after = device.value()
        assert (after["state"], after["question"]) == ("complete", "nothing")


def test_people_are_told_in_words_and_shown_the_key_once(laptop: Machine, phone: Machine) -> None:
    assert "Recovery is not set up." in laptop.run()[1]
    status, out, err = laptop.run("set-up", "--passphrase-file", "-", say=PASSPHRASE + "\n")
    assert (status, err) == (0, "")
    assert "not shown again" in out
    assert PASSPHRASE not in out
    (line,) = [line for line in out.splitlines() if line.startswith("    ")]
    assert line.strip().startswith("Es")
    assert line.strip() not in laptop.run()[1]
    assert "Missing on this device: master key" in phone.run()[1]
    status, out, err = phone.run("unlock", "--key-file", "-", say=PASSPHRASE + "\n")
    assert (status, err) == (0, "")
    assert "This device now has: master key" in out
    assert "complete" in phone.run()[1]


def test_what_is_wrong_is_said_in_one_line(laptop: Machine, phone: Machine) -> None:
    assert phone.run("unlock", "--key-file", "-", say="x\n") == (
        1,
        "",
        "tandemctl: Recovery is not set up for this account. Set it up on a device that is verified.\n",
    )
    status, _, err = phone.run("set-up")
    assert status == 1
    assert "does not have all secrets of your account" in err
    key = laptop.value("set-up", "--passphrase-file", "-", say=PASSPHRASE + "\n")["recovery_key"]
    wrong = {
        "something else": "The passphrase is wrong",
        key[:-1] + ("a" if key[-1] != "a" else "b"): "This is no recovery key",
        "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d": "not the recovery key of this account",
    }
    for said, words in wrong.items():
        status, out, err = phone.run("unlock", "--key-file", "-", say=said + "\n")
        assert status in (1, 2)
        assert out == ""
        assert words in err
        assert said not in err
        assert err.count("\n") == 1
    assert laptop.run("set-up")[0] == 1


def test_a_key_is_never_taken_from_the_command_line(phone: Machine) -> None:
    assert phone.run("unlock")[0] == 2
    assert phone.run("unlock", "EsTc")[0] == 2
    assert phone.run("unlock", "--key-file", "/nowhere/key")[0] == 2


def test_a_secret_that_was_spoilt_is_named(laptop: Machine, phone: Machine, server: KeyServer) -> None:
    key = laptop.value("set-up")["recovery_key"]
    (sealed,) = server.account_data[laptop.device.me.user_id][CROSS_SIGNING[0]]["encrypted"].values()
    sealed["mac"] = sealed["mac"][::-1]
    status, out, err = phone.run("unlock", "--key-file", "-", say=key + "\n")
    assert status == 0
    assert "The master key was not taken" in err
    assert "key of the message backup" in out
    told = phone.run()[1]
    assert "Missing in the storage: master key" in told


def test_the_key_is_changed_and_removed(laptop: Machine, phone: Machine, server: KeyServer) -> None:
    old = laptop.value("set-up")["recovery_key"]
    new = laptop.value("change", "--key-file", "-", say=old + "\n")["recovery_key"]
    assert "not the recovery key" in phone.run("unlock", "--key-file", "-", say=old + "\n")[2]
    assert phone.run("unlock", "--key-file", "-", say=new + "\n")[0] == 0
    status, out, err = laptop.run("delete", say="no\n")
    assert (status, out) == (1, "")
    assert "Recovery is removed" in err
    assert server.account_data[laptop.device.me.user_id][DEFAULT_KEY]
    assert laptop.value("delete", "--yes") == {"state": "not_set_up"}
    assert not any(server.account_data[laptop.device.me.user_id].values())


def test_a_reset_wants_a_yes_and_the_password(laptop: Machine, phone: Machine, server: KeyServer) -> None:
    laptop.value("set-up")
    before = held(laptop.device)
    assert phone.run("reset", say="\n")[0] == 1
    assert "password" in phone.run("reset", "--yes")[2]
    said = f"{PASSPHRASE}\n{server.password}\n"
    made = phone.value("reset", "--yes", "--passphrase-file", "-", "--password-file", "-", say=said)
    assert made["recovery_key"].startswith("Es")
    assert not set(held(phone.device).values()) & set(before.values())
    assert phone.value()["state"] == "complete"


def test_a_question_is_put_off(laptop: Machine) -> None:
    from tandem_core.crypto.recovery_question import Question, question

    assert laptop.device.read(question) is Question.SET_UP_RECOVERY
    assert laptop.run("later") == (0, "", "")
    assert laptop.device.read(question) is Question.NOTHING
    assert laptop.value()["question"] == "set_up_recovery"


def test_without_the_server_what_is_stored_is_told(laptop: Machine, server: KeyServer) -> None:
    laptop.value("set-up")
    laptop.device.write(secrets.forget, secrets.BACKUP)
    server.lose_request.append("account_data")
    status, out, err = laptop.run()
    assert status == 0
    assert "cannot be reached" in err
    assert "Missing on this device: key of the message backup" in out
