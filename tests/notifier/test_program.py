"""The program tandem-notifier as a person and a service manager meet it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import tandem_core
from tandem_core.doorbell import DoorbellServer
from tandem_core.paths import profile_paths
from tandem_core.role import stand_in, take_role
from tandem_core.types import EventId, Json, Role, RoomId
from tandem_notifier import systemd
from tandem_notifier.autostart import Autostart, How, desktop_text, unit_text
from tandem_notifier.main import main
from tandem_notifier.open_room import RoomOpener, find_program
from tandem_notifier.popup import Click
from tests.notifier.conftest import ROOT
from tests.support.account import Account
from tests.support.aio import in_loop

CLICK = Click(RoomId("!room:example.org"), EventId("$event"), "token-1")
URI = "matrix:roomid/room:example.org/e/event"


def test_it_says_that_nobody_is_signed_in(tandem_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert said == "tandem-notifier: Nobody is signed in. Sign in first: tandem, or tandemctl login.\n"


def test_it_says_that_it_runs_already(tandem_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with take_role(profile_paths(), Role.NOTIFIER):
        assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("tandem-notifier: Tandem already runs for this account")
    assert said.count("\n") == 1


def test_it_waits_until_a_command_in_its_place_has_ended(
    tandem_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, said = profile_paths(), "tandem-notifier: Nobody is signed in."
    waiting = threading.Thread(target=main, args=(["run"],))
    with stand_in(paths, Role.NOTIFIER):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert capsys.readouterr().err == ""
    waiting.join(30)
    assert capsys.readouterr().err.startswith(said)


def test_it_refuses_a_store_of_the_future(
    account: Account, tandem_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account.db.write_now(lambda txn: txn.execute("PRAGMA user_version=99"))
    assert main(["run"]) == 1
    assert "newer Tandem" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["dance"], ["run", "--loud"], ["run", "--profile", "../etc"]])
def test_wrong_usage_has_its_own_status(
    words: list[str], tandem_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_status_of_one_that_does_not_run(
    tandem_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", "")
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "It does not run, and does not start at login.\n"
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"running": False, "state": "stopped", "detail": "", "pid": None, "autostart": None}


def test_the_notifier_never_loads_what_it_does_not_need() -> None:
    script = """
