"""The one question about confirmations: asked once per account, since its answer lies in the account data."""

from __future__ import annotations

import sqlite3
from enum import StrEnum

from tandem_core import settings
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.types import Role


class Answer(StrEnum):
    """What a person may say."""

    OFF = "off"
    DIRECT = "direct"
    RECOMMENDED = "recommended"


def is_open(conn: sqlite3.Connection) -> bool:
    """Whether to ask: the server has told what other devices chose, and nobody has answered yet."""
    if not any(sessions.connection(conn, link).synced_at for link in Role):
        return False
    return settings.get(conn, "receipts.answered") is not True


def answer(txn: Transaction, said: Answer, now_ms: int) -> None:
    """Keep what a person said; what they have chosen beside it before stays."""
    if said is Answer.DIRECT:
        settings.set_value(txn, "receipts.groups", "off", now_ms=now_ms)
    settings.set_value(txn, "receipts.enabled", said is not Answer.OFF, now_ms=now_ms)
    settings.set_value(txn, "receipts.answered", True, now_ms=now_ms)
