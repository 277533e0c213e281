"""What a device has been shown so far, by one of the ways to sync: receipts and to-device messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .matrix import CLIENT, Device, Json, is_unknown_endpoint
from .sliding import Connection

_POLL_MS = 2_000


@dataclass(frozen=True)
class Seen:
    """One receipt as it was shown: whose, for what, and the object with its ``ts``."""

    room: str
    event: str
    type: str
    user: str
    receipt: Any


class View:
    """Grows with each step. ``until`` looks again until something is there or the patience ends."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.receipts: list[Seen] = []
        self.batches: list[list[Seen]] = []
        """The receipts of each answer that brought any."""
        self.to_device: list[Json] = []

    async def step(self, timeout_ms: int = 0) -> None:
        raise NotImplementedError

    async def until(self, is_enough: Callable[[], bool], patience_s: float) -> bool:
        """Whether it came to that."""
        end = asyncio.get_running_loop().time() + patience_s
        while not is_enough():
            if asyncio.get_running_loop().time() > end:
                return False
            await self.step(_POLL_MS)
        return True

    def of(self, *types: str, event: str | None = None, user: str | None = None) -> list[Seen]:
        """The receipts of these types, in the order in which they came."""
        return [
            seen
            for seen in self.receipts
            if seen.type in types
            and (event is None or seen.event == event)
            and (user is None or seen.user == user)
        ]

    def _keep(self, room: str, content: Any) -> list[Seen]:
        found = []
        for event, types in (content if isinstance(content, dict) else {}).items():
            for type_, users in types.items():
                found += [Seen(room, event, type_, user, receipt) for user, receipt in users.items()]
        return found

    def _add(self, found: list[Seen]) -> None:
        if found:
            self.receipts += found
            self.batches.append(found)


class SyncView(View):
    """By ``GET /_matrix/client/v3/sync``."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.since: str | None = None

    @classmethod
    async def begin(cls, device: Device) -> SyncView:
        """With a first, full sync behind it."""
        view = cls(device)
        await view.step()
        return view

    async def step(self, timeout_ms: int = 0) -> None:
        answer = await self.device.sync(self.since, timeout_ms)
        self.since = answer["next_batch"]
        self.to_device += answer.get("to_device", {}).get("events", [])
        found = []
        for room, joined in answer.get("rooms", {}).get("join", {}).items():
            for event in joined.get("ephemeral", {}).get("events", []):
                if event.get("type") == "m.receipt":
                    found += self._keep(room, event.get("content"))
        self._add(found)


class SlidingView(View):
    """By sliding sync, with one room subscribed, the receipts and the to-device extension."""

    def __init__(self, device: Device, connection: Connection, room: str | None) -> None:
        super().__init__(device)
        self._connection = connection
        self._room = room
        self._since: str | None = None

    @classmethod
    async def begin(cls, device: Device, room: str | None = None) -> SlidingView:
        """With a first answer behind it; raises Unsupported where there is no sliding sync."""
        view = cls(device, await Connection.open(device), room)
        await view.step()
        return view

    async def step(self, timeout_ms: int = 0) -> None:
        config = {"enabled": True} | ({} if self._since is None else {"since": self._since})
        answer = await self._connection.answer(config, timeout_ms=timeout_ms, room=self._room, receipts=True)
        section = self._connection.section(answer) or {}
        self._since = section.get("next_batch", self._since)
        self.to_device += section.get("events", [])
        found = []
        for room, event in answer.get("extensions", {}).get("receipts", {}).get("rooms", {}).items():
            found += self._keep(room, event.get("content"))
        self._add(found)


async def look(device: Device, room: str) -> View:
    """By /v3/sync, or by sliding sync on a server that has nothing else; with a first answer behind it."""
    status, answer = await device.request("GET", f"{CLIENT}/sync", query={"timeout": "0"})
    if is_unknown_endpoint(status, answer):
        return await SlidingView.begin(device, room)
    return await SyncView.begin(device)
