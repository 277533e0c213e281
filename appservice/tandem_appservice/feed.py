"""Feeds one account's engine from the queue, in place of a long poll.

First it asks once for what sync would have said: rooms, settings, key counts. Until that is known nothing is taken,
so no message is judged by settings that are not there (law 8).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Collection

from tandem_appservice.queue import Queue
from tandem_appservice.sight import LINK, Sight, is_joined, look
from tandem_appservice.take import place, see, set_place, take, wanted
from tandem_core.clock import Chance, Clock
from tandem_core.engine import OnState
from tandem_core.errors import Expected, Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.http import Http, path
from tandem_core.store import account_data, devices, members, rooms
from tandem_core.store.database import Database, Transaction
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS
from tandem_core.sync.apply import apply
from tandem_core.sync.response import Response
from tandem_core.types import Json, Me, RoomId
from tandem_core.worker import pause_after_s

log = logging.getLogger("tandem.appservice.feed")

BATCH = 100
"""So many pieces are taken in one transaction."""
SETTINGS_S = 300.0
"""How often a server is asked for account data that does not send it in transactions (MSC3682)."""
SETTINGS_TOLD_S = 3600.0
"""The same for one that does: what it cannot send (push rules, on some) must not grow too old."""
_ROOMS_AT_ONCE = 20
_TRIES = 3
_ASKED_TYPES = (
    "m.direct",
    "m.ignored_user_list",
    DELIVERY_SETTINGS,
    DELIVERY_EXCEPTIONS,
)


class TransactionFeed:
    """One hosted account's news. ``woken`` is set when the queue has something for it."""

    def __init__(
        self,
        queue: Queue,
        db: Database,
        http: Http,
        me: Me,
        *,
        clock: Clock,
        chance: Chance,
        on_state: OnState,
        gate: asyncio.Semaphore,
    ) -> None:
        self._queue = queue
        self._db = db
        self._http = http
        self._me = me
        self._clock = clock
        self._chance = chance
        self._on_state = on_state
        self._gate = gate
        """How many accounts may ask the server for their beginnings side by side."""
        self.woken = asyncio.Event()
        self._is_prepared = False
        self._is_told = False
        self._asked_at_s = 0.0
        self._after = 0
        """The last piece that was taken; the store knows it for sure."""

    def watch_room(self, *room_ids: RoomId) -> None:
        """Every room is followed alike."""

    async def run(self) -> None:
        """Take what comes until cancelled; raises SignedOut."""
        failures = 0
        while True:
            try:
                await self.step()
                failures = 0
            except SignedOut:
                raise
            except RateLimited as limited:
                await self._clock.sleep(pause_after_s(limited, failures, self._chance))
                failures += 1
            except Expected as trouble:
                failures = await self._pause(failures, trouble)
            except Exception:
                log.exception("what the server sent could not be taken")
                failures = await self._pause(failures, Offline("a transaction could not be used"))
            else:
                await self._wait()

    async def step(self) -> None:
        """Take all that waits; the first time, learn the beginnings before."""
        self.woken.clear()
        if not self._is_prepared:
            async with self._gate:
                await self._prepare()
            self._is_prepared = True
        elif self._clock.monotonic_s() - self._asked_at_s >= await self._settings_age():
            await self._ask_settings()
        while await self._take():
            self.woken.clear()
        self._on_state(None)

    async def _take(self) -> bool:
        """Take the next pieces; False when there are no more, and nobody has said that there are."""
        epoch = self._queue.epoch
        user_id = self._me.user_id
        pieces = await asyncio.to_thread(self._queue.pieces, user_id, self._after, BATCH)
        if not pieces:
            return False
        sights = await self._look(await self._db.read(wanted, user_id, pieces))
        taken = await self._db.write(
            take,
            self._me,
            epoch,
            pieces,
            {sight.room_id: sight for sight in sights},
            now_ms=self._clock.now_ms(),
            chance=self._chance,
        )
        if taken.skipped:
            log.warning("%d pieces of transactions were skipped", taken.skipped)
        self._after = pieces[-1].id
        await asyncio.to_thread(self._queue.done, user_id, self._after)
        return len(pieces) == BATCH or self.woken.is_set()

    async def _prepare(self) -> None:
        epoch = self._queue.epoch
        taken = await self._db.read(place, epoch)
        if taken > await asyncio.to_thread(self._queue.newest):
            # The queue's file is an older copy: what it counts from now on is not what we have taken.
            await self._db.write(set_place, epoch, 0)
            self._after = 0
        else:
            self._after = taken
            await asyncio.to_thread(self._queue.done, self._me.user_id, taken)
        await self._ask_settings()
        await self._ask_key_counts()
        answer = await self._http.request("GET", path("joined_rooms"))
        listed = answer.get("joined_rooms")
        if not isinstance(listed, list):
            raise Offline("the answer names no rooms")
        joined = {RoomId(room) for room in listed if isinstance(room, str)}
        unseen = sorted(await self._db.read(_unseen, joined))
        for start in range(0, len(unseen), _ROOMS_AT_ONCE):
            sights = await self._look(unseen[start : start + _ROOMS_AT_ONCE])
            await self._db.write(see, self._me, sights, now_ms=self._clock.now_ms(), chance=self._chance)
        await self._db.write(_leave_others, joined)
        await asyncio.to_thread(self._queue.settle_homes, self._me.user_id, joined)

    async def _look(self, room_ids: Collection[RoomId]) -> list[Sight]:
        return [sight for room in room_ids if (sight := await look(self._http, room)) is not None]

    async def _ask_settings(self) -> None:
        """Ask for the account data that decides; what a transaction brings meanwhile is newer and wins."""
        for _ in range(_TRIES):
            before = await self._db.read(place, self._queue.epoch)
            events = [{"type": kind, "content": await self._account_data(kind)} for kind in _ASKED_TYPES]
            rules = await self._http.request("GET", path("pushrules", ""))
            events.append({"type": "m.push_rules", "content": rules})
            if await self._db.write(
                _keep_settings,
                self._me,
                self._queue.epoch,
                before,
                events,
                self._clock.now_ms(),
                self._chance,
            ):
                break
        self._asked_at_s = self._clock.monotonic_s()

    async def _account_data(self, kind: str) -> Json:
        try:
            return await self._http.request("GET", path("user", self._me.user_id, "account_data", kind))
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            return {}

    async def _ask_key_counts(self) -> None:
        """An upload of nothing tells what the server has; transactions do so only when something happens."""
        answer = await self._http.request("POST", path("keys", "upload"), {})
        counts = answer.get("one_time_key_counts")
        if isinstance(counts, dict):
            known = {kind: count for kind, count in counts.items() if isinstance(count, int)}
            await self._db.write(_note_counts, known, self._clock.now_ms())

    async def _settings_age(self) -> float:
        if not self._is_told:
            self._is_told = bool(await asyncio.to_thread(self._queue.fact, "account_data"))
        return SETTINGS_TOLD_S if self._is_told else SETTINGS_S

    async def _wait(self) -> None:
        """Until there is something to take, or the settings are to be asked for again."""
        due_s = self._asked_at_s + await self._settings_age() - self._clock.monotonic_s()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(due_s, 0.0)):
                await self.woken.wait()

    async def _pause(self, failures: int, trouble: Expected) -> int:
        pause = pause_after_s(trouble, failures, self._chance)
        log.warning("%s (%s); again in %.1f s", trouble.title, trouble.detail, pause)
        self._on_state(trouble)
        await self._clock.sleep(pause)
        return failures + 1


