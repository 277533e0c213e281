"""``tandemctl listen``: new messages, one a line, as soon as they can be read."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3

from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import clean, local_time, show, show_json
from tandem_core.paths import ProfilePaths
from tandem_core.store import inspect
from tandem_core.store.members import display_name
from tandem_core.types import Json, RoomId

_LOOK_EVERY_S = 0.05
_CHECK_PROGRAMS_EVERY = 20
_MOST_WAITING = 1000
_SILENT = frozenset({"none", "state", "redacted"})


class Ear:
    """Finds what is new in the store: arrived after it began to listen, and readable now.

    A message that is still sealed, or has no place in a timeline yet, is remembered until it has.
    """

    def __init__(self, conn: sqlite3.Connection, room_id: RoomId | None) -> None:
        self._conn = conn
        self._room_id = room_id
        self._version = -1
        self._waiting: list[int] = []
        self._last = inspect.newest_arrival(conn)

    def hear(self) -> list[Json]:
        """What can be read since the last call, in the order of arrival."""
        version = inspect.data_version(self._conn)
        if version == self._version:
            return []
        self._version = version
        self._conn.execute("BEGIN")
        try:
            arrived = inspect.arrivals(self._conn, self._last)
            self._last = max((number for number, _ in arrived), default=self._last)
            wanted = [number for number, room_id in arrived if self._room_id in (None, room_id)]
            heard = []
            waiting = []
            for number in [*self._waiting, *wanted]:
                row = inspect.arrived(self._conn, number)
                if (
                    row is None
                    or row["kind"] in _SILENT
                    or row["seal"] == "refused"
                    or row["origin"] == "back"
                ):
                    continue
                if row["seal"] == "sealed" or row["origin"] is None:
                    waiting.append(number)
                else:
                    heard.append(self._value(row))
            self._waiting = waiting[-_MOST_WAITING:]
            return heard
        finally:
            self._conn.execute("ROLLBACK")

    def _value(self, row: sqlite3.Row) -> Json:
        return {
            "event_id": row["event_id"],
            "room_id": row["room_id"],
            "sender": row["sender"],
            "sender_name": display_name(self._conn, row["room_id"], row["sender"]),
            "ts": row["sent_at"],
            "kind": row["kind"],
            "body": row["body"],
            "encrypted": row["seal"] != "plain",
            "seal": row["seal"],
            "own": row["sender"] == row["me"],
        }


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        return asyncio.run(_listen(here, options))


async def _listen(here: world.World, options: argparse.Namespace) -> int:
    room_id = None
    if options.room is not None:
        room_id = await here.db.read(world.room_named, here.link, options.room)
    conn = here.db.reader()
    heard = 0
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        ear = Ear(conn, room_id)
        while not stop.is_set():
            # Whoever works may end: then the next round is worked by another program, or by this one.
            async with world.working(here) as work:
                looks = 0
                while not stop.is_set():
                    for value in ear.hear():
                        _show(options, value)
                        heard += 1
                        if heard == options.count:
                            return DONE
                    looks += 1
                    if looks % _CHECK_PROGRAMS_EVERY == 0 and not work.is_alive(here):
                        break
                    await asyncio.sleep(_LOOK_EVERY_S)
        return DONE
    finally:
        conn.close()


def _show(options: argparse.Namespace, value: Json) -> None:
    if options.json:
        show_json(value)
        return
    body = clean(value["body"]).replace("\n", "\n    ")
    show([f"{local_time(value['ts'])}  {value['room_id']}  {value['sender_name']}: {body}"])
