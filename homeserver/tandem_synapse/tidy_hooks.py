"""Wraps that forget receipts in the very transactions in which Synapse redacts and purges.

Synapse tells modules of closed accounts, but of neither of these.
"""

from __future__ import annotations

from typing import Any

from synapse.module_api import LoggingTransaction

from tandem_synapse import seams, tidy
from tandem_synapse.delivery import Delivery


def _redaction(original: seams.Method) -> seams.Method:
    def _store_redaction(self: Any, txn: LoggingTransaction, event: Any) -> Any:
        result = original(self, txn, event)
        if seams.attached(self, Delivery) is not None:
            # Synapse keeps some redactions whose right it checks later: then the servers must be the same.
            needs_check = event.internal_metadata.need_to_check_redaction()
            domain = event.sender.partition(":")[2] if needs_check else None
            tidy.forget_event(txn, event.room_id, event.redacts, domain)
        return result

    return _store_redaction


def _room(original: seams.Method) -> seams.Method:
    def _purge_room_txn(self: Any, txn: LoggingTransaction, room_id: str) -> Any:
        result = original(self, txn, room_id)
        if seams.attached(self, Delivery) is not None:
            tidy.forget_room(txn, room_id)
        return result

    return _purge_room_txn


def _history(original: seams.Method) -> seams.Method:
    def _purge_history_txn(
        self: Any, txn: LoggingTransaction, room_id: str, token: Any, delete_local_events: bool
    ) -> Any:
        result = original(self, txn, room_id, token, delete_local_events)
        if seams.attached(self, Delivery) is not None:
            tidy.forget_gone_events(txn, room_id)
        return result

    return _purge_history_txn


MAKERS: dict[str, seams.Maker] = {
    seams.STORE_REDACTION: _redaction,
    seams.PURGE_ROOM: _room,
    seams.PURGE_HISTORY: _history,
}
