"""Send the receipts that are due, one flush per author at a time; shared by both programs through the store.

Every receipt is looked at again when it is due: the message may be redacted, the author ignored, a setting
changed. The server's 200 or a definite refusal ends a receipt; anything else keeps it (DESIGN law 7).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from tandem_core import capabilities, settings
from tandem_core.clock import Chance, Clock
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import facts, gate, inbound, transports
from tandem_core.receipts.transports import Answers, Due, Outcome, Refused, Transport
from tandem_core.store import receipts as store
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Me, Role, Topic, UserId
from tandem_core.worker import Worker

log = logging.getLogger("tandem.receipts.outbox")

SPACING_MS = 2_000
"""Between two flushes to one author."""
BUDGET = 60
"""Flushes to one author in ``BUDGET_MS``; what exceeds it waits."""
BUDGET_MS = 3_600_000
UNSETTLED_MS = 10 * 60 * 1000
"""How long a receipt waits for the two connections to agree about its room."""
NO_WAY = "no_way"
"""Why a receipt was dropped that no way leads to the author of."""
_LOOK_AGAIN_S = 5.0


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
        """Flush to every author whose receipts are due and whose turn it is."""
        if not await self._db.read(_may_send, self._role):
            return None
        now_ms = self._clock.now_ms()
        pauses: list[float] = []
        if await self._db.read(store.due, now_ms):
            async with netlock(self._paths, "receipts"):
                pauses = await self._flush_all()
        now_ms = self._clock.now_ms()
        next_at = await self._db.read(store.next_due_at, now_ms)
        if next_at is not None:
            pauses.append((next_at - now_ms) / 1000)
        return min(pauses, default=None)

    async def _flush_all(self) -> list[float]:
        """Returns the seconds after which authors who had to wait want another look."""
        # Read again under the lock: the other program may have sent them meanwhile.
        due = await self._db.read(store.due, self._clock.now_ms())
        by_sender: dict[UserId, list[store.OwedRow]] = {}
        for row in due:
            by_sender.setdefault(row.sender, []).append(row)
        if not by_sender:
            return []
        ways = await self._ways()
        pauses = []
        for sender, rows in by_sender.items():
            wait_ms = await self._db.read(_wait_ms, sender, self._clock.now_ms())
            pause = wait_ms / 1000 if wait_ms else await self._flush(sender, rows, ways)
            if pause is not None:
                pauses.append(pause)
        return pauses

    async def _ways(self) -> list[Transport]:
        """The ways to send. That the server offers none is believed only after asking it afresh."""
        known = await self._db.read(capabilities.kept)
        if known is None or not known.delivery:
            known = await capabilities.refresh(self._db, self._http, now_ms=self._clock.now_ms())
        return transports.ways(self._http, known, self._others)

    async def _flush(
        self, sender: UserId, rows: Sequence[store.OwedRow], ways: Sequence[Transport]
    ) -> float | None:
        left, unsettled = await self._db.write(_look_again, self._me, rows, self._clock.now_ms())
        said = False
        for way in ways:
            if left:
                answers = await way.send(sender, left)
                now_ms = self._clock.now_ms()
                said |= await self._db.write(_settle, sender, way.name, answers, now_ms, is_counted=said)
                left = [due for due in left if answers.get(due.row.event_id) is Outcome.NO_WAY]
        if left:
            lost: Answers = {due.row.event_id: Refused(NO_WAY) for due in left}
            await self._db.write(_settle, sender, "", lost, self._clock.now_ms(), is_counted=True)
        return _LOOK_AGAIN_S if unsettled else None


def _may_send(conn: sqlite3.Connection, role: Role) -> bool:
    return role is Role.APP or settings.get(conn, "receipts.notifier") is True


def _wait_ms(conn: sqlite3.Connection, sender: UserId, now_ms: int) -> int:
    """How long until this author may be told again; 0: now."""
    before = [at for at in store.flushes(conn, sender, now_ms - BUDGET_MS) if at <= now_ms]
    wait = 0
    if before:
        wait = before[-1] + SPACING_MS - now_ms
    if len(before) >= BUDGET:
        wait = max(wait, before[-BUDGET] + BUDGET_MS + 1 - now_ms)
    return max(wait, 0)


def _look_again(
    txn: Transaction, me: Me, rows: Sequence[store.OwedRow], now_ms: int
) -> tuple[list[Due], int]:
    """Split what is due: to be sent now (and what it may say), dropped for a reason, or not settled yet."""
    inbound.sweep(txn, now_ms)
    ready = []
    unsettled = 0
    for row in rows:
        room = facts.room_facts(txn.conn, me, row.room_id)
        sender = facts.sender_facts(txn.conn, me, row.room_id, row.sender)
        chosen = facts.receipt_settings(txn.conn, row.room_id, row.sender)
        reason: str | None
        if store.is_redacted(txn.conn, row.event_id):
            reason = gate.Reason.REDACTED
        elif now_ms - row.decided_at > gate.MOST_AGE_MS:
            reason = gate.Reason.TOO_OLD
        else:
            reason = gate.still_owed(room, sender, chosen)
        if reason is gate.Reason.UNKNOWN_ROOM and now_ms - row.due_at < UNSETTLED_MS:
            unsettled += 1
        elif reason is not None:
            store.mark_dropped(txn, row.event_id, reason, now_ms)
        elif row.share == gate.Share.DEVICE and gate.share(room, sender, chosen) is gate.Share.DEVICE:
            ready.append(Due(row, gate.Share.DEVICE))
        else:
            ready.append(Due(row, gate.Share.USER))
    return ready, unsettled


def _settle(
    txn: Transaction, sender: UserId, way: str, answers: Answers, now_ms: int, *, is_counted: bool
) -> bool:
    """Keep what became of the receipts of one flush, together with its place in the budget.

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
            case Outcome.NO_WAY:
                pass
    if said and not is_counted:
        store.note_flush(txn, sender, now_ms, forget_before_ms=now_ms - BUDGET_MS)
    return said
