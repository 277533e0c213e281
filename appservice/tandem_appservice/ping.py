"""Have the homeserver knock (spec: ``POST /appservice/{id}/ping``): it sees that we are back, and we that it finds us.

A server that could not reach us waits longer each time before it tries again, up to many minutes; an answered ping
makes it send at once what it has kept.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from tandem_appservice.registration import Registration
from tandem_core.clock import Chance, Clock, jittered_backoff_s
from tandem_core.errors import Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.http import Http, quote

log = logging.getLogger("tandem.appservice.ping")

UNKNOWN = "the homeserver does not know this registration; give it the file and restart it"
UNREACHED = "the homeserver cannot be reached, or cannot reach this service at {url}"


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether the homeserver found us; if not, ``detail`` says why, and ``is_final`` that only a person can help."""

    ok: bool
    detail: str = ""
    is_final: bool = False


async def ping(http: Http, registration: Registration) -> Reached:
    """Ask once. ``http`` has the service's token."""
    where = f"/_matrix/client/v1/appservice/{quote(registration.id)}/ping"
    try:
        await http.request("POST", where, {"transaction_id": secrets.token_hex(8)})
    except SignedOut:
        return Reached(False, UNKNOWN, is_final=True)
    except ServerRefused as refused:
        if refused.status in (401, 403):
            return Reached(False, UNKNOWN, is_final=True)
        # Homeservers older than Matrix 1.7 do not know it.
        return Reached(True)
    except (Offline, RateLimited):
        return Reached(False, UNREACHED.format(url=registration.url))
    return Reached(True)


async def ping_until_reached(
    http: Http, registration: Registration, *, clock: Clock, chance: Chance
) -> Reached:
    """Ask until there is something definite; says once in the log what keeps us waiting."""
    failures = 0
    while True:
        found = await ping(http, registration)
        if found.ok or found.is_final:
            return found
        if failures == 0:
            log.warning("%s", found.detail)
        await clock.sleep(jittered_backoff_s(failures, chance))
        failures += 1
