"""D6, D7 and D8: days of a victim who goes and comes, seen through what his client confirms.

An author writes visibly every minute; the victim does not read. The engine is stepped, so a day takes a minute or two:
either with a real Synapse between them (``OnSynapse``) or with a server in memory, for more days (``InMemory``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

from tandem_core.types import Role, RoomId
from tests.privacy import upkeep
from tests.privacy.classify import accuracy_of_rows
from tests.privacy.memory import Home, MemoryServer, at_home
from tests.privacy.stepped import LeapingClock, Stepped, live_on, run_until

MINUTE_MS = 60_000
DAY_MINUTES = 1440
_SEEN_AFTER_MS = 20 * MINUTE_MS
"""Silence before a confirmation that an attacker takes for a coming back."""


class Side(Protocol):
    """Where the days happen: who writes, and what the victim's program is."""

    clock: LeapingClock
    authors: int

    async def write(self, author: int) -> str: ...

    def program(self) -> AbstractAsyncContextManager[Stepped]: ...

    def room(self, author: int) -> RoomId: ...

    def confirmed(self) -> list[tuple[int, int]]:
        """Time (ms) and author of every confirmation so far."""
        ...


@dataclass
class InMemory:
    """A server in memory."""

    server: MemoryServer
    home: Home
    _author_of: dict[str, int] = field(default_factory=dict)

    @property
    def clock(self) -> LeapingClock:
        return self.server.clock

    @property
    def authors(self) -> int:
        return len(self.server.writers)

    async def write(self, author: int) -> str:
        event_id = self.server.say(self.server.writers[author])
        self._author_of[event_id] = author
        return event_id

    def program(self) -> AbstractAsyncContextManager[Stepped]:
        return at_home(self.home, Role.NOTIFIER, self.clock)

    def room(self, author: int) -> RoomId:
        return self.server.writers[author].room_id

    def confirmed(self) -> list[tuple[int, int]]:
        return [(at, self._author_of[event_id]) for at, event_id, _ in self.server.posted]


@dataclass
class Day:
    """One day: when the victim's program ran (minutes of the day), and each author's confirmations (ms of the day)."""

    online: list[tuple[int, int]]
    confirmed: list[list[int]]

    def is_online(self, minute: int) -> bool:
        return any(on <= minute < off for on, off in self.online)


def pattern(chance: random.Random) -> list[tuple[int, int]]:
    """Three to five times a day at the machine, at no particular hours."""
    edges = sorted(chance.sample(range(10, DAY_MINUTES - 10, 10), 2 * chance.randint(3, 5)))
    return list(zip(edges[::2], edges[1::2], strict=True))


async def live(
    side: Side,
    online: Sequence[tuple[int, int]],
    *,
    every: int = 1,
    sync_every: int = 1,
    tell: Callable[[str], None] = lambda words: None,
) -> Day:
    """A day of it: all authors write every ``every`` minutes, day and night; nobody reads.

    ``sync_every``: the engine's long poll ends so often (minutes); a real one ends twice a minute.
    """
    async with side.program() as program:  # the account is known here: what comes is a coming back
        await program.sync()
    day = Day(list(online), [[] for _ in range(side.authors)])
    clock, start_ms = side.clock, side.clock.now_ms()
    before = len(side.confirmed())
    running: Stepped | None = None
    async with AsyncExitStack() as stack:
        for minute in range(DAY_MINUTES):
            at_ms = start_ms + minute * MINUTE_MS
            if running is not None:
                await run_until([running], clock, at_ms)
            clock.at_ms = max(clock.at_ms, at_ms)
            is_on = day.is_online(minute)
            if is_on and running is None:
                running = await stack.enter_async_context(side.program())
            elif not is_on and running is not None:
                await stack.pop_all().aclose()
                running = None
            if minute % every == 0:
                await asyncio.gather(*(side.write(author) for author in range(side.authors)))
            if running is not None and minute % sync_every == 0:
                await running.sync()
            if minute % 240 == 0:
                tell(f"hour {minute // 60}")
    clock.at_ms = max(clock.at_ms, start_ms + DAY_MINUTES * MINUTE_MS)
    for at_ms, author in side.confirmed()[before:]:
        day.confirmed[author].append(at_ms - start_ms)
    for heard in day.confirmed:
        heard.sort()
    return day


def flushes(times: Sequence[int], within_ms: int = 2000) -> list[int]:
    """What came together counts once."""
    found: list[int] = []
    for at in sorted(times):
        if not found or at - found[-1] > within_ms:
            found.append(at)
    return found


