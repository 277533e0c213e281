"""Rows of settings: what was chosen, per account, room or person; absent means not chosen."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.store.database import Transaction
from tandem_core.types import Topic


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One chosen value; ``value`` is JSON text, ``target`` a room or user id, or empty for the account."""

    scope: str
    target: str
    key: str
    value: str
    changed_at: int


def chosen(conn: sqlite3.Connection, scope: str, target: str, key: str) -> str | None:
    """The stored JSON text, or None where nothing was chosen."""
    found = row(conn, scope, target, key)
    return None if found is None else found.value


def row(conn: sqlite3.Connection, scope: str, target: str, key: str) -> SettingRow | None:
    """One choice, or None where nothing was chosen."""
    found = conn.execute(
        "SELECT scope, target, key, value, changed_at FROM setting WHERE scope = ? AND target = ? AND key = ?",
        (scope, target, key),
    ).fetchone()
    return None if found is None else SettingRow(*found)


def rows(conn: sqlite3.Connection) -> list[SettingRow]:
    """Everything that was chosen, account first."""
    found = conn.execute(
        "SELECT scope, target, key, value, changed_at FROM setting"
        " ORDER BY scope <> 'account', scope, target, key"
    )
    return [SettingRow(*row) for row in found]


def put(txn: Transaction, scope: str, target: str, key: str, value: str, now_ms: int) -> None:
    """Keep a choice."""
    txn.execute(
        "INSERT INTO setting (scope, target, key, value, changed_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (scope, target, key) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
        (scope, target, key, value, now_ms),
    )
    txn.changed(Topic.SETTINGS)


def clear(txn: Transaction, scope: str, target: str, key: str) -> None:
    """Forget a choice, so that the wider one holds again."""
    txn.execute("DELETE FROM setting WHERE scope = ? AND target = ? AND key = ?", (scope, target, key))
    txn.changed(Topic.SETTINGS)
