"""Notice that the store is an older copy of itself before it encrypts, and go on with new sessions (ADR 0007).

Whoever puts yesterday's files over today's turns every ratchet back; it would encrypt a second thing at a place
that is taken. The server knows better: our own events name their session and carry their place in it in clear. One
that this store has not made itself is proof. What sync has applied meanwhile says nothing, as it moves no ratchet.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vodozemac import MegolmMessage

from tandem_core.clock import Clock
from tandem_core.codec import canonical
from tandem_core.crypto import account
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.store import crypto as rows
from tandem_core.store import outbox
from tandem_core.store.database import Database, Transaction
from tandem_core.types import EventId, Json, Me, RoomId

log = logging.getLogger("tandem.crypto.rollback")

PER_ROOM = 20
"""Our newest events of a room that are looked at: those of our other devices are among them."""
FIRST_ROOMS = 6
"""Rooms that are looked at in any case, those with the newest messages."""
MOST_ROOMS = 40
"""Of the other rooms, those that had news since the start are looked at, too, up to so many."""
AT_ONCE = 3
SYNC_PATIENCE_S = 10.0
"""So long is waited for the first answer of sync, which says where there is news."""


@dataclass(frozen=True, slots=True)
class Own:
    """An event of this device as the server has it, with the Megolm session and the place that it uses, if any."""

    room_id: RoomId
    event_id: EventId
    txn_id: str | None
    session_id: str | None = None
    place: int = 0


def own_events(room_id: RoomId, chunk: Any, me: Me, curve25519: str) -> list[Own]:
    """Those of a room's events that this device sent, by their sealed half or by their transaction id.

    Other devices of the same account are not us, and nothing that is malformed proves anything.
    """
    found = []
    for event in chunk if isinstance(chunk, list) else ():
        if not isinstance(event, dict) or event.get("sender") != me.user_id:
            continue
        event_id, content, unsigned = event.get("event_id"), event.get("content"), event.get("unsigned")
        if not isinstance(event_id, str):
            continue
        txn_id = unsigned.get("transaction_id") if isinstance(unsigned, dict) else None
        own = Own(room_id, EventId(event_id), txn_id if isinstance(txn_id, str) else None)
        taken = _place(content, me, curve25519) if isinstance(content, dict) else None
        if taken is not None:
            found.append(Own(own.room_id, own.event_id, own.txn_id, *taken))
        elif own.txn_id is not None:
            found.append(own)
    return found


def is_unknown(own: Own, places_used: int) -> bool:
    """Whether this event shows that more was encrypted than the store knows (``store.crypto.places_used``)."""
    return own.session_id is not None and own.place >= places_used


def lost_sessions(conn: sqlite3.Connection, seen: Iterable[Own]) -> set[str]:
    """The Megolm sessions of ours that went further than this store knows. To be asked after ``seen`` was fetched:
    what the other program sends meanwhile is in the store before it is on the server."""
    return {
        own.session_id
        for own in seen
        if own.session_id is not None and is_unknown(own, rows.places_used(conn, own.room_id, own.session_id))
    }


def heal(
    txn: Transaction, state: CryptoState, seen: Sequence[Own], now_ms: int, *, is_certain: bool = False
) -> bool:
    """If this store is an older copy, encrypt with nothing that it holds; returns whether it was one.

    One transaction, so that neither program encrypts in between; who comes second finds nothing left to do.
    ``is_certain``: the server has shown so in another way.
    """
    note_sent(txn, seen, now_ms)
    lost = lost_sessions(txn.conn, seen)
    if not lost and not is_certain:
        return False
    rows.give_up_ratchets(txn, lost, now_ms)
    outbox.encrypt_again(txn)
    account.skip_ids(txn, state, account.ONE_TIME_KEYS)
    rows.note_fallback(txn, None)  # the newest may be one whose private half is lost
    rows.note_restored(txn, now_ms)
    return True


def note_sent(txn: Transaction, seen: Iterable[Own], now_ms: int) -> None:
    """Messages that wait here and that the server has: an older copy of the store would send them again."""
    waiting = outbox.waiting_txns(txn.conn)
    for own in seen:
        if own.txn_id in waiting:
            outbox.note_sent(txn, own.txn_id, own.room_id, own.event_id, now_ms)


class RollbackCheck:
    """Looks once in the life of a program, before it first encrypts; both programs do."""

    def __init__(
        self,
        db: Database,
        http: Http,
        state: CryptoState,
        *,
        clock: Clock,
        synced: asyncio.Event | None = None,
    ) -> None:
        self._db = db
        self._http = http
        self._state = state
        self._clock = clock
        self._synced = synced
        self._began_at = clock.now_ms()
        self._is_begun = False
        self._is_new = False
        self._looked: set[RoomId] = set()
        self._lock = asyncio.Lock()

    async def before_encrypting(self, room_id: RoomId | None = None) -> None:
        """Return once this store may encrypt (in this room). Raises Offline, RateLimited, SignedOut: not yet."""
        if self._is_new or (self._is_begun and (room_id is None or room_id in self._looked)):
            return
        async with self._lock:
            curve25519 = await self._db.read(_known_key)
            if curve25519 is None:
                self._is_new = True  # a device that has no keys on the server has encrypted nothing
                return
            wanted = set() if room_id is None else {room_id}
            if not self._is_begun:
                await self._wait_for_sync()
                wanted |= await self._db.read(_first_rooms, self._began_at)
            wanted -= self._looked
            seen = await self._ask(wanted, curve25519)
            if await self._db.read(lost_sessions, seen):
                await self._heal(seen, wanted, curve25519)
            elif await self._db.read(outbox.waiting_txns) & {own.txn_id for own in seen}:
                await self._db.write(note_sent, seen, self._clock.now_ms())
            self._looked |= wanted
            self._is_begun = True

    async def keys_went_back(self) -> None:
        """The server has other keys under our ids: that alone is proof."""
        async with self._lock:
            curve25519 = await self._db.read(_known_key)
            if curve25519 is not None:
                await self._heal([], set(), curve25519, is_certain=True)
                self._is_begun = True

    async def _heal(
        self, seen: list[Own], asked: set[RoomId], curve25519: str, *, is_certain: bool = False
    ) -> None:
        """Look at all rooms, so that what was lost is known by name and never taken for another loss; then heal."""
        everywhere = await self._db.read(_encrypted_rooms) - asked
        seen = seen + await self._ask(everywhere, curve25519)
        if await self._db.write(heal, self._state, seen, self._clock.now_ms(), is_certain=is_certain):
            log.warning("the message store is an older copy: new encryption sessions are used from now on")
        self._looked |= everywhere

    async def _wait_for_sync(self) -> None:
        if self._synced is not None:
            try:
                async with asyncio.timeout(SYNC_PATIENCE_S):
                    await self._synced.wait()
            except TimeoutError:
                log.info("sync has not answered yet: only rooms that are known are looked at")

    async def _ask(self, rooms: Collection[RoomId], curve25519: str) -> list[Own]:
        """Our newest events in these rooms, a few rooms at a time."""
        seen: list[Own] = []
        waiting = list(rooms)

        async def work() -> None:
            while waiting:
                room_id = waiting.pop()
                seen.extend(own_events(room_id, await self._chunk(room_id), self._state.me, curve25519))

        tasks = [asyncio.ensure_future(work()) for _ in range(min(AT_ONCE, len(waiting)))]
        try:
            for task in tasks:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    async def _chunk(self, room_id: RoomId) -> Any:
        wanted = {"senders": [self._state.me.user_id], "types": ["m.room.encrypted", "m.room.message"]}
        query = {"dir": "b", "limit": str(PER_ROOM), "filter": canonical(wanted).decode()}
        try:
            answer = await self._http.request("GET", path("rooms", room_id, "messages"), query=query)
        except ServerRefused as refused:
            log.info("%s: no history to compare with: %s", room_id, refused.errcode)
            return []
        return answer.get("chunk")


def _place(content: Json, me: Me, curve25519: str) -> tuple[str, int] | None:
    """The Megolm session and the place in it that an event of this very device uses."""
    if content.get("sender_key") != curve25519 or content.get("device_id") != me.device_id:
        return None
    session_id, ciphertext = content.get("session_id"), content.get("ciphertext")
    if not isinstance(session_id, str) or not isinstance(ciphertext, str):
        return None
    try:
        return session_id, MegolmMessage.from_base64(ciphertext).message_index()
    except ValueError:
        return None


def _known_key(conn: sqlite3.Connection) -> str | None:
    """Our identity key, if the server has it."""
    row = rows.account(conn)
    known = rows.identity(conn)
    return str(known["curve25519"]) if row is not None and known and row.device_keys_uploaded else None


def _first_rooms(conn: sqlite3.Connection, began_at: int) -> set[RoomId]:
    """Encrypted rooms that may hold what we do not know: those with news since the start, and the newest anyway."""
    found = conn.execute(
        "SELECT r.room_id, max(r.last_at) AS at, max(e.received_at) AS heard_at"
        " FROM room AS r JOIN room_fact AS f ON f.room_id = r.room_id"
        " LEFT JOIN event AS e ON e.event_id = r.last_event_id"
        " WHERE r.membership = 'join' AND f.encryption IS NOT NULL GROUP BY r.room_id ORDER BY at DESC LIMIT ?",
        (MOST_ROOMS,),
    )
    return {
        RoomId(row["room_id"])
        for number, row in enumerate(found)
        if number < FIRST_ROOMS or (row["heard_at"] or 0) >= began_at
    }


def _encrypted_rooms(conn: sqlite3.Connection) -> set[RoomId]:
    found = conn.execute(
        "SELECT DISTINCT r.room_id FROM room AS r JOIN room_fact AS f ON f.room_id = r.room_id"
        " WHERE r.membership = 'join' AND f.encryption IS NOT NULL"
    )
    return {RoomId(row["room_id"]) for row in found}
