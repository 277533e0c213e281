"""A Synapse of several processes: main, one generic worker, PostgreSQL and Redis replication."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tandem_demo.services import Postgres, Redis
from tandem_demo.synapse import SynapseServer, free_port

WORKER = "worker1"


class Deployment:
    """Use as a context manager; ``main`` and ``worker`` answer, each on its own port, when it is entered.

    ``extra`` overrides settings that all processes share; ``receipts_at`` names the process that writes receipts.
    """

    def __init__(
        self, folder: Path, *, extra: Mapping[str, Any] | None = None, receipts_at: str = "main"
    ) -> None:
        self.postgres = Postgres()
        self.redis = Redis()
        places = {"main": free_port(), WORKER: free_port()}
        self._stack = contextlib.ExitStack()
        self._settings = {
            "database": self.postgres.database(),
            "redis": self.redis.settings(),
            "worker_replication_secret": secrets.token_urlsafe(16),
            "instance_map": {name: {"host": "127.0.0.1", "port": port} for name, port in places.items()},
            **(extra or {}),
        }
        self.main = SynapseServer.create(folder, extra=self._settings)
        self.worker = SynapseServer(folder, free_port(), self.main.server_name, "")
        self.worker.app = "synapse.app.generic_worker"
        self.worker.configs = [*self.main.configs, folder / "worker.yaml"]
        worker = {
            "worker_app": self.worker.app,
            "worker_name": WORKER,
            "worker_listeners": [
                _listener(self.worker.port, "client", "federation"),
                _listener(places[WORKER], "replication"),
            ],
            "worker_log_config": str(folder / "log.json"),
        }
        (folder / "worker.yaml").write_text(json.dumps(worker, indent=1), "utf-8")
        self.configure(
            listeners=[
                _listener(self.main.port, "client", "federation"),
                _listener(places["main"], "replication"),
            ]
        )
        self.write_receipts_at(receipts_at)

    def configure(self, **settings: Any) -> None:
        """Change settings that all processes share; they take them when they start again."""
        path = self.main.configs[0]
        config = json.loads(path.read_text("utf-8")) | settings
        path.write_text(json.dumps(config, indent=1), "utf-8")

    def write_receipts_at(self, name: str) -> None:
        """Let ``main`` or ``worker1`` be the process that writes receipts; takes effect when both start again."""
        self.configure(stream_writers={"receipts": "master" if name == "main" else name})

    def __enter__(self) -> Deployment:
        try:
            self._stack.enter_context(self.postgres)
            self._stack.enter_context(self.redis)
            self._stack.callback(self.stop)
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start main and then the worker; returns when both answer."""
        for process in (self.main, self.worker):
            process.start()
            process.wait_ready()

    def stop(self) -> None:
        """End both processes of Synapse; PostgreSQL and Redis go on."""
        for process in (self.worker, self.main):
            process.stop()


def _listener(port: int, *names: str) -> dict[str, Any]:
    return {
        "port": port,
        "type": "http",
        "tls": False,
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": list(names), "compress": False}],
    }
