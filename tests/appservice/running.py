"""A real Synapse with a service registered, the service as a real process, and people around it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tandem_appservice.registration import FEATURES
from tandem_core.paths import ProfilePaths, paths_below
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer, free_port


@dataclass
class Hosted(Device):
    """A hosted account's profile in the service's folder."""

    profile: str = ""

    @property
    def paths(self) -> ProfilePaths:
        return paths_below(self.home, self.profile)

    def ctl(self, *words: str, **options: Any) -> Any:
        return super().ctl("--profile", self.profile, *words, **options)

    def start_notifier(self) -> None:
        """Let the notifier keep the profile in sync."""
        words = ["-m", "tandem_notifier.main", "run", "--profile", self.profile]
        self.start("notifier", [sys.executable, *words])
        wait_for(f"{self.name}'s notifier", lambda: self.is_syncing("notifier"))

    def texts(self) -> list[str]:
        """What it has read, in the order of its timeline."""
        rows = self.ask(
            "SELECT e.body FROM timeline AS t JOIN event AS e USING (event_id)"
            " WHERE t.conn = 'notifier' AND e.seal = 'opened' AND e.kind = 'text' ORDER BY t.ord"
        )
        return [str(row[0]) for row in rows]

    def doubled(self) -> list[tuple[Any, ...]]:
        """To-device events and messages that are there twice."""
        return self.ask(
            "SELECT digest FROM inbox WHERE digest IS NOT NULL GROUP BY digest HAVING count(*) > 1"
            " UNION ALL SELECT e.opened_content FROM timeline AS t JOIN event AS e USING (event_id)"
            " WHERE t.conn = 'notifier' AND e.seal = 'opened' GROUP BY e.opened_content HAVING count(*) > 1"
        )


class Service:
    """``tandem-appservice`` in a folder of its own, registered on a Synapse that is made with it."""

    def __init__(self, folder: Path, *, with_module: bool, words: tuple[str, ...] = ()) -> None:
        self.device = Device("service", folder / "service", headless=True)
        self.device.home.mkdir(mode=0o700, parents=True)
        self.notes = folder / "notes.jsonl"
        port, file = free_port(), folder / "registration.yaml"
        features = {"app_service_config_files": [str(file)], "experimental_features": FEATURES}
        self.server = SynapseServer.create(folder / "synapse", with_module=with_module, extra=features)
        self._run(
            *("registration", "--homeserver", self.server.base_url, "--server-name", self.server.server_name),
            *("--url", f"http://127.0.0.1:{port}", "--output", str(file), *words),
        )
        self.token = json.loads(file.read_text("utf-8"))["as_token"]

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tandem_appservice", *words],
            env=self.device.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def host(self, user: str) -> Hosted:
        said = json.loads(self._run("add-account", "--json", user))
        return Hosted(said["user_id"], self.device.home, True, profile=said["profile"])

    def release(self, user: str) -> None:
        """Leave the account to another program."""
        self._run("remove-account", user)

    def hosts(self, hosted: Hosted) -> bool:
        """Whether it works on this account now."""
        return any(
            said["user_id"] == hosted.name and said["hosted"] and said["state"] == "syncing"
            for said in self.status()["accounts"]
        )

    def start(self) -> None:
        """Start it and wait until every account takes what comes."""
        tell = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
        command = f"{sys.executable} -c {json.dumps(tell)} {self.notes}"
        words = ["run", "--notify-command", command]
        self.device.start("service", [sys.executable, "-m", "tandem_appservice", *words])
        wait_for("the service", self.is_up)

    def is_up(self) -> bool:
        status = self.status()
        return bool(status["running"]) and all(
            said["state"] == "syncing" for said in status["accounts"] if said["hosted"]
        )

    def status(self) -> Any:
        return json.loads(self._run("status", "--json"))

    def told(self) -> list[Any]:
        """The notifications that the command was given."""
        text = self.notes.read_text("utf-8") if self.notes.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def as_user(self, user_id: str) -> As:
        """The account's own access, as the service may have it."""
        return As(self.server.base_url, self.token, user_id)


class As(RawClient):
    """Speaks as one of the service's users, with the service's token."""

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        sign = "&" if "?" in path else "?"
        return super().request(method, f"{path}{sign}user_id={quote(self.user_id)}", body, **options)

    def set_account_data(self, kind: str, content: Any) -> None:
        self.ok("PUT", f"{CLIENT}/user/{quote(self.user_id)}/account_data/{kind}", content)


def person(server: SynapseServer, folder: Path, name: str) -> Device:
    """Somebody with an ordinary account, a device and a running notifier."""
    password = secrets.token_urlsafe(12)
    server.register(name, password)
    return sign_in(server, folder, name, password)


def sign_in(server: SynapseServer, folder: Path, name: str, password: str) -> Device:
    device = Device(name, folder / name, headless=True)
    device.home.mkdir(mode=0o700, parents=True)
    words = ("--homeserver", server.base_url, "--user", name, "--password-file", "-")
    device.ctl("login", *words, password=password)
    device.confirm_as_recommended()
    device.trust_unconfirmed()  # an account moves between programs here, and nobody confirms the new device
    device.start_notifier()
    return device


@contextmanager
def running(folder: Path, *, with_module: bool, words: tuple[str, ...] = ()) -> Iterator[Service]:
    """Synapse runs; the service is registered and not started. Both are ended."""
    service = Service(folder, with_module=with_module, words=words)
    try:
        service.server.start()
        service.server.wait_ready()
        yield service
    finally:
        service.device.stop_all()
        service.server.stop()
