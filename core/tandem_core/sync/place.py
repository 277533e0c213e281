"""How a connection begins that has no place, or one that the server no longer knows."""

from __future__ import annotations

from tandem_core.store import devices
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.types import Role


def grown_key(link: Role) -> str:
    """The name of the fact that this connection has been sent all rooms once."""
    return f"sync.grown.{link}"


def start_over(txn: Transaction, link: Role) -> None:
    """Give up this connection's place, durably and before the next answer is applied.

    A request without a place brings no word of changed devices or members for the time between, so all that
    depends on it is outdated now. The to-device token stays.
    """
    devices.mark_all_outdated(txn)
    txn.execute("UPDATE room SET members_complete = 0 WHERE conn = ?", (link,))
    sessions.set_fact(txn, grown_key(link), False)
    sessions.set_pos(txn, link, None, None)
