"""Send what the user wrote: encrypt, share keys, send, over crashes and restarts, each message once.

A message goes to the server with a transaction id that it got when it was written, and with bytes that were
stored before they were sent. Whatever dies, the same request is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import ClassVar

from tandem_core.clock import Chance, Clock
from tandem_core.crypto import group, megolm, sending_rules
from tandem_core.crypto import outbox as to_device
from tandem_core.crypto.state import CryptoState
from tandem_core.crypto.worker import CryptoWorker, LocalOpener
from tandem_core.errors import Cancelled, Offline, ServerRefused
from tandem_core.http import Http, path
from tandem_core.media.uploader import CannotUpload, Uploader
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import inbound, marker, planning
from tandem_core.store import devices, events, members, outbox, room_facts, uploads
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.store.outbox import Queued
from tandem_core.sync.members import ensure_members
from tandem_core.types import EventId, Json, Me, Role, RoomId, Topic, UserId
from tandem_core.worker import Worker

log = logging.getLogger("tandem.sending")

_ROOMS_AT_ONCE = 4


def enqueue(
    txn: Transaction,
    room_id: RoomId,
    kind: str,
    content: Json,
    *,
    body: str,
    html: str | None = None,
    asks: bool = False,
    now_ms: int,
) -> str:
    """Queue a message; returns its transaction id. Writing in a room is accepting the conversation there.

    ``asks``: confirmations are wanted of this message, in a group too large to ask for those of all.
    """
    room_facts.accept(txn, room_id, "sent")
    if asks:
        content = marker.asking(txn.conn, room_id, content)
    return outbox.put_message(txn, room_id, kind, content, body, html, now_ms)


def retry(txn: Transaction, txn_id: str) -> bool:
    """Try a message that was not sent again; False if it is not such a one."""
    return outbox.requeue(txn, txn_id)


def discard(txn: Transaction, txn_id: str) -> bool:
    """Delete a message that was not sent; False if it was."""
    return outbox.drop(txn, txn_id)


class Sender(Worker):
    """Sends the queue, in both programs, one of them at a time; each room in its own order."""

    name: ClassVar[str] = "sender"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.OUTBOX, Topic.SESSION})

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
        self._uploader = Uploader(paths, db, http)
        self._left_over: set[str] | None = None
        """What an earlier run left in the queue."""

    async def step(self) -> float | None:
        if self._left_over is None:
            self._left_over = await self._db.read(outbox.waiting_txns)
        await self._uploader.tidy()
        if not await self._db.read(outbox.next_messages):
            return None
        async with netlock(self._paths, "outbox"):
            offline = await self._send_all()
        if offline is not None:
            raise offline
        return None

    async def _send_all(self) -> Offline | None:
        """Send what waits, a few rooms side by side; returns why some room could not go on."""
        stuck: dict[RoomId, Offline] = {}
        under_way: dict[asyncio.Task[None], RoomId] = {}
        try:
            while True:
                busy = {*stuck, *under_way.values()}
                queue = [m for m in await self._db.read(outbox.next_messages) if m.room_id not in busy]
                for message in queue[: _ROOMS_AT_ONCE - len(under_way)]:
                    under_way[asyncio.ensure_future(self._send(message))] = message.room_id
                if not under_way:
                    return next(iter(stuck.values()), None)
                self._woken.clear()  # a message for a room that is not busy need not wait for those that are
                woken = asyncio.ensure_future(self._woken.wait())
                await asyncio.wait({woken, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                for task in [task for task in under_way if task.done()]:
                    room_id = under_way.pop(task)
                    try:
                        task.result()
                    except Offline as error:
                        # This room waits, to keep its order; the others may have better luck.
                        stuck[room_id] = error
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _send(self, message: Queued) -> None:
        """Bring one message to the server, or to a definite refusal."""
        try:
            if message.wire_type == "m.room.encrypted" or message.txn_id in (self._left_over or ()):
                # An older copy of the store holds what was sent long ago, and ratchets that went back.
                await (await self._crypto.keys()).rollback.before_encrypting(message.room_id)
                if (waiting := await self._reload(message)) is None:
                    return
                message = waiting
            if await self._db.read(uploads.waiting, message.txn_id):
                is_sealed = await self._encryption(message.room_id) is not None
                await self._uploader.bring(message, is_sealed_room=is_sealed)
                if (brought := await self._reload(message)) is None:
                    return
                message = brought
            if message.wire_type is None or await self._db.read(_is_clear_in_sealed_room, message):
                if not await self._make_wire(message) or (made := await self._reload(message)) is None:
                    return
                message = made
            if message.wire_type == "m.room.encrypted":
                await to_device.flush(self._paths, self._db, self._http)  # keys first
            if not await self._db.write(outbox.note_attempt, message.txn_id):
                return
            answer = await self._http.request(
                "PUT",
                path("rooms", message.room_id, "send", message.wire_type or message.type, message.txn_id),
                message.wire_content,
            )
        except Cancelled:
            return
        except CannotUpload as cannot:
            await self._db.write(outbox.note_failed, message.txn_id, message.room_id, cannot.title)
            return
        except ServerRefused as refused:
            log.warning("%s: a message was refused: %s", message.room_id, refused.errcode)
            await self._db.write(outbox.note_failed, message.txn_id, message.room_id, _words(refused))
            return
        event_id = answer.get("event_id")
        if not isinstance(event_id, str):
            raise Offline("the answer to a message has no event id")
        await self._db.write(_keep_sent, message, EventId(event_id), self._me, self._clock.now_ms())

    async def _make_wire(self, message: Queued) -> bool:
        """Decide on the bytes that go out and store them; never in clear where encryption was ever on."""
        encryption = await self._encryption(message.room_id)
        if encryption is None:
            return await self._db.write(_plain_wire, message, self._me)
        keys = await self._crypto.keys()
        await keys.rollback.before_encrypting(message.room_id)
        users = await self._readers(message.room_id)
        await self._db.write(devices.track, users | {self._me.user_id})
        await keys.query(users | {self._me.user_id})
        state = await self._opener.state()
        await keys.claim(await self._db.read(_readers_devices, message.room_id, users, self._me))
        return await self._db.write(_encrypted_wire, state, message, users, encryption, self._clock.now_ms())

    async def _encryption(self, room_id: RoomId) -> Json | None:
        """The room's encryption; where it may only be unknown here, the server is asked."""
        encryption = await self._db.read(room_facts.encryption, room_id)
        if encryption is None and await self._is_unsure(room_id):
            await ensure_members(self._http, self._db, self._role, room_id)
            encryption = await self._ask_encryption(room_id)
        return encryption

    async def _readers(self, room_id: RoomId) -> set[UserId]:
        """Everybody who may read: joined, and invited where history is theirs to read. All of them are known first."""
        if await self._db.read(members.agreed_members, room_id) is None:
            await ensure_members(self._http, self._db, self._role, room_id, force=True)
        elif not await self._db.read(members.is_complete, self._role, room_id):
            await ensure_members(self._http, self._db, self._role, room_id)
        return await self._db.read(_may_read, self._role, room_id)

    async def _is_unsure(self, room_id: RoomId) -> bool:
        return not await self._db.read(members.is_complete, self._role, room_id)

    async def _ask_encryption(self, room_id: RoomId) -> Json | None:
        """What the server itself says, before a word goes out in clear."""
        try:
            content = await self._http.request(
                "GET", path("rooms", room_id, "state", "m.room.encryption", "")
            )
        except ServerRefused as refused:
            if refused.status == 404:
                return None
            raise
        await self._db.write(room_facts.set_encryption, self._role, room_id, content)
        return content

    async def _reload(self, message: Queued) -> Queued | None:
        """The message as it is now; None if it waits no more."""
        waiting = await self._db.read(outbox.next_messages)
        return next((row for row in waiting if row.txn_id == message.txn_id), None)


