"""The ledger's page for delivery receipts: what the server has taken against what its readers opened and heard.

Like the ledger it reads SQLite files and nothing else. The module's table is watched by triggers, so that a receipt
that is written twice shows although the table has one row for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

_TABLE = "im_tandem_delivery"
_TRIGGERS = """
CREATE TABLE IF NOT EXISTS ledger_receipts (
  n INTEGER PRIMARY KEY, event_id TEXT, user_id TEXT, author TEXT, devices TEXT);
CREATE TRIGGER IF NOT EXISTS ledger_receipt AFTER INSERT ON im_tandem_delivery BEGIN
  INSERT INTO ledger_receipts (event_id, user_id, author, devices)
  VALUES (new.event_id, new.user_id, new.author, new.devices);
END;
CREATE TRIGGER IF NOT EXISTS ledger_receipt_more AFTER UPDATE OF devices ON im_tandem_delivery BEGIN
  INSERT INTO ledger_receipts (event_id, user_id, author, devices)
  VALUES (new.event_id, new.user_id, new.author, new.devices);
END;
"""
_Receipt = tuple[str, str]
"""An event, and the user who confirms it."""


@dataclass
class ReceiptFindings:
    """What does not hold of receipts, in words."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    receipts: int = 0
    """Receipts that were compared."""


def watch(server: sqlite3.Connection) -> None:
    """Have the server's database keep every receipt that it takes, if it takes any (the module is there)."""
    if server.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone():
        server.executescript(_TRIGGERS)


class ReceiptBook:
    """All receipts that a server has taken; each page is read once."""

    def __init__(self) -> None:
        self._page = 0
        self._released: set[_Receipt] = set()
        self._settled: set[_Receipt] = set()
        self._taken: dict[_Receipt, frozenset[str]] = {}
        self._author: dict[_Receipt, str] = {}
        self._repeated: list[str] = []

    def read(self, server: sqlite3.Connection) -> None:
        """Go on where the last reading ended."""
        if not server.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger_receipts'").fetchone():
            return
        for n, event_id, user_id, author, devices in server.execute(
            "SELECT n, event_id, user_id, author, devices FROM ledger_receipts WHERE n > ? ORDER BY n",
            (self._page,),
        ):
            self._page = n
            receipt = (event_id, user_id)
            named = frozenset(json.loads(devices))
            if self._taken.get(receipt) == named:
                self._repeated.append(f"the receipt of {user_id} for {event_id} was written twice")
            self._taken[receipt] = named
            self._author[receipt] = author
        # One that the server still holds is not due at its author, nor is one that went with its event.
        rows = server.execute("SELECT event_id, user_id FROM im_tandem_delivery WHERE stream_id IS NOT NULL")
        self._released = set(rows.fetchall())

    def compare(self, stores: Iterable[tuple[str, str, sqlite3.Connection]]) -> ReceiptFindings:
        """Hold the book against devices (name, user, store), at quiescence; all devices of a user together.

        A receipt is one of an event that a device of its user has opened; a device that holds it for sent has given
        it; its author's devices hear of it, at the latest until the comparison after the one that saw it released; and
        they hear of no other.
        """
        found = ReceiptFindings(doubled=list(self._repeated))
        users: dict[str, list[tuple[str, sqlite3.Connection]]] = {}
        for name, user, store in stores:
            users.setdefault(user, []).append((name, store))
        settled = self._settled & self._released & set(self._taken)
        for user, devices in users.items():
            taken = {event for event, reader in self._taken if reader == user}
            found.receipts += len(taken)
            opened: set[str] = set()
            for name, store in devices:
                opened |= _column(store, "SELECT event_id FROM event WHERE seal IN ('opened', 'plain')")
                sent = _column(
                    store, "SELECT event_id FROM receipt_owed WHERE state = 'sent' AND transport = 'server'"
                )
                found.lost += [
                    f"{name}: the receipt for {event} never came" for event in sorted(sent - taken)
                ]
            found.untrue += [
                f"{user} confirms {event} and has not opened it" for event in sorted(taken - opened)
            ]
            due = {receipt for receipt in settled if self._author[receipt] == user}
            for name, store in devices:
                heard = set(
                    store.execute("SELECT event_id, user_id FROM delivery WHERE via = 'server'").fetchall()
                )
                known = _column(
                    store, "SELECT event_id FROM event WHERE sender = (SELECT user_id FROM session)"
                )
                missing = {receipt for receipt in due - heard if receipt[0] in known}
                found.lost += [
                    f"{name}: was not told that {who} has {event}" for event, who in sorted(missing)
                ]
                found.untrue += [
                    f"{name}: believes that {who} has {event}"
                    for event, who in sorted(heard - set(self._taken))
                ]
        self._settled = set(self._released)
        return found


def _column(store: sqlite3.Connection, sql: str) -> set[str]:
    return {row[0] for row in store.execute(sql)}
