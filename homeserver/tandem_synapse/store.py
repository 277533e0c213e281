"""The rows of delivery receipts, and the positions that make them part of Synapse's receipts stream."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synapse.module_api import LoggingTransaction

from tandem_synapse.news import News
from tandem_synapse.seams import Inside, Token

MINUTE_MS = 60_000
FIRST_ROWS = 500
"""How many of the newest receipts a device that starts is given besides those of the events it is shown."""

_COLUMNS = "room_id, event_id, user_id, ts, devices, stream_id, instance_name, author"
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Receipt:
    """One person's confirmation of one event; ``device_id`` only where the author may know it."""

    room_id: str
    event_id: str
    user_id: str
    author: str
    device_id: str | None = None
    ts: int | None = None
    """When another homeserver took it, in milliseconds; None: it is dated by its release."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One person's released receipt for one event; ``devices`` maps a device to its time, where it was shared."""

    room_id: str
    event_id: str
    user_id: str
    ts: int
    devices: dict[str, int]
    stream_id: int
    instance_name: str
    author: str


class DeliveryStore:
    """Reads and writes ``im_tandem_delivery``. Times are milliseconds; those shown, rounded down to the minute.

    A row without a position (``stream_id`` NULL) waits for its release and is read by nobody.
    """

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._news = News()

    async def put_waiting(self, receipts: Sequence[tuple[Receipt, int]]) -> list[tuple[Receipt, int]]:
        """Keep receipts, each with the time of its release; committed, all at once, when this returns.

        Returns those of them that say something new.
        """
        # Two devices that confirm the same events at once lock their rows in the same order.
        in_order = sorted(receipts, key=lambda each: each[0].event_id)

        def write(txn: LoggingTransaction) -> list[tuple[Receipt, int]]:
            return [each for each in in_order if _put(txn, each[0], each[1], None, None) is not None]

        return await self._inside.run("tandem_put_waiting_delivery", write)

    async def put_released(self, receipt: Receipt, now_ms: int) -> DeliveryRow | None:
        """Keep a receipt at a new position of the receipts stream; committed when this returns.

        None: it says nothing new.
        """
        instance = self._inside.instance

        def write(txn: LoggingTransaction) -> DeliveryRow | None:
            put = _put(txn, receipt, now_ms, stream_id, instance)
            if put is None:
                return None
            ts, devices = put
            return DeliveryRow(
                receipt.room_id,
                receipt.event_id,
                receipt.user_id,
                ts,
                devices,
                stream_id,
                instance,
                receipt.author,
            )

        async with self._inside.next_position() as stream_id:
            row = await self._inside.run("tandem_put_delivery", write)
            if row is not None:
                self._news.note([receipt.author], stream_id)
        return row

    async def due(self, now_ms: int, longest_ms: int) -> tuple[list[str], int | None]:
        """The authors for whom something is to be released, and when the next will be due.

        What waits for more than ``longest_ms`` is from before the clock was set back, and is due.
        """
        last = now_ms + longest_ms

        def read(txn: LoggingTransaction) -> tuple[list[str], int | None]:
            txn.execute(
                "SELECT DISTINCT author FROM im_tandem_delivery"
                " WHERE stream_id IS NULL AND (release_at <= ? OR release_at > ?)",
                (now_ms, last),
            )
            authors = [str(author) for (author,) in txn.fetchall()]
            txn.execute(
                "SELECT min(release_at) FROM im_tandem_delivery"
                " WHERE stream_id IS NULL AND release_at > ? AND release_at <= ?",
                (now_ms, last),
            )
            row = txn.fetchone()
            return authors, None if row is None or row[0] is None else int(row[0])

        return await self._inside.run("tandem_due_deliveries", read)

    async def release(self, authors: Sequence[str], now_ms: int, longest_ms: int) -> list[DeliveryRow]:
        """Give what is due for these authors one new position, in one transaction; returns the rows."""
        instance = self._inside.instance

        def write(txn: LoggingTransaction) -> list[DeliveryRow]:
            for start in range(0, len(authors), _CHUNK):
                chunk = authors[start : start + _CHUNK]
                marks = ", ".join("?" * len(chunk))
                txn.execute(
                    "UPDATE im_tandem_delivery SET stream_id = ?, instance_name = ?"  # noqa: S608 question marks only
                    " WHERE stream_id IS NULL AND (release_at <= ? OR release_at > ?)"
                    f" AND author IN ({marks})",
                    (stream_id, instance, now_ms, now_ms + longest_ms, *chunk),
                )
            txn.execute(
                f"SELECT {_COLUMNS} FROM im_tandem_delivery WHERE stream_id = ?",  # noqa: S608 names only
                (stream_id,),
            )
            return _rows(txn)

        async with self._inside.next_position() as stream_id:
            rows = await self._inside.run("tandem_release_deliveries", write)
            self._news.note({row.author for row in rows}, stream_id)
        return rows

    async def since(self, author: str, low: int, high: Token) -> list[DeliveryRow]:
        """All of the author's receipts behind a stream id, up to a token; with no limit, so that none is lost."""

        if not self._news.may_have(author, low):
            return []

        def read(txn: LoggingTransaction) -> list[DeliveryRow]:
            txn.execute(
                f"SELECT {_COLUMNS} FROM im_tandem_delivery"  # noqa: S608 names only
                " WHERE author = ? AND stream_id > ? AND stream_id <= ? ORDER BY stream_id",
                (author, low, high.get_max_stream_pos()),
            )
            return _rows(txn)

        return self._up_to(high, await self._inside.run("tandem_deliveries_since", read))

    async def newest(self, author: str, rooms: frozenset[str], high: Token) -> list[DeliveryRow]:
        """The newest of the author's receipts in these rooms, at most ``FIRST_ROWS``."""

        def read(txn: LoggingTransaction) -> list[DeliveryRow]:
            # Rooms are picked here, not in SQL: their list can be longer than what SQL takes.
            txn.execute(
                f"SELECT {_COLUMNS} FROM im_tandem_delivery"  # noqa: S608 names only
                " WHERE author = ? AND stream_id <= ? ORDER BY stream_id DESC LIMIT ?",
                (author, high.get_max_stream_pos(), FIRST_ROWS),
            )
            return [row for row in _rows(txn) if row.room_id in rooms]

        return self._up_to(high, await self._inside.run("tandem_newest_deliveries", read))

    async def of_events(self, author: str, event_ids: Sequence[str], high: Token) -> list[DeliveryRow]:
        """The receipts for these events, as far as they are the author's."""
        found: list[DeliveryRow] = []
        for start in range(0, len(event_ids), _CHUNK):
            chunk = event_ids[start : start + _CHUNK]

            def read(txn: LoggingTransaction, chunk: Sequence[str] = chunk) -> list[DeliveryRow]:
                marks = ", ".join("?" * len(chunk))
                txn.execute(
                    f"SELECT {_COLUMNS} FROM im_tandem_delivery"  # noqa: S608 names and question marks only
                    f" WHERE author = ? AND stream_id IS NOT NULL AND event_id IN ({marks}) ORDER BY stream_id",
                    (author, *chunk),
                )
                return _rows(txn)

            found += await self._inside.run("tandem_deliveries_of_events", read)
        return self._up_to(high, found)

    async def released(self, instance: str, low: int, high: int) -> list[tuple[int, str]]:
        """Position and author of the rows in ``low < position <= high`` that this process wrote, in order."""

        def read(txn: LoggingTransaction) -> list[tuple[int, str]]:
            txn.execute(
                "SELECT DISTINCT stream_id, author FROM im_tandem_delivery"
                " WHERE stream_id > ? AND stream_id <= ? AND instance_name = ? ORDER BY stream_id, author",
                (low, high, instance),
            )
            return [(int(position), str(author)) for position, author in txn.fetchall()]

        return await self._inside.run("tandem_released", read)

    async def between(self, low: int, high: Token) -> list[DeliveryRow]:
        """All receipts, whoever the author, behind a stream id and up to a token; of the first of all, the newest."""
        is_first = low <= 1
        order, limit = ("DESC", f"LIMIT {FIRST_ROWS}") if is_first else ("ASC", "")

        def read(txn: LoggingTransaction) -> list[DeliveryRow]:
            txn.execute(
                f"SELECT {_COLUMNS} FROM im_tandem_delivery"  # noqa: S608 names only
                f" WHERE stream_id > ? AND stream_id <= ? ORDER BY stream_id {order} {limit}",
                (low, high.get_max_stream_pos()),
            )
            return _rows(txn)

        return self._up_to(high, await self._inside.run("tandem_deliveries_between", read))

    async def pass_every_row(self) -> Collection[str]:
        """Move the receipts stream behind the last row; returns the authors whose rows it had not reached."""
        current = self._inside.now().get_max_stream_pos()

        def read(txn: LoggingTransaction) -> list[tuple[str, int]]:
            txn.execute(
                "SELECT author, max(stream_id) FROM im_tandem_delivery WHERE stream_id > ? GROUP BY author",
                (current,),
            )
            return [(str(author), int(position)) for author, position in txn.fetchall()]

        ahead = await self._inside.run("tandem_deliveries_ahead", read)
        if ahead:
            await self._inside.move_to(max(position for _, position in ahead))
        # From here on everything that is released is noted, in the process that writes.
        self._news.begin(self._inside.now().get_max_stream_pos())
        return [author for author, _ in ahead]

    def _up_to(self, high: Token, rows: list[DeliveryRow]) -> list[DeliveryRow]:
        return [row for row in rows if self._inside.is_between(None, high, row.instance_name, row.stream_id)]


