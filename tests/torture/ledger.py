"""The independent ledger: what the server accepted against what the devices ended up with.

Triggers in the server's own database keep what was put into inboxes and which keys were uploaded. The ledger
reads SQLite files and nothing else, imports nothing of the engine, and compares sets. Every finding is a sentence;
none means that all holds.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tests.torture import receipt_book
from tests.torture.indices import megolm_index, olm_index

_TRIGGERS = """
CREATE TABLE IF NOT EXISTS ledger_letters (
  n INTEGER PRIMARY KEY, user_id TEXT, device_id TEXT, place INTEGER, letter TEXT);
CREATE TABLE IF NOT EXISTS ledger_keys (n INTEGER PRIMARY KEY, user_id TEXT, device_id TEXT, key_id TEXT, key TEXT);
CREATE TRIGGER IF NOT EXISTS ledger_letter AFTER INSERT ON device_inbox BEGIN
  INSERT INTO ledger_letters (user_id, device_id, place, letter)
  VALUES (new.user_id, new.device_id, new.stream_id, new.message_json);
END;
CREATE TRIGGER IF NOT EXISTS ledger_key AFTER INSERT ON e2e_one_time_keys_json BEGIN
  INSERT INTO ledger_keys (user_id, device_id, key_id, key)
  VALUES (new.user_id, new.device_id, new.algorithm || ':' || new.key_id, new.key_json);
END;
"""
_Account = tuple[str, str]
"""A user and a device."""


@dataclass
class Findings:
    """What does not hold; every list should be empty. What is only counted is no finding."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    unnotified: list[str] = field(default_factory=list)
    receipts_lost: list[str] = field(default_factory=list)
    receipts_doubled: list[str] = field(default_factory=list)
    receipts_untrue: list[str] = field(default_factory=list)
    repeated_popups: int = 0
    repeated_letters: int = 0
    """To-device events that the server accepted twice: it forgets transaction ids when it is killed."""
    letters: int = 0
    """To-device events that were compared."""
    events: int = 0
    """Room events that were compared."""
    receipts: int = 0
    """Delivery receipts that were compared."""

    def by_class(self) -> dict[str, list[str]]:
        """The sentences under the words that a table has for them."""
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "unreadable at rest": self.unreadable,
            "reused key ids or indices": self.reused,
            "out of order": self.disorder,
            "tokens ahead": self.ahead,
            "notifications lost": self.unnotified,
            "receipts lost": self.receipts_lost,
            "receipts doubled": self.receipts_doubled,
            "receipts that are not true": self.receipts_untrue,
        }

    def wrong(self) -> list[str]:
        """Everything that does not hold, in words."""
        return [words for part in self.by_class().values() for words in part]


def watch(server_db: Path) -> None:
    """Have the server's database keep what is put into inboxes, and what keys and receipts come, from now on."""
    with closing(sqlite3.connect(server_db, timeout=60)) as conn:
        conn.executescript(_TRIGGERS)
        receipt_book.watch(conn)


def compare(server_db: Path, stores: dict[str, Path], notified: dict[str, Path] | None = None) -> Findings:
    """One comparison, all of it from the beginning; see Ledger."""
    return Ledger(server_db).compare(stores, notified)


@dataclass
class _Room:
    """What the server has accepted in one room: the order of all its events, and those that are encrypted."""

    order: dict[str, int] = field(default_factory=dict)
    sealed: set[str] = field(default_factory=set)


@dataclass
class _Behind:
    """What a device had not applied or opened when it was last asked, and up to which page that was known."""

    letters: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    pages: tuple[int, int] = (0, 0)


