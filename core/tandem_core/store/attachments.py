"""The attachment behind a row, found by the key that the row goes by in the window and in ``tandemctl``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.attachments import content
from tandem_core.attachments.content import Attachment
from tandem_core.rows import make_row
from tandem_core.store.codec import loads


@dataclass(frozen=True, slots=True)
class Found:
    """``file_name`` is what the sender wrote: only ``attachments.names`` may make a file's name of it."""

    attachment: Attachment
    file_name: str


def find(conn: sqlite3.Connection, key: str) -> Found | None:
    """By event id, or by the transaction id of a message of ours; None where nothing is attached."""
    row = conn.execute(
        "SELECT kind, COALESCE(opened_content, content) AS content FROM event WHERE event_id = ?1"
        " OR event_id = (SELECT event_id FROM send_queue WHERE txn_id = ?1)",
        (key,),
    ).fetchone()
    if row is not None:
        return _found(row["kind"], row["content"])
    queued = conn.execute("SELECT type, content FROM send_queue WHERE txn_id = ?", (key,)).fetchone()
    if queued is None:
        return None
    return _found(make_row(queued["type"], loads(queued["content"])).kind, queued["content"])


def _found(kind: str, text: str) -> Found | None:
    said = loads(text)
    attachment = content.read(kind, said)
    return None if attachment is None else Found(attachment, content.file_name(said))
