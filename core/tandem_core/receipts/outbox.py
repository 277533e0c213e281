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
from tandem_core.errors import ServerRefused
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import facts, gate, inbound, transports
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
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._me = me
        self._role = role
        self._clock = clock

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
        transport = await self._transport()
        pauses = []
        for sender, rows in by_sender.items():
            wait_ms = await self._db.read(_wait_ms, sender, self._clock.now_ms())
            pause = wait_ms / 1000 if wait_ms else await self._flush(sender, rows, transport)
            if pause is not None:
                pauses.append(pause)
        return pauses

    async def _transport(self) -> transports.Transport | None:
        """The way to send. That there is none is believed only after asking the server afresh."""
        known = await self._db.read(capabilities.kept)
        transport = None if known is None else transports.choose(self._http, known)
        if transport is None:
            known = await capabilities.refresh(self._db, self._http, now_ms=self._clock.now_ms())
            transport = transports.choose(self._http, known)
        return transport

    async def _flush(
        self, sender: UserId, rows: Sequence[store.OwedRow], transport: transports.Transport | None
    ) -> float | None:
        now_ms = self._clock.now_ms()
        ready, unsettled = await self._db.write(_look_again, self._me, rows, now_ms)
        said = False
        try:
            for row, share in ready:
                if transport is None:
                    await self._db.write(store.mark_dropped, row.event_id, "server_without_support", now_ms)
                    continue
                try:
                    await transport.send(row.room_id, row.event_id, share)
                except ServerRefused as refusal:
                    log.info("receipt for %s refused: %s %s", row.event_id, refusal.status, refusal.errcode)
                    reason = refusal.errcode or f"http_{refusal.status}"
                    await self._db.write(store.mark_dropped, row.event_id, reason, self._clock.now_ms())
                else:
                    await self._db.write(store.mark_sent, row.event_id, transport.name, self._clock.now_ms())
                said = True
        finally:
            # Also when the rest of a flush failed: the author has seen the first of it.
            if said:
                flushed_at = self._clock.now_ms()
                await self._db.write(
                    store.note_flush, sender, flushed_at, forget_before_ms=flushed_at - BUDGET_MS
                )
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
) -> tuple[list[tuple[store.OwedRow, str]], int]:
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
            ready.append((row, str(gate.Share.DEVICE)))
        else:
            ready.append((row, str(gate.Share.USER)))
    return ready, unsettled
