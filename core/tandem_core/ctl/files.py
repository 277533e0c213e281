"""``tandemctl send-file`` and ``save``: files of messages, out and in."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tandem_core.attachments import names
from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import note, show, show_json
from tandem_core.ctl.send import followed, room_of
from tandem_core.errors import BadInput, Expected
from tandem_core.media import limits, outgoing
from tandem_core.media.cache import Cache, NothingThere
from tandem_core.media.outgoing import Draft, Picture
from tandem_core.paths import ProfilePaths
from tandem_core.store import attachments


def send(paths: ProfilePaths, options: argparse.Namespace) -> int:
    """Queue a file, and wait until it is sent."""
    with world.opened(paths) as here:
        return asyncio.run(_send(here, options))


def save(paths: ProfilePaths, options: argparse.Namespace) -> int:
    """Put the checked file of a message where the user wants it."""
    with world.opened(paths) as here:
        found = here.db.read_now(attachments.find, options.event)
        if found is None:
            raise BadInput(
                options.event,
                title="No message with a file is known by this id",
                advice="See tandemctl messages.",
            )
        part = found.attachment.file
        if part is None:
            raise NothingThere
        to = _target(options.to, found.file_name)

        async def fetch() -> None:
            async with here.door() as http:
                await Cache(paths.media).save(http, part, to, replace=options.force)

        asyncio.run(fetch())
    if options.json:
        show_json({"event_id": options.event, "file": str(to), "size": to.stat().st_size})
    else:
        show([str(to)])
    return DONE


async def _send(here: world.World, options: argparse.Namespace) -> int:
    file = Path(options.file)
    draft = Draft(file, file.name, options.caption, await asyncio.to_thread(_picture, file), options.ask)
    draft.size()
    room_id = await room_of(here, options)
    try:
        async with here.door() as http:
            await limits.refresh(here.db, http)
    except Expected:
        note("The server cannot be asked how big a file may be; it is queued all the same.")
    txn_id = await outgoing.enqueue(here.paths, here.db, room_id, draft, now_ms=SystemClock().now_ms)
    return await followed(here, options, room_id, txn_id)


def _picture(file: Path) -> Picture | None:
    """What its first bytes say it is; a thumbnail takes a decoder, which is the window's."""
    look = outgoing.look_at(file)
    return None if look is None else Picture(look.width, look.height, look.mimetype)


def _target(text: str, file_name: str) -> Path:
    to = Path(text)
    return to / names.saved(file_name) if to.is_dir() else to
