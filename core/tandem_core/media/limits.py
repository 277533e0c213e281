"""How big a file the homeserver takes: asked, kept, and told to people before anything is uploaded."""

from __future__ import annotations

import sqlite3

from tandem_core.attachments.names import size_words
from tandem_core.errors import Expected
from tandem_core.http import Http
from tandem_core.media import api
from tandem_core.store import session
from tandem_core.store.database import Database, Transaction

_FACT = "media.upload_size"


class TooBigForServer(Expected):
    """``size`` and ``most`` in bytes."""

    title = "The file is too big for your homeserver"
    advice = "Send a smaller one, or share it in another way."

    def __init__(self, size: int, most: int) -> None:
        words, takes = size_words(size), size_words(most)
        if words == takes:
            words = f"{size_words(size - most)} too much"
        super().__init__(f"{words}; it takes {takes} at most")


def kept(conn: sqlite3.Connection) -> int | None:
    """The most bytes of one file, as the server last said; None if it does not say or was never asked."""
    size = session.fact(conn, _FACT)
    return size if type(size) is int else None


async def refresh(db: Database, http: Http) -> int | None:
    """Ask the server and keep what it says. Raises as ``Http.request``."""
    size = await api.upload_limit(http)
    if size != await db.read(kept):
        await db.write(_keep, size)
    return size


def check(size: int, most: int | None) -> None:
    """Raises TooBigForServer."""
    if most is not None and size > most:
        raise TooBigForServer(size, most)


def _keep(txn: Transaction, size: int | None) -> None:
    session.set_fact(txn, _FACT, size)