class Ledger:
    """The server's book, of which each page is read once, however often it is held against the stores."""

    def __init__(self, server_db: Path) -> None:
        self._path = server_db
        self._pages = {"letters": 0, "keys": 0, "events": 0}
        self._starts = 0
        self._letters: dict[_Account, dict[str, tuple[int, int, int]]] = defaultdict(dict)
        self._repeated = 0
        self._keys: dict[tuple[str, str, str], str] = {}
        self._olm: dict[tuple[str, str, int], str] = {}
        self._megolm: dict[tuple[str, int], str] = {}
        self._rooms: dict[str, _Room] = defaultdict(_Room)
        self._sealed: list[str] = []
        self._rejected: set[str] = set()
        self._reused: dict[str, list[str]] = defaultdict(list)
        self._behind: dict[Path, _Behind] = defaultdict(_Behind)
        self._receipts = receipt_book.ReceiptBook()

    def note_start(self) -> None:
        """The server starts again: places that it gives from now on come after all earlier ones.

        Synapse on SQLite counts its to-device stream from what lies in inboxes, so that places may return.
        """
        with closing(_open(self._path)) as server:
            self._read(server)
        self._starts += 1

    def compare(self, stores: dict[str, Path], notified: dict[str, Path] | None = None) -> Findings:
        """Hold the server's book against the stores of devices (name to database), at quiescence.

        ``notified`` names, for each device whose notifications go to a file, that file.
        """
        with closing(_open(self._path)) as server:
            self._read(server)
        found = Findings(repeated_letters=self._repeated, reused=list(self._reused[""]))
        with ExitStack() as stack:
            opened = {name: stack.enter_context(closing(_open(path))) for name, path in stores.items()}
            for name, store in opened.items():
                self._hold_letters(found, store, name)
                found.reused += [f"{name}: {words}" for words in self._reused["/".join(_me(store))]]
                self._hold_events(found, store, name)
                if notified and name in notified:
                    _popups(found, store, notified[name], name)
            self._hold_receipts(found, opened)
        return found

    def behind(self, path: Path) -> tuple[int, int]:
        """How much of what the server has accepted by now a device has not applied (letters), and not opened (events).

        Cheap: asks only for what was missing the last time. For a device that is in all encrypted rooms.
        """
        with closing(_open(self._path)) as server:
            self._read(server)
        behind = self._behind[path]
        with closing(_open(path)) as store:
            letters, sealed = self._letters[_me(store)], self._sealed
            behind.letters |= set(islice(letters, behind.pages[0], None))
            behind.events |= set(sealed[behind.pages[1] :]) - self._rejected
            behind.pages = (len(letters), len(sealed))
            for waiting, sql in (
                (behind.letters, "SELECT digest FROM inbox WHERE state != 0 AND digest IN"),
                (behind.events, "SELECT event_id FROM event WHERE seal = 'opened' AND event_id IN"),
            ):
                asked = (json.dumps(list(waiting)),)
                waiting.difference_update(
                    row[0] for row in store.execute(f"{sql} (SELECT value FROM json_each(?))", asked)
                )
        return len(behind.letters), len(behind.events)

    def _read(self, server: sqlite3.Connection) -> None:
        """Go on where the last reading ended."""
        for n, user, device, place, letter in server.execute(
            "SELECT n, user_id, device_id, place, letter FROM ledger_letters WHERE n > ? ORDER BY n",
            (self._pages["letters"],),
        ):
            self._pages["letters"] = n
            event = json.loads(letter)
            if event["type"] == "m.room.encrypted":
                self._note_letter((user, device), (self._starts, place, n), event)
        for n, user, device, key_id, key in server.execute(
            "SELECT n, user_id, device_id, key_id, key FROM ledger_keys WHERE n > ? ORDER BY n",
            (self._pages["keys"],),
        ):
            self._pages["keys"] = n
            material = json.loads(key)
            words = material["key"] if isinstance(material, dict) else material
            if self._keys.setdefault((user, device, key_id), words) != words:
                self._reused[f"{user}/{device}"].append(f"the one-time key id {key_id} has had two keys")
        for n, event_id, room, kind, order, text in server.execute(
            "SELECT j.rowid, e.event_id, e.room_id, e.type, e.stream_ordering, j.json"
            " FROM event_json AS j JOIN events AS e ON e.event_id = j.event_id WHERE j.rowid > ? ORDER BY j.rowid",
            (self._pages["events"],),
        ):
            self._pages["events"] = n
            self._rooms[room].order[event_id] = order
            if kind == "m.room.encrypted":
                self._rooms[room].sealed.add(event_id)
                self._sealed.append(event_id)
                self._note_message(event_id, json.loads(text)["content"])
        self._rejected = {row[0] for row in server.execute("SELECT event_id FROM rejections")}
        self._receipts.read(server)

    def _note_letter(self, account: _Account, place: tuple[int, int, int], event: dict[str, Any]) -> None:
        digest = _digest([event["type"], event["sender"], event["content"]])
        book = self._letters[account]
        self._repeated += digest in book
        book.setdefault(digest, place)
        for sealed in event["content"]["ciphertext"].values():
            key, index = olm_index(sealed["type"], sealed["body"])
            where = ("{} {} {}".format(*account, event["content"]["sender_key"]), key, index)
            if self._olm.setdefault(where, digest) != digest:
                self._reused[""].append(f"index {index} of an Olm session with {account[0]} was used twice")

    def _note_message(self, event_id: str, content: dict[str, Any]) -> None:
        if "session_id" not in content:
            return  # redacted
        place = (content["session_id"], megolm_index(content["ciphertext"]))
        if self._megolm.setdefault(place, event_id) != event_id:
            self._reused[""].append(f"index {place[1]} of a room's session was used twice")

    def _hold_receipts(self, found: Findings, stores: dict[str, sqlite3.Connection]) -> None:
        def read_again() -> None:
            with closing(_open(self._path)) as server:
                self._receipts.read(server)

        held = self._receipts.compare(
            [(name, _me(store)[0], store) for name, store in stores.items()], read_again
        )
        found.receipts = held.receipts
        found.receipts_lost, found.receipts_doubled = held.lost, held.doubled
        found.receipts_untrue = held.untrue

    def _hold_letters(self, found: Findings, store: sqlite3.Connection, name: str) -> None:
        """Every encrypted to-device event: applied once, in the server's order, no token ahead of it."""
        accepted = sorted((place, digest) for digest, place in self._letters[_me(store)].items())
        found.letters += len(accepted)
        held = store.execute(
            "SELECT digest, seq, state, error FROM inbox WHERE digest IS NOT NULL"
        ).fetchall()
        times = Counter(digest for digest, *_ in held)
        found.doubled += [f"{name}: a to-device event is applied {n} times" for n in times.values() if n > 1]
        state = {digest: (seq, state, error) for digest, seq, state, error in held}
        tokens = [
            int(row[0]) for row in store.execute("SELECT since FROM connection WHERE since IS NOT NULL")
        ]
        for (start, place, _), digest in accepted:
            if digest not in state:
                found.lost.append(f"{name}: the to-device event at {place} never came in")
                if start == self._starts and any(token >= place for token in tokens):
                    found.ahead.append(f"{name}: a token has passed {place}, which is not in the inbox")
            elif state[digest][1] != 1:
                found.unreadable.append(
                    f"{name}: the to-device event at {place}: {state[digest][2] or 'waits'}"
                )
        order = [state[digest][0] for _, digest in accepted if digest in state]
        if order != sorted(order):
            found.disorder.append(f"{name}: the inbox is not in the server's order")

    def _hold_events(self, found: Findings, store: sqlite3.Connection, name: str) -> None:
        """Every message that the server has, in each synced view once, and readable.

        A view begins where its connection began: what lies before that is history, fetched when somebody scrolls.
        """
        links = [row[0] for row in store.execute("SELECT conn FROM connection WHERE synced_at IS NOT NULL")]
        rooms = [
            row[0] for row in store.execute("SELECT DISTINCT room_id FROM room WHERE membership = 'join'")
        ]
        for room in rooms:
            order, accepted = self._rooms[room].order, self._rooms[room].sealed - self._rejected
            found.events += len(accepted)
            for link in links:
                view = Counter(
                    row[0]
                    for row in store.execute(
                        "SELECT event_id FROM timeline WHERE conn = ? AND room_id = ?", (link, room)
                    )
                )
                begin = min((order[event] for event in view if event in order), default=0)
                wanted = {event for event in accepted if order[event] >= begin}
                where = f"{name}/{link}"
                found.lost += [f"{where}: {event} is missing" for event in sorted(wanted - set(view))]
                found.doubled += [
                    f"{where}: {event} is there {n} times" for event, n in view.items() if n > 1
                ]
            for event, seal, reason in store.execute(
                "SELECT event_id, seal, seal_reason FROM event"
                " WHERE room_id = ? AND type = 'm.room.encrypted' AND seal != 'opened'",
                (room,),
            ):
                if event in accepted:
                    found.unreadable.append(f"{name}: {event} is {seal}: {reason}")


def _popups(found: Findings, store: sqlite3.Connection, file: Path, name: str) -> None:
    """One notification for every message that was due one; a repetition by a kill is counted apart."""
    shown: Counter[str] = Counter()
    told: set[str] = set()
    if file.exists():
        for line in file.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if "event_id" in entry:
                shown[entry["event_id"]] += 1
                # One popup may tell of several messages, and takes the place of the room's last one.
                told.update(entry["events"], [entry["event_id"]])
    wanted = store.execute("SELECT event_id, state FROM notification").fetchall()
    found.unnotified += [
        f"{name}: {event} is noted as notified and was never shown"
        for event, state in wanted
        if state == "shown" and event not in told
    ]
    found.unnotified += [
        f"{name}: {event} still waits to be notified" for event, state in wanted if state == "due"
    ]
    found.repeated_popups += sum(times - 1 for times in shown.values())


def _digest(value: Any) -> str:
    words = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _me(store: sqlite3.Connection) -> _Account:
    user, device = store.execute("SELECT user_id, device_id FROM session").fetchone()
    return str(user), str(device)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
