"""Attachments of messages in the queue: which files belong to them, and where at the server they are by now."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.attachments import content
from tandem_core.attachments.mxc import Mxc
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import RoomId, Topic

FILE, THUMBNAIL = "file", "thumbnail"
_GONE = "NOT EXISTS (SELECT 1 FROM send_queue AS q WHERE q.txn_id = upload.txn_id AND q.state != 'sent')"


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of one message; ``size`` and ``mimetype`` are those of the bytes that go out."""

    txn_id: str
    part: str
    file: str
    size: int
    mimetype: str
    is_sealed: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message's files are, in bytes; ``in_clear`` is the smallest that lies in the folder as it is."""

    sent: int
    size: int
    in_clear: str | None


def put(txn: Transaction, upload: Upload) -> None:
    txn.execute(
        "INSERT INTO upload (txn_id, part, file, size, mimetype, sealed) VALUES (?, ?, ?, ?, ?, ?)",
        (upload.txn_id, upload.part, upload.file, upload.size, upload.mimetype, int(upload.is_sealed)),
    )


def waiting(conn: sqlite3.Connection, txn_id: str) -> list[Upload]:
    """What of a message is not at the server yet."""
    rows = conn.execute(
        "SELECT part, file, size, mimetype, sealed FROM upload WHERE txn_id = ? AND mxc IS NULL ORDER BY part",
        (txn_id,),
    )
    return [Upload(txn_id, row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]


def note_progress(txn: Transaction, upload: Upload, room_id: RoomId, sent: int) -> bool:
    """So many bytes went out; False if the message was cancelled meanwhile."""
    found = txn.execute(
        "UPDATE upload SET sent = ? WHERE txn_id = ? AND part = ?"
        " AND EXISTS (SELECT 1 FROM send_queue WHERE txn_id = upload.txn_id)",
        (sent, upload.txn_id, upload.part),
    ).rowcount
    txn.changed(Topic.TIMELINE, room_id)
    return bool(found)


def note_uploaded(txn: Transaction, upload: Upload, room_id: RoomId, source: Mxc) -> bool:
    """It is at the server: the message says so from now on. False if the message was cancelled meanwhile."""
    row = txn.one("SELECT content FROM send_queue WHERE txn_id = ?", (upload.txn_id,))
    if row is None:
        return False
    said = content.with_source(loads(row["content"]), upload.part, source)
    txn.execute(
        "UPDATE send_queue SET content = ? WHERE txn_id = ? AND wire_type IS NULL",
        (dumps(said), upload.txn_id),
    )
    txn.execute(
        "UPDATE upload SET mxc = ?, sent = size WHERE txn_id = ? AND part = ?",
        (str(source), upload.txn_id, upload.part),
    )
    txn.changed(Topic.TIMELINE, room_id)
    return True


def progress(conn: sqlite3.Connection, txn_id: str) -> Progress | None:
    """How far the files of a message are; None if it has none, or nothing is left to do."""
    row = conn.execute(
        "SELECT sum(sent) AS sent, sum(size) AS size, min(mxc IS NOT NULL) AS done,"
        " (SELECT file FROM upload WHERE txn_id = ?1 AND NOT sealed ORDER BY part DESC LIMIT 1) AS in_clear"
        " FROM upload WHERE txn_id = ?1",
        (txn_id,),
    ).fetchone()
    if row["size"] is None or row["done"]:
        return None
    return Progress(row["sent"], row["size"], row["in_clear"])


def is_known(conn: sqlite3.Connection, file: str) -> bool:
    """Whether a file of the folder belongs to a message that is not sent yet."""
    row = conn.execute(f"SELECT 1 FROM upload WHERE file = ? AND NOT ({_GONE}) LIMIT 1", (file,)).fetchone()
    return row is not None


def has_settled(conn: sqlite3.Connection) -> bool:
    """Whether there are rows of messages that were sent or cancelled."""
    return conn.execute(f"SELECT 1 FROM upload WHERE {_GONE} LIMIT 1").fetchone() is not None


def forget_settled(txn: Transaction) -> None:
    """Forget the files of messages that were sent or cancelled."""
    txn.execute(f"DELETE FROM upload WHERE {_GONE}")