def _unseen(conn: sqlite3.Connection, joined: set[RoomId]) -> set[RoomId]:
    """The rooms whose members are not all known."""
    return {room for room in joined if not (is_joined(conn, room) and members.is_complete(conn, LINK, room))}


def _leave_others(txn: Transaction, joined: set[RoomId]) -> None:
    """What was left while nobody told us."""
    for row in txn.all("SELECT room_id FROM room WHERE conn = ? AND membership = 'join'", (LINK,)):
        if row["room_id"] not in joined:
            rooms.set_room(txn, LINK, row["room_id"], {"membership": "leave"})


def _keep_settings(
    txn: Transaction, me: Me, epoch: str, before: int, events: list[Json], now_ms: int, chance: Chance
) -> bool:
    """Keep the answers, unless a transaction was taken since they were asked for."""
    if place(txn.conn, epoch) != before:
        return False
    news = tuple(
        event for event in events if (account_data.get(txn.conn, event["type"]) or {}) != event["content"]
    )
    apply(txn, LINK, me, Response(None, account_data=news), now_ms=now_ms, chance=chance)
    return True


def _note_counts(txn: Transaction, counts: dict[str, int], now_ms: int) -> None:
    known = devices.key_count(txn.conn)
    unused: list[str] | None = None if known is None or known.fallback_unused else []
    devices.note_key_counts(txn, counts, unused, now_ms)
