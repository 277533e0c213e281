"""Send encrypted to-device messages in ratchet order, each with its own fixed transaction id (law 6)."""

from __future__ import annotations

import logging
from urllib.parse import quote

from tandem_core.errors import ServerRefused
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import outbox
from tandem_core.store.database import Database

log = logging.getLogger("tandem.crypto.outbox")


async def flush(paths: ProfilePaths, db: Database, http: Http) -> None:
    """Send all that waits; raises what ``Http.request`` raises, and what is not sent stays for the next time."""
    if await db.read(outbox.waiting_to_device) is None:
        return
    async with netlock(paths, "to_device"):
        while (message := await db.read(outbox.waiting_to_device)) is not None:
            where = f"/_matrix/client/v3/sendToDevice/{quote(message.type, safe='')}/{message.txn_id}"
            error = None
            try:
                await http.request("PUT", where, {"messages": message.messages})
            except ServerRefused as refused:
                error = refused.errcode
                log.error("a to-device message was refused for good: %s", error)
            await db.write(outbox.to_device_done, message.id, error)