def minute_rows(day: Day, author: int) -> list[tuple[list[float], int]]:
    """What an author knows of each minute, and whether the victim was online: when he last and next heard anything."""
    heard = flushes(day.confirmed[author])
    rows: list[tuple[list[float], int]] = []
    last, upcoming = -DAY_MINUTES * MINUTE_MS, 0
    for minute in range(DAY_MINUTES):
        at = minute * MINUTE_MS
        while upcoming < len(heard) and heard[upcoming] < at:
            last = heard[upcoming]
            upcoming += 1
        after = heard[upcoming] if upcoming < len(heard) else 2 * DAY_MINUTES * MINUTE_MS
        since, until = (at - last) / MINUTE_MS, (after - at) / MINUTE_MS
        near = [min(value, 120.0) for value in (since, until)]
        rows.append(([*near, min(near), float(until <= 2), float(since <= 10)], int(day.is_online(minute))))
    return rows


def online_accuracy(days: Sequence[Day], *, seed: int = 1) -> tuple[float, float, float]:
    """Balanced accuracy per minute with its interval: learned on some days, guessed on others, bootstrapped by day."""
    groups = [
        [row for author in range(len(day.confirmed)) for row in minute_rows(day, author)] for day in days
    ]
    return accuracy_of_rows(groups, seed=seed)


def edge_errors(days: Sequence[Day]) -> list[float]:
    """How many minutes after the victim came an author who hears again after silence first hears of it."""
    found = []
    for day in days:
        for heard in day.confirmed:
            seen = flushes(heard)
            for on, off in day.online:
                first = next((at for at in seen if on * MINUTE_MS <= at < off * MINUTE_MS), None)
                quiet = [at for at in seen if at < on * MINUTE_MS]
                if first is not None and (not quiet or first - quiet[-1] > _SEEN_AFTER_MS):
                    found.append(first / MINUTE_MS - on)
    return found


async def come_backs(side: Side, trials: int, *, seed: int) -> list[float]:
    """Seconds from the program's start until the first confirmation of a message that waited, nobody attending.

    Before each trial the owner reads what is there, so that no budget keeps the confirmation back. One whose
    confirmation does not come within two hours counts as two hours.
    """
    chance, clock = random.Random(seed), side.clock
    found: list[float] = []
    async with side.program() as program:
        for author in range(side.authors):
            await side.write(author)
        await program.sync()
        await attend(side, program)
    for _ in range(trials):
        clock.at_ms += round(chance.uniform(30, 240) * MINUTE_MS)
        before = len(side.confirmed())
        for author in range(side.authors):
            await side.write(author)
        clock.at_ms += round(chance.uniform(6, 30) * MINUTE_MS)
        began_ms = clock.now_ms()
        async with side.program() as program:
            for _ in range(2):
                await program.sync()
            for minute in range(1, 121):
                await run_until([program], clock, began_ms + minute * MINUTE_MS)
                await program.sync()
                if len({author for _, author in side.confirmed()[before:]}) == side.authors:
                    break
            heard = {}
            for at_ms, author in side.confirmed()[before:]:
                heard.setdefault(author, at_ms)
            found += [
                (heard.get(author, began_ms + 7_200_000) - began_ms) / 1000 for author in range(side.authors)
            ]
            await attend(side, program)
            await live_on([program], clock, clock.now_ms() + 5 * MINUTE_MS)
    return found


async def attend(side: Side, program: Stepped) -> None:
    """The owner shows up in all rooms."""
    rooms = [side.room(author) for author in range(side.authors)]
    await program.engine.db.write(upkeep.attend, rooms, side.clock.now_ms())
    await program.settle()


async def days_in_memory(
    make: Callable[[Path], InMemory],
    folder: Path,
    count: int,
    *,
    seed: int,
) -> list[Day]:
    """So many days, each of a victim with a store of his own."""
    found = []
    for number in range(count):
        side = make(folder / f"day{number}")
        found.append(await live(side, pattern(random.Random(f"{seed} {number}"))))
    return found


def busiest(days: Sequence[Day]) -> int:
    """The most flushes that one sender caused in a day."""
    return max((len(flushes(heard)) for day in days for heard in day.confirmed), default=0)


def in_all(days: Sequence[Day]) -> int:
    """The most flushes that all senders together caused in a day."""
    return max((sum(len(flushes(heard)) for heard in day.confirmed) for day in days), default=0)


def typical(values: Sequence[float]) -> float | None:
    return median(values) if values else None
