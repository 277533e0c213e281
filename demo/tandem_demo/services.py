"""PostgreSQL and Redis on loopback, for a Synapse with workers: own folders, free ports, gone when we end.

The programs are those of the system (Debian: ``postgresql``, ``redis-server``); its own services are not touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tandem_demo import tied
from tandem_demo.synapse import free_port

_START_WITHIN_S = 30.0
_USER = "synapse"


class ServiceError(Exception):
    """A program is not installed or did not start."""


class _Service:
    """A program in a folder of its own, which its user may read; use as a context manager."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self._name = name
        # PostgreSQL refuses to run as root.
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._child: subprocess.Popen[bytes] | None = None

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _make_folder(self) -> Path:
        # Not in the folder of a test, which other users may not enter.
        folder = Path(tempfile.mkdtemp(prefix=f"tandem-{self._name}-"))
        if self._user is not None:
            shutil.chown(folder, self._user)
        return folder

    def _start(self, *words: str) -> None:
        as_user = [] if self._user is None else ["--user", self._user]
        with (self.folder / "output.log").open("ab") as output:
            self._child = subprocess.Popen(
                [*tied.command(), "--program", *as_user, *words],
                stdin=subprocess.PIPE,  # never written to: it closes when we end
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait(self, *probe: str) -> None:
        end = time.monotonic() + _START_WITHIN_S
        while self._child is not None and self._child.poll() is None and time.monotonic() < end:
            environment = os.environ | {"REDISCLI_AUTH": self.password}
            if subprocess.run(probe, env=environment, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        said = (self.folder / "output.log").read_text("utf-8", "replace").splitlines()[-5:]
        self.stop()
        raise ServiceError(f"{self._name} did not start:\n" + "\n".join(said))

    def __enter__(self) -> Any:
        self.folder = self._make_folder()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """End it; waits."""
        if self._child is None:
            return
        self._child.send_signal(signal.SIGTERM)
        self._child.wait(30)
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None


class Postgres(_Service):
    """A fresh PostgreSQL cluster, as Synapse wants it: UTF-8, collation C."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._programs = postgres_programs()

    def start(self) -> None:
        """Make the cluster and start the server; returns when it answers."""
        data = self.folder / "data"
        words = self.folder / "password"
        words.touch(mode=0o644)
        words.write_text(self.password, "utf-8")
        made = subprocess.run(
            [
                str(self._programs / "initdb"),
                f"--pgdata={data}",
                f"--username={_USER}",
                f"--pwfile={words}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        words.unlink()
        if made.returncode:
            raise ServiceError(f"initdb: {made.stderr.strip()}")
        # The data is thrown away: what a crash of the machine would do to it does not matter.
        quick = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
        place = ("-h", "127.0.0.1", "-p", str(self.port), "-c", "unix_socket_directories=")
        self._start(str(self._programs / "postgres"), "-D", str(data), *place, *quick)
        self._wait(str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port))

    def database(self) -> dict[str, Any]:
        """The ``database`` section of homeserver.yaml."""
        return {
            "name": "psycopg2",
            "args": {
                "user": _USER,
                "password": self.password,
                "dbname": "postgres",
                "host": "127.0.0.1",
                "port": self.port,
                "cp_min": 1,
                "cp_max": 5,
            },
        }


class Redis(_Service):
    """A Redis that keeps nothing."""

    def __init__(self) -> None:
        super().__init__("redis")

    def start(self) -> None:
        """Start it; returns when it answers."""
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o644)
        settings.write_text(
            f'port {self.port}\nbind 127.0.0.1\nrequirepass {self.password}\nsave ""\nappendonly no\n',
            "utf-8",
        )
        self._start(_program("redis-server"), str(settings))
        self._wait(_program("redis-cli"), "-p", str(self.port), "ping")

    def settings(self) -> dict[str, Any]:
        """The ``redis`` section of homeserver.yaml."""
        return {"enabled": True, "host": "127.0.0.1", "port": self.port, "password": self.password}


def new_database(args: dict[str, Any]) -> dict[str, Any]:
    """Make a database in a running PostgreSQL; returns the ``database`` section of homeserver.yaml."""
    import psycopg2

    name = f"synapse_{secrets.token_hex(6)}"
    words = {key: value for key, value in args.items() if not key.startswith("cp_")}
    with contextlib.closing(psycopg2.connect(**words)) as conn:
        conn.autocommit = True
        conn.cursor().execute(f"CREATE DATABASE {name}")
    return {"name": "psycopg2", "args": {**args, "dbname": name}}


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them out of the PATH, one folder a version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    return Path(_program("postgres")).resolve().parent


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ServiceError(f"{name} is not installed; run: {sys.executable} tools/servers.py")
    return path


def _unprivileged() -> str:
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
