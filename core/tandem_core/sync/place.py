"""How a connection begins that has no place, or one that the server no longer knows."""

from __future__ import annotations

from tandem_core.store import devices
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.sync.request import TO_DEVICE_LIMIT
from tandem_core.sync.response import ToDevice
from tandem_core.types import Role


def grown_key(link: Role) -> str:
    """The name of the fact that this connection has been sent all rooms once."""
    return f"sync.grown.{link}"


def went_back(held: str | None, block: ToDevice | None) -> bool:
    """Whether the server's to-device count is behind the token that we hold: it was restored from a backup.

    A full page proves nothing: it ends with its last event, and may repeat what we have not acknowledged yet.
    """
    if held is None or block is None or len(block.events) >= TO_DEVICE_LIMIT:
        return False
    # Other servers may have tokens that are no numbers; of those we know no order.
    if not (held.isdecimal() and block.next_batch.isdecimal()):
        return False
    return int(block.next_batch) < int(held)


def start_over(txn: Transaction, link: Role, *, and_forget_token: bool = False) -> None:
    """Give up this connection's place, durably and before the next answer is applied.

    A request without a place brings no word of changed devices or members for the time between, so all that
    depends on it is outdated now. The to-device token stays, unless the server is one that never gave it.
    """
    if and_forget_token:
        sessions.forget_token(txn, link)
    devices.mark_all_outdated(txn)
    txn.execute("UPDATE room SET members_complete = 0 WHERE conn = ?", (link,))
    sessions.set_fact(txn, grown_key(link), False)
    sessions.set_pos(txn, link, None, None)
