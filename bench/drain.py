"""Draining an inbox of room keys, against bare vodozemac doing the same in the same transaction pattern."""

from __future__ import annotations

import base64
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from vodozemac import (
    Account,
    AnyOlmMessage,
    Curve25519PublicKey,
    GroupSession,
    InboundGroupSession,
    Session,
    SessionKey,
)

from bench.measure import Figure
from tandem_core.crypto import drain as crypto_drain
from tandem_core.crypto.state import MEGOLM, OLM, CryptoState
from tandem_core.store import devices, inbox
from tandem_core.store.database import Database, Transaction, connect
from tandem_core.types import DeviceId, Json, Me, Role, UserId

_KEY = bytes(range(32))
_BATCH = 10
_BOB = UserId("@bob:example.org")


def inbox_drain(events: int, runs: int) -> list[Figure]:
    """Events a second, both ways, in turn."""
    ours, bare = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(_ours(Path(folder), events))
        with tempfile.TemporaryDirectory() as folder:
            bare.append(_bare(Path(folder), events))
    value, floor = statistics.median(ours), statistics.median(bare)
    how = f"{events} events, batches of {_BATCH}, synchronous=FULL; ratio: floor to value, at most 2"
    return [Figure("inbox drain with room keys", value, floor, "ev/s", floor / value, 2.0, how)]


def _letters(mine: Account, count: int) -> list[tuple[str, int, bytes, str, str]]:
    """Room keys from one device: (sender key, message type, body, session key, the device's Ed25519 key)."""
    peer = Account()
    mine.generate_one_time_keys(1)
    one_time_key = next(iter(mine.one_time_keys.values()))
    session = peer.create_outbound_session(mine.curve25519_key, one_time_key)
    letters = []
    for number in range(count):
        group = GroupSession()
        content = {
            "algorithm": MEGOLM,
            "room_id": f"!room{number % 50}:example.org",
            "session_id": group.session_id,
            "session_key": group.session_key.to_base64(),
        }
        payload = {
            "type": "m.room_key",
            "content": content,
            "sender": "@bob:example.org",
            "recipient": "@alice:example.org",
            "recipient_keys": {"ed25519": mine.ed25519_key.to_base64()},
            "keys": {"ed25519": peer.ed25519_key.to_base64()},
        }
        kind, body = session.encrypt(json.dumps(payload).encode()).to_parts()
        key = peer.ed25519_key.to_base64()
        letters.append((peer.curve25519_key.to_base64(), kind, body, content["session_key"], key))
    return letters


def backlog(folder: Path, count: int) -> tuple[Database, CryptoState]:
    """A store with so many room keys waiting in its inbox."""
    db = Database.open(folder / "tandem.db")
    state = CryptoState(db, Me(UserId("@alice:example.org"), DeviceId("DESK")), _KEY)

    def prepare(txn: Transaction) -> None:
        account = state.account(txn)
        own = account.curve25519_key.to_base64()
        events: list[Json] = []
        letters = _letters(account, count)
        for sender_key, kind, body, *_ in letters:
            cipher = {own: {"type": kind, "body": base64.b64encode(body).decode().rstrip("=")}}
            content = {"algorithm": OLM, "sender_key": sender_key, "ciphertext": cipher}
            events.append({"type": "m.room.encrypted", "sender": "@bob:example.org", "content": content})
        state.changed_account(txn)
        inbox.put_batch(txn, Role.APP, events, "1", 1)
        sender = events[0]["content"]["sender_key"]
        devices.track(txn, [_BOB])
        known = devices.Device(_BOB, DeviceId("PHONE"), sender, letters[0][4], "Phone")
        devices.put_list(txn, _BOB, [(known, [OLM, MEGOLM])], 1, 1)

    db.write_now(prepare)
    return db, state


def _ours(folder: Path, count: int) -> float:
    db, state = backlog(folder, count)
    crypto_drain.BATCH = _BATCH
    started = time.monotonic()
    while db.write_now(crypto_drain.drain, state, 2):
        pass
    rate = count / (time.monotonic() - started)
    kept = db.read_now(lambda conn: conn.execute("SELECT count(*) FROM megolm_inbound").fetchone()[0])
    db.close()
    if kept != count:
        raise RuntimeError(f"only {kept} of {count} keys arrived")
    return rate


def _bare(folder: Path, count: int) -> float:
    """vodozemac and SQL, nothing between: the same rows, the same commits."""
    mine = Account()
    letters = _letters(mine, count)
    (folder / "bare.db").touch()
    conn = connect(folder / "bare.db")
    conn.execute(
        "CREATE TABLE inbox (seq INTEGER PRIMARY KEY, kind INTEGER, body BLOB, sender TEXT, done INTEGER)"
    )
    conn.execute("CREATE TABLE session (id TEXT PRIMARY KEY, pickle TEXT)")
    conn.execute("CREATE TABLE room_key (id TEXT PRIMARY KEY, pickle TEXT)")
    conn.executemany(
        "INSERT INTO inbox (kind, body, sender, done) VALUES (?, ?, ?, 0)",
        [(kind, body, sender) for sender, kind, body, *_ in letters],
    )
    started = time.monotonic()
    while rows := conn.execute(f"SELECT * FROM inbox WHERE done = 0 ORDER BY seq LIMIT {_BATCH}").fetchall():
        conn.execute("BEGIN IMMEDIATE")
        for row in rows:
            _bare_step(conn, mine, row)
        conn.execute("COMMIT")
    rate = count / (time.monotonic() - started)
    conn.close()
    return rate


def _bare_step(conn: sqlite3.Connection, mine: Account, row: sqlite3.Row) -> None:
    message = AnyOlmMessage.from_parts(row["kind"], row["body"])
    known = conn.execute("SELECT pickle FROM session WHERE id = ?", (row["sender"],)).fetchone()
    if known is None:
        pre_key = message.to_pre_key()
        assert pre_key is not None
        session, plain = mine.create_inbound_session(Curve25519PublicKey.from_base64(row["sender"]), pre_key)
    else:
        session = Session.from_pickle(known["pickle"], _KEY)
        plain = session.decrypt(message)
    conn.execute("INSERT OR REPLACE INTO session VALUES (?, ?)", (row["sender"], session.pickle(_KEY)))
    content = json.loads(plain)["content"]
    group = InboundGroupSession(SessionKey(content["session_key"]))
    conn.execute("INSERT OR REPLACE INTO room_key VALUES (?, ?)", (group.session_id, group.pickle(_KEY)))
    conn.execute("UPDATE inbox SET done = 1, body = NULL WHERE seq = ?", (row["seq"],))
