"""Sliding sync in the two dialects that servers speak: MSC4186's stable endpoint and the unstable one before it."""

from __future__ import annotations

import secrets
from typing import Any

from .matrix import (
    STABLE_SLIDING_SYNC,
    UNSTABLE_SLIDING_SYNC,
    Device,
    Homeserver,
    Json,
    Unexpected,
    is_unknown_endpoint,
    said,
)
from .points import Unsupported

PREFIXED = "org.matrix.msc4538.to_device"


async def endpoints(server: Homeserver, device: Device) -> list[str]:
    """Which of the two there are, the unstable one first."""
    found = []
    for path, query in ((UNSTABLE_SLIDING_SYNC, {"timeout": "0"}), (STABLE_SLIDING_SYNC, None)):
        status, answer = await server.request(
            "POST", path, {"conn_id": "probe", "extensions": {}}, token=device.token, query=query
        )
        if not is_unknown_endpoint(status, answer):
            found.append(path)
    return found


class Connection:
    """One sliding sync connection, with its ``pos``. ``ask`` sends one request."""

    def __init__(self, device: Device, path: str, to_device_key: str) -> None:
        self.device = device
        self.pos: str | None = None
        self._path = path
        self._key = to_device_key
        self._conn_id = secrets.token_hex(4)

    @classmethod
    async def open(cls, device: Device, path: str = "") -> Connection:
        """On the given endpoint, or on the first that there is; raises Unsupported without any."""
        found = await endpoints(device.server, device)
        if not found:
            raise Unsupported("there is no sliding sync endpoint")
        path = path or found[0]
        is_prefixed = path == STABLE_SLIDING_SYNC and not (await device.server.features()).get(
            "org.matrix.msc4538.stable"
        )
        return cls(device, path, PREFIXED if is_prefixed else "to_device")

    @property
    def is_stable(self) -> bool:
        return self._path == STABLE_SLIDING_SYNC

    def reset(self) -> None:
        """Go on as after M_UNKNOWN_POS: a new connection, without a position."""
        self.pos, self._conn_id = None, secrets.token_hex(4)

    async def ask(
        self,
        to_device: Json | None = None,
        *,
        timeout_ms: int = 0,
        room: str | None = None,
        receipts: bool = False,
    ) -> tuple[int, Json]:
        """``to_device`` is the extension's config, None leaves it out. Keeps ``pos`` of an answer with 200."""
        body: Json = {"conn_id": self._conn_id, "extensions": {}}
        if to_device is not None:
            body["extensions"][self._key] = to_device
        if receipts:
            body["extensions"]["receipts"] = {"enabled": True}
        if room is not None:
            state: Any = {"include": []} if self.is_stable else []
            body["room_subscriptions"] = {room: {"timeline_limit": 5, "required_state": state}}
        query = None
        if self.is_stable:
            body |= {"timeout": timeout_ms} | ({} if self.pos is None else {"pos": self.pos})
        else:
            query = {"timeout": str(timeout_ms)} | ({} if self.pos is None else {"pos": self.pos})
        status, answer = await self.device.request(
            "POST", self._path, body, query=query, timeout_s=60 + timeout_ms / 1000
        )
        if status == 200:
            self.pos = answer.get("pos")
        return status, answer

    async def answer(self, to_device: Json | None = None, **more: Any) -> Json:
        """The same, raising Unexpected unless the status is 200."""
        status, answer = await self.ask(to_device, **more)
        if status != 200:
            raise Unexpected(f"sliding sync: {said(status, answer)}")
        return answer

    def section(self, answer: Json) -> Json | None:
        """The to-device section of an answer."""
        found = answer.get("extensions", {}).get(self._key)
        return found if isinstance(found, dict) else None
