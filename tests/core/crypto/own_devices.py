"""Builders for tests of several devices of one person: verified, asking, answering."""

from __future__ import annotations

import asyncio
from typing import Any

from tandem_core.crypto import olm, secrets
from tandem_core.crypto.gossip import REQUEST, SEND, GossipWorker
from tandem_core.crypto.recovery_state import NAMES
from tandem_core.store import identities
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.receipts_kit import whispers
from tests.core.crypto.world import Device

MASTER = secrets.MASTER


def verify(laptop: Device, phone: Device) -> None:
    """What a completed verification does on both sides."""
    laptop.knows()
    asyncio.run(laptop.cross_signing.confirm_own_device(phone.me.device_id, _ed25519(phone)))
    phone.knows()
    asyncio.run(phone.backup.look())
    asyncio.run(phone.cross_signing.confirm_own_identity(_master(phone)))


def work(*devices_: Device) -> None:
    """The gossip of these programs, one after the other; what waits to be sent is the crypto worker's."""
    for device in devices_:
        device.receive()
        asyncio.run(worker(device).step())
        asyncio.run(device.flush())


def worker(device: Device) -> GossipWorker:
    return GossipWorker(
        device.paths,
        device.db,
        device.http,
        device.me,
        device.opener,
        device.crypto,
        clock=device.clock,
        chance=device.chance,
    )


def held(device: Device) -> dict[str, str]:
    found = {name: device.read(secrets.read, device.state, name) for name in NAMES}
    return {name: value for name, value in found.items() if value is not None}


def send_secret(writer: Device, reader: Device, content: Json) -> None:
    """A device of anybody sends m.secret.send over Olm, as a client of its own might."""
    whispers(writer, reader, SEND, content)


def asked(name: str = MASTER, device_id: str = "PHONE", request_id: str = "r1", **more: Any) -> Json:
    content = {
        "action": "request",
        "name": name,
        "requesting_device_id": device_id,
        "request_id": request_id,
    }
    return {"type": REQUEST, "sender": "@alice:example.org", "content": {**content, **more}}


def answers(server: KeyServer, device: Device) -> int:
    """How many encrypted events lie on the server for this device."""
    waiting = server.inboxes.get((device.me.user_id, device.me.device_id), [])
    return len([event for event in waiting if event["type"] == olm.SEALED])


def open_requests(device: Device) -> dict[str, str]:
    """Request ids by name."""
    return dict(device.rows("SELECT name, request_id FROM secret_request"))


def _ed25519(device: Device) -> str:
    return str(device.keys_of()[f"ed25519:{device.me.device_id}"])


def _master(device: Device) -> str:
    own = device.read(identities.identity, device.me.user_id)
    assert own is not None
    return str(own.master)
