"""Which ways lead to an author, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence

from tandem_core.capabilities import Capabilities
from tandem_core.clock import Clock
from tandem_core.http import Http
from tandem_core.receipts.server_way import ServerTransport
from tandem_core.receipts.transports import Transport
from tandem_core.store.database import Database
from tandem_core.types import Me


def ways(
    db: Database,
    http: Http,
    me: Me,
    server: Capabilities,
    others: Sequence[Transport] = (),
    *,
    clock: Clock,
) -> list[Transport]:
    """The server's own way, if it offers one; then ``others``, which work on every server.

    A server that has not announced support would show the receipt to the whole room (DESIGN law 10).
    """
    if server.delivery and server.receipt_type:
        return [ServerTransport(db, http, me, server, clock=clock), *others]
    return list(others)
