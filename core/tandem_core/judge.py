"""Judge an event that can be read now: does it notify, and is its author owed a delivery receipt?

Called inside the transaction that made the event readable (``sync.apply`` for plain events, ``crypto`` for
opened ones), so verdict, notification and receipt are as durable as the event. Judging twice, as both
programs may, changes nothing.
"""

from __future__ import annotations

import logging

from tandem_core import push, settings
from tandem_core.clock import Chance
from tandem_core.receipts import bridge, facts, gate, own_seen, planning
from tandem_core.receipts.gate import Owe, Refuse
from tandem_core.store import receipts, rooms, timeline, verdicts, verification
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
    is_new = event.origin in (Origin.LIVE, Origin.GAP)
    if event.sender == me.user_id:
        own_seen.saw(txn, me, event, now_ms, chance)
        if is_new and event.state_key is None and event.seal in (Seal.PLAIN, Seal.OPENED):
            planning.attend(txn, event.room_id, event.sent_at, now_ms)
        return
    if not is_new:
        return
    if event.seal in (Seal.PLAIN, Seal.OPENED):
        _notify(txn, me, event, now_ms)
    _confirm(txn, me, role, event, now_ms, chance)


def _confirm(txn: Transaction, me: Me, role: Role, event: StoredEvent, now_ms: int, chance: Chance) -> None:
    """Keep what the gate says of a message, and why; of what shows no message nothing is kept, nor asked for."""
    about = facts.event_facts(txn.conn, event)
    if gate.silent(about) is not None:
        return
    decision = gate.decide(
        about,
        facts.room_facts(txn.conn, me, event.room_id),
        facts.sender_facts(txn.conn, me, event.room_id, event.sender),
        facts.receipt_settings(txn.conn, event.room_id, event.sender),
        now_ms,
    )
    match decision:
        case Owe(share):
            planning.owe(
                txn,
                me,
                event.event_id,
                event.room_id,
                event.sender,
                share,
                opened_by=role,
                now_ms=now_ms,
                chance=chance,
            )
        case Refuse(reason):
            log.debug("no receipt for %s: %s", event.event_id, reason)
            receipts.refuse(
                txn,
                event.event_id,
                event.room_id,
                event.sender,
                opened_by=role,
                now_ms=now_ms,
                reason=reason,
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
