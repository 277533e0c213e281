"""The ledger's page for delivery receipts: what the server has taken against what its readers opened and heard.

Like the ledger it reads SQLite files and nothing else. The module's table is watched by triggers, so that a receipt
that is written twice shows although the table has one row for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
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

    def compare(
        self, stores: Iterable[tuple[str, str, sqlite3.Connection]], read_again: Callable[[], object]
    ) -> ReceiptFindings:
        """Hold the book against devices (name, user, store), at quiescence; all devices of a user together.

        A receipt is one of an event that a device of its user has opened; a device that holds it for sent has given
        it; its author's devices hear of it, at the latest until the comparison after the one that saw it released; and
        they hear of no other. Receipts go on their way meanwhile: what the stores say is read between two readings
        of the server (``read_again`` has the book read it), and neither may have more than the later of the two.
        """
        settled = self._settled & self._released & set(self._taken)
        taken_before = set(self._taken)
        devices = [_Device.read(*each) for each in stores]
        read_again()
        found = ReceiptFindings(doubled=list(self._repeated))
        for user in dict.fromkeys(device.user for device in devices):
            of_user = [device for device in devices if device.user == user]
            found.receipts += sum(reader == user for _, reader in self._taken)
            opened = {event for device in of_user for event in device.opened}
            before = {event for event, reader in taken_before if reader == user}
            found.untrue += [
                f"{user} confirms {event} and has not opened it" for event in sorted(before - opened)
            ]
        for device in devices:
            taken = {event for event, reader in self._taken if reader == device.user}
            found.lost += [
                f"{device.name}: the receipt for {event} never came" for event in sorted(device.sent - taken)
            ]
            due = {receipt for receipt in settled if self._author[receipt] == device.user} - device.heard
            found.lost += [
                f"{device.name}: was not told that {who} has {event}"
                for event, who in sorted(due)
                if event in device.own
            ]
            found.untrue += [
                f"{device.name}: believes that {who} has {event}"
                for event, who in sorted(device.heard - set(self._taken))
            ]
        self._settled = set(self._released)
        return found


@dataclass(frozen=True)
class _Device:
    """What one device says of receipts."""

    name: str
    user: str
    opened: frozenset[str]
    sent: frozenset[str]
    heard: frozenset[_Receipt]
    own: frozenset[str]

    @classmethod
    def read(cls, name: str, user: str, store: sqlite3.Connection) -> _Device:
        return cls(
            name,
            user,
            _column(store, "SELECT event_id FROM event WHERE seal IN ('opened', 'plain')"),
            _column(store, "SELECT event_id FROM receipt_owed WHERE state = 'sent' AND transport = 'server'"),
            frozenset(
                store.execute("SELECT event_id, user_id FROM delivery WHERE via = 'server'").fetchall()
            ),
            _column(store, "SELECT event_id FROM event WHERE sender = (SELECT user_id FROM session)"),
        )


def _column(store: sqlite3.Connection, sql: str) -> frozenset[str]:
    return frozenset(row[0] for row in store.execute(sql))
