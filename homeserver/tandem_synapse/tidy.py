"""Forgetting delivery receipts: of what is redacted, purged or too old, and of accounts that are closed.

Somebody leaving a room is no reason: what was confirmed stays true.
"""

from __future__ import annotations

from synapse.module_api import LoggingTransaction

_TABLES = ("im_tandem_delivery", "im_tandem_delivery_out")
"""Receipts for our authors, and those that go to other homeservers."""


def forget_event(txn: LoggingTransaction, room_id: str, event_id: str, domain: str | None) -> None:
    """The receipts of a redacted event; with a domain, only if its author is of that server."""
    for table in _TABLES:
        txn.execute(
            f"SELECT DISTINCT author FROM {table} WHERE event_id = ? AND room_id = ?",  # noqa: S608 ours
            (event_id, room_id),
        )
        for (author,) in txn.fetchall():
            if domain is None or str(author).partition(":")[2] == domain:
                txn.execute(
                    f"DELETE FROM {table} WHERE event_id = ? AND author = ?",  # noqa: S608 ours
                    (event_id, author),
                )


def forget_room(txn: LoggingTransaction, room_id: str) -> None:
    """The receipts in a room that is purged."""
    for table in _TABLES:
        txn.execute(f"DELETE FROM {table} WHERE room_id = ?", (room_id,))  # noqa: S608 ours


def forget_gone_events(txn: LoggingTransaction, room_id: str) -> None:
    """The receipts of those events in a room that the server no longer has."""
    for table in _TABLES:
        txn.execute(
            f"DELETE FROM {table} WHERE room_id = ? AND NOT EXISTS"  # noqa: S608 ours
            f" (SELECT 1 FROM events WHERE events.event_id = {table}.event_id)",
            (room_id,),
        )


def forget_user(txn: LoggingTransaction, user_id: str) -> int:
    """What this person confirmed, and what others confirmed of theirs; returns how many receipts."""
    txn.execute("DELETE FROM im_tandem_durable WHERE author = ?", (user_id,))
    return sum(
        _count(txn, f"DELETE FROM {table} WHERE user_id = ? OR author = ?", user_id, user_id)  # noqa: S608
        for table in _TABLES
    )


def forget_older(txn: LoggingTransaction, before_ms: int) -> int:
    """Receipts from before this time in milliseconds; returns how many."""
    return sum(_count(txn, f"DELETE FROM {table} WHERE ts < ?", before_ms) for table in _TABLES)  # noqa: S608


def _count(txn: LoggingTransaction, sql: str, *values: object) -> int:
    txn.execute(sql, values)
    return int(txn.rowcount)
