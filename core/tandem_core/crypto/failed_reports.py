"""Tell authors, over Olm, what this device cannot decrypt of theirs; ``receipts.failed`` decides (MSC4089).

A report looks like a confirmation: the same kind, the same length. It goes over an Olm session that exists: no
one-time key is claimed for it. It is stored, with the ratchet's step and the row that it settles, before it is sent.
"""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from tandem_core import settings, trust
from tandem_core.clock import Chance, Clock
from tandem_core.crypto import olm, outbox, secrets
from tandem_core.crypto.state import CryptoState
from tandem_core.crypto.worker import CryptoWorker, LocalOpener
from tandem_core.http import Http
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import encrypted_body, failed, planning
from tandem_core.receipts.failed import Report
from tandem_core.store import backup as backup_rows
from tandem_core.store import failed as store
from tandem_core.store import key_requests as request_rows
from tandem_core.store.backup import Standing
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.store.failed import FailedRow
from tandem_core.store.outbox import put_to_device
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
        http: Http,
        me: Me,
        role: Role,
        opener: LocalOpener,
        crypto: CryptoWorker,
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
        self._opener = opener
        self._crypto = crypto
        self._clock = clock

    async def step(self) -> float | None:
        """Tell what may be told now, and take back what can be read since."""
        if not await self._db.read(_may_send, self._role):
            return None
        now_ms = self._clock.now_ms()
        if await self._db.read(store.due, now_ms):
            state = await self._opener.state()
            async with netlock(self._paths, "receipts"):
                await (await self._crypto.keys()).rollback.before_encrypting()
                await self._db.write(tell, state, self._clock.now_ms(), self._chance)
            await outbox.flush(self._paths, self._db, self._http)
        now_ms = self._clock.now_ms()
        next_at = await self._db.read(store.next_due_at, now_ms)
        return None if next_at is None else min((next_at - now_ms) / 1000, _LOOK_AGAIN_S)


def tell(txn: Transaction, state: CryptoState, now_ms: int, chance: Chance) -> int:
    """Put what may be told into the outbox, each author's together; returns how many reports there are."""
    tried = [
        (row.room_id, row.session_id)
        for row in store.due(txn.conn, now_ms)
        if _is_tried(txn.conn, state.me, row, now_ms)
    ]
    by_reader: dict[Device, list[Report]] = {}
    reports = failed.due(txn, state.me, now_ms, chance, tried=tried)
    for report in reports:
        for device in failed.readers(txn.conn, state.me, report.row):
            by_reader.setdefault(device, []).append(report)
    for device, told in by_reader.items():
        for start in range(0, len(told), encrypted_body.MOST_FAILED):
            entries = [report.entry.json() for report in told[start : start + encrypted_body.MOST_FAILED]]
            for content in encrypted_body.build([], shares_device=True, now_ms=now_ms, failed=entries):
                sealed = olm.encrypt(txn, state, device, encrypted_body.RECEIPT, content, now_ms)
                if sealed is not None:
                    put_to_device(txn, olm.SEALED, {device.user_id: {device.device_id: sealed}}, now_ms)
    for report in reports:
        failed.mark_told(txn, report, now_ms)
    for sender in {report.row.sender for report in reports}:
        planning.note_flush(txn, sender, now_ms)
    return len(reports)


def _is_tried(conn: sqlite3.Connection, me: Me, row: FailedRow, now_ms: int) -> bool:
    """Whether the key backup and our other devices were asked for a session, where there are any."""
    if row.state == "sent":
        return True
    has_backup = _has_backup(conn)
    if has_backup is None:
        return False
    if has_backup and not backup_rows.was_asked(conn, row.room_id, row.session_id, now_ms):
        return False
    if not trust.verified_others(conn, me):
        return True
    asked_at = request_rows.asked_at(conn, row.room_id, row.session_id)
    return asked_at is not None and abs(now_ms - asked_at) >= ANSWER_MS


def _has_backup(conn: sqlite3.Connection) -> bool | None:
    row = backup_rows.current(conn)
    if row is None:
        return None
    return row.standing is Standing.TRUSTED and secrets.has(conn, secrets.BACKUP)


def _may_send(conn: sqlite3.Connection, role: Role) -> bool:
    return role is Role.APP or settings.get(conn, "receipts.notifier") is True
