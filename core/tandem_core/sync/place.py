"""How a connection begins that has no place, or one that the server no longer knows."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, replace

from tandem_core.store import devices
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.session import Connection
from tandem_core.sync.readers import Rule, newest
from tandem_core.sync.request import TO_DEVICE_LIMIT
from tandem_core.sync.response import Response
from tandem_core.types import Role

_SYNAPSE_POS = re.compile(r"\d+/s(\d+)_")
_RULE_FACT = "to_device.rule"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a connection stands, the server's rule, and when that was last shown (ms; 0: never)."""

    place: Connection
    rule: Rule
    shown_at: int


def grown_key(link: Role) -> str:
    """The name of the fact that this connection has been sent all rooms once."""
    return f"sync.grown.{link}"


def place_went_back(place: Connection, response: Response) -> bool:
    """Whether the server is at an earlier time than this place: it was restored from a backup.

    Synapse takes a place from its future for the present one, and would never tell what came in between.
    """
    now, before = _stream_position(response.pos), _stream_position(place.pos)
    return now is not None and before is not None and now < before


def token_went_back(place: Connection, response: Response) -> bool:
    """Whether the server's to-device count is behind the token that we hold.

    A full page proves nothing: it ends with its last event, and may repeat what we have not acknowledged yet.
    """
    block = response.to_device
    if place.since is None or block is None or len(block.events) >= TO_DEVICE_LIMIT:
        return False
    # Other servers may have tokens that are no numbers; of those we know no order.
    if not (place.since.isdecimal() and block.next_batch.isdecimal()):
        return False
    return int(block.next_batch) < int(place.since)


def _stream_position(pos: str | None) -> int | None:
    """The events that a ``pos`` of Synapse counts (``5/s123_4_...``); None of any other."""
    found = _SYNAPSE_POS.match(pos or "")
    return int(found[1]) if found else None


def start_over(txn: Transaction, link: Role, *, and_forget_tokens: bool = False) -> None:
    """Give up this connection's place, durably and before the next answer is applied.

    A request without a place brings no word of changed devices or members for the time between, so all that
    depends on it is outdated now. The to-device tokens stay, unless the server is one that never gave them.
    """
    if and_forget_tokens:
        sessions.forget_tokens(txn)
    devices.mark_all_outdated(txn)
    txn.execute("UPDATE room SET members_complete = 0 WHERE conn = ?", (link,))
    sessions.set_fact(txn, grown_key(link), False)
    sessions.set_pos(txn, link, None, None)


def adopt_token(txn: Transaction, link: Role) -> Connection:
    """Go on with the other program's token where it is the newer one; returns where this connection stands.

    The events that it covers were committed with it, into the inbox of both.
    """
    place = sessions.connection(txn.conn, link)
    token = newest(place.since, sessions.token(txn.conn, link.other))
    if token is None or token == place.since:
        return place
    sessions.set_token(txn, link, token)
    return replace(place, since=token)


def standing(conn: sqlite3.Connection, link: Role) -> Standing:
    """Where this connection stands now."""
    said = sessions.fact(conn, _RULE_FACT)
    rule, shown_at = Rule.UNKNOWN, 0
    if isinstance(said, dict) and said.get("rule") in list(Rule) and isinstance(said.get("at"), int):
        rule, shown_at = Rule(said["rule"]), said["at"]
    return Standing(sessions.connection(conn, link), rule, shown_at)


def keep_rule(txn: Transaction, rule: Rule, now_ms: int) -> None:
    """Keep what the server was seen to do, for both programs."""
    sessions.set_fact(txn, _RULE_FACT, {"rule": str(rule), "at": now_ms})
