"""The rows of receipts on a plain SQLite database, with a stream of positions that counts."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tandem_synapse import schema, tidy
from tandem_synapse.seams import Token
from tandem_synapse.store import DeliveryStore, Receipt


class Database:
    """What the store asks of a server."""

    instance = "master"

    def __init__(self) -> None:
        self.conn = sqlite3.connect(":memory:")
        schema.migrate(self.conn)
        self.position = 1

    async def run(self, _name: str, work: Callable[[Any], Any]) -> Any:
        with self.conn:
            return work(self.conn.cursor())

    @contextlib.asynccontextmanager
    async def next_position(self) -> AsyncIterator[int]:
        yield self.position + 1
        self.position += 1

    async def move_to(self, position: int) -> None:
        self.position = max(self.position, position)

    def now(self) -> Token:
        return Token(stream=self.position)

    def is_between(self, low: Token | None, high: Token | None, instance: str, position: int) -> bool:
        return Token.is_stream_position_in_range(low, high, instance, position)

    def rows(self) -> list[Any]:
        return self.conn.execute(
            "SELECT event_id, devices, stream_id, release_at, ts FROM im_tandem_delivery ORDER BY event_id"
        ).fetchall()


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.conn.close()


@pytest.fixture
def store(database: Database) -> DeliveryStore:
    stands_for: Any = database
    return DeliveryStore(stands_for)


def receipt(event: str = "$e", device: str | None = None, user: str = "@bob:x") -> Receipt:
    return Receipt("!r", event, user, "@alice:x", device)


def seen(store: DeliveryStore, database: Database, low: int = 0) -> list[str]:
    return [row.event_id for row in asyncio.run(store.since("@alice:x", low, database.now()))]


def test_a_waiting_receipt_is_kept_and_seen_by_nobody_until_its_release(
    store: DeliveryStore, database: Database
) -> None:
    assert asyncio.run(store.put_waiting([(receipt(), 90_000)]))
    assert seen(store, database) == []
    assert asyncio.run(store.newest("@alice:x", frozenset({"!r"}), database.now())) == []
    assert asyncio.run(store.of_events("@alice:x", ["$e"], database.now())) == []
    assert asyncio.run(store.between(0, database.now())) == []
    assert asyncio.run(store.due(0, 100_000)) == ([], 90_000)
    asyncio.run(store.release(["@alice:x"], 89_999, 100_000))
    assert seen(store, database) == []
    assert asyncio.run(store.due(90_000, 100_000)) == (["@alice:x"], None)
    asyncio.run(store.release(["@alice:x"], 90_000, 100_000))
    assert seen(store, database) == ["$e"]
    # The time that is shown is that of the release, by the minute.
    assert database.rows()[0][-1] == 60_000


def test_receipts_that_are_due_are_released_at_one_position(store: DeliveryStore, database: Database) -> None:
    for event in ("$a", "$b", "$c"):
        asyncio.run(store.put_waiting([(receipt(event), 5 if event != "$c" else 50)]))
    before = database.position
    asyncio.run(store.release(["@alice:x"], 5, 1_000))
    assert database.position == before + 1
    assert seen(store, database, before) == ["$a", "$b"]


def test_the_same_receipt_again_says_nothing_new(store: DeliveryStore, database: Database) -> None:
    assert asyncio.run(store.put_released(receipt(), 0))
    rows = database.rows()
    assert not asyncio.run(store.put_released(receipt(), 99_000))
    assert not asyncio.run(store.put_waiting([(receipt(), 99_000)]))
    assert database.rows() == rows


def test_a_device_that_joins_in_is_told_and_only_once(store: DeliveryStore, database: Database) -> None:
    assert asyncio.run(store.put_released(receipt(), 0))
    before = database.position
    assert asyncio.run(store.put_released(receipt(device="PHONE"), 60_000))
    assert seen(store, database, before) == ["$e"]
    assert not asyncio.run(store.put_released(receipt(device="PHONE"), 120_000))
    assert asyncio.run(store.put_waiting([(receipt(device="LAPTOP"), 180_000)]))
    assert asyncio.run(store.due(180_000, 1_000)) == (["@alice:x"], None)
    asyncio.run(store.release(["@alice:x"], 180_000, 1_000))
    row = asyncio.run(store.since("@alice:x", 0, database.now()))[0]
    assert (row.ts, row.devices) == (0, {"PHONE": 60_000, "LAPTOP": 180_000})


def test_a_device_does_not_delay_what_is_due_earlier(store: DeliveryStore, database: Database) -> None:
    asyncio.run(store.put_waiting([(receipt(), 1_000)]))
    asyncio.run(store.put_waiting([(receipt(device="PHONE"), 9_000)]))
    assert database.rows()[0][3] == 1_000


def test_after_a_start_the_stream_passes_every_row_and_those_behind_are_known_without_asking(
    store: DeliveryStore, database: Database
) -> None:
    asyncio.run(store.put_released(receipt("$a"), 0))
    database.conn.execute("UPDATE im_tandem_delivery SET stream_id = 40")
    assert asyncio.run(store.pass_every_row()) == ["@alice:x"]
    assert database.position == 40
    asked: list[str] = []
    database.conn.set_trace_callback(asked.append)
    assert seen(store, database, 40) == []
    assert asked == []
    asyncio.run(store.put_released(receipt("$b"), 0))
    assert seen(store, database, 40) == ["$b"]


def test_a_service_that_is_told_for_the_first_time_gets_the_newest(
    store: DeliveryStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem_synapse.store.FIRST_ROWS", 2)
    for event in ("$a", "$b", "$c"):
        asyncio.run(store.put_released(receipt(event), 0))
    assert {row.event_id for row in asyncio.run(store.between(1, database.now()))} == {"$b", "$c"}
    assert [row.event_id for row in asyncio.run(store.between(2, database.now()))] == ["$b", "$c"]


@pytest.mark.parametrize(("domain", "left"), [(None, ["$b"]), ("x", ["$b"]), ("elsewhere", ["$a", "$b"])])
def test_receipts_of_a_redacted_event_go_if_the_redaction_counts(
    store: DeliveryStore, database: Database, domain: str | None, left: list[str]
) -> None:
    for event in ("$a", "$b"):
        asyncio.run(store.put_waiting([(receipt(event), 0)]))
    asyncio.run(database.run("", lambda txn: tidy.forget_event(txn, "!other", "$a", domain)))
    assert len(database.rows()) == 2
    asyncio.run(database.run("", lambda txn: tidy.forget_event(txn, "!r", "$a", domain)))
    assert [row[0] for row in database.rows()] == left