import json, sys
from tandem_notifier import daemon, main
from tandem_core import log
import aiohttp, tandem_core.crypto.worker, tandem_core.sending, tandem_core.receipts.outbox
print(json.dumps([name for name in ("PySide6", "nio", "keyring", "sqlite_utils", "dbus_fast") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_version_is_the_distributions() -> None:
    assert metadata.version("tandem-core") == tandem_core.__version__


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_systemd_is_told(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert systemd.notify("READY=1")
    assert manager.recv(100) == b"READY=1"
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "relative")
    assert not systemd.notify("READY=1")


def test_an_abstract_socket_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"tandem-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert systemd.notify("STOPPING=1")
        assert sock.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("usec", "pid", "period"),
    [
        ("60000000", None, 30.0),
        ("60000000", "1", None),
        ("", None, None),
        ("soon", None, None),
        ("0", None, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    usec: str, pid: str | None, period: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert systemd.watchdog_period_s() == period


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TANDEM_HOME", raising=False)
    return tmp_path / "config"


def fake_systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> Path:
    """A systemctl that writes down what it is asked; status 1 for the words in ``failing``."""
    folder.mkdir()
    log = folder / "log"
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\ncase " {failing} " in *" $2 "*) exit 1;; esac\nexit 0\n', "utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_it_starts_at_login_by_systemd(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = fake_systemctl(tmp_path / "bin", monkeypatch, failing="is-enabled")
    auto = Autostart(profile_paths(), "/opt/tandem/bin/tandem-notifier")
    assert auto.how() is None
    assert auto.install() is How.SYSTEMD
    unit = config / "systemd" / "user" / "tandem-notifier.service"
    assert unit.read_text("utf-8") == unit_text("/opt/tandem/bin/tandem-notifier")
    assert "--user enable --now tandem-notifier.service" in log.read_text("utf-8").splitlines()
    assert auto.how() is How.SYSTEMD
    assert auto.uninstall()
    assert not unit.exists()
    assert "--user disable --now tandem-notifier.service" in log.read_text("utf-8").splitlines()
    assert not auto.uninstall()


def test_without_a_graphical_session_it_starts_with_the_users_manager(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_systemctl(tmp_path / "bin", monkeypatch, failing="is-active")
    auto = Autostart(profile_paths("work"), "/bin/tandem-notifier")
    auto.install()
    text = (config / "systemd" / "user" / "tandem-notifier-work.service").read_text("utf-8")
    assert "WantedBy=default.target" in text
    assert "PartOf" not in text
    assert "ExecStart=/bin/tandem-notifier --profile work run" in text


def test_a_failure_of_systemd_is_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_systemctl(tmp_path / "bin", monkeypatch, failing="enable is-enabled")
    assert main(["install"]) == 1
    assert "could not be set up to start at login" in capsys.readouterr().err


def test_it_starts_at_login_without_systemd(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_systemctl(tmp_path / "bin", monkeypatch, failing="show-environment is-enabled")
    assert main(["install", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"autostart": "xdg"}
    entry = config / "autostart" / "im.tandem.Tandem.Notifier.desktop"
    assert "tandem-notifier run" in entry.read_text("utf-8")
    assert main(["uninstall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"autostart": None, "was_installed": True}
    assert not entry.exists()


def test_odd_folders_are_quoted(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_HOME", "/home/me/50% $more")
    unit, entry = unit_text("/opt/my apps/run"), desktop_text("/opt/my apps/run")
    assert 'Environment="TANDEM_HOME=/home/me/50%% $$more"' in unit
    assert 'ExecStart="/opt/my apps/run" run' in unit
    assert 'Exec=env "TANDEM_HOME=/home/me/50%% \\\\$more" "/opt/my apps/run" run' in entry


def test_the_packaged_files_are_the_generated_ones(config: Path) -> None:
    folder = ROOT / "packaging" / "linux"
    assert (folder / "tandem-notifier.service").read_text("utf-8") == unit_text("/usr/bin/tandem-notifier")
    entry = folder / "im.tandem.Tandem.Notifier.desktop"
    assert entry.read_text("utf-8") == desktop_text("/usr/bin/tandem-notifier")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(config: Path, tmp_path: Path) -> None:
    unit = tmp_path / "tandem-notifier.service"
    unit.write_text(unit_text("/bin/true"), "utf-8")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=False,
    )
    # An unknown key only warns.
    assert (done.returncode, done.stderr) == (0, "")


@in_loop
async def test_a_click_asks_the_window_that_runs(tandem_home: Path) -> None:
    paths = profile_paths()
    paths.make()
    heard: asyncio.Queue[Json] = asyncio.Queue()
    server = DoorbellServer(paths.socket(Role.APP), heard.put_nowait)
    await server.start()
    await RoomOpener(paths).open(CLICK)
    assert await heard.get() == {"v": 1, "kind": "open", "uri": URI, "token": "token-1"}
    await server.close()


@in_loop
async def test_a_click_starts_the_window(
    tandem_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tandem"
    told = tmp_path / "told"
    program.write_text(
        f'#!/bin/sh\necho "$@" "$XDG_ACTIVATION_TOKEN" "$DESKTOP_STARTUP_ID" "$NOTIFY_SOCKET" > {told}.new\n'
        f"mv {told}.new {told}\n",
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setattr("tandem_notifier.open_room.find_program", lambda _: str(program))
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    opener = RoomOpener(profile_paths("work"))
    await opener.open(CLICK)
    [child] = opener._children
    assert child.wait(30) == 0
    assert told.read_text("utf-8") == f"--profile work {URI} token-1 token-1 \n"


@in_loop
async def test_a_click_without_a_window_to_start_is_logged(
    tandem_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tandem_notifier.open_room.find_program", lambda _: None)
    await RoomOpener(profile_paths()).open(CLICK)
    assert "not installed" in caplog.text
    monkeypatch.setattr("tandem_notifier.open_room.find_program", lambda _: "/nonexistent/tandem")
    await RoomOpener(profile_paths()).open(CLICK)
    assert "cannot be started" in caplog.text
    await RoomOpener(profile_paths()).open(Click(RoomId("no room"), EventId("$e"), None))
    assert "has no address" in caplog.text


def test_programs_are_found_beside_this_python() -> None:
    assert find_program("tandem-notifier") == str(Path(sys.executable).with_name("tandem-notifier"))
    assert find_program("no-such-program-anywhere") is None
