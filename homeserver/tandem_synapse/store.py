"""The rows of delivery receipts, and the positions that make them part of Synapse's receipts stream."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synapse.module_api import LoggingTransaction

from tandem_synapse.seams import Inside, Token

MINUTE_MS = 60_000
FIRST_ROWS = 500
"""How many of the newest receipts a device that starts is given besides those of the events it is shown."""

_COLUMNS = "room_id, event_id, user_id, ts, devices, stream_id, instance_name"
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One person's receipt for one event; ``devices`` maps a device to its time, where it was shared."""

    room_id: str
    event_id: str
    user_id: str
    ts: int
    devices: dict[str, int]
    stream_id: int
    instance_name: str


class DeliveryStore:
    """Reads and writes ``im_tandem_delivery``. Times are milliseconds, rounded down to the minute."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def is_known(self, event_id: str, user_id: str, device_id: str | None) -> bool:
        """Whether this receipt (with this device, if one is named) would say nothing new."""

        def look(txn: LoggingTransaction) -> bool:
            devices = _devices_now(txn, event_id, user_id)
            return devices is not None and (device_id is None or device_id in devices)

        return await self._inside.run("tandem_is_known", look)

    async def put(
        self, room_id: str, event_id: str, user_id: str, author: str, now_ms: int, device_id: str | None
    ) -> DeliveryRow | None:
        """Keep a receipt at a new position of the receipts stream; committed when this returns.

        None: the same receipt came twice at once, and the other was first.
        """
        ts = now_ms - now_ms % MINUTE_MS
        instance = self._inside.instance

        def write(txn: LoggingTransaction) -> DeliveryRow | None:
            devices = _devices_now(txn, event_id, user_id)
            if devices is not None and (device_id is None or device_id in devices):
                return None
            detail = dict(devices or {})
            if device_id is not None:
                detail.setdefault(device_id, ts)
            text = json.dumps(detail, sort_keys=True)
            if devices is None:
                txn.execute(
                    "INSERT INTO im_tandem_delivery"
                    " (event_id, user_id, room_id, author, ts, devices, stream_id, instance_name)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                    # PostgreSQL: two devices at once end in a conflict that Synapse repeats, not in an error.
                    " ON CONFLICT (event_id, user_id) DO NOTHING",
                    (event_id, user_id, room_id, author, ts, text, stream_id, instance),
                )
            else:
                txn.execute(
                    "UPDATE im_tandem_delivery SET devices = ?, stream_id = ?, instance_name = ?"
                    " WHERE event_id = ? AND user_id = ?",
                    (text, stream_id, instance, event_id, user_id),
                )
            return DeliveryRow(room_id, event_id, user_id, ts, detail, stream_id, instance)

        async with self._inside.next_position() as stream_id:
            return await self._inside.run("tandem_put_delivery", write)

    async def since(self, author: str, low: int, high: Token) -> list[DeliveryRow]:
        """All of the author's receipts behind a stream id, up to a token; with no limit, so that none is lost."""

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
                    f" WHERE author = ? AND event_id IN ({marks}) ORDER BY stream_id",
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
        return [author for author, _ in ahead]

    async def expire(self, before_ms: int) -> int:
        """Forget receipts older than this; returns how many."""

        def delete(txn: LoggingTransaction) -> int:
            txn.execute("DELETE FROM im_tandem_delivery WHERE ts < ?", (before_ms,))
            return int(txn.rowcount)

        return await self._inside.run("tandem_expire_deliveries", delete)

    def _up_to(self, high: Token, rows: list[DeliveryRow]) -> list[DeliveryRow]:
        return [row for row in rows if self._inside.is_between(None, high, row.instance_name, row.stream_id)]


def _devices_now(txn: LoggingTransaction, event_id: str, user_id: str) -> dict[str, int] | None:
    txn.execute(
        "SELECT devices FROM im_tandem_delivery WHERE event_id = ? AND user_id = ?", (event_id, user_id)
    )
    row = txn.fetchone()
    return None if row is None else dict(json.loads(row[0]))


def _rows(txn: LoggingTransaction) -> list[DeliveryRow]:
    return [
        DeliveryRow(room_id, event_id, user_id, ts, json.loads(devices), stream_id, instance)
        for room_id, event_id, user_id, ts, devices, stream_id, instance in txn.fetchall()
    ]
