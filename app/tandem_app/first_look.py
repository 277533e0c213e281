"""The very first rooms, fetched while Qt is still being loaded.

Signed in and nothing known yet: a window could only show an empty list until the engine is imported and has
asked. So a thread asks for one screenful beside the load of Qt, without asyncio and aiohttp. The engine starts
only when this is over and goes on from there; where it fails, nothing was written and the engine does it all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tandem_app.reader import reading

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from tandem_core.paths import ProfilePaths

log = logging.getLogger("tandem.app.first_look")

TIMEOUT_S = 8.0


class FirstLook:
    """One request in a thread of its own. The caller holds the role lock until ``give_up`` has returned."""

    def __init__(self, paths: ProfilePaths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._given_up = False
        self._writing = False
        self._over = False
        self._call: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name="tandem-first-look", daemon=True)
        self._thread.start()

    def when_over(self, call: Callable[[], object]) -> None:
        """Have ``call`` called once, from any thread, when rooms are in the store or none will come."""
        with self._lock:
            if not self._over:
                self._call = call
                return
        call()

    def give_up(self) -> None:
        """Wait no longer: an answer that has not begun to be written never will be."""
        with self._lock:
            self._given_up = True
            writing = self._writing
        if writing:
            self._thread.join()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _may_write(self) -> bool:
        with self._lock:
            self._writing = not self._given_up
            return self._writing

    def _run(self) -> None:
        try:
            _look(self._paths.database, self._may_write)
        except Exception as error:
            # Whatever it is, the engine meets it again and tells it in the window.
            log.info("no first look at the rooms: %s", type(error).__name__)
        finally:
            with self._lock:
                self._over = True
                call, self._call = self._call, None
            if call is not None:
                call()


def begin(paths: ProfilePaths) -> FirstLook | None:
    """Look if this is the very first start: signed in, and no room known. Costs one read of the store."""
    with reading(paths.database) as conn:
        return FirstLook(paths) if conn is not None and _is_empty(conn) else None


def _is_empty(conn: sqlite3.Connection) -> bool:
    return bool(
        conn.execute(
            "SELECT EXISTS (SELECT 1 FROM session WHERE state = 'signed_in')"
            " AND NOT EXISTS (SELECT 1 FROM room WHERE conn = 'app')"
            " AND NOT EXISTS (SELECT 1 FROM connection WHERE conn = 'app' AND pos IS NOT NULL)"
        ).fetchone()[0]
    )


def _look(database: Path, may_write: Callable[[], bool]) -> None:
    from tandem_core.clock import SystemClock, system_chance
    from tandem_core.store import session as sessions
    from tandem_core.store.database import Database
    from tandem_core.sync.first import take_first_look
    from tandem_core.types import Role

    db = Database.open(database)
    try:
        session = db.read_now(sessions.session)
        if session is None or session.access_token is None:
            return
        take_first_look(
            db,
            session,
            Role.APP,
            now_ms=SystemClock().now_ms,
            chance=system_chance(),
            timeout_s=TIMEOUT_S,
            may_write=may_write,
        )
    finally:
        db.close()
