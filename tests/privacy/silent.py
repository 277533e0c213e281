"""D1: probe after probe of every kind at a real server, through the product's own intake; what comes back is counted.

The victim's engine is stepped, so that every hold passes without waiting. What was confirmed is read in three places:
the victim's own rows, the server's table (what nobody is shown included), and the senders' own syncs.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from vodozemac import GroupSession

from tandem_core import settings
from tandem_core.store.database import Transaction
from tandem_core.types import Role, RoomId, UserId
from tandem_demo.raw import CLIENT
from tandem_demo.synapse import SynapseServer
from tests.privacy.attacker import TYPES
from tests.privacy.clockwork import Rate
from tests.privacy.probes import PROBES, Clear, Letter, Odd, Probe, Sealed
from tests.privacy.rig import Author, Victim, introduce, make_authors, make_victim
from tests.privacy.stepped import LeapingClock, Stepped, live_on, stepped
from tests.scenarios.peer import Address

_BATCH = 40
_AT_ONCE = 6
_RARE = {"before": 6, "rename": 10, "from": 200}
"""Probes that need much, or of which one tells as much as many, are sent at most so often."""
_HOLD_MS = 90_000
"""Longer than anything is held, budgets aside."""
_ROOMS = 4


@dataclass
class Count:
    """What was sent and what came of it."""

    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Probes that the server itself did not take."""
    confirmed: Counter[str] = field(default_factory=Counter)
    controls: int = 0
    controls_confirmed: int = 0
    letters: int = 0
    """To-device messages that the victim sent to probers: there is no reason for any."""

    @property
    def probes(self) -> int:
        return self.sent.total()

    @property
    def kinds(self) -> int:
        return len(self.sent)


