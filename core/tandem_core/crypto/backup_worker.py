"""The key backup at work, in both programs: uploads what is due, fetches what is missing, restores what was asked for.

One request at a time under one lock (law 14), each answer committed before the lock is released. An upload may be
made anew, with other bytes: the server keeps the better copy of a session, whichever came first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, ClassVar

import vodozemac
from vodozemac import InboundGroupSession

from tandem_core.clock import Chance, Clock, elapsed_ms
from tandem_core.crypto import backup, megolm
from tandem_core.crypto import backup_format as form
from tandem_core.crypto.state import CryptoState
from tandem_core.crypto.worker import LocalOpener
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, TooBig, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import backup as rows
from tandem_core.store.backup import BackupRow, Standing
from tandem_core.store.crypto import InboundRow
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Change, Json, RoomId, Topic
from tandem_core.worker import Worker

log = logging.getLogger("tandem.crypto.backup")

LOOK_EVERY_MS = 6 * 3_600_000
LOOK_AT_MOST_EVERY_MS = 30_000
"""Account data may change often; one look answers all that came before it."""
UPLOAD_BATCH = 100
KEEP_BATCH = 15
ALL_AT_ONCE = 2_000
"""A backup of so many sessions is restored with one request, a larger one room by room."""
FETCHES_A_STEP = 50
FETCH_AGAIN_S = 60.0
"""After so many sessions were asked for one by one, the next ones wait so long."""
_WRONG_VERSION = "M_WRONG_ROOM_KEYS_VERSION"


class BackupWorker(Worker):
    """Keeps the backup complete, and this device supplied from it."""

    name: ClassVar[str] = "backup"
    wants: ClassVar[frozenset[Topic]] = frozenset(
        {Topic.KEYS, Topic.TIMELINE, Topic.ACCOUNT_DATA, Topic.DEVICES, Topic.SESSION}
    )

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        opener: LocalOpener,
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._opener = opener
        self._clock = clock
        self._told_at: int | None = None

    def wake(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        if any(change.topic is Topic.ACCOUNT_DATA and change.room_id is None for change in changes):
            self._told_at = self._clock.now_ms()  # another client may have made a new backup
        super().wake(changes)

    async def step(self) -> float | None:
        state = await self._opener.state()
        pause_s = await self._look_if_due(state)
        refusal: ServerRefused | None = None
        fetched = 0
        while True:
            try:
                is_busy = refusal is None and await self._upload(state)
            except ServerRefused as refused:
                refusal = refused  # what comes out of the backup need not wait for what goes in
                is_busy = True
            # A restore brings what events wait for, with far fewer questions.
            if is_busy or await self._restore(state):
                continue
            if fetched == FETCHES_A_STEP:
                pause_s = min(pause_s, FETCH_AGAIN_S)
                break
            if not await self._fetch(state):
                break
            fetched += 1
        if refusal is not None:
            raise refusal
        return pause_s

    async def _look_if_due(self, state: CryptoState) -> float:
        """Look at the server's version if it is time; returns seconds until it is again."""
        if self._due_in_ms(await self._db.read(rows.current)) <= 0:
            async with netlock(self._paths, backup.LOCK):
                if self._due_in_ms(await self._db.read(rows.current)) <= 0:
                    await backup.look(self._db, self._http, state, self._clock)
            self._told_at = None
        if await self._db.read(backup.is_out_of_date, state):
            await self._db.write(backup.judge_again, state)
        return max(1.0, self._due_in_ms(await self._db.read(rows.current)) / 1000)

    def _due_in_ms(self, row: BackupRow | None) -> int:
        if row is None:
            return 0
        age_ms = elapsed_ms(row.looked_at, self._clock.now_ms())
        is_told = self._told_at is not None and self._told_at >= row.looked_at
        return (LOOK_AT_MOST_EVERY_MS if is_told else LOOK_EVERY_MS) - age_ms

    async def _upload(self, state: CryptoState) -> bool:
        """Upload a batch; returns whether there may be more to do. Raises ServerRefused."""
        row = await self._db.read(rows.current)
        if not _is_usable(row) or not await self._db.read(rows.waiting, 1):
            return False
        async with netlock(self._paths, backup.LOCK):
            row = await self._db.read(rows.current)
            batch = await self._db.read(rows.waiting, UPLOAD_BATCH)
            if row is None or row.version is None or not _is_usable(row) or not batch:
                return False
            body, sent, broken = await asyncio.to_thread(_body, str(row.public_key), batch, state.pickle_key)
            answer: Json = {}
            if sent:
                try:
                    answer = await self._http.request(
                        "PUT", path("room_keys", "keys"), body, query={"version": row.version}
                    )
                except ServerRefused as refused:
                    if refused.errcode != _WRONG_VERSION and refused.status != 404:
                        raise
                    log.warning("the key backup was changed or deleted elsewhere")
                    now = await backup.look(self._db, self._http, state, self._clock)
                    if (now.version, now.public_key) == (row.version, row.public_key):
                        raise  # it shows a version that it does not take: looking again at once would go on for ever
                    return True
            count = answer.get("count")
            await self._db.write(_note_sent, row.version, sent, broken, count if type(count) is int else None)
        return True

    async def _fetch(self, state: CryptoState) -> bool:
        """Ask for one session that events wait for; returns whether there may be another."""
        if not await self._db.read(_wanted, state, self._clock.now_ms()):
            return False
        async with netlock(self._paths, backup.LOCK):
            wanted = await self._db.read(_wanted, state, self._clock.now_ms())
            if not wanted:
                return False
            version, (room_id, session_id) = wanted
            answer: Json | None
            try:
                answer = await self._http.request(
                    "GET", path("room_keys", "keys", room_id, session_id), query={"version": version}
                )
            except ServerRefused:
                answer = None
            await self._db.write(_keep_one, state, version, room_id, session_id, answer, self._clock.now_ms())
        return True

    async def _restore(self, state: CryptoState) -> bool:
        """Restore a portion: a room, or all of a small backup; returns whether there may be more."""
        if not await self._db.read(_restoring, state):
            return False
        async with netlock(self._paths, backup.LOCK):
            job = await self._db.read(_restoring, state)
            if job is None:
                return False
            if job.version is None or job.secret is None:
                await self._db.write(rows.end_restore, "failed", "version")
                return False
            if job.room_id is not None:
                await self._restore_room(state, job.version, job.room_id)
                return True
            try:
                answer = await self._http.request(
                    "GET", path("room_keys", "keys"), query={"version": job.version}, timeout_s=300.0
                )
            except TooBig:
                # Of rooms that we know everything is here; the rest is fetched when somebody looks at it.
                await self._db.write(rows.end_restore, "done", "rest_too_big")
                return False
            except ServerRefused as refused:
                await self._db.write(rows.end_restore, "failed", refused.errcode)
                return False
            done = await self._db.read(rows.restored_rooms)
            for room_id, sessions in _objects(answer.get("rooms")):
                if room_id not in done and not await self._keep(
                    state, job.version, RoomId(room_id), sessions
                ):
                    return False
            await self._db.write(rows.end_restore, "done")
        return False

    async def _restore_room(self, state: CryptoState, version: str, room_id: RoomId) -> None:
        answer: Json
        try:
            answer = await self._http.request(
                "GET", path("room_keys", "keys", room_id), query={"version": version}, timeout_s=300.0
            )
        except TooBig:
            log.warning("the key backup of a room is too big to be read")
            answer = {}
        except ServerRefused:
            answer = {}
        await self._keep(state, version, room_id, answer)

    async def _keep(self, state: CryptoState, version: str, room_id: RoomId, found: Any) -> bool:
        """Keep a room's sessions, few in each transaction; False once the restore is cancelled."""
        listed = found.get("sessions") if isinstance(found, dict) else None
        sessions = list(listed.items()) if isinstance(listed, dict) else []
        for start in range(0, len(sessions), KEEP_BATCH):
            batch = sessions[start : start + KEEP_BATCH]
            if not await self._db.write(_keep_many, state, version, room_id, batch, self._clock.now_ms()):
                return False
        return await self._db.write(_note_room, version, room_id, len(sessions))


