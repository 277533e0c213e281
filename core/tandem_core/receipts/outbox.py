"""Send the receipts that are due, one flush per author at a time; shared by both programs through the store.

When an author's turn is, is planned (``schedule``). Every receipt is looked at again then: the message may be
redacted, the author ignored, a setting changed. The server's 200 or a definite refusal ends a receipt; anything
else keeps it (DESIGN law 7).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from tandem_core import capabilities
from tandem_core.clock import Chance, Clock
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import facts, gate, inbound, planning
from tandem_core.receipts.schedule import Turn, Wait
from tandem_core.receipts.transports import Answers, Due, Outcome, Refused, Transport
from tandem_core.receipts.ways import ways
from tandem_core.store import receipt_plans as plans
from tandem_core.store import receipts as store
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Me, Role, Topic, UserId
from tandem_core.worker import Worker

log = logging.getLogger("tandem.receipts.outbox")

UNSETTLED_MS = 10 * 60 * 1000
"""How long a receipt waits for the two connections to agree about its room."""
_SHORTEST_S = 0.05


class ReceiptOutbox(Worker):
    """Works through ``receipt_owed``; either program does, in turns, and both do it alike."""

    name: ClassVar[str] = "receipts"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.OWED, Topic.SETTINGS, Topic.SESSION})

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        me: Me,
        role: Role,
        *,
        clock: Clock,
        chance: Chance,
        others: Sequence[Transport] = (),
    ) -> None:
        """``others`` are the ways that are tried after the server's own, in order."""
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._me = me
        self._role = role
        self._clock = clock
        self._others = others

    async def step(self) -> float | None:
        """Flush to every author whose turn it is."""
        if not await self._db.read(planning.may_send, self._role):
            return None
        now_ms = self._clock.now_ms()
        turns = await self._db.read(_turns, now_ms)
        if any(_is_due(turn, now_ms) for _, turn in turns):
            async with netlock(self._paths, "receipts"):
                await self._flush_all()
            now_ms = self._clock.now_ms()
            turns = await self._db.read(_turns, now_ms)
        pauses = [(turn.at - now_ms) / 1000 for _, turn in turns if turn.at is not None]
        return max(min(pauses), _SHORTEST_S) if pauses else None

    async def _flush_all(self) -> None:
        ways: list[Transport] | None = None
        # Read again under the lock: the other program may have sent them meanwhile.
        for sender, turn in await self._db.read(_turns, self._clock.now_ms()):
            now_ms = self._clock.now_ms()
            if _is_due(turn, now_ms):
                due = await self._db.write(_take, self._me, sender, now_ms, self._chance)
                if due:
                    if ways is None:
                        ways = await self._ways()
                    await self._flush(sender, due, ways)

    async def _ways(self) -> list[Transport]:
        """The ways to send. That the server offers none is believed only after asking it afresh."""
        known = await self._db.read(capabilities.kept)
        if known is None or not known.delivery:
            known = await capabilities.refresh(self._db, self._http, now_ms=self._clock.now_ms())
        return ways(self._db, self._http, self._me, known, self._others, clock=self._clock)

    async def _flush(self, sender: UserId, left: list[Due], ways: Sequence[Transport]) -> None:
        said = False
        for way in ways:
            if left:
                answers = await way.send(sender, left)
                said |= await self._settle(sender, way.name, answers, is_counted=said)
                left = [due for due in left if answers.get(due.row.event_id) is Outcome.NO_WAY]
        if left:
            lost: Answers = {due.row.event_id: Refused(gate.Reason.NO_WAY) for due in left}
            await self._settle(sender, "", lost, is_counted=True)

    async def _settle(self, sender: UserId, way: str, answers: Answers, *, is_counted: bool) -> bool:
        return await self._db.write(
            _keep, self._me, sender, way, answers, self._clock.now_ms(), self._chance, is_counted=is_counted
        )


def _turns(conn: sqlite3.Connection, now_ms: int) -> list[tuple[UserId, Turn]]:
    """When each author is told to whom something is owed; the earliest first."""
    found = [(sender, planning.turn(conn, sender, now_ms)) for sender in store.waiting_senders(conn)]
    return sorted(found, key=lambda pair: now_ms if pair[1].at is None else pair[1].at)


def _is_due(turn: Turn, now_ms: int) -> bool:
    """Whether there is something to do under the lock: a flush, or to mend what an earlier clock wrote."""
    return turn.why is Wait.CLOCK or (turn.at is not None and turn.at <= now_ms)


def _take(txn: Transaction, me: Me, sender: UserId, now_ms: int, chance: Chance) -> list[Due]:
    """What this author is told now, if it is their turn still; what may not be said any more is dropped."""
    inbound.sweep(txn, now_ms)
    turn = planning.turn(txn.conn, sender, now_ms)
    ready: list[Due] = []
    if turn.why is Wait.CLOCK or planning.is_ahead(txn.conn, sender, now_ms):
        log.warning("the clock was set back: confirmations are planned anew")
        planning.mend(txn, now_ms)
    elif not _is_due(turn, now_ms):
        return []
    elif (plan := plans.plan(txn.conn, sender)) is not None:
        for row in store.waiting(txn.conn, sender, now_ms - plan.hold_ms):
            due = _look_again(txn, me, row, now_ms)
            if due is not None:
                ready.append(due)
    if not ready:
        planning.plan_rest(txn, me, sender, now_ms, chance)
    return ready


def _look_again(txn: Transaction, me: Me, row: store.OwedRow, now_ms: int) -> Due | None:
    """The receipt as it may be sent now; None if it was dropped, or if it has to wait for certainty."""
    room = facts.room_facts(txn.conn, me, row.room_id)
    sender = facts.sender_facts(txn.conn, me, row.room_id, row.sender)
    chosen = facts.receipt_settings(txn.conn, row.room_id, row.sender)
    reason: gate.Reason | None
    if store.is_redacted(txn.conn, row.event_id):
        reason = gate.Reason.REDACTED
    elif now_ms - row.decided_at > gate.MOST_AGE_MS:
        reason = gate.Reason.TOO_OLD
    else:
        reason = gate.still_owed(room, sender, chosen)
    if reason is gate.Reason.UNKNOWN_ROOM and now_ms - row.due_at < UNSETTLED_MS:
        return None
    if reason is not None:
        store.mark_dropped(txn, row.event_id, reason, now_ms)
        return None
    may_name = row.share == gate.Share.DEVICE and gate.share(room, sender, chosen) is gate.Share.DEVICE
    return Due(row, gate.Share.DEVICE if may_name else gate.Share.USER)


def _keep(
    txn: Transaction,
    me: Me,
    sender: UserId,
    way: str,
    answers: Answers,
    now_ms: int,
    chance: Chance,
    *,
    is_counted: bool,
) -> bool:
    """Keep what became of the receipts of one flush, with its place in the budget, and plan the next one.

    Returns whether the author may have been told anything.
    """
    said = False
    for event_id, answer in answers.items():
        match answer:
            case Outcome.SENT:
                store.mark_sent(txn, event_id, way, now_ms)
                said = True
            case Refused(errcode):
                log.info("the receipt for %s was refused: %s", event_id, errcode)
                store.mark_dropped(txn, event_id, errcode, now_ms)
                said = True
            case Outcome.LATER:
                store.put_off(txn, event_id)
            case Outcome.NO_WAY:
                pass
    if said and not is_counted:
        planning.note_flush(txn, sender, now_ms)
    planning.plan_rest(txn, me, sender, now_ms, chance)
    return said
