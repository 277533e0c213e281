"""Tell authors, over Olm, what this device cannot decrypt of theirs; ``receipts.failed`` decides (MSC4089).

A report looks like a confirmation: the same kind, the same length. It goes over an Olm session that exists: no
one-time key is claimed for it. It is stored, with the ratchet's step and the row that it settles, before it is sent.
"""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from tandem_core import trust
from tandem_core.clock import Chance, Clock
from tandem_core.crypto.key_requests import has_backup
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import encrypted_body, failed, planning
from tandem_core.receipts.encrypted import Letters, put_letters
from tandem_core.receipts.failed import Report
from tandem_core.store import backup as backup_rows
from tandem_core.store import failed as store
from tandem_core.store import key_requests as request_rows
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.store.failed import FailedRow
from tandem_core.types import Me, Role, Topic
from tandem_core.worker import Worker

ANSWER_MS = 60_000
"""So long our other devices have time to answer."""
_LOOK_AGAIN_S = 60.0


class FailedReports(Worker):
    """Works through ``failed_owed``; either program does."""

    name: ClassVar[str] = "failed_reports"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.OWED, Topic.SETTINGS, Topic.SESSION})

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        me: Me,
        role: Role,
        letters: Letters,
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._me = me
        self._role = role
        self._letters = letters
        self._clock = clock

    async def step(self) -> float | None:
        """Tell what may be told now, and take back what can be read since."""
        if not await self._db.read(planning.may_send, self._role):
            return None
        now_ms = self._clock.now_ms()
        if await self._db.read(store.due, now_ms):
            async with netlock(self._paths, "receipts"):
                await self._letters.ready()
                await self._db.write(tell, self._me, self._letters, self._clock.now_ms(), self._chance)
            await self._letters.flush()
        now_ms = self._clock.now_ms()
        next_at = await self._db.read(store.next_due_at, now_ms)
        return None if next_at is None else min((next_at - now_ms) / 1000, _LOOK_AGAIN_S)


def tell(txn: Transaction, me: Me, letters: Letters, now_ms: int, chance: Chance) -> int:
    """Put what may be told into the outbox, each author's together; returns how many reports there are."""
    by_reader: dict[Device, list[Report]] = {}
    reports = failed.due(txn, me, now_ms, chance, is_tried=lambda row: _is_tried(txn.conn, me, row, now_ms))
    for report in reports:
        for device in failed.readers(txn.conn, me, report.row):
            by_reader.setdefault(device, []).append(report)
    for device, told in by_reader.items():
        for start in range(0, len(told), encrypted_body.MOST_FAILED):
            entries = [report.entry.json() for report in told[start : start + encrypted_body.MOST_FAILED]]
            bodies = encrypted_body.build([], shares_device=True, now_ms=now_ms, failed=entries)
            put_letters(txn, letters, device, encrypted_body.RECEIPT, bodies, now_ms)
    for report in reports:
        failed.mark_told(txn, report, now_ms)
    for sender in {report.row.sender for report in reports}:
        planning.note_flush(txn, sender, now_ms)
    return len(reports)


def _is_tried(conn: sqlite3.Connection, me: Me, row: FailedRow, now_ms: int) -> bool:
    """Whether the key backup and our other devices were asked for a session, where there are any."""
    knows_backup = has_backup(conn)
    if knows_backup is None:
        return False
    if knows_backup and not backup_rows.was_asked(conn, row.room_id, row.session_id, now_ms):
        return False
    if not trust.verified_others(conn, me):
        return True
    asked_at = request_rows.asked_at(conn, row.room_id, row.session_id)
    return asked_at is not None and abs(now_ms - asked_at) >= ANSWER_MS
