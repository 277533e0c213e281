"""The homeserver's tests on PostgreSQL: ``python -m tests.homeserver.on_postgres [ARGUMENTS OF PYTEST]``.

``make test`` runs a bounded set there (test_workers.py). Tests that look into SQLite's file are skipped.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tandem_demo.services import Postgres
from tandem_demo.synapse import POSTGRES


@pytest.fixture(scope="session", autouse=True)
def _no_file() -> Iterator[None]:
    """This file is also the plug-in that skips what cannot be there."""
    connect = sqlite3.connect

    def other(database: Any, *args: Any, **settings: Any) -> sqlite3.Connection:
        if str(database).endswith("homeserver.db"):
            pytest.skip("looks into the file of SQLite's database")
        return connect(database, *args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", other)
        yield


def main() -> int:
    """Returns pytest's exit status."""
    words = sys.argv[1:] or ["tests/homeserver"]
    with Postgres() as postgres:
        where = {POSTGRES: json.dumps(postgres.database()["args"])}
        command = [sys.executable, "-m", "pytest", "-p", "tests.homeserver.on_postgres", *words]
        return subprocess.run(command, env=os.environ | where, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
