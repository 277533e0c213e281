"""What a room's bridge says of our messages: ``com.beeper.message_send_status``, read and never sent.

It is believed from the room's bridge only: from the bot that the room's state names (MSC2346, ``m.bridge``, where the
bridge itself has put that state), or from an account of that bridge on the same server, told by the name that its bot
has: ``@telegrambot`` has accounts ``@telegram_…``. It counts for our own messages only, and the newest word counts. A
bridge speaks for its own people only, so ``delivered_to_users`` is cut down to them. ``internal_error`` and the old
``error`` are not meant for people: they are not even kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tandem_core.receipts.checks import MOST_ID, is_id
from tandem_core.receipts.states import BridgeState
from tandem_core.store import bridges as store
from tandem_core.store import deliveries, receipts, session
from tandem_core.store.bridges import Bridge, StatusRow
from tandem_core.store.database import Transaction
from tandem_core.store.timeline import StoredEvent
from tandem_core.types import EventId, Json, Me, Role, RoomId, UserId

STATUS = "com.beeper.message_send_status"
STATE_TYPES = ("m.bridge", "uk.half-shot.bridge")
STATUSES = frozenset(BridgeState)
MOST_BRIDGES = 20
MOST_USERS = 1000
MOST_WAITING = 256
"""Statuses of one room that may wait for their message."""
WAIT_MS = 3_600_000

_MOST_WORDS = 300
_SHORTEST_STEM = 3


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """What a bridge said last of a message of ours.

    ``status``: PENDING, SUCCESS, FAIL_RETRIABLE or FAIL_PERMANENT. ``message`` is for people, ``reason`` a word such
    as ``m.event_too_old``. ``delivered_to``: None where the bridge does not tell of delivery; else those it has
    reached so far, perhaps nobody. ``network``: what the bridge calls the other side, or ''.
    """

    status: str
    reason: str | None
    message: str | None
    delivered_to: tuple[UserId, ...] | None
    network: str
    said_at: int


def keep_state(txn: Transaction, link: Role, room_id: RoomId, event: Json) -> None:
    """Keep which bridge a state event of STATE_TYPES names, as this connection has it."""
    kind, state_key = event["type"], event["state_key"]
    if not isinstance(state_key, str) or len(state_key) > MOST_ID:
        return
    bridge = _named(event)
    if bridge is None:
        store.forget_bridge(txn, link, room_id, kind, state_key)
    else:
        store.put_bridge(txn, link, room_id, kind, state_key, bridge, most=MOST_BRIDGES)


def accept(txn: Transaction, me: Me, event: StoredEvent, now_ms: int) -> bool:
    """Keep what a bridge says of a message of ours; returns whether it is news. Anything else is dropped."""
    content = event.clear_content
    if event.state_key is not None or event.redacted_by is not None or event.sender == me.user_id:
        return False
    about = _about(content)
    status = content.get("status")
    if about is None or not isinstance(status, str) or status not in STATUSES:
        return False
    if receipts.is_ignored(txn.conn, event.sender):
        return False
    bridge = _speaker(store.bridges(txn.conn, event.room_id), event.sender)
    if bridge is None or not _is_ours_to_be(txn, me, event.room_id, about, now_ms):
        return False
    row = StatusRow(
        event_id=about,
        room_id=event.room_id,
        status=status,
        reason=_words(content.get("reason"), 64),
        message=_words(content.get("message"), _MOST_WORDS),
        delivered_to=_delivered_to(bridge, content),
        network=bridge.network,
        said_at=min(event.sent_at, now_ms),
    )
    return store.put_status(txn, row, event.sender, now_ms)


def statuses(conn: sqlite3.Connection, event_ids: Sequence[str]) -> dict[EventId, BridgeStatus]:
    """What bridges said last of these messages, by message; what is not ours, or was not spoken of, is left out."""
    account = session.session(conn)
    if account is None:
        return {}
    return {
        row.event_id: BridgeStatus(
            row.status, row.reason, row.message, row.delivered_to, row.network, row.said_at
        )
        for row in store.statuses(conn, account.me.user_id, event_ids)
    }


def is_account(bridge: Bridge, user_id: str) -> bool:
    """Whether an account is one of this bridge, by the names it gives them."""
    name, _, server = user_id.partition(":")
    bot, _, home = bridge.bot.partition(":")
    stem = _stem(bot)
    return server == home and stem is not None and name.startswith(f"{stem}_") and len(name) > len(stem) + 1


def _named(event: Json) -> Bridge | None:
    """The bridge that a state event names, if the bridge itself sent it."""
    content, sender = event["content"], event.get("sender")
    bot = content.get("bridgebot")
    if not (is_id(bot, "@") and isinstance(sender, str)):
        return None
    network = ""
    for part in ("network", "protocol"):
        said = content.get(part)
        name = _words(said.get("displayname"), 60) if isinstance(said, dict) else None
        if name:
            network = name
            break
    bridge = Bridge(UserId(bot), network)
    return bridge if sender == bot or is_account(bridge, sender) else None


def _speaker(named: Sequence[Bridge], sender: UserId) -> Bridge | None:
    """The bridge that this sender speaks for."""
    for bridge in named:
        if sender == bridge.bot or is_account(bridge, sender):
            return bridge
    return None


def _delivered_to(bridge: Bridge, content: Json) -> tuple[UserId, ...] | None:
    said = content.get("delivered_to_users")
    if not isinstance(said, list) or _stem(bridge.bot.partition(":")[0]) is None:
        return None
    users = {user for user in said[:MOST_USERS] if is_id(user, "@") and is_account(bridge, user)}
    return tuple(UserId(user) for user in sorted(users))


def _is_ours_to_be(txn: Transaction, me: Me, room_id: RoomId, event_id: EventId, now_ms: int) -> bool:
    """Whether the event is a message of ours in this room, or may turn out to be: it is not known yet."""
    own = deliveries.own_message(txn.conn, me.user_id, event_id)
    if own is not None:
        return own.room_id == room_id
    if deliveries.is_known(txn.conn, event_id):
        return False
    return store.forget_unknown(txn, room_id, now_ms - WAIT_MS) < MOST_WAITING


def _about(content: Json) -> EventId | None:
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.reference":
        return None
    event_id = relation.get("event_id")
    return EventId(str(event_id)) if is_id(event_id, "$") else None


def _stem(bot: str) -> str | None:
    """What the accounts of a bridge begin with, from its bot's name: ``@telegram`` of ``@telegrambot``."""
    stem = bot.removesuffix("bot").rstrip("_-.") if bot.endswith("bot") else ""
    return stem if len(stem) > _SHORTEST_STEM else None


def _words(value: Any, most: int) -> str | None:
    """One line of printable text, cut short; None for anything else."""
    if not isinstance(value, str):
        return None
    line = "".join(char if char.isprintable() else " " for char in value[: 4 * most])
    return " ".join(line.split())[:most] or None
