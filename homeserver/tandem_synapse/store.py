"""The rows of delivery receipts, and the positions that make them part of Synapse's receipts stream."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from synapse.server import HomeServer
from synapse.storage.database import LoggingTransaction
from synapse.types import MultiWriterStreamToken

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One person's receipt for one event; ``devices`` maps a device to its time, where it was shared."""

    room_id: str
    event_id: str
    user_id: str
    ts: int
    devices: dict[str, int]


class DeliveryStore:
    """Reads and writes ``im_tandem_delivery``. Times are milliseconds, rounded down to the minute."""

    def __init__(self, hs: HomeServer) -> None:
        self._db = hs.get_datastores().main.db_pool
        self._positions = hs.get_datastores().main.get_receipts_stream_id_gen()
        self._instance = hs.get_instance_name()

    async def is_known(self, event_id: str, user_id: str, device_id: str | None) -> bool:
        """Whether this receipt (with this device, if one is named) would say nothing new."""

        def look(txn: LoggingTransaction) -> bool:
            devices = _devices_now(txn, event_id, user_id)
            return devices is not None and (device_id is None or device_id in devices)

        return await self._db.runInteraction("tandem_is_known", look)

    async def put(
        self, room_id: str, event_id: str, user_id: str, author: str, now_ms: int, device_id: str | None
    ) -> None:
        """Keep a receipt at a new position of the receipts stream; committed when this returns."""
        ts = now_ms - now_ms % MINUTE_MS

        def write(txn: LoggingTransaction, stream_id: int) -> None:
            devices = _devices_now(txn, event_id, user_id)
            detail = dict(devices or {})
            if device_id is not None:
                detail.setdefault(device_id, ts)
            text = json.dumps(detail, sort_keys=True)
            if devices is None:
                txn.execute(
                    "INSERT INTO im_tandem_delivery"
                    " (event_id, user_id, room_id, author, ts, devices, stream_id, instance_name)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (event_id, user_id, room_id, author, ts, text, stream_id, self._instance),
                )
            else:
                txn.execute(
                    "UPDATE im_tandem_delivery SET devices = ?, stream_id = ?, instance_name = ?"
                    " WHERE event_id = ? AND user_id = ?",
                    (text, stream_id, self._instance, event_id, user_id),
                )

        async with self._positions.get_next() as stream_id:
            await self._db.runInteraction("tandem_put_delivery", write, stream_id)

    async def between(
        self,
        author: str,
        room_ids: Collection[str] | None,
        low: MultiWriterStreamToken | None,
        high: MultiWriterStreamToken,
    ) -> list[DeliveryRow]:
        """The author's receipts with ``low < position <= high``, in these rooms (None: all). No limit: none is lost."""
        if room_ids is not None and not room_ids:
            return []

        def read(txn: LoggingTransaction) -> list[tuple[str, str, str, int, str, int, str]]:
            txn.execute(
                "SELECT room_id, event_id, user_id, ts, devices, stream_id, instance_name FROM im_tandem_delivery"
                " WHERE author = ? AND stream_id > ? AND stream_id <= ? ORDER BY stream_id",
                (author, low.stream if low else 0, high.get_max_stream_pos()),
            )
            return list(txn)  # type: ignore[arg-type]

        rows = await self._db.runInteraction("tandem_deliveries_between", read)
        wanted = None if room_ids is None else frozenset(room_ids)
        return [
            DeliveryRow(room_id, event_id, user_id, ts, json.loads(devices))
            for room_id, event_id, user_id, ts, devices, stream_id, instance in rows
            if (wanted is None or room_id in wanted)
            and MultiWriterStreamToken.is_stream_position_in_range(low, high, instance, stream_id)
        ]

    async def expire(self, before_ms: int) -> int:
        """Forget receipts older than this; returns how many."""

        def delete(txn: LoggingTransaction) -> int:
            txn.execute("DELETE FROM im_tandem_delivery WHERE ts < ?", (before_ms,))
            return int(txn.rowcount)

        return await self._db.runInteraction("tandem_expire_deliveries", delete)


def _devices_now(txn: LoggingTransaction, event_id: str, user_id: str) -> dict[str, int] | None:
    txn.execute(
        "SELECT devices FROM im_tandem_delivery WHERE event_id = ? AND user_id = ?", (event_id, user_id)
    )
    row = txn.fetchone()
    return None if row is None else dict(json.loads(row[0]))
