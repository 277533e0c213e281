"""A real Synapse on loopback, in its own folder, for the demo, the tests and the bench.

Started as a subprocess (never forked: law 5), ended by its pid, and by a closed pipe if we die.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tandem_demo import tied

_START_WITHIN_S = 60.0

OTHER_PYTHON = "TANDEM_SYNAPSE_PYTHON"
"""Environment variable: the Python of another environment that has Synapse and the module, and nothing else of ours."""

POSTGRES = "TANDEM_SYNAPSE_POSTGRES"
"""Environment variable: how to reach a PostgreSQL (JSON, as ``args`` in homeserver.yaml) in which each server gets a
database of its own; without it servers use SQLite."""


class SynapseError(Exception):
    """Synapse did not start or refused an administrator's request; the words say what its log says."""


class SynapseServer:
    """One homeserver process. ``create`` writes its configuration, ``start`` runs it."""

    def __init__(self, folder: Path, port: int, server_name: str, secret: str) -> None:
        self.folder = folder
        self.port = port
        self.server_name = server_name
        self.base_url = f"http://127.0.0.1:{port}"
        self.app = "synapse.app.homeserver"
        self.configs = [folder / "homeserver.yaml"]
        self._secret = secret
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        with_module: bool = True,
        extra: Mapping[str, Any] | None = None,
        server_name: str = "localhost",
    ) -> SynapseServer:
        """Write configuration and keys into ``folder`` (made if needed); ``extra`` overrides settings."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = free_port()
        server = cls(folder, port, server_name, secrets.token_urlsafe(24))
        seed = secrets.token_bytes(32)
        (folder / "signing.key").write_text(f"ed25519 a_demo {_unpadded(seed)}\n", "utf-8")
        (folder / "log.json").write_text(json.dumps(_log_config(folder)), "utf-8")
        config = server.config(with_module=with_module) | dict(extra or {})
        # JSON is YAML.
        (folder / "homeserver.yaml").write_text(json.dumps(config, indent=1), "utf-8")
        return server

    def config(self, *, with_module: bool) -> dict[str, Any]:
        """The settings: SQLite, loopback, no federation, limits out of the way."""
        fast = {"per_second": 10_000, "burst_count": 10_000}
        config: dict[str, Any] = {
            "server_name": self.server_name,
            "public_baseurl": f"{self.base_url}/",
            "pid_file": str(self.folder / "homeserver.pid"),
            "listeners": [
                {
                    "port": self.port,
                    "type": "http",
                    "tls": False,
                    "bind_addresses": ["127.0.0.1"],
                    "resources": [{"names": ["client"], "compress": False}],
                }
            ],
            "database": _database(self.folder),
            "log_config": str(self.folder / "log.json"),
            "media_store_path": str(self.folder / "media"),
            "max_upload_size": "5M",
            "signing_key_path": str(self.folder / "signing.key"),
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": secrets.token_urlsafe(24),
            "form_secret": secrets.token_urlsafe(24),
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_domain_whitelist": [],
            "enable_registration": False,
            "allow_guest_access": True,
            "bcrypt_rounds": 4,
            # A store that is put back must not meet tokens that were renewed meanwhile, unless that is the subject.
            "refreshable_access_token_lifetime": "24h",
            "presence": {"enabled": True},
            "rc_message": fast,
            "rc_registration": fast,
            "rc_login": {"address": fast, "account": fast, "failed_attempts": fast},
            "rc_admin_redaction": fast,
            "rc_joins": {"local": fast, "remote": fast},
            "rc_joins_per_room": fast,
            "rc_invites": {"per_room": fast, "per_user": fast, "per_issuer": fast},
            "rc_room_creation": fast,
            "rc_presence": {"per_user": fast},
        }
        if with_module:
            config["modules"] = modules()
        return config

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def log_file(self) -> Path:
        return self.folder / "homeserver.log"

    def start(self) -> None:
        """Start the process; ``wait_ready`` waits until it answers."""
        output = (self.folder / "output.log").open("ab")
        words = [word for config in self.configs for word in ("-c", str(config))]
        command = [*tied.command(os.environ.get(OTHER_PYTHON, sys.executable)), self.app, *words]
        self._child = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"SYNAPSE_CACHE_FACTOR": "0.5"},
            stdin=subprocess.PIPE,  # never written to: it closes when we end
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        output.close()

    def wait_ready(self) -> None:
        """Return once it answers ``/versions``; raises SynapseError with the end of its log."""
        end = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < end:
            if self._child is None or self._child.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.base_url}/_matrix/client/versions", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        tail = (self.folder / "output.log").read_text("utf-8", "replace").splitlines()[-8:]
        raise SynapseError("Synapse did not start:\n" + "\n".join(tail))

    def register(self, localpart: str, password: str, *, admin: bool = False) -> str:
        """Make an account with the shared secret; returns the user id."""
        url = f"{self.base_url}/_synapse/admin/v1/register"
        with urllib.request.urlopen(url, timeout=30) as answer:
            nonce = json.load(answer)["nonce"]
        words = (nonce, localpart, password, "admin" if admin else "notadmin")
        mac = hmac.new(self._secret.encode(), "\x00".join(words).encode(), hashlib.sha1).hexdigest()
        # Without inhibit_login the account begins with a device that nobody uses.
        body = {
            "nonce": nonce,
            "username": localpart,
            "password": password,
            "admin": admin,
            "mac": mac,
            "inhibit_login": True,
        }
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(json.load(answer)["user_id"])
        except urllib.error.HTTPError as error:
            raise SynapseError(
                f"registering {localpart}: {error.read().decode('utf-8', 'replace')}"
            ) from error

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start it, wait until it answers, and end it when left; inside it may be killed and started again."""
        self.start()
        try:
            self.wait_ready()
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """End it gently, then by force; waits."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); waits."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start on the same port and data; returns when it answers."""
        self.stop()
        self.start()
        self.wait_ready()

    def _end(self, sig: signal.Signals) -> None:
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.send_signal(sig)
            try:
                self._child.wait(20)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None


def modules(**settings: Any) -> list[dict[str, Any]]:
    """The entry ``modules`` of homeserver.yaml, with settings of our module."""
    return [{"module": "tandem_synapse.TandemModule", "config": settings}]


def _database(folder: Path) -> dict[str, Any]:
    reached = os.environ.get(POSTGRES)
    if reached is None:
        return {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}}
    from tandem_demo.services import new_database

    return new_database(json.loads(reached))


def free_port() -> int:
    """A loopback port that was free a moment ago.

    It is none of those that Linux gives to outgoing connections (32768 and up): one of them could take it before
    it is bound, or while a server is restarted.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _unpadded(raw: bytes) -> str:
    import base64

    return base64.b64encode(raw).decode("ascii").rstrip("=")


def _log_config(folder: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "formatter": "plain",
                "filename": str(folder / "homeserver.log"),
            }
        },
        "root": {"level": "WARNING", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }
