"""Builders for tests of confirmations over the encrypted way: real stores, real Olm, one homeserver in memory."""

from __future__ import annotations

import asyncio
from typing import Any

from tandem_core import settings
from tandem_core.crypto import olm
from tandem_core.crypto.letters import OlmLetters
from tandem_core.receipts import marker
from tandem_core.receipts.encrypted import EncryptedTransport
from tandem_core.receipts.own import OwnDevices
from tandem_core.receipts.transports import Answers, Due
from tandem_core.sending import enqueue
from tandem_core.store import outbox, rooms
from tandem_core.store import receipts as store
from tandem_core.store.database import Transaction
from tandem_core.types import EventId, Json, RoomId
from tests.core.crypto.world import ROOM, Device

HOUR = 3_600_000
DAY = 24 * HOUR


def befriend(*people: Device, room: RoomId = ROOM, is_dm: bool = True) -> None:
    """All are in an encrypted room that they accepted, and know each other's devices; each confirms as recommended."""
    users = {device.me.user_id for device in people}
    for device in people:
        device.is_in(room, *sorted(users - {device.me.user_id}))
        device.write(rooms.set_room, device.role, room, {"is_dm": int(is_dm)})
        device.write(rooms.accept, room, "sent")
        device.write(settings.set_value, "receipts.answered", True, now_ms=device.clock.now_ms())
        device.knows(*people)


def writes(
    author: Device, body: str = "hello", *, room: RoomId = ROOM, asks: bool = False, **content: Any
) -> str:
    """The author sends a message as the program does; returns its event id."""
    said = {"msgtype": "m.text", "body": body, **content}
    author.write(enqueue, room, "m.room.message", said, body=body, asks=asks, now_ms=author.clock.now_ms())
    asyncio.run(author.sender.step())
    return str(author.server.events[room][-1]["event_id"])


def reads(reader: Device, event_id: str, *, room: RoomId = ROOM) -> None:
    """Sync brings the keys and the event; the reader's program opens and judges it."""
    reader.receive()
    raw = next(event for event in reader.server.events[room] if event["event_id"] == event_id)
    reader.sees(raw["content"], raw["sender"], event_id=event_id, ts=raw["origin_server_ts"], room=room)


def hears(author: Device, reader: Device, body: str = "hello", **content: Any) -> str:
    """The author writes and the reader has it; returns the event id."""
    event_id = writes(author, body, **content)
    reads(reader, event_id)
    return event_id


def token(device: Device, event_id: str) -> bytes:
    """What proves that a device could read this message."""
    asked = marker.read(device.event(event_id).opened_content)
    assert asked is not None
    return asked.token


def letters(device: Device) -> OlmLetters:
    return OlmLetters(device.paths, device.db, device.http, device.opener, device.crypto)


def transport(device: Device) -> EncryptedTransport:
    return EncryptedTransport(device.db, device.me, letters(device), clock=device.clock, chance=device.chance)


def confirms(reader: Device, author: Device, *event_ids: str, share: str = "user") -> Answers:
    """The reader's outbox sends what it owes for these events, by the encrypted way alone."""
    due = []
    for event_id in event_ids:
        row = reader.read(store.owed, EventId(event_id))
        assert row is not None, "nothing is owed for it"
        due.append(Due(row, share))
    return asyncio.run(transport(reader).send(author.me.user_id, due))


def own_devices(device: Device) -> OwnDevices:
    return OwnDevices(
        device.paths, device.db, device.me, letters(device), clock=device.clock, chance=device.chance
    )


def works(*devices: Device) -> None:
    """What these tell our other devices, after the longest hold."""
    for device in devices:
        device.clock.time_ms += 10_000
        asyncio.run(own_devices(device).step())


def heard(device: Device) -> list[tuple[Any, ...]]:
    """Who confirmed what, per person (device '') and device."""
    return device.rows("SELECT event_id, user_id, device_id, via FROM delivery ORDER BY 1, 2, 3")


def owed(device: Device) -> list[tuple[Any, ...]]:
    return device.rows("SELECT event_id, state, transport, reason FROM receipt_owed ORDER BY 1")


def whispers(writer: Device, reader: Device, kind: str, content: Json) -> None:
    """A device says anything over Olm to another one, as a client of its own might."""
    writer.knows(reader)
    target = next(found for found in writer.devices(reader) if found.device_id == reader.me.device_id)
    asyncio.run(writer.keys.claim([target]))

    def put(txn: Transaction) -> None:
        now_ms = writer.clock.now_ms()
        sealed = olm.encrypt(txn, writer.state, target, kind, content, now_ms)
        outbox.put_to_device(txn, olm.SEALED, {target.user_id: {target.device_id: sealed}}, now_ms)

    writer.write(put)
    asyncio.run(writer.flush())
