"""The module's tables in PostgreSQL: made, looked for, and removed, without a Synapse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tandem_demo.services import Postgres
from tandem_synapse import config, remove, schema

pytestmark = pytest.mark.synapse


class Connection:
    """As Synapse hands them out: values stand as ``?``."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.commit, self.rollback = conn.commit, conn.rollback

    def cursor(self) -> Any:
        cursor = self._conn.cursor()

        class Cursor:
            fetchone, close = cursor.fetchone, cursor.close

            def execute(self, sql: str, values: Any = ()) -> None:
                cursor.execute(sql.replace("?", "%s"), values)

        return Cursor()


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, Any]]:
    with Postgres() as postgres:
        yield postgres.database()


def test_tables_are_made_looked_for_and_removed(
    database: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {key: value for key, value in database["args"].items() if not key.startswith("cp_")}
    with closing(psycopg2.connect(**words)) as raw:
        conn = Connection(raw)
        with pytest.raises(config.ConfigError, match="Start the main process first"):
            schema.check(conn)
        assert schema.migrate(conn) == len(schema.STEPS)
        schema.check(conn)
        assert schema.migrate(conn) == 0
        with raw, raw.cursor() as cursor:
            cursor.execute("CREATE TABLE receipts_linearized (event_id TEXT)")
    settings = tmp_path / "homeserver.yaml"
    loaded = {"modules": [{"module": "tandem_synapse.TandemModule"}]}
    settings.write_text(json.dumps({"database": database, **loaded}), "utf-8")
    assert remove.main(["-c", str(settings), "--yes"]) == 1
    assert "still loads the module" in capsys.readouterr().err
    settings.write_text(json.dumps({"database": database}), "utf-8")
    assert remove.main(["-c", str(settings)]) == 1
    assert "would remove im_tandem_delivery (0 rows)" in capsys.readouterr().out
    assert remove.main(["-c", str(settings), "--yes"]) == 0
    assert "removing im_tandem_delivery (0 rows)" in capsys.readouterr().out
    assert remove.main(["-c", str(settings)]) == 0
    assert "no tables" in capsys.readouterr().out
    with closing(psycopg2.connect(**words)) as raw, raw.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchall() == [("receipts_linearized",)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[]", "no configuration of Synapse"),
        ("{}", "no database section"),
        ("{database: {name: mysql}}", "'mysql' is not known"),
        ("{database: {name: sqlite3, args: {database: /nowhere/homeserver.db}}}", "no database at /nowhere"),
        ("{database: {name: psycopg2, args: {host: 127.0.0.1, port: 1}}}", "cannot be reached"),
        ("{", "while parsing"),
    ],
)
def test_removal_says_what_is_wrong(
    settings: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "homeserver.yaml"
    path.write_text(settings, "utf-8")
    assert remove.main(["-c", str(path), "--yes"]) == 1
    assert words in capsys.readouterr().err
