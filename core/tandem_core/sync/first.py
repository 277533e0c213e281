"""The first request of a connection, made without an event loop.

A window that has nothing to show yet waits for this, so asyncio and aiohttp stay out of it, and what applies
the answer is imported while the server makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tandem_core.errors import Offline
from tandem_core.http import request_now
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.sync import request
from tandem_core.types import Role

if TYPE_CHECKING:
    from tandem_core.clock import Chance
    from tandem_core.sync.response import Response

log = logging.getLogger("tandem.sync.first")


class TooLate(Exception):
    """Somebody else has begun this connection; nothing was written."""


def take_first_look(
    db: Database,
    session: sessions.Session,
    link: Role,
    *,
    now_ms: Callable[[], int],
    chance: Chance,
    timeout_s: float,
    may_write: Callable[[], bool],
) -> None:
    """Ask for the newest rooms once and keep them with this connection's place and token, all or nothing.

    The caller holds this role's lock. The loop goes on from here as from an answer of its own. Raises TooLate
    if ``may_write`` says no by then, or the connection has a place; what ``request_now`` raises; StoreError.
    """
    # Without a token, nothing is acknowledged (law 1): what comes twice is told apart by the inbox.
    body = request.body(link, rooms=request.FIRST_ROOMS, since=None)
    target = f"{request.SYNC_PATH}?{urlencode(request.query(None, 0))}"
    answer = request_now(
        session.homeserver,
        session.access_token,
        "POST",
        target,
        body,
        timeout_s=timeout_s,
        meanwhile=_import_the_rest,
    )
    from tandem_core.sync.response import NotAResponse, read

    try:
        response = read(answer)
    except NotAResponse as error:
        raise Offline("the answer is no sync response") from error
    skipped = db.write_now(_keep, session, link, response, now_ms(), chance, may_write)
    if skipped:
        log.warning("%s: %d pieces of a sync response were skipped", link, skipped)


def _import_the_rest() -> None:
    from tandem_core.sync import apply, place, response  # noqa: F401


def _keep(
    txn: Transaction,
    session: sessions.Session,
    link: Role,
    response: Response,
    now_ms: int,
    chance: Chance,
    may_write: Callable[[], bool],
) -> int:
    from tandem_core.sync.apply import apply
    from tandem_core.sync.place import start_over

    if not may_write() or sessions.session(txn.conn) != session:
        raise TooLate
    if sessions.connection(txn.conn, link).pos is not None:
        raise TooLate
    start_over(txn, link)
    return apply(txn, link, session.me, response, now_ms=now_ms, chance=chance).skipped
