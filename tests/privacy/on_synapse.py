"""The same days with a real Synapse between author and victim; the victim's engine is stepped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tandem_core.types import Role, RoomId
from tandem_demo.synapse import SynapseServer
from tests.privacy.clockwork import Rate
from tests.privacy.rig import Author, Victim, make_friends, make_victim
from tests.privacy.stepped import LeapingClock, Stepped, stepped


@dataclass
class OnSynapse:
    """A ``day.Side``: real accounts, real rooms, encrypted messages, and the server's own receipts."""

    victim: Victim
    people: list[Author]
    clock: LeapingClock

    @property
    def authors(self) -> int:
        return len(self.people)

    async def write(self, author: int) -> str:
        writer = self.people[author]
        wire = writer.sealed(writer.text())
        return await asyncio.to_thread(writer.peer.client.send, writer.room, wire, "m.room.encrypted")

    def program(self) -> AbstractAsyncContextManager[Stepped]:
        return self._program()

    @asynccontextmanager
    async def _program(self) -> AsyncIterator[Stepped]:
        async with stepped(self.victim.devices[0].paths, Role.NOTIFIER, self.clock) as program:
            for _ in range(3):
                await program.sync()
            yield program

    def room(self, author: int) -> RoomId:
        return RoomId(self.people[author].room)

    def confirmed(self) -> list[tuple[int, int]]:
        number_of = {person.user_id: number for number, person in enumerate(self.people)}
        rows = self.victim.devices[0].ask(
            "SELECT done_at, sender FROM receipt_owed WHERE state = 'sent' ORDER BY done_at, event_id"
        )
        return [(at, number_of[sender]) for at, sender in rows if sender in number_of]


def on_synapse(server: SynapseServer, folder: Path, authors: int, *, direct: bool = True) -> OnSynapse:
    """A victim with one device, and authors whom he has accepted."""
    victim = make_victim(server, folder, Rate.starting_now(1.0))
    victim.add_device(server.base_url)
    return OnSynapse(victim, make_friends(victim, authors, direct=direct), LeapingClock())
