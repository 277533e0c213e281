"""``tandemctl send``: a row in the queue, and what becomes of it."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys

from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE, FAILED
from tandem_core.ctl import world
from tandem_core.ctl.output import note, show, show_json
from tandem_core.errors import BadInput, Expected, UnknownRoom
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import gate, marker
from tandem_core.store import inspect
from tandem_core.types import Change, Json, RoomId, Topic


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    text = sys.stdin.read().rstrip("\n") if options.text == "-" else options.text
    if not text.strip():
        raise BadInput("the text is empty")
    with world.opened(paths) as here:
        return asyncio.run(_send(here, options, text))


async def _send(here: world.World, options: argparse.Namespace, text: str) -> int:
    from tandem_core.sending import enqueue

    room_id = await room_of(here, options)
    txn_id = await here.db.write(
        enqueue,
        room_id,
        "m.room.message",
        {"msgtype": "m.text", "body": text},
        body=text,
        html=None,
        asks=options.ask,
        now_ms=SystemClock().now_ms(),
    )
    return await followed(here, options, room_id, txn_id)


async def room_of(here: world.World, options: argparse.Namespace) -> RoomId:
    """The room to write in, as ``options`` say; raises UnknownRoom, and BadInput for ``--ask`` where nobody can ask."""
    room_id = await _named(here, options)
    if options.ask:
        await here.db.read(_check_asking, room_id)
    return room_id


def _check_asking(conn: sqlite3.Connection, room_id: RoomId) -> None:
    if marker.asks(conn, room_id) is marker.Asks.NEVER:
        raise BadInput(
            "--ask",
            title="Confirmations cannot be asked for in this room",
            advice="That is possible in encrypted chats that are not public, with up to"
            f" {gate.MOST_PEOPLE} other people, where your settings say so.",
        )


async def _named(here: world.World, options: argparse.Namespace) -> RoomId:
    try:
        return await here.db.read(world.room_named, here.link, options.room)
    except UnknownRoom:
        # It may be new: created or joined since the store was last brought up to date.
        if not await world.refresh(here, options.timeout):
            raise
        return await here.db.read(world.room_named, here.link, options.room)


async def followed(here: world.World, options: argparse.Namespace, room_id: RoomId, txn_id: str) -> int:
    """Wait for what becomes of a queued message, unless told not to, and print it; returns the exit status."""
    change = Change(Topic.OUTBOX, room_id)
    if options.no_wait:
        world.ring(here, change)
        _show(options, {"event_id": None, "txn_id": txn_id, "room_id": room_id, "state": "queued"})
        return DONE

    def look(conn: sqlite3.Connection) -> inspect.Outcome | None:
        now = inspect.outcome(conn, txn_id)
        if now is None:
            raise Expected("the message was discarded", title="Not sent", advice="Send it again.")
        return now if now.state in ("sent", "failed") else None

    done = await world.until(here, look, options.timeout, change)
    if done is None:
        note(
            "Not sent yet. It waits in the queue and is sent when Tandem runs and the server can be reached."
        )
        return FAILED
    if done.state == "failed":
        note(f"Not sent: {done.error or 'refused'}. Try again, or see tandemctl doctor.")
        return FAILED
    _show(options, {"event_id": done.event_id, "txn_id": txn_id, "room_id": room_id, "state": "sent"})
    return DONE


def _show(options: argparse.Namespace, sent: Json) -> None:
    if options.json:
        show_json(sent)
    else:
        show([str(sent["event_id"] or sent["txn_id"])])
