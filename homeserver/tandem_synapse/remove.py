"""``python -m tandem_synapse.remove -c homeserver.yaml --yes``: take the module's tables out of Synapse's database.

Run it in Synapse's environment, with Synapse stopped and the module taken out of homeserver.yaml. Without ``--yes``
it only tells what it would remove. Exit status: 0 done (or nothing there), 1 not done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

PREFIX = "im_tandem_"


class RemovalError(Exception):
    """Why nothing was removed, in a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; reasons go to standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m tandem_synapse.remove",
        description="Remove the module's tables, with all receipts in them, from Synapse's database.",
    )
    parser.add_argument(
        "-c",
        "--config-path",
        action="append",
        required=True,
        metavar="FILE",
        help="homeserver.yaml; may be repeated, as for Synapse",
    )
    parser.add_argument(
        "--yes", action="store_true", help="remove; otherwise only tell what would be removed"
    )
    words = parser.parse_args(arguments)
    try:
        return _remove(_settings(words.config_path), really=words.yes)
    except (RemovalError, OSError, yaml.YAMLError) as error:
        print(f"tandem_synapse.remove: {error}", file=sys.stderr)
        return 1


def _remove(settings: Mapping[str, Any], *, really: bool) -> int:
    modules = settings.get("modules") or []
    if any(str(each.get("module", "")).startswith("tandem_synapse") for each in modules):
        raise RemovalError(
            "homeserver.yaml still loads the module; stop Synapse and take those lines out first"
        )
    name, connection = _connect(settings)
    with closing(connection) as conn:
        cursor = conn.cursor()
        tables = _tables(cursor, name)
        if not tables:
            print("There are no tables of tandem_synapse in this database.")
            return 0
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 a name from the database's own list
            print(f"{'removing' if really else 'would remove'} {table} ({cursor.fetchone()[0]} rows)")
            if really:
                cursor.execute(f"DROP TABLE {table}")
        if not really:
            raise RemovalError("nothing was removed; say --yes to remove these tables")
        conn.commit()
    print("Done. Synapse's own tables were not touched; the package can be uninstalled now.")
    return 0


def _settings(paths: Sequence[str]) -> dict[str, Any]:
    """The files as Synapse reads them: a later one overrides whole settings of an earlier one."""
    settings: dict[str, Any] = {}
    for path in paths:
        found = yaml.safe_load(Path(path).read_text("utf-8"))
        if not isinstance(found, dict):
            raise RemovalError(f"{path} is no configuration of Synapse")
        settings |= found
    return settings


def _connect(settings: Mapping[str, Any]) -> tuple[str, Any]:
    database = settings.get("database")
    for each in (settings.get("databases") or {}).values():
        if "main" in each.get("data_stores", ["main"]):
            database = each
    if not isinstance(database, dict):
        raise RemovalError("the configuration has no database section")
    name, args = database.get("name"), dict(database.get("args") or {})
    if name == "sqlite3":
        path = Path(str(args.get("database")))
        if not path.is_file():
            raise RemovalError(f"there is no database at {path}")
        return name, sqlite3.connect(path, timeout=20)
    if name == "psycopg2":
        import psycopg2

        try:
            return name, psycopg2.connect(
                **{key: value for key, value in args.items() if not key.startswith("cp_")}
            )
        except psycopg2.Error as error:
            raise RemovalError(f"the database cannot be reached: {error}") from error
    raise RemovalError(f"the database {name!r} is not known")


def _tables(cursor: Any, name: str) -> list[str]:
    cursor.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if name == "sqlite3"
        else "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))"
    )
    return sorted(str(row[0]) for row in cursor.fetchall() if str(row[0]).startswith(PREFIX))


if __name__ == "__main__":
    raise SystemExit(main())