class _Job:
    """A restore that is under way: its version and key, while they are the current ones, and the next room."""

    def __init__(self, version: str | None, secret: str | None, room_id: RoomId | None) -> None:
        self.version = version
        self.secret = secret
        self.room_id = room_id


def _is_usable(row: BackupRow | None) -> bool:
    if row is None or row.version is None or row.used != row.version:
        return False  # what waits is counted against another version
    return row.standing is Standing.TRUSTED


def _body(
    public: str, batch: list[tuple[RoomId, str, InboundRow]], pickle_key: bytes
) -> tuple[Json, list[tuple[RoomId, str, int]], list[tuple[RoomId, str]]]:
    """The request for these sessions, what of them is in it, and those that cannot be exported."""
    to = form.sealer(public)
    rooms: dict[str, Json] = {}
    sent: list[tuple[RoomId, str, int]] = []
    broken: list[tuple[RoomId, str]] = []
    for room_id, session_id, row in batch:
        try:
            session = InboundGroupSession.from_pickle(row.pickle, pickle_key)
            made = form.entry(to, row, session)
        except (ValueError, vodozemac.PickleException):
            made = None
        if made is None:
            log.error("a room key in the store cannot be read, and is not backed up")
            broken.append((room_id, session_id))
            continue
        rooms.setdefault(room_id, {"sessions": {}})["sessions"][session_id] = made
        sent.append((room_id, session_id, made["first_message_index"]))
    return {"rooms": rooms}, sent, broken