def _is_clear_in_sealed_room(conn: sqlite3.Connection, message: Queued) -> bool:
    """Encryption was turned on after the bytes were decided, and before they were sent."""
    if message.wire_type == "m.room.encrypted":
        return False
    return room_facts.encryption(conn, message.room_id) is not None


def _may_read(conn: sqlite3.Connection, role: Role, room_id: RoomId) -> set[UserId]:
    row = conn.execute(
        "SELECT history_visibility FROM room WHERE conn = ? AND room_id = ?", (role, room_id)
    ).fetchone()
    also = () if row is None or row["history_visibility"] == "joined" else ("invite",)
    return members.joined(conn, role, room_id, also)


def _readers_devices(conn: sqlite3.Connection, room_id: RoomId, users: set[UserId], me: Me) -> list[Device]:
    found = devices.devices_of(conn, users | {me.user_id})
    others = [d for d in found if (d.user_id, d.device_id) != (me.user_id, me.device_id)]
    return sending_rules.divide(conn, me, room_id, others).entitled


def _plain_wire(txn: Transaction, message: Queued, me: Me) -> bool:
    if room_facts.encryption(txn.conn, message.room_id) is not None:
        return False  # it was turned on a moment ago; the next look encrypts
    outbox.put_wire(txn, message.txn_id, message.room_id, message.type, message.content)
    outbox.put_audience(
        txn, message.txn_id, room_facts.joined_people(txn.conn, message.room_id, me.user_id), []
    )
    return True


def _encrypted_wire(
    txn: Transaction, state: CryptoState, message: Queued, users: set[UserId], encryption: Json, now_ms: int
) -> bool:
    known = txn.one(
        "SELECT 1 FROM send_queue WHERE txn_id = ? AND wire_type IS NOT 'm.room.encrypted'"
        " AND state IN ('queued', 'sending')",
        (message.txn_id,),
    )
    if known is None:
        return False  # deleted, or encrypted by the other program
    stopped = sending_rules.stopped_by(txn.conn, state.me, users)
    if stopped:
        words = sending_rules.stopped_words(stopped)
        outbox.note_failed(txn, message.txn_id, message.room_id, words)
        return False
    group.encrypt(txn, state, message, users, encryption, now_ms)
    return True


def _keep_sent(txn: Transaction, message: Queued, event_id: EventId, me: Me, now_ms: int) -> None:
    """The server took it: keep its event at once, so that it shows as sent before sync brings it."""
    outbox.note_sent(txn, message.txn_id, message.room_id, event_id, now_ms)
    raw: Json = {
        "event_id": event_id,
        "sender": me.user_id,
        "type": message.wire_type or message.type,
        "origin_server_ts": now_ms,
        "content": message.wire_content or message.content,
        "unsigned": {"transaction_id": message.txn_id},
    }
    kept = events.put_event(txn, raw, message.room_id, now_ms=now_ms)
    if message.wire_type == "m.room.encrypted" and message.wire_content is not None:
        megolm.note_own(txn, message.wire_content, event_id, kept.sent_at)
        events.set_opened(txn, event_id, message.type, message.content, now_ms)
    inbound.claim_early(txn, event_id, now_ms)
    planning.attend(txn, message.room_id, now_ms, now_ms)


def _words(refused: ServerRefused) -> str:
    match refused.errcode:
        case "M_FORBIDDEN":
            return "You may not write in this room"
        case "M_TOO_LARGE":
            return "The message is too long"
    return refused.message or refused.title
