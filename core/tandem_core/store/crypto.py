"""Rows of encryption: our account, sessions and who got them. What they hold is pickled and sealed already."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_core.clock import elapsed_ms
from tandem_core.store import session
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, EventId, Json, RoomId, Topic, UserId

ALL_PLACES = 2**32
"""More than a Megolm ratchet has."""
RESTORED_FACT = "crypto.restored"
FIRST_FOR_MS = 60 * 86_400_000
"""So long the beginning of a session of ours is kept: it is written with for a month at most."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Our Olm account; ``generation`` moves with every change by any program."""

    pickle: str
    generation: int
    device_keys_uploaded: bool
    fallback_made_at: int | None


@dataclass(frozen=True, slots=True)
class InboundRow:
    """A Megolm session that somebody's messages open with."""

    pickle: str
    sender: UserId
    sender_key: str
    claimed_ed25519: str | None
    first_index: int
    source: str


@dataclass(frozen=True, slots=True)
class OutboundRow:
    """The Megolm session that we write with in a room."""

    session_id: str
    pickle: str
    made_at: int
    messages: int
    is_retired: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """An older copy of the store was noticed; ``is_put_away``: the user has read of it."""

    at: int
    is_put_away: bool


def account(conn: sqlite3.Connection) -> AccountRow | None:
    row = conn.execute(
        "SELECT pickle, generation, device_keys_uploaded, fallback_made_at FROM crypto_account"
    ).fetchone()
    return None if row is None else AccountRow(row[0], row[1], bool(row[2]), row[3])


def put_account(txn: Transaction, pickle: str, identity: Json) -> int:
    """Keep the account; returns its new generation."""
    txn.execute(
        "INSERT INTO crypto_account (id, pickle, identity) VALUES (1, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET pickle = excluded.pickle, generation = generation + 1",
        (pickle, dumps(identity)),
    )
    row = txn.one("SELECT generation FROM crypto_account")
    return int(row[0]) if row else 0


def identity(conn: sqlite3.Connection) -> Json | None:
    """Our public identity keys {curve25519, ed25519}."""
    row = conn.execute("SELECT identity FROM crypto_account").fetchone()
    return None if row is None else dict(loads(row[0]))


def note_fallback(txn: Transaction, now_ms: int | None) -> None:
    """When the fallback key on the server was made; None: the one there is not ours to use, make another."""
    txn.execute("UPDATE crypto_account SET fallback_made_at = ?", (now_ms,))


def note_device_keys_uploaded(txn: Transaction) -> None:
    txn.execute("UPDATE crypto_account SET device_keys_uploaded = 1")


def put_upload(txn: Transaction, body: Json, now_ms: int) -> None:
    """A ``/keys/upload`` body that must reach the server byte for byte."""
    txn.execute("INSERT INTO key_upload (body, made_at) VALUES (?, ?)", (dumps(body), now_ms))
    txn.changed(Topic.DEVICES)


def waiting_upload(conn: sqlite3.Connection) -> tuple[int, Json] | None:
    row = conn.execute("SELECT id, body FROM key_upload WHERE done = 0 ORDER BY id LIMIT 1").fetchone()
    return None if row is None else (row["id"], dict(loads(row["body"])))


def upload_done(txn: Transaction, upload_id: int) -> None:
    txn.execute("DELETE FROM key_upload WHERE id = ?", (upload_id,))


def olm_sessions(conn: sqlite3.Connection, sender_key: str) -> list[tuple[str, str]]:
    """(session id, pickle) with this peer, the one used last first: all that may open what comes."""
    rows = conn.execute(
        "SELECT session_id, pickle FROM olm_session WHERE sender_key = ? ORDER BY used_at DESC, made_at DESC LIMIT 8",
        (sender_key,),
    )
    return [(row[0], row[1]) for row in rows]


def has_olm_session(conn: sqlite3.Connection, sender_key: str) -> bool:
    """Whether there is a session with this peer to write with."""
    return newest_olm_session(conn, sender_key) is not None


def newest_olm_session(conn: sqlite3.Connection, sender_key: str) -> str | None:
    """The pickle of the session with this peer that was used last and may be written with, or None.

    One that lay in an older copy of the store opens what comes, and encrypts nothing more.
    """
    row = conn.execute(
        "SELECT pickle FROM olm_session WHERE sender_key = ? AND stale = 0"
        " ORDER BY used_at DESC, made_at DESC LIMIT 1",
        (sender_key,),
    ).fetchone()
    return None if row is None else str(row["pickle"])