class Stage:
    """The authors by their standing with the victim, and how each probe is sent."""

    def __init__(self, victim: Victim, contact: Author, second: Author, odd: dict[str, Author]) -> None:
        self.victim = victim
        self.contact = contact
        self.second = second
        self.odd = odd
        self.count = Count()
        self.kind_of: dict[str, str] = {}
        """Event id of each probe, and its kind."""
        self.controls: set[str] = set()
        self.devices: list[Address] = []
        self._rooms = itertools.cycle(contact.rooms)
        self._numbers = itertools.count()
        self.http: aiohttp.ClientSession

    @property
    def authors(self) -> list[Author]:
        return [self.contact, self.second, *self.odd.values()]

    async def call(self, author: Author, method: str, path: str, body: Any) -> dict[str, Any] | None:
        """One request; None where the server refuses it."""
        async with self.http.request(
            method,
            f"{self.victim.server.base_url}{CLIENT}/{path}",
            json=body,
            headers={"Authorization": f"Bearer {author.peer.client.token}"},
        ) as answer:
            said = await answer.json()
            assert answer.status < 500, (answer.status, path)
            return said if answer.status == 200 else None

    async def put(self, author: Author, room: str, kind: str, content: Any) -> str | None:
        txn = f"p{next(self._numbers)}{secrets.token_hex(3)}"
        said = await self.call(
            author, "PUT", f"rooms/{quote(room)}/send/{quote(kind, safe='')}/{txn}", content
        )
        return None if said is None else str(said["event_id"])

    async def send(self, probe: Probe) -> None:
        """Send one probe and remember its event."""
        event_ids = await self._send(probe)
        if event_ids is None:
            self.count.refused[probe.name] += 1
            return
        self.count.sent[probe.name] += 1
        self.kind_of.update(dict.fromkeys(event_ids, probe.name))

    async def _send(self, probe: Probe) -> list[str] | None:
        author, room = self.contact, next(self._rooms)
        match probe:
            case Sealed(_, kind, content, relates_to):
                wire = author.sealed(content, kind, room=room, relates_to=relates_to)
                return _one(await self.put(author, room, "m.room.encrypted", wire))
            case Clear(_, kind, content, None):
                return _one(await self.put(author, room, kind, content))
            case Clear(_, kind, content, state_key):
                changed = content | {"x": next(self._numbers)}
                where = f"rooms/{quote(room)}/state/{quote(kind)}/{quote(str(state_key), safe='')}"
                said = await self.call(author, "PUT", where, changed)
                return None if said is None else [str(said["event_id"])]
            case Letter(_, kind, content, inner):
                return await self._letter(author, kind, content, inner)
            case Odd(_, where, words):
                return await getattr(self, f"_{where}")(author, room, **words)  # type: ignore[no-any-return]

    async def _letter(self, author: Author, kind: str, content: Any, inner: str | None) -> list[str] | None:
        messages = {}
        for device in self.devices:
            if inner is not None:
                sealed = author.peer.seal(device, inner, content)
            else:
                sealed = content
                ours = content.get("ciphertext") if isinstance(content.get("ciphertext"), dict) else {}
                if "OURS" in ours:
                    sealed = content | {"ciphertext": {device.curve25519: ours["OURS"]}}
            messages[device.device_id] = sealed
        txn = f"l{next(self._numbers)}{secrets.token_hex(3)}"
        said = await self.call(
            author, "PUT", f"sendToDevice/{quote(kind)}/{txn}", {"messages": {self.victim.user_id: messages}}
        )
        return None if said is None else []

    # Circumstances.

    async def _typing(self, author: Author, room: str) -> list[str] | None:
        where = f"rooms/{quote(room)}/typing/{quote(author.user_id)}"
        said = await self.call(author, "PUT", where, {"typing": True, "timeout": 500})
        return None if said is None else []

    async def _read_receipt(self, author: Author, room: str) -> list[str] | None:
        known = next(iter(self.controls), None)
        if known is None:
            return None
        said = await self.call(
            author, "POST", f"rooms/{quote(author.room)}/receipt/m.read/{quote(known)}", {}
        )
        return None if said is None else []

    async def _rename(self, author: Author, room: str) -> list[str] | None:
        where = f"profile/{quote(author.user_id)}/displayname"
        said = await self.call(author, "PUT", where, {"displayname": secrets.token_hex(3)})
        return None if said is None else []

    async def _redaction(self, author: Author, room: str) -> list[str] | None:
        event_id = await self.put(author, room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation"}})
        assert event_id is not None
        return await self._redact(author, room, event_id)

    async def _redact(self, author: Author, room: str, event_id: str) -> list[str] | None:
        where = f"rooms/{quote(room)}/redact/{quote(event_id)}/r{next(self._numbers)}"
        said = await self.call(author, "PUT", where, {})
        return None if said is None else [event_id, str(said["event_id"])]

    async def _without_key(self, author: Author, room: str) -> list[str] | None:
        kept, author.sessions[room] = author.sessions[room], GroupSession()
        wire = author.sealed(author.text(), room=room)
        author.sessions[room] = kept
        return _one(await self.put(author, room, "m.room.encrypted", wire))

    async def _replay(self, author: Author, room: str) -> list[str] | None:
        """A silent message twice; the second event is the replay. A visible first one would be confirmed, rightly."""
        wire = author.sealed({"msgtype": "m.notice", "body": "x"}, room=room)
        first = await self.put(author, room, "m.room.encrypted", wire)
        second = await self.put(author, room, "m.room.encrypted", wire)
        return [each for each in (first, second) if each]

    async def _stolen(self, author: Author, room: str) -> list[str] | None:
        """What one member of a group sealed, with a key that the victim has, comes from another member."""
        group = author.rooms[-1]
        wire = self.second.sealed(self.second.text(), room=group)
        return _one(await self.put(author, group, "m.room.encrypted", wire))

    async def _wrong_room(self, author: Author, room: str) -> list[str] | None:
        elsewhere = next(other for other in author.rooms if other != room)
        return _one(
            await self.put(author, room, "m.room.encrypted", author.sealed(author.text(), room=elsewhere))
        )

    async def _taken_back(self, author: Author, room: str) -> list[str] | None:
        event_id = await self.put(author, room, "m.room.encrypted", author.sealed(author.text(), room=room))
        assert event_id is not None
        return await self._redact(author, room, event_id)

    async def _from(self, author: Author, room: str, who: str) -> list[str] | None:
        if who == "before":
            return await self._before_join()
        other = self.odd[who]
        if other.room in other.sessions:
            return _one(await self.put(other, other.room, "m.room.encrypted", other.sealed(other.text())))
        return _one(await self.put(other, other.room, "m.room.message", other.text()))

    async def _before_join(self) -> list[str] | None:
        """A message that the victim may read, written before he came."""
        author = self.odd["before"]
        room = await asyncio.to_thread(author.peer.client.create_encrypted_room)
        author.sessions[room] = session = GroupSession()
        event_id = await self.put(author, room, "m.room.encrypted", author.sealed(author.text(), room=room))
        for device in self.devices:
            await asyncio.to_thread(author.peer.share, device, room, session)
        await asyncio.to_thread(author.peer.client.invite, room, self.victim.user_id)
        await asyncio.to_thread(self.victim.raw().join, room)
        return _one(event_id)


def _one(event_id: str | None) -> list[str] | None:
    return None if event_id is None else [event_id]


@asynccontextmanager
async def stage(server: SynapseServer, folder: Path) -> AsyncIterator[tuple[Stage, Stepped, LeapingClock]]:
    """Everybody in their places; the victim's notifier is ready to be stepped."""
    victim = make_victim(server, folder, Rate.starting_now(1.0))
    victim.add_device(server.base_url)
    contact = make_authors(server, 1, victim.user_id, rooms=_ROOMS, name="contact")[0]
    second = make_authors(server, 1, victim.user_id, name="second")[0]
    odd = {
        name: _odd(server, victim, name) for name in ("stranger", "never", "ignored", "before", "never_room")
    }
    for name, more in (
        ("public", {"preset": "public_chat"}),
        ("readable", {"preset": "private_chat", "initial_state": [_READABLE]}),
        ("plain", {"preset": "private_chat"}),
    ):
        author = make_authors(server, 1, victim.user_id, rooms=0, name=name)[0]
        author.rooms.append(author.peer.client.create_room(invite=[victim.user_id], **more))
        odd[name] = author
    group = contact.peer.client.create_encrypted_room(victim.user_id, second.user_id)
    second.peer.client.join(group)
    contact.rooms.append(group)
    second.rooms.append(group)
    here = Stage(victim, contact, second, odd)
    joined = [author for name, author in odd.items() if name not in ("stranger", "before")]
    victim.join([contact, second, *joined], direct=True)
    here.devices = victim.addresses(contact.peer.client)
    plain = ("public", "plain", "readable")
    introduce(
        [author for author in here.authors if author not in [odd[name] for name in plain]], here.devices
    )
    me, device = victim.raw(), victim.devices[0]
    ignored = {"ignored_users": {odd["ignored"].user_id: {}}}
    me.ok("PUT", f"{CLIENT}/user/{quote(me.user_id)}/account_data/m.ignored_user_list", ignored)
    clock = LeapingClock()
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as here.http,
        stepped(device.paths, Role.NOTIFIER, clock) as program,
    ):
        for _ in range(4):
            await program.sync()
        await program.engine.db.write(_refuse, odd["never"].user_id, odd["never_room"].room)
        yield here, program, clock