def _note_sent(
    txn: Transaction,
    version: str,
    sent: list[tuple[RoomId, str, int]],
    broken: list[tuple[RoomId, str]],
    count: int | None,
) -> None:
    rows.note_kept(txn, version, sent, count)
    for room_id, session_id in broken:
        rows.give_up(txn, room_id, session_id)


def _wanted(conn: Any, state: CryptoState, now_ms: int) -> tuple[str, tuple[RoomId, str]] | None:
    """A session to ask for, with the version to ask."""
    found = rows.wanted(conn, now_ms, 1)
    if not found or backup.private_key(conn, state) is None:
        return None
    row = rows.current(conn)
    return None if row is None or row.version is None else (row.version, found[0])


def _keep_one(
    txn: Transaction,
    state: CryptoState,
    version: str,
    room_id: RoomId,
    session_id: str,
    answer: Json | None,
    now_ms: int,
) -> None:
    rows.note_asked(txn, room_id, session_id, now_ms)
    if answer is not None:
        _keep_entries(txn, state, version, room_id, [(session_id, answer)], now_ms)


def _restoring(conn: Any, state: CryptoState) -> _Job | None:
    job = rows.restore(conn)
    if job is None or job.state != "running":
        return None
    row, secret = rows.current(conn), backup.private_key(conn, state)
    if row is None or row.version != job.version:
        return _Job(None, None, None)
    is_large = row.keys > ALL_AT_ONCE and rows.restored_sessions(conn) < row.keys
    return _Job(job.version, secret, rows.next_room(conn) if is_large else None)


def _keep_many(
    txn: Transaction,
    state: CryptoState,
    version: str,
    room_id: RoomId,
    batch: list[tuple[str, Any]],
    now_ms: int,
) -> bool:
    if not rows.is_running(txn.conn, version):
        return False
    new, unusable = _keep_entries(txn, state, version, room_id, batch, now_ms)
    rows.note_restored(txn, len(batch), new, unusable)
    return True


def _keep_entries(
    txn: Transaction,
    state: CryptoState,
    version: str,
    room_id: RoomId,
    entries: list[tuple[str, Any]],
    now_ms: int,
) -> tuple[int, int]:
    """Keep sessions of the backup that open and are better than ours; returns how many did, how many cannot be used."""
    secret = backup.private_key(txn.conn, state)
    if secret is None:
        return 0, 0
    key = form.opener(secret)
    new, unusable, why = 0, 0, ""
    kept: list[tuple[RoomId, str, int]] = []
    for session_id, value in entries:
        try:
            found = form.read_entry(key, session_id, value)
        except form.BadEntry as error:
            why = str(error)
            unusable += 1
            continue
        new += megolm.keep_copy(
            txn,
            state.pickle_key,
            room_id,
            found.session,
            found.sender_key,
            found.claimed_ed25519,
            "backup",
            now_ms,
        )
        kept.append((room_id, session_id, found.session.first_known_index))
    rows.note_kept(txn, version, kept)
    if unusable:
        log.warning("%d sessions of the key backup cannot be used; the last of them: %s", unusable, why)
    return new, unusable


def _note_room(txn: Transaction, version: str, room_id: RoomId, sessions: int) -> bool:
    if not rows.is_running(txn.conn, version):
        return False
    rows.note_room_restored(txn, room_id, sessions)
    return True


def _objects(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
