"""Forgetting delivery receipts: of what is redacted, purged or too old, and of accounts that are closed.

Somebody leaving a room is no reason: what was confirmed stays true.
"""

from __future__ import annotations

from synapse.module_api import LoggingTransaction


def forget_event(txn: LoggingTransaction, room_id: str, event_id: str, domain: str | None) -> None:
    """The receipts of a redacted event; with a domain, only if its author is of that server."""
    txn.execute(
        "SELECT DISTINCT author FROM im_tandem_delivery WHERE event_id = ? AND room_id = ?",
        (event_id, room_id),
    )
    for (author,) in txn.fetchall():
        if domain is None or str(author).partition(":")[2] == domain:
            txn.execute(
                "DELETE FROM im_tandem_delivery WHERE event_id = ? AND author = ?", (event_id, author)
            )


def forget_room(txn: LoggingTransaction, room_id: str) -> None:
    """The receipts in a room that is purged."""
    txn.execute("DELETE FROM im_tandem_delivery WHERE room_id = ?", (room_id,))


def forget_gone_events(txn: LoggingTransaction, room_id: str) -> None:
    """The receipts of those events in a room that the server no longer has."""
    txn.execute(
        "DELETE FROM im_tandem_delivery WHERE room_id = ? AND NOT EXISTS"
        " (SELECT 1 FROM events WHERE events.event_id = im_tandem_delivery.event_id)",
        (room_id,),
    )


def forget_user(txn: LoggingTransaction, user_id: str) -> int:
    """What this person confirmed, and what others confirmed of theirs; returns how many receipts."""
    txn.execute("DELETE FROM im_tandem_delivery WHERE user_id = ? OR author = ?", (user_id, user_id))
    return int(txn.rowcount)


def forget_older(txn: LoggingTransaction, before_ms: int) -> int:
    """Receipts from before this time in milliseconds; returns how many."""
    txn.execute("DELETE FROM im_tandem_delivery WHERE ts < ?", (before_ms,))
    return int(txn.rowcount)