_READABLE = {
    "type": "m.room.history_visibility",
    "state_key": "",
    "content": {"history_visibility": "world_readable"},
}


def _refuse(txn: Transaction, person: str, room: str) -> None:
    settings.set_value(txn, "receipts.person", "never", user_id=UserId(person), now_ms=1)
    settings.set_value(txn, "receipts.room", "never", room_id=RoomId(room), now_ms=1)


def _odd(server: SynapseServer, victim: Victim, name: str) -> Author:
    return make_authors(server, 1, victim.user_id, name=name, rooms=0 if name == "before" else 1)[0]


async def probe(
    server: SynapseServer,
    folder: Path,
    wanted: int,
    *,
    seed: int,
    within_s: float,
    tell: Callable[[str], None] = lambda words: None,
) -> Count:
    """Send at least ``wanted`` probes (fewer if ``within_s`` of the machine is over) and count what is confirmed."""
    chance = random.Random(seed)
    async with stage(server, folder) as (here, program, clock):
        count = here.count
        until = time.monotonic() + within_s
        await _control(here, program, clock)
        while count.probes < wanted and time.monotonic() < until:
            for batch in _batches(here, chance):
                await _at_once([here.send(each) for each in batch])
                await _take_in(program)
                if count.probes >= wanted or time.monotonic() > until:
                    break
            await live_on([program], clock, clock.now_ms() + _HOLD_MS)
            tell(f"{count.probes} probes of {count.kinds} kinds")
        await _control(here, program, clock)
        _note(here, _owed(here) | (here.victim.taken() or set()) | _told(here))
        # On a server without our module the control's own confirmation is a letter.
        count.letters = sum(
            _letters(author, here.victim) for author in here.authors if author is not here.second
        )
        return count