def put_olm_session(txn: Transaction, session_id: str, sender_key: str, pickle: str, now_ms: int) -> None:
    """Keep a session that was just used: it is the last used of its peer from now on, whatever the clock says."""
    txn.execute(
        "INSERT INTO olm_session (session_id, sender_key, pickle, made_at, used_at) VALUES (?1, ?2, ?3, ?4,"
        " max(?4, 1 + COALESCE((SELECT max(used_at) FROM olm_session WHERE sender_key = ?2), 0)))"
        " ON CONFLICT (session_id) DO UPDATE SET pickle = excluded.pickle, used_at = excluded.used_at",
        (session_id, sender_key, pickle, now_ms),
    )


def inbound(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> InboundRow | None:
    row = conn.execute(
        "SELECT pickle, sender, sender_key, claimed_ed25519, first_index, source FROM megolm_inbound"
        " WHERE room_id = ? AND session_id = ?",
        (room_id, session_id),
    ).fetchone()
    return None if row is None else InboundRow(*row)


def all_inbound(conn: sqlite3.Connection) -> list[tuple[RoomId, str, InboundRow]]:
    """Every inbound session (room, session id, row), for export."""
    rows = conn.execute(
        "SELECT room_id, session_id, pickle, sender, sender_key, claimed_ed25519, first_index, source"
        " FROM megolm_inbound ORDER BY room_id, session_id"
    )
    return [(RoomId(row[0]), str(row[1]), InboundRow(*row[2:])) for row in rows]


def put_inbound(txn: Transaction, room_id: RoomId, session_id: str, row: InboundRow, now_ms: int) -> None:
    """Keep a session, or a better copy of it: what waited for it is tried again, and it is due for the backup."""
    txn.execute(
        "INSERT OR REPLACE INTO megolm_inbound (room_id, session_id, sender, sender_key, claimed_ed25519, pickle,"
        " first_index, source, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            room_id,
            session_id,
            row.sender,
            row.sender_key,
            row.claimed_ed25519,
            row.pickle,
            row.first_index,
            row.source,
            now_ms,
        ),
    )
    txn.execute(
        "UPDATE event SET seal_reason = NULL WHERE room_id = ? AND session_id = ? AND seal = 'sealed'",
        (room_id, session_id),
    )
    txn.execute("DELETE FROM withheld WHERE room_id = ? AND session_id = ?", (room_id, session_id))
    txn.execute(
        "INSERT OR IGNORE INTO backup_waiting (room_id, session_id) VALUES (?, ?)", (room_id, session_id)
    )
    txn.changed(Topic.KEYS, room_id)


def to_try(conn: sqlite3.Connection, limit: int) -> list[EventId]:
    """Sealed events nobody has tried yet, or whose tried session got better, in the order they were sent."""
    rows = conn.execute(
        "SELECT event_id FROM event WHERE seal = 'sealed' AND seal_reason IS NULL ORDER BY sent_at, rowid LIMIT ?",
        (limit,),
    )
    return [EventId(row["event_id"]) for row in rows]


def is_replay(txn: Transaction, session_id: str, index: int, event_id: str, sent_at: int) -> bool:
    """Whether this place of the ratchet already opened another event; if not, this event has it now."""
    row = txn.one(
        "SELECT event_id, sent_at FROM megolm_replay WHERE session_id = ? AND message_index = ?",
        (session_id, index),
    )
    if row is not None:
        return bool(row["event_id"] != event_id or row["sent_at"] != sent_at)
    txn.execute(
        "INSERT INTO megolm_replay (session_id, message_index, event_id, sent_at) VALUES (?, ?, ?, ?)",
        (session_id, index, event_id, sent_at),
    )
    return False


def put_withheld(
    txn: Transaction, room_id: RoomId, session_id: str, sender: UserId, code: str, reason: str | None
) -> None:
    """Somebody will not give us this session; events that wait for it say so."""
    txn.execute(
        "INSERT OR REPLACE INTO withheld (room_id, session_id, sender, code, reason) VALUES (?, ?, ?, ?, ?)",
        (room_id, session_id, sender, code, reason),
    )
    txn.execute(
        "UPDATE event SET seal_reason = NULL WHERE room_id = ? AND session_id = ? AND seal = 'sealed'",
        (room_id, session_id),
    )
    txn.changed(Topic.KEYS, room_id)


def withheld_code(conn: sqlite3.Connection, room_id: RoomId, session_id: str, sender: UserId) -> str | None:
    row = conn.execute(
        "SELECT code FROM withheld WHERE room_id = ? AND session_id = ? AND sender = ?",
        (room_id, session_id, sender),
    ).fetchone()
    return None if row is None else str(row["code"])


def outbound(conn: sqlite3.Connection, room_id: RoomId) -> OutboundRow | None:
    row = conn.execute(
        "SELECT session_id, pickle, made_at, messages, retired FROM megolm_outbound WHERE room_id = ?",
        (room_id,),
    ).fetchone()
    return None if row is None else OutboundRow(row[0], row[1], row[2], row[3], bool(row[4]))


