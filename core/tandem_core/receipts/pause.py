"""No confirmations for a while: on this device, until a time (``receipts.paused_until``)."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta

from tandem_core import settings
from tandem_core.errors import BadInput
from tandem_core.store.database import Transaction

HOUR_MS = 3_600_000
_MORNING_H = 6


def end_of(how: str, now_ms: int) -> int:
    """When a pause for an ``hour`` or until ``tomorrow`` (6 o'clock, local time) ends, in ms; raises BadInput."""
    match how:
        case "hour":
            return now_ms + HOUR_MS
        case "tomorrow":
            here = datetime.fromtimestamp(now_ms / 1000).astimezone() + timedelta(days=1)
            return round(here.replace(hour=_MORNING_H, minute=0, second=0, microsecond=0).timestamp() * 1000)
    raise BadInput(f"confirmations cannot be paused for {how!r}", advice="It is hour or tomorrow.")


def pause(txn: Transaction, until_ms: int, now_ms: int) -> None:
    """Confirm nothing before then."""
    settings.set_value(txn, "receipts.paused_until", until_ms, now_ms=now_ms)


def resume(txn: Transaction, now_ms: int) -> None:
    """Go on confirming what comes from now on; what came in the pause may open later, and is not confirmed."""
    settings.set_value(txn, "receipts.paused_until", now_ms, now_ms=now_ms)


def paused_until(conn: sqlite3.Connection, now_ms: int) -> int | None:
    """When the pause ends (ms), or None while there is none."""
    until = settings.get(conn, "receipts.paused_until")
    return until if isinstance(until, int) and now_ms < until else None
