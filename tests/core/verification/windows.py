"""Windows of people on one homeserver in memory, whose verifications go over real stores and real encryption."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Coroutine
from typing import Any

from tandem_core.store import timeline
from tandem_core.store.database import Database
from tandem_core.types import Json, Role
from tandem_core.verification.verifications import Verifications, View
from tests.core.crypto.world import ROOM, Device


class Died(Exception):
    """The window's process is gone."""


class MortalStore:
    """The store as a window sees it that dies before, or right after, one of its commits."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.read = db.read
        self.writes = 0
        self.dies_at: int | None = None
        self.after = False

    async def write(self, work: Any, *args: Any) -> Any:
        self.writes += 1
        is_last = self.writes == self.dies_at
        if is_last and not self.after:
            raise Died
        done = await self._db.write(work, *args)
        if is_last:
            raise Died
        return done


class Window:
    """One device with its window's verifications."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.store = MortalStore(device.db)
        self.seen_events = 0
        self.verifications = Verifications(
            self.store,  # type: ignore[arg-type]
            device.me,
            Role.APP,
            device.http,
            device.crypto,
            clock=device.clock,
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)

    def restarted(self) -> Window:
        """The window after its death."""
        made = Window(self.device.restarted())
        made.seen_events = self.seen_events
        return made

    @property
    def views(self) -> list[View]:
        return self.run(self.verifications.flows())  # type: ignore[no-any-return]

    @property
    def view(self) -> View:
        """The only verification there is."""
        [view] = self.views
        return view

    @property
    def id(self) -> str:
        return self.view.id

    def do(self, what: str, *args: Any) -> None:
        """One act on the only verification."""
        self.run(getattr(self.verifications, what)(self.id, *args))

    def work(self) -> None:
        self.run(self.verifications.work())

    def send(self) -> None:
        self.run(self.device.sender.step())
        self.run(self.device.flush())

    def receive(self, *, drain: bool = True) -> bool:
        """Sync brings what is new; returns whether anything was."""
        server, device = self.device.server, self.device
        fresh = server.events.get(ROOM, [])[self.seen_events :]
        self.seen_events += len(fresh)
        raw: list[Json] = []
        for event in fresh:
            sender, txn_id = server._senders[event["event_id"]]
            is_own = sender == (device.me.user_id, device.me.device_id)
            told = {"unsigned": {"transaction_id": txn_id} if is_own else {}}
            raw.append(copy.deepcopy(event) | told | {"origin_server_ts": device.clock.now_ms()})
        if raw:
            device.write(
                timeline.append_live,
                device.role,
                ROOM,
                raw,
                limited=False,
                prev_batch=None,
                now_ms=device.clock.now_ms(),
            )
        to_device = device.fetch()
        if drain:
            device.drain()
        return bool(raw or to_device)


def carry(*windows: Window) -> None:
    """Everything that anybody says arrives, until nobody says anything."""
    is_busy = True
    while is_busy:
        for window in windows:
            window.send()
        is_busy = False
        for window in windows:
            is_busy |= window.receive()
            window.work()
        is_busy |= any(
            window.device.one("SELECT count(*) FROM to_device_out WHERE done = 0")
            + window.device.one("SELECT count(*) FROM send_queue WHERE state IN ('queued', 'sending')")
            for window in windows
        )
