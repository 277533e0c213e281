"""A program killed at any phase of bringing the store up to date, both starting at once: applied once, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_demo.device import Device
from tests.faults.conftest import PASSWORD, Alice, until
from tests.faults.program import PHASES
from tests.support.fake_homeserver import FakeHomeserver

pytestmark = pytest.mark.gui

STEP = """
CREATE TABLE mood (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO mood (body) SELECT type FROM inbox ORDER BY seq;
ALTER TABLE inbox ADD COLUMN mood TEXT;
UPDATE inbox SET mood = 'from ' || sender;
"""


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    file = tmp_path / "002_moods.sql"
    file.write_text(STEP, "utf-8")
    return file


@pytest.fixture
def machine(alice: Alice, server: FakeHomeserver, tmp_path: Path) -> Iterator[Device]:
    """Alice's device with an old store that has something in it, and nobody running."""
    alice.start()
    alice.poke("im.one", "im.two")
    until(lambda: server.queued(alice.user_id) == [])
    alice.kill()
    device = Device("alice", Path(os.environ["TANDEM_HOME"]), headless=True)
    yield device
    for program in list(device.running):
        device.stop(program, signal.SIGKILL)


@pytest.mark.parametrize(
    ("program", "phase"),
    [*(("notifier", phase) for phase in PHASES), ("window", PHASES[1]), ("window", PHASES[3])],
)
def test_a_kill_at_any_phase_leaves_a_store_that_opens_with_all_it_had(
    machine: Device, alice: Alice, schema: Path, program: str, phase: str
) -> None:
    before = alice.ask("SELECT seq, type, sender FROM inbox ORDER BY seq")
    identity = alice.ask("SELECT identity FROM crypto_account")
    other = "window" if program == "notifier" else "notifier"
    _start(machine, program, schema, "--die", phase)
    _start(machine, other, schema)
    until(lambda: _is_over(machine, program))
    until(lambda: machine.is_syncing(_role(other)))
    if machine.running[program].returncode is None:
        # The other one was quicker, so there was nothing left to die of.
        assert machine.is_syncing(_role(program))
    else:
        assert machine.running[program].returncode == -signal.SIGKILL
        machine.stop(program)
        _start(machine, program, schema)
        until(lambda: machine.is_syncing(_role(program)))
    assert alice.ask("PRAGMA user_version") == [(2,)]
    assert alice.ask("PRAGMA integrity_check") == [("ok",)]
    assert alice.ask("SELECT seq, type, sender FROM inbox ORDER BY seq") == before
    assert alice.ask("SELECT DISTINCT mood FROM inbox") == [("from @bob:fake.test",)]
    assert alice.ask("SELECT body FROM mood ORDER BY id") == [(kind,) for _, kind, _ in before]
    assert alice.ask("SELECT identity FROM crypto_account") == identity


@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_while_the_store_is_made_is_no_damage(stranger: Alice, phase: str) -> None:
    words = ("login", "--homeserver", stranger.server.base_url, "--user", "alice", "--password-file", "-")
    command = [sys.executable, "-m", "tests.faults.program", "ctl", "--die", phase, "--", *words]
    died = subprocess.run(command, input=PASSWORD, text=True, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL
    done = stranger.login()
    assert done.returncode == 0, done.stderr
    assert stranger.ask("PRAGMA integrity_check") == [("ok",)]
    assert stranger.ask("SELECT count(*) FROM session") == [(1,)]
    assert not stranger.paths.database.with_name("tandem.db.new").exists()


def _role(program: str) -> str:
    return "app" if program == "window" else program


def _start(machine: Device, program: str, schema: Path, *words: str) -> None:
    names = ("-m", "tests.faults.program", _role(program), "--schema", str(schema))
    machine.start(program, [sys.executable, *names, *words])


def _is_over(machine: Device, program: str) -> bool:
    return machine.running[program].poll() is not None or machine.is_syncing(_role(program))
