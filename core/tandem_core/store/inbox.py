"""The shared inbox of to-device events: kept before they are acknowledged, processed in order (laws 1 and 2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tandem_core.store.codec import digest, dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.store.session import set_token
from tandem_core.types import Json, Role, Topic, UserId

SEALED_TYPE = "m.room.encrypted"
_WAITING, _DONE, _UNUSABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One to-device event that waits for its turn."""

    seq: int
    type: str
    sender: UserId
    content: Json


def mark(event: Json) -> str | None:
    """What a to-device event is known again by, whoever fetched it; None if not encrypted: equal ones may be two."""
    if event.get("type") != SEALED_TYPE:
        return None
    return digest([event.get("type"), event.get("sender"), event.get("content")])


def put_batch(
    txn: Transaction, link: Role, events: Sequence[Json], next_batch: str | None, now_ms: int
) -> int:
    """Keep a to-device batch and move this connection's token, in one transaction; None lets it stay.

    Returns how many events were new. The server deletes what we acknowledge, for both programs, so
    the token is stored only together with its events. Encrypted events are told apart by a digest
    (their ciphertext is unique); plaintext kinds are kept each time, and applied idempotently.
    """
    fresh = 0
    for event in events:
        kind, sender, content = event.get("type"), event.get("sender"), event.get("content")
        if not (isinstance(kind, str) and isinstance(sender, str)):
            continue
        usable = isinstance(content, dict)
        fresh += txn.execute(
            "INSERT OR IGNORE INTO inbox (digest, conn, type, sender, content, received_at, state, error)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                mark(event),
                link,
                kind,
                sender,
                dumps(content) if usable else None,
                now_ms,
                _WAITING if usable else _UNUSABLE,
                None if usable else "content is no object",
            ),
        ).rowcount
    if next_batch is not None:
        set_token(txn, link, next_batch)
    if fresh:
        txn.changed(Topic.INBOX)
    return fresh


def put_plain(txn: Transaction, link: Role, kind: str, sender: UserId, content: Json, now_ms: int) -> None:
    """Keep one to-device event that came another way than sync; no token moves."""
    event = {"type": kind, "sender": sender, "content": content}
    txn.execute(
        "INSERT OR IGNORE INTO inbox (digest, conn, type, sender, content, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (mark(event), link, kind, sender, dumps(content), now_ms),
    )
    txn.changed(Topic.INBOX)


def waiting(conn: sqlite3.Connection, limit: int) -> list[InboxRow]:
    """The next events to process, oldest first."""
    rows = conn.execute(
        "SELECT seq, type, sender, content FROM inbox WHERE state = 0 ORDER BY seq LIMIT ?", (limit,)
    ).fetchall()
    return [InboxRow(seq, kind, UserId(sender), _content(text)) for seq, kind, sender, text in rows]


def mark_done(txn: Transaction, seq: int) -> None:
    """The event had its effect; its content goes, its digest stays as a guard against repetition."""
    txn.execute("UPDATE inbox SET state = ?, content = NULL WHERE seq = ?", (_DONE, seq))


def mark_unusable(txn: Transaction, seq: int, error: str) -> None:
    """The event can never be used, for this reason (a word of ours, no content)."""
    txn.execute(
        "UPDATE inbox SET state = ?, content = NULL, error = ? WHERE seq = ?", (_UNUSABLE, error, seq)
    )


def depth(conn: sqlite3.Connection) -> int:
    """How many events wait."""
    count: int = conn.execute("SELECT count(*) FROM inbox WHERE state = 0").fetchone()[0]
    return count


def forget_old(txn: Transaction, before_ms: int) -> None:
    """Drop processed events received before this time; the server cannot send them again by then."""
    txn.execute("DELETE FROM inbox WHERE state != 0 AND received_at < ?", (before_ms,))


def _content(text: str | None) -> Json:
    value: Any = loads(text) if text else {}
    return value if isinstance(value, dict) else {}
