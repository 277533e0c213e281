"""How a receipt travels. Today one way: the home server's own endpoint, where it is announced (MSC4089)."""

from __future__ import annotations

from typing import Protocol

from tandem_core.capabilities import Capabilities
from tandem_core.http import Http, path
from tandem_core.types import EventId, Json, RoomId

SHARE_KEY = "im.tandem.share"


class Transport(Protocol):
    """One way to the author. ``send`` returns once the receipt is safely with the server, or raises."""

    name: str

    async def send(self, room_id: RoomId, event_id: EventId, share: str) -> None: ...


class ServerTransport:
    """POST to the receipt endpoint; the server tells the author only, and knows the device by its token."""

    name = "server"

    def __init__(self, http: Http, receipt_type: str) -> None:
        self._http = http
        self._receipt_type = receipt_type

    async def send(self, room_id: RoomId, event_id: EventId, share: str) -> None:
        body: Json = {SHARE_KEY: share}
        await self._http.request(
            "POST", path("rooms", room_id, "receipt", self._receipt_type, event_id), body
        )


def choose(http: Http, capabilities: Capabilities) -> Transport | None:
    """The best way this server offers, or None.

    A server that has not announced support would show the receipt to the whole room (DESIGN law 10).
    """
    if capabilities.delivery and capabilities.receipt_type:
        return ServerTransport(http, capabilities.receipt_type)
    return None
