"""``tandemctl messages``: the newest messages of a room, oldest of them first."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3

from tandem_core import trust
from tandem_core.attachments.names import size_words
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import clean, local_time, note, show, show_json
from tandem_core.paths import ProfilePaths
from tandem_core.store.inspect import is_quiet, links_of
from tandem_core.store.view import Row, page
from tandem_core.trust import EventTrust
from tandem_core.types import Change, EventId, Json, Me, Role, RoomId, Topic


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        if not asyncio.run(world.refresh(here, options.timeout)):
            note("The server cannot be reached; this is what is stored.")
        link = Role(options.link) if options.link else here.link
        room_id = here.db.read_now(world.room_named, link, options.room)
        if not asyncio.run(_fetch_older(here, link, room_id, options)):
            note("Older messages could not be fetched.")
        rows = here.db.read_now(page, link, room_id, limit=options.count)[::-1]
        seen_by = here.db.read_now(links_of, [row.event_id for row in rows if row.event_id])
        trusts = here.db.read_now(_trusts, here.session.me, rows)
    if options.json:
        show_json(
            [
                value(row, seen_by.get(row.event_id or "", [])) | {"sender_trust": trusts[at].value}
                for at, row in enumerate(rows)
            ]
        )
    else:
        show(
            line(row) + (f"\n    [{trusts[at].words}]" if trusts[at].words else "")
            for at, row in enumerate(rows)
        )
    return DONE


def _trusts(conn: sqlite3.Connection, me: Me, rows: list[Row]) -> list[EventTrust]:
    """What speaks against each message's sender; of our own messages, nothing."""
    return [
        EventTrust.GOOD if row.event_id is None else trust.of_event(conn, me, EventId(row.event_id))
        for row in rows
    ]


def value(row: Row, links: list[str]) -> Json:
    """One message for scripts; ``links`` are the programs that have it in their own timeline."""
    return {
        "event_id": row.event_id,
        "txn_id": row.txn_id,
        "sender": row.sender,
        "sender_name": row.sender_name,
        "ts": row.sent_at,
        "kind": row.kind,
        "body": row.body,
        "encrypted": row.seal != "plain",
        "seal": row.seal,
        "seal_reason": row.seal_reason,
        "own": row.is_own,
        "send_state": row.send_state or None,
        "edited": row.edited,
        "redacted": row.redacted,
        "attachment": _attachment(row),
        "links": links,
    }


def line(row: Row) -> str:
    """One message for people; further lines are indented, so that no text looks like another message."""
    if row.seal in ("sealed", "refused"):
        body = f"[cannot be decrypted: {row.seal_reason or 'no key yet'}]"
    elif row.redacted:
        body = "[removed]"
    else:
        body = clean(_words(row)).replace("\n", "\n    ")
    mark = f" [{row.send_state}]" if row.send_state not in ("", "sent") else ""
    return f"{local_time(row.sent_at)}  {row.sender_name}: {body}{mark}"


def _attachment(row: Row) -> Json | None:
    """What is attached; ``size`` in bytes as its sender says, None if nothing was said."""
    found = row.attachment
    if found is None or row.redacted:
        return None
    file = found.file
    return {
        "name": found.name,
        "caption": found.caption,
        "size": found.size,
        "mimetype": file.mimetype if file else None,
        "width": file.width if file else None,
        "height": file.height if file else None,
        "encrypted": file is not None and file.cipher is not None,
    }


def _words(row: Row) -> str:
    found = row.attachment
    if found is None:
        return row.body
    size = "" if found.size is None else f", {size_words(found.size)}"
    caption = f" {found.caption}" if found.caption else ""
    return f"[{found.kind}: {found.name}{size}]{caption}"


async def _fetch_older(here: world.World, link: Role, room_id: RoomId, options: argparse.Namespace) -> bool:
    """Fetch older messages while there are fewer than asked for; False if that failed."""
    from tandem_core.clock import SystemClock, system_chance
    from tandem_core.errors import Expected
    from tandem_core.sync.history import History

    async def is_enough() -> bool:
        count: int = options.count
        return len(await here.db.read(page, link, room_id, limit=count)) >= count

    if await is_enough():
        return True
    try:
        async with here.door() as http:
            history = History(
                here.db, http, here.session.me, link, clock=SystemClock(), chance=system_chance()
            )
            while not await is_enough() and await history.back(room_id, 50):
                pass
            # What has just come may be sealed with keys that are here.
            await world.until(
                here, lambda conn: is_quiet(conn) or None, options.timeout, Change(Topic.TIMELINE, room_id)
            )
    except Expected:
        return False
    return True
