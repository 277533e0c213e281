"""Judge an event that can be read now: does it notify, and is its author owed a delivery receipt?

Called inside the transaction that made the event readable (``sync.apply`` for plain events, ``crypto`` for
opened ones), so verdict, notification and receipt are as durable as the event. Judging twice, as both
programs may, changes nothing.
"""

from __future__ import annotations

import logging

from tandem_core import push, settings
from tandem_core.clock import Chance
from tandem_core.receipts import bridge, facts
from tandem_core.receipts.gate import Facts, Owe, Refuse, decide
from tandem_core.store import failed, receipts, rooms, timeline, verdicts, verification
from tandem_core.store.database import Transaction
from tandem_core.store.timeline import StoredEvent
from tandem_core.types import Me, Origin, Role, Seal

log = logging.getLogger("tandem.judge")

_NO_ROW = frozenset({"none", "redacted", "sealed", "state"})


def judge(txn: Transaction, me: Me, role: Role, event: StoredEvent, *, now_ms: int, chance: Chance) -> None:
    """Keep the push verdict, a due notification and an owed receipt for ``event``, as far as each is due.

    What belongs to a verification is kept for the window, also from another device of ours. What a bridge says of
    our own messages counts wherever it comes from in the timeline.
    """
    if not receipts.is_ignored(txn.conn, event.sender):
        verification.keep_room_event(txn, me, event, now_ms)
    if event.clear_type == bridge.STATUS:
        bridge.accept(txn, me, event, now_ms)
    if event.sender == me.user_id or event.origin not in (Origin.LIVE, Origin.GAP):
        return
    if event.seal in (Seal.PLAIN, Seal.OPENED):
        _notify(txn, me, event, now_ms)
    decision = decide(
        _facts(event, failed.mended_at(txn.conn, event.room_id, event.session_id, event.sender)),
        facts.room_facts(txn.conn, me, event.room_id),
        facts.sender_facts(txn.conn, me, event.room_id, event.sender),
        facts.receipt_settings(txn.conn, event.room_id, event.sender),
        now_ms,
        chance,
    )
    match decision:
        case Owe(due_at, share):
            receipts.owe(
                txn,
                event.event_id,
                event.room_id,
                event.sender,
                opened_by=role,
                now_ms=now_ms,
                due_at=due_at,
                share=share,
            )
        case Refuse(reason):
            log.debug("no receipt for %s: %s", event.event_id, reason)


def _facts(event: StoredEvent, key_came_at: int | None) -> Facts:
    """``key_came_at``: its author sent the key again, told that this device lacks it; it has arrived only then."""
    return Facts(
        sender=event.sender,
        type=event.clear_type,
        content=event.clear_content,
        is_state=event.state_key is not None,
        row_kind=event.kind,
        seal=event.seal,
        origin=event.origin,
        sent_at=event.sent_at,
        received_at=max(event.received_at, key_came_at or 0),
        opened_at=event.opened_at,
        redacted=event.redacted_by is not None or event.kind == "redacted",
    )


def _notify(txn: Transaction, me: Me, event: StoredEvent, now_ms: int) -> None:
    verdict = push.evaluate(
        verdicts.push_rules(txn.conn),
        push.Event(
            event.clear_type, event.clear_content, event.sender, event.room_id, state_key=event.state_key
        ),
        push.Context(
            me.user_id,
            verdicts.own_name(txn.conn, event.room_id, me.user_id),
            verdicts.joined_count(txn.conn, event.room_id),
            rooms.power_levels(txn.conn, event.room_id),
        ),
    )
    notify, highlight = verdict.notify, verdict.highlight
    match settings.get(txn.conn, "notifications.room", event.room_id):
        case "mute":
            notify = highlight = False
        case "mentions":
            notify = highlight
        case "all":
            notify = True
    # A request to verify is told of in a way of its own.
    is_told = verification.is_request(event.clear_type, event.clear_content)
    if is_told or event.kind in _NO_ROW or receipts.is_ignored(txn.conn, event.sender):
        notify = highlight = False
    level = 2 if highlight else int(notify)
    if level != event.verdict:
        timeline.set_verdict(txn, event.event_id, level)
    wanted = notify and settings.get(txn.conn, "notifications.enabled") is True
    if wanted and not verdicts.is_read(txn.conn, me.user_id, event.room_id, event.event_id):
        verdicts.notify(txn, event.event_id, event.room_id, now_ms)
