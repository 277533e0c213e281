"""What all of a user's devices share: rules in account data, and exceptions as this device has opened them.

Rules by kind of room stand in clear in ``im.tandem.delivery_settings``, where a homeserver and an appservice can go
by them. Exceptions about rooms and people name whom somebody avoids, so they are encrypted in
``im.tandem.delivery_exceptions``; what was opened of them lies in ``shared_exception``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from tandem_core.store import account_data
from tandem_core.store import session as sessions
from tandem_core.store.codec import digest
from tandem_core.store.database import Transaction
from tandem_core.types import Json, Topic

DELIVERY_SETTINGS = "im.tandem.delivery_settings"
"""Account data: ``{"enabled", "durable", "rules": {...}, "changed": {name: ms}}``; ``{"enabled": false}`` is enough."""
DELIVERY_EXCEPTIONS = "im.tandem.delivery_exceptions"
LATEST_MS = 1 << 52
"""A time above this is nobody's clock, and counts as not known."""
_STANDING = "delivery_exceptions"


@dataclass(frozen=True, slots=True)
class Shared:
    """A value as it is shared, not checked yet; ``changed_at`` in ms, 0 where nobody said."""

    value: Any
    changed_at: int


def rule(conn: sqlite3.Connection, name: str) -> Shared | None:
    """What the account data says of a rule by its name there; None where it says nothing."""
    return rule_in(account_data.get(conn, DELIVERY_SETTINGS) or {}, name)


def rule_in(content: Json, name: str) -> Shared | None:
    """The same of one content. Once it says whether deliveries are confirmed, the question is ``answered``."""
    found: Json
    match name:
        case "answered":
            found = {name: True} if isinstance(content.get("enabled"), bool) else {}
        case "enabled":
            found = content
        case _:
            rules = content.get("rules", {})
            # None is no value of any rule: all of them are unsound then.
            found = rules if isinstance(rules, dict) else {name: None}
    return Shared(found[name], time_in(content.get("changed"), name)) if name in found else None


def time_in(times: Any, name: str) -> int:
    """When a value was chosen, as a map of times says; 0 for what makes no sense."""
    at = times.get(name) if isinstance(times, dict) else None
    return at if is_time(at) else 0


def is_time(at: Any) -> TypeGuard[int]:
    return isinstance(at, int) and not isinstance(at, bool) and 0 < at <= LATEST_MS


# ── Exceptions ─────────────────────────────────────────────────────────────────────────────────


def exception(conn: sqlite3.Connection, scope: str, target: str) -> Shared | None:
    """What the user's devices agree on for a room or person; ``default``: an exception that was removed."""
    row = conn.execute(
        "SELECT value, changed_at FROM shared_exception WHERE scope = ? AND target = ?", (scope, target)
    ).fetchone()
    return None if row is None else Shared(row["value"], row["changed_at"])


def exceptions(conn: sqlite3.Connection) -> dict[tuple[str, str], Shared]:
    """All of them by scope and target, removed ones too."""
    rows = conn.execute("SELECT scope, target, value, changed_at FROM shared_exception")
    return {(row["scope"], row["target"]): Shared(row["value"], row["changed_at"]) for row in rows}


def merge_exceptions(txn: Transaction, found: Mapping[tuple[str, str], Shared]) -> bool:
    """Take over what is newer; of two choices made at the same time ``never`` holds. Returns whether any was."""
    held = exceptions(txn.conn)
    news = [
        (*where, told.value, told.changed_at)
        for where, told in found.items()
        if where not in held or _is_newer(told, held[where])
    ]
    txn.executemany("INSERT OR REPLACE INTO shared_exception VALUES (?, ?, ?, ?)", news)
    if news:
        txn.changed(Topic.SETTINGS)
    return bool(news)


def _is_newer(told: Shared, held: Shared) -> bool:
    if told.changed_at != held.changed_at:
        return told.changed_at > held.changed_at
    return bool(told.value == "never" and held.value != "never")


@dataclass(frozen=True, slots=True)
class Standing:
    """How the encrypted exceptions stand here: which content was opened, which cannot be, whether to begin anew."""

    opened: str = ""
    bad: str = ""
    anew: bool = False
    lacks: bool = False
    """Something that this device knows is not in what was opened last."""
    others: str = "{}"
    """What other versions keep beside ours, as JSON."""


def standing(conn: sqlite3.Connection) -> Standing:
    """What the last look at the exceptions found."""
    kept = sessions.fact(conn, _STANDING)
    return Standing(**kept) if isinstance(kept, dict) else Standing()


def set_standing(txn: Transaction, now: Standing) -> None:
    """Keep it, and say so if that changes whether they can be believed."""
    if now != standing(txn.conn):
        kept = asdict(now)
        sessions.set_fact(txn, _STANDING, kept)
        txn.changed(Topic.SETTINGS)


def begin_exceptions_anew(txn: Transaction) -> None:
    """What is encrypted for keys that nobody has any more gives way to what this device knows."""
    if account_data.get(txn.conn, DELIVERY_EXCEPTIONS) or exceptions(txn.conn):
        set_standing(txn, replace(standing(txn.conn), anew=True))


def mark(content: Json | None) -> str:
    """By what one content of the exceptions is known again; empty for none."""
    return digest(content) if content else ""


def exceptions_are_known(conn: sqlite3.Connection) -> bool:
    """Whether the exceptions can be gone by: there are none, or this device could open them.

    News that nobody has looked at yet leave the last ones in force: a receipt is looked at again when it is due.
    """
    content = account_data.get(conn, DELIVERY_EXCEPTIONS)
    if not content:
        return True
    now = standing(conn)
    return bool(now.opened) and now.bad != mark(content)
