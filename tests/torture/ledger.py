"""The independent ledger: what the server accepted against what the devices ended up with.

Triggers in the server's own database keep what was put into inboxes and which keys were uploaded. The ledger
reads SQLite files and nothing else, imports nothing of the engine, and compares sets. Every finding is a sentence;
none means that all holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass
class Findings:
    """What does not hold; every list should be empty. ``repeated_popups`` is told apart."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    repeated_popups: int = 0
    letters: int = 0
    """To-device events that were compared."""
    events: int = 0
    """Room events that were compared."""

    def wrong(self) -> list[str]:
        """Everything that does not hold, in words."""
        parts = (self.lost, self.doubled, self.unreadable, self.reused, self.disorder, self.ahead)
        return [words for part in parts for words in part]


def watch(server_db: Path) -> None:
    """Have the server's database keep what is put into inboxes and what keys are uploaded, from now on."""
    with closing(sqlite3.connect(server_db, timeout=60)) as conn:
        conn.executescript(_TRIGGERS)


def compare(server_db: Path, stores: dict[str, Path], notified: dict[str, Path] | None = None) -> Findings:
    """Hold the server's book against the stores of devices (name to database), at quiescence.

    ``notified`` names, for each device whose notifications go to a file, that file.
    """
    found = Findings()
    with closing(_open(server_db)) as server:
        for name, path in stores.items():
            with closing(_open(path)) as store:
                _letters(found, server, store, name)
                _keys(found, server, store, name)
                _room_events(found, server, store, name)
                if notified and name in notified:
                    _popups(found, store, notified[name], name)
        _ratchets(found, server)
    return found


def _letters(found: Findings, server: sqlite3.Connection, store: sqlite3.Connection, name: str) -> None:
    """Every encrypted to-device event: applied once, in the server's order, no token ahead of it."""
    me = _me(store)
    accepted: list[tuple[int, str]] = []
    for place, letter in server.execute(
        "SELECT place, letter FROM ledger_letters WHERE user_id = ? AND device_id = ? ORDER BY place, n", me
    ):
        event = json.loads(letter)
        if event["type"] == "m.room.encrypted":
            accepted.append((place, _digest([event["type"], event["sender"], event["content"]])))
    found.letters += len(accepted)
    held = store.execute("SELECT digest, seq, state, error FROM inbox WHERE digest IS NOT NULL").fetchall()
    times = Counter(digest for digest, *_ in held)
    found.doubled += [f"{name}: a to-device event is applied {n} times" for n in times.values() if n > 1]
    state = {digest: (seq, state, error) for digest, seq, state, error in held}
    tokens = [int(row[0]) for row in store.execute("SELECT since FROM connection WHERE since IS NOT NULL")]
    for place, digest in accepted:
        if digest not in state:
            found.lost.append(f"{name}: the to-device event at {place} never came in")
            if any(token >= place for token in tokens):
                found.ahead.append(f"{name}: a token has passed {place}, which is not in the inbox")
        elif state[digest][1] != 1:
            found.unreadable.append(f"{name}: the to-device event at {place}: {state[digest][2] or 'waits'}")
    order = [state[digest][0] for _, digest in accepted if digest in state]
    if order != sorted(order):
        found.disorder.append(f"{name}: the inbox is not in the server's order")


def _keys(found: Findings, server: sqlite3.Connection, store: sqlite3.Connection, name: str) -> None:
    """No one-time key id ever stood for two keys."""
    keys: dict[str, str] = {}
    for key_id, key in server.execute(
        "SELECT key_id, key FROM ledger_keys WHERE user_id = ? AND device_id = ?", _me(store)
    ):
        material = json.loads(key)
        words = material["key"] if isinstance(material, dict) else material
        if keys.setdefault(key_id, words) != words:
            found.reused.append(f"{name}: the one-time key id {key_id} has had two keys")