def _put(
    txn: LoggingTransaction, receipt: Receipt, release_at: int, stream_id: int | None, instance: str | None
) -> tuple[int, dict[str, int]] | None:
    """Write a receipt, or add its device to the one that is there; its time and devices, or None: nothing new."""
    # The time tells no more than the release does.
    seen = release_at if receipt.ts is None else receipt.ts
    ts = seen - seen % MINUTE_MS
    device = receipt.device_id
    devices = {} if device is None else {device: ts}
    txn.execute(
        "INSERT INTO im_tandem_delivery"
        " (event_id, user_id, room_id, author, ts, devices, release_at, stream_id, instance_name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id, user_id) DO NOTHING",
        (
            receipt.event_id,
            receipt.user_id,
            receipt.room_id,
            receipt.author,
            ts,
            json.dumps(devices),
            release_at,
            stream_id,
            instance,
        ),
    )
    if txn.rowcount == 1:
        return ts, devices
    if device is None:
        return None
    txn.execute(
        "SELECT ts, devices, stream_id, release_at FROM im_tandem_delivery WHERE event_id = ? AND user_id = ?",
        (receipt.event_id, receipt.user_id),
    )
    row = txn.fetchone()
    if row is None:
        return None
    first_ts, text, position, due = row
    known = json.loads(text)
    if device in known:
        return None
    if position is None:
        release_at = min(release_at, int(due))
    devices |= known
    txn.execute(
        "UPDATE im_tandem_delivery SET devices = ?, release_at = ?, stream_id = ?, instance_name = ?"
        " WHERE event_id = ? AND user_id = ?",
        (
            json.dumps(devices, sort_keys=True),
            release_at,
            stream_id,
            instance,
            receipt.event_id,
            receipt.user_id,
        ),
    )
    return int(first_ts), devices


def _rows(txn: LoggingTransaction) -> list[DeliveryRow]:
    return [
        DeliveryRow(room_id, event_id, user_id, ts, json.loads(devices), stream_id, instance, author)
        for room_id, event_id, user_id, ts, devices, stream_id, instance, author in txn.fetchall()
    ]