def put_outbound(
    txn: Transaction, room_id: RoomId, session_id: str, pickle: str, made_at: int, messages: int
) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO megolm_outbound (room_id, session_id, pickle, made_at, messages)"
        " VALUES (?, ?, ?, ?, ?)",
        (room_id, session_id, pickle, made_at, messages),
    )


def places_used(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> int:
    """How many places of a Megolm session this store knows to have used for writing.

    0 if the session is none of ours; every place there is if we write with it no more.
    """
    row = conn.execute(
        "SELECT o.messages FROM megolm_outbound AS o WHERE o.room_id = ?1 AND o.session_id = ?2"
        " AND NOT EXISTS (SELECT 1 FROM megolm_lost AS l WHERE l.session_id = ?2)",
        (room_id, session_id),
    ).fetchone()
    if row is not None:
        return int(row["messages"])
    is_over = conn.execute(
        "SELECT 1 FROM megolm_lost WHERE session_id = ?2 UNION ALL"
        " SELECT 1 FROM megolm_inbound WHERE room_id = ?1 AND session_id = ?2 AND source = 'own'",
        (room_id, session_id),
    ).fetchone()
    return 0 if is_over is None else ALL_PLACES


def give_up_ratchets(txn: Transaction, lost: Iterable[str], now_ms: int) -> None:
    """Encrypt no more with any session that is here, Megolm or Olm; Olm ones still open what comes.

    ``lost``: Megolm sessions of ours that went further than this store knows. They are no news from now on.
    """
    txn.executemany(
        "INSERT OR IGNORE INTO megolm_lost (session_id, noticed_at) VALUES (?, ?)",
        [(session_id, now_ms) for session_id in lost],
    )
    txn.execute("UPDATE megolm_outbound SET retired = 1")
    txn.execute("UPDATE olm_session SET stale = 1")


def note_restored(txn: Transaction, now_ms: int) -> None:
    """Keep for the user that this store turned out to be an older copy of itself."""
    session.set_fact(txn, RESTORED_FACT, {"at": now_ms, "put_away": False})
    for topic in (Topic.DEVICES, Topic.SETTINGS, Topic.STATUS):
        txn.changed(topic)


def restored(conn: sqlite3.Connection) -> Restored | None:
    """When this store last turned out to be an older copy, or None."""
    noticed = session.fact(conn, RESTORED_FACT)
    return None if noticed is None else Restored(noticed["at"], noticed["put_away"])


def put_restored_away(txn: Transaction, at_ms: int) -> None:
    """The user has read of what was noticed at this time; a later one is still to be told."""
    noticed = restored(txn.conn)
    if noticed is not None and noticed.at == at_ms:
        session.set_fact(txn, RESTORED_FACT, {"at": noticed.at, "put_away": True})
        txn.changed(Topic.SETTINGS)


def forget_uploads(txn: Transaction) -> None:
    """Drop what was to be uploaded: the server has other keys under these ids, or may have."""
    txn.execute("DELETE FROM key_upload")


def shares(conn: sqlite3.Connection, session_id: str) -> dict[tuple[UserId, DeviceId, str], str]:
    """Which devices were dealt with for this session: ``shared``, ``again``, ``no_olm`` or ``withheld:CODE``.

    A device is told by its identity key, too: another one may have its name by now.
    """
    rows = conn.execute(
        "SELECT user_id, device_id, curve25519, outcome FROM key_share WHERE session_id = ?", (session_id,)
    )
    return {(UserId(row[0]), DeviceId(row[1]), str(row[2])): str(row[3]) for row in rows}


def put_share(
    txn: Transaction,
    session_id: str,
    user_id: UserId,
    device_id: DeviceId,
    curve25519: str,
    index: int,
    outcome: str,
) -> None:
    """Note what became of this session for a device at this place; from where on it was entitled to it stays noted."""
    txn.execute(
        "INSERT INTO key_share (session_id, user_id, device_id, curve25519, message_index, outcome, first_index)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5) ON CONFLICT (session_id, user_id, device_id) DO UPDATE SET"
        " first_index = CASE WHEN key_share.curve25519 = excluded.curve25519"
        " AND key_share.outcome NOT LIKE 'withheld:%' AND excluded.outcome NOT LIKE 'withheld:%'"
        " THEN min(key_share.first_index, excluded.first_index) ELSE excluded.first_index END,"
        " curve25519 = excluded.curve25519, message_index = excluded.message_index, outcome = excluded.outcome",
        (session_id, user_id, device_id, curve25519, index, outcome),
    )


def entitled_from(
    conn: sqlite3.Connection, session_id: str, user_id: UserId, device_id: DeviceId, curve25519: str
) -> int | None:
    """From which place of a session of ours on this device, told by its key, was to have it; None: not at all."""
    row = conn.execute(
        "SELECT first_index FROM key_share WHERE session_id = ? AND user_id = ? AND device_id = ? AND curve25519 = ?"
        " AND outcome NOT LIKE 'withheld:%'",
        (session_id, user_id, device_id, curve25519),
    ).fetchone()
    return None if row is None else int(row["first_index"])


def place_of(conn: sqlite3.Connection, session_id: str, event_id: str) -> int | None:
    """The place in its session of an event that is open here, also of one of our own."""
    row = conn.execute(
        "SELECT message_index FROM megolm_replay WHERE session_id = ? AND event_id = ?",
        (session_id, event_id),
    ).fetchone()
    return None if row is None else int(row["message_index"])


def put_first(txn: Transaction, session_id: str, room_id: RoomId, pickle: str, now_ms: int) -> None:
    """Keep a session of ours as it begins; those too old to be of use go."""
    txn.execute("DELETE FROM megolm_first WHERE abs(? - made_at) > ?", (now_ms, FIRST_FOR_MS))
    txn.execute(
        "INSERT OR IGNORE INTO megolm_first (session_id, room_id, pickle, made_at) VALUES (?, ?, ?, ?)",
        (session_id, room_id, pickle, now_ms),
    )


def first(conn: sqlite3.Connection, room_id: RoomId, session_id: str) -> str | None:
    """The pickle of a session of ours as it began, or None: it is another device's, or too old."""
    row = conn.execute(
        "SELECT pickle FROM megolm_first WHERE session_id = ? AND room_id = ?", (session_id, room_id)
    ).fetchone()
    return None if row is None else str(row["pickle"])


def sent_again_from(
    conn: sqlite3.Connection, session_id: str, user_id: UserId, device_id: DeviceId, curve25519: str
) -> int | None:
    """From which place on this device got the session again by hand, or None."""
    row = conn.execute(
        "SELECT message_index FROM key_again WHERE session_id = ? AND user_id = ? AND device_id = ?"
        " AND curve25519 = ?",
        (session_id, user_id, device_id, curve25519),
    ).fetchone()
    return None if row is None else int(row["message_index"])


def note_sent_again(
    txn: Transaction,
    session_id: str,
    user_id: UserId,
    device_id: DeviceId,
    curve25519: str,
    index: int,
    now_ms: int,
) -> None:
    """A person had the session sent again to this device, from this place on."""
    txn.execute(
        "INSERT OR REPLACE INTO key_again (session_id, user_id, device_id, curve25519, message_index, sent_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (session_id, user_id, device_id, curve25519, index, now_ms),
    )


def share_again(txn: Transaction, curve25519: str) -> None:
    """Have the sessions in use go once more to the device with this key, which may not have been able to open them."""
    txn.execute(
        "UPDATE key_share SET outcome = 'again' WHERE curve25519 = ? AND outcome = 'shared'"
        " AND session_id IN (SELECT session_id FROM megolm_outbound WHERE NOT retired)",
        (curve25519,),
    )
    # A key that was sent again by hand may be among what it could not open.
    txn.execute("DELETE FROM key_again WHERE curve25519 = ?", (curve25519,))


def note_wedged(
    txn: Transaction,
    curve25519: str,
    user_id: UserId,
    device_id: DeviceId,
    now_ms: int,
    at_most_every_ms: int,
) -> None:
    """A session with this device is broken: a new one is due, unless we tried lately."""
    row = txn.one("SELECT asked_at FROM unwedge WHERE curve25519 = ?", (curve25519,))
    if row is not None and elapsed_ms(row["asked_at"], now_ms) < at_most_every_ms:
        return
    txn.execute(
        "INSERT OR REPLACE INTO unwedge (curve25519, user_id, device_id, asked_at, due) VALUES (?, ?, ?, ?, 1)",
        (curve25519, user_id, device_id, now_ms),
    )
    txn.changed(Topic.DEVICES)


def wedged(conn: sqlite3.Connection) -> list[tuple[str, UserId, DeviceId]]:
    rows = conn.execute("SELECT curve25519, user_id, device_id FROM unwedge WHERE due = 1 LIMIT 20")
    return [(str(row[0]), UserId(row[1]), DeviceId(row[2])) for row in rows]


def unwedged(txn: Transaction, curve25519s: Iterable[str]) -> None:
    txn.executemany("UPDATE unwedge SET due = 0 WHERE curve25519 = ?", [(key,) for key in curve25519s])