def _batches(here: Stage, chance: random.Random) -> list[list[Probe]]:
    """All kinds once, mixed, some at a time."""
    wanted = [probe for probe in PROBES if here.count.sent[probe.name] < _most(probe)]
    chance.shuffle(wanted)
    return [wanted[place : place + _BATCH] for place in range(0, len(wanted), _BATCH)]


def _most(probe: Probe) -> int:
    match probe:
        case Odd(_, "from", {"who": "before"}):
            return _RARE["before"]
        case Odd(_, where) if where in _RARE:
            return _RARE[where]
    return 10**9


async def _at_once(work: list[Awaitable[None]]) -> None:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Awaitable[None]) -> None:
        async with limit:
            await each

    await asyncio.gather(*(one(each) for each in work))


async def _take_in(program: Stepped) -> None:
    """Sync until an answer brings nothing new, gaps filled."""
    for _ in range(30):
        applied = await _applied(program)
        if not applied:
            return


async def _applied(program: Stepped) -> bool:
    """One sync; whether the store has more events or letters than before."""

    def size(conn: sqlite3.Connection) -> tuple[int, int]:
        return (
            int(conn.execute("SELECT count(*) FROM event").fetchone()[0]),
            int(conn.execute("SELECT coalesce(max(seq), 0) FROM inbox").fetchone()[0]),
        )

    before = await program.engine.db.read(size)
    await program.sync()
    return bool(await program.engine.db.read(size) != before)


async def _control(here: Stage, program: Stepped, clock: LeapingClock) -> None:
    """A visible message that is to be confirmed: silence means something only beside it."""
    author = here.second
    event_id = await here.put(author, author.room, "m.room.encrypted", author.sealed(author.text()))
    assert event_id is not None
    here.controls.add(event_id)
    here.count.controls += 1
    await _take_in(program)
    await live_on([program], clock, clock.now_ms() + _HOLD_MS)


def _note(here: Stage, confirmed: set[str]) -> None:
    here.count.controls_confirmed = len(here.controls & confirmed)
    for event_id in confirmed - here.controls:
        here.count.confirmed[here.kind_of.get(event_id, "an event of nobody")] += 1


def _owed(here: Stage) -> set[str]:
    """What the victim himself holds for confirmed."""
    rows = here.victim.devices[0].ask("SELECT event_id FROM receipt_owed WHERE state = 'sent'")
    return {row[0] for row in rows}


def _told(here: Stage) -> set[str]:
    """What the senders' own syncs bring."""
    found = set()
    for author in here.authors:
        said = author.peer.client.sync_v2()
        for room in said.get("rooms", {}).get("join", {}).values():
            for event in room["ephemeral"]["events"]:
                if event["type"] == "m.receipt":
                    found |= {
                        event_id
                        for event_id, kinds in event["content"].items()
                        if any(kind in kinds for kind in TYPES)
                    }
    return found


def _letters(author: Author, victim: Victim) -> int:
    return sum(event["sender"] == victim.user_id for event in author.peer.mail())
