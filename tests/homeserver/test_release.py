"""When receipts are released: the hold that hides a reader's devices, the pace, and the loop that does it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_synapse.news import News
from tandem_synapse.release import Hold, Pace
from tandem_synapse.releaser import Releaser
from tandem_synapse.store import DeliveryRow, Receipt

SECRET = b"of this server"
HOLD = Hold(8_000, 10_000, SECRET)
times = st.integers(min_value=0, max_value=10**9)


@given(times, times, times, times)
def test_a_release_lies_ahead_within_two_spans_and_is_never_before_the_hold(
    arrived: int, waited: int, low: int, spread: int
) -> None:
    hold = Hold(low, low + spread, SECRET)
    at = hold.until("$e", "@u:x", arrived, arrived + waited)
    assert arrived + waited <= at <= arrived + waited + 2 * (low + spread)
    if low + spread > 0:
        assert at >= arrived + low


def test_the_release_does_not_tell_when_or_by_how_many_devices_it_was_asked_for() -> None:
    first = HOLD.until("$e", "@u:x", 1_000, 1_000)
    assert {HOLD.until("$e", "@u:x", 1_000, 1_000 + after) for after in range(0, 8_000, 250)} == {first}


@given(times, st.lists(st.integers(min_value=0, max_value=100_000), min_size=2))
def test_a_later_request_is_never_released_before_an_earlier_one(arrived: int, waits: list[int]) -> None:
    releases = [HOLD.until("$e", "@u:x", arrived, arrived + wait) for wait in sorted(waits)]
    assert releases == sorted(releases)


def test_releases_are_spread_and_differ_by_event_reader_and_server() -> None:
    holds = [HOLD.until(f"$e{number}", "@u:x", 0, 0) for number in range(2_000)]
    assert min(holds) >= 8_000
    assert max(holds) <= 10_000
    assert statistics.mean(holds) == pytest.approx(9_000, abs=60)
    others = {
        HOLD.until("$e", "@v:x", 0, 0),
        HOLD.until("$e", "@u:x", 0, 0),
        Hold(8_000, 10_000, b"of another").until("$e", "@u:x", 0, 0),
    }
    assert len(others) == 3


def test_an_event_from_the_future_is_held_from_now() -> None:
    assert HOLD.until("$e", "@u:x", 10**12, 0) <= 10_000


def test_the_first_goes_at_once_and_the_next_when_the_pause_is_over() -> None:
    pace = Pace(2_000)
    assert pace.take("@a", 0)
    assert not pace.take("@a", 1_999)
    assert pace.take("@b", 1_999)
    assert pace.next_end(["@a", "@b"], 1_999) == 2_000
    assert pace.ready(["@a", "@b"], 2_000) == ["@a"]
    assert pace.take("@a", 2_000)


def test_a_permission_that_was_not_used_is_given_back() -> None:
    pace = Pace(2_000)
    assert pace.take("@a", 0)
    pace.give_back("@a")
    assert pace.take("@a", 1)


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    pace = Pace(2_000)
    assert pace.take("@a", 10**9)
    assert pace.take("@a", 5)


def test_pauses_that_are_over_are_forgotten() -> None:
    pace = Pace(10)
    for number in range(1_000):
        pace.went([f"@{number}"], number * 20)
    assert len(pace._rests_until) == 1


def test_no_news_is_only_said_of_what_is_known_in_full() -> None:
    news = News(most=2)
    assert news.may_have("@a", 5)
    news.note(["@a"], 7)
    news.begin(6)
    assert news.may_have("@a", 5)
    assert news.may_have("@a", 6)
    assert not news.may_have("@a", 7)
    assert not news.may_have("@b", 6)
    news.note(["@b", "@c"], 9)
    assert news.may_have("@a", 8)
    assert not news.may_have("@a", 9)


class Server:
    """Stands for the server and its database: a clock, timers, rows. ``fails`` makes the next access fail."""

    def __init__(self) -> None:
        self.now = 0
        self.timers: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        self.rows: dict[str, tuple[str, int]] = {}
        self.released: list[tuple[int, list[str]]] = []
        self.woken: list[tuple[int, tuple[str, ...]]] = []
        self.fails = False

    def now_ms(self) -> int:
        return self.now

    def wake(self, *users: str) -> None:
        self.woken.append((self.now, users))

    def later(self, after_ms: float, work: Callable[[], Awaitable[None]]) -> None:
        assert after_ms >= 0
        self.timers.append((self.now + round(after_ms), work))

    def _fail(self) -> None:
        if self.fails:
            raise OSError("the database is away")

    async def put_waiting(self, receipts: Sequence[tuple[Receipt, int]]) -> list[tuple[Receipt, int]]:
        new = [(receipt, at) for receipt, at in receipts if receipt.event_id not in self.rows]
        self.rows |= {receipt.event_id: (receipt.author, at) for receipt, at in new}
        return new

    async def put_released(self, receipt: Receipt, now_ms: int) -> DeliveryRow:
        self._fail()
        self.released.append((now_ms, [receipt.event_id]))
        return row(receipt.event_id, receipt.author)

    async def due(self, now_ms: int, longest_ms: int) -> tuple[list[str], int | None]:
        self._fail()
        authors = {author for author, at in self.rows.values() if at <= now_ms or at > now_ms + longest_ms}
        later = [at for _, at in self.rows.values() if now_ms < at <= now_ms + longest_ms]
        return sorted(authors), min(later, default=None)

    async def release(self, authors: Sequence[str], now_ms: int, longest_ms: int) -> list[DeliveryRow]:
        self._fail()
        due = {
            event: author
            for event, (author, at) in self.rows.items()
            if author in authors and (at <= now_ms or at > now_ms + longest_ms)
        }
        for event in due:
            del self.rows[event]
        self.released.append((now_ms, sorted(due)))
        return [row(event, author) for event, author in due.items()]

    async def run_until(self, end: int) -> None:
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda each: each[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            await timer[1]()
        self.now = end


def row(event: str, author: str) -> DeliveryRow:
    return DeliveryRow("!r", event, "@u", 0, {}, 1, "master", author)


def make(server: Server) -> Releaser:
    stands_for: Any = server
    return Releaser(stands_for, stands_for, hold_ms=10_000, coalesce_ms=2_000)


def receipt(number: int, author: str = "@a") -> Receipt:
    return Receipt("!r", f"${number}", "@u", author)


def test_a_thousand_readers_make_two_releases() -> None:
    async def story() -> None:
        server = Server()
        releaser = make(server)
        for number in range(1_000):
            await releaser.keep(receipt(number), server.now)
        await server.run_until(60_000)
        assert [(at, len(events)) for at, events in server.released] == [(0, 1), (2_000, 999)]
        assert server.woken == [(0, ("@a",)), (2_000, ("@a",))]
        assert server.timers == []

    asyncio.run(story())


def test_a_held_receipt_is_released_when_it_is_due_and_a_due_one_does_not_wait_for_it() -> None:
    async def story() -> None:
        server = Server()
        releaser = make(server)
        await releaser.keep(receipt(1), 9_000)
        await server.run_until(500)
        await releaser.keep(receipt(2), 500)
        await server.run_until(60_000)
        assert server.released == [(500, ["$2"]), (9_000, ["$1"])]

    asyncio.run(story())


def test_a_release_that_fails_is_repeated() -> None:
    async def story() -> None:
        server = Server()
        releaser = make(server)
        await releaser.keep(receipt(1), 1_000)
        server.fails = True
        await server.run_until(20_000)
        assert server.released == []
        server.fails = False
        await server.run_until(40_000)
        assert [events for _, events in server.released] == [["$1"]]

    asyncio.run(story())


def test_a_receipt_that_could_not_be_kept_is_not_taken_for_kept() -> None:
    async def story() -> None:
        server = Server()
        releaser = make(server)
        server.fails = True
        with pytest.raises(OSError, match="away"):
            await releaser.keep(receipt(1), 0)
        server.fails = False
        # The author does not rest for what never came.
        await releaser.keep(receipt(1), 0)
        assert server.released == [(0, ["$1"])]

    asyncio.run(story())


def test_a_server_that_starts_releases_what_was_left_and_what_a_clock_set_back_would_hide() -> None:
    async def story() -> None:
        server = Server()
        server.rows = {"$left": ("@a", -5_000), "$hidden": ("@b", 10**9), "$held": ("@c", 4_000)}
        await make(server).look()
        await server.run_until(60_000)
        assert server.released == [(0, ["$hidden", "$left"]), (4_000, ["$held"])]

    asyncio.run(story())


def test_listeners_hear_of_each_release_with_its_rows() -> None:
    async def story() -> None:
        server = Server()
        releaser = make(server)
        heard: list[tuple[str, list[str]]] = []
        releaser.listeners.append(lambda author, rows: heard.append((author, [row.event_id for row in rows])))
        await releaser.keep(receipt(1), 0)
        for number, author in ((2, "@b"), (3, "@c"), (4, "@b")):
            await releaser.keep(receipt(number, author), 1_000)
        await server.run_until(60_000)
        assert heard == [("@a", ["$1"]), ("@b", ["$2", "$4"]), ("@c", ["$3"])]

    asyncio.run(story())