def _room_events(found: Findings, server: sqlite3.Connection, store: sqlite3.Connection, name: str) -> None:
    """Every message that the server has, in each synced view once, and readable.

    A view begins where its connection began: what lies before that is history, fetched when somebody scrolls.
    """
    links = [row[0] for row in store.execute("SELECT conn FROM connection WHERE synced_at IS NOT NULL")]
    rooms = [row[0] for row in store.execute("SELECT DISTINCT room_id FROM room WHERE membership = 'join'")]
    for room in rooms:
        order = dict(
            server.execute(
                "SELECT e.event_id, e.stream_ordering FROM events AS e"
                " LEFT JOIN rejections AS r ON r.event_id = e.event_id WHERE e.room_id = ? AND r.event_id IS NULL",
                (room,),
            ).fetchall()
        )
        sealed = {
            row[0]
            for row in server.execute(
                "SELECT event_id FROM events WHERE room_id = ? AND type = 'm.room.encrypted'", (room,)
            )
        }
        accepted = sealed & set(order)
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
            found.doubled += [f"{where}: {event} is there {n} times" for event, n in view.items() if n > 1]
        for event, seal, reason in store.execute(
            "SELECT event_id, seal, seal_reason FROM event WHERE room_id = ? AND type = 'm.room.encrypted'",
            (room,),
        ):
            if event in accepted and seal != "opened":
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
    found.lost += [
        f"{name}: {event} is noted as notified and was never shown"
        for event, state in wanted
        if state == "shown" and event not in told
    ]
    found.lost += [f"{name}: {event} still waits to be notified" for event, state in wanted if state == "due"]
    found.repeated_popups += sum(times - 1 for times in shown.values())


def _ratchets(found: Findings, server: sqlite3.Connection) -> None:
    """No ratchet has encrypted two things at one index: neither Megolm's in rooms nor Olm's in letters."""
    used: dict[tuple[str, int], str] = {}
    for event_id, text in server.execute(
        "SELECT j.event_id, j.json FROM event_json AS j JOIN events AS e ON e.event_id = j.event_id"
        " WHERE e.type = 'm.room.encrypted'"
    ):
        content = json.loads(text)["content"]
        if "session_id" not in content:
            continue  # redacted
        place = (content["session_id"], megolm_index(content["ciphertext"]))
        if used.setdefault(place, event_id) != event_id:
            found.reused.append(f"index {place[1]} of a room's session was used twice")
    letters: dict[tuple[str, str, int], str] = {}
    for user, device, text in server.execute("SELECT user_id, device_id, letter FROM ledger_letters"):
        event = json.loads(text)
        if event["type"] != "m.room.encrypted":
            continue
        for sealed in event["content"]["ciphertext"].values():
            key, index = olm_index(sealed["type"], sealed["body"])
            where = (f"{user} {device} {event['content']['sender_key']}", key, index)
            if letters.setdefault(where, sealed["body"]) != sealed["body"]:
                found.reused.append(f"index {index} of an Olm session with {user} was used twice")


def megolm_index(ciphertext: str) -> int:
    """The message index of a Megolm message (libolm's megolm.md: version, then field 0x08 as a varint)."""
    return _fields(_unpadded(ciphertext)[1:])[0x08]


def olm_index(kind: int, body: str) -> tuple[str, int]:
    """Ratchet key and chain index of an Olm message (olm.md); a pre-key message (type 0) holds one inside."""
    data = _unpadded(body)
    if kind == 0:
        data = _strings(data[1:])[0x22]
    return _strings(data[1:])[0x0A].hex(), _fields(data[1:])[0x10]


def _walk(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol-buffer message, until what follows (a MAC, a signature) is none."""
    place = 0
    while place < len(data):
        tag, place = data[place], place + 1
        if tag & 7 not in (0, 2):
            return
        value, shift = 0, 0
        while place < len(data):
            byte, place = data[place], place + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if not byte & 0x80:
                break
        if tag & 7 == 0:
            yield tag, value
        else:
            if place + value > len(data):
                return
            yield tag, data[place : place + value]
            place += value


def _fields(data: bytes) -> dict[int, int]:
    return {tag: value for tag, value in reversed(list(_walk(data))) if isinstance(value, int)}


def _strings(data: bytes) -> dict[int, bytes]:
    return {tag: value for tag, value in reversed(list(_walk(data))) if isinstance(value, bytes)}


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _digest(value: Any) -> str:
    words = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _me(store: sqlite3.Connection) -> tuple[str, str]:
    user, device = store.execute("SELECT user_id, device_id FROM session").fetchone()
    return str(user), str(device)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)


def summed(parts: Iterable[Findings]) -> int:
    """How many findings there are in all."""
    return sum(len(part.wrong()) for part in parts)
