"""The rows of receipts that go to other homeservers or came from them, and what is known of those servers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from synapse.module_api import LoggingTransaction

from tandem_synapse.federation_wire import MOST_DEVICES, Json, SentReceipt
from tandem_synapse.seams import Inside

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Arrived:
    """An EDU that was taken and not looked at yet."""

    origin: str
    digest: str
    content: Json


class FederationStore:
    """Reads and writes ``im_tandem_delivery_out``, ``im_tandem_delivery_in`` and ``im_tandem_server``.

    Times are milliseconds; those of receipts are rounded down to the minute.
    """

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    # Out

    async def put_out(
        self, receipt: SentReceipt, author: str, destination: str, device_id: str | None, due_ms: int
    ) -> bool:
        """Keep a receipt that is to be sent from ``due_ms`` on; committed when this returns.

        A device is added to the receipt that is there, which is then sent again. False: it says nothing new.
        """
        ts = receipt.ts - receipt.ts % MINUTE_MS

        def write(txn: LoggingTransaction) -> bool:
            txn.execute(
                "INSERT INTO im_tandem_delivery_out"
                " (event_id, user_id, room_id, author, destination, ts, devices, due_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id, user_id) DO NOTHING",
                (
                    receipt.event_id,
                    receipt.user_id,
                    receipt.room_id,
                    author,
                    destination,
                    ts,
                    json.dumps({} if device_id is None else {device_id: ts}),
                    due_ms,
                ),
            )
            if txn.rowcount == 1:
                return True
            if device_id is None:
                return False
            txn.execute(
                "SELECT devices FROM im_tandem_delivery_out WHERE event_id = ? AND user_id = ?",
                (receipt.event_id, receipt.user_id),
            )
            row = txn.fetchone()
            devices = {} if row is None else json.loads(row[0])
            if row is None or device_id in devices or len(devices) >= MOST_DEVICES:
                return False
            txn.execute(
                "UPDATE im_tandem_delivery_out SET devices = ?, sent_ms = NULL,"
                " due_ms = CASE WHEN sent_ms IS NULL AND due_ms < ? THEN due_ms ELSE ? END"
                " WHERE event_id = ? AND user_id = ?",
                (
                    json.dumps(devices | {device_id: ts}, sort_keys=True),
                    due_ms,
                    due_ms,
                    receipt.event_id,
                    receipt.user_id,
                ),
            )
            return True

        return await self._inside.run("tandem_put_outgoing", write)

    async def destinations(self) -> list[str]:
        """The servers to which something is still to be sent."""

        def read(txn: LoggingTransaction) -> list[str]:
            txn.execute("SELECT DISTINCT destination FROM im_tandem_delivery_out WHERE sent_ms IS NULL")
            return [str(row[0]) for row in txn.fetchall()]

        return await self._inside.run("tandem_outgoing_servers", read)

    async def due(
        self, destination: str, now_ms: int, longest_ms: int, limit: int
    ) -> tuple[list[SentReceipt], int | None]:
        """What is to be sent now, the oldest first, at most ``limit``; and when the next will be due.

        What would be due in more than ``longest_ms`` is from before the clock was set back, and is due.
        """

        def read(txn: LoggingTransaction) -> tuple[list[SentReceipt], int | None]:
            txn.execute(
                "SELECT room_id, event_id, user_id, ts, devices FROM im_tandem_delivery_out"
                " WHERE destination = ? AND sent_ms IS NULL AND (due_ms <= ? OR due_ms > ?)"
                " ORDER BY due_ms, event_id, user_id LIMIT ?",
                (destination, now_ms, now_ms + longest_ms, limit),
            )
            rows = [
                SentReceipt(room_id, event_id, user_id, ts, json.loads(devices))
                for room_id, event_id, user_id, ts, devices in txn.fetchall()
            ]
            txn.execute(
                "SELECT min(due_ms) FROM im_tandem_delivery_out"
                " WHERE destination = ? AND sent_ms IS NULL AND due_ms > ?",
                (destination, now_ms),
            )
            row = txn.fetchone()
            return rows, None if row is None or row[0] is None else int(row[0])

        return await self._inside.run("tandem_outgoing_due", read)

    async def mark_sent(self, destination: str, receipts: Sequence[SentReceipt], now_ms: int) -> None:
        """These have been taken by that server, unless a device has been added since they were sent."""

        def write(txn: LoggingTransaction) -> None:
            for receipt in receipts:
                txn.execute(
                    "UPDATE im_tandem_delivery_out SET sent_ms = ? WHERE event_id = ? AND user_id = ?"
                    " AND destination = ? AND devices = ? AND sent_ms IS NULL",
                    (
                        now_ms,
                        receipt.event_id,
                        receipt.user_id,
                        destination,
                        json.dumps(dict(receipt.devices), sort_keys=True),
                    ),
                )

        await self._inside.run("tandem_mark_outgoing_sent", write)

    # In

    async def put_in(self, origin: str, content: Json, now_ms: int, most: int) -> bool:
        """Keep an EDU until it is looked at; committed when this returns.

        Done already when the same is there. False: there are ``most`` of this server, and it is not kept.
        """
        text = json.dumps(content, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()

        def write(txn: LoggingTransaction) -> bool:
            txn.execute("SELECT count(*) FROM im_tandem_delivery_in WHERE origin = ?", (origin,))
            row = txn.fetchone()
            if row is not None and row[0] >= most:
                return False
            txn.execute(
                "INSERT INTO im_tandem_delivery_in (origin, digest, content, received_ms, due_ms)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin, digest) DO NOTHING",
                (origin, digest, text, now_ms, now_ms),
            )
            return True

        return await self._inside.run("tandem_put_incoming", write)

    async def arrived(self, now_ms: int, limit: int) -> list[Arrived]:
        """EDUs to be looked at now, the oldest first."""

        def read(txn: LoggingTransaction) -> list[Arrived]:
            txn.execute(
                "SELECT origin, digest, content FROM im_tandem_delivery_in WHERE due_ms <= ?"
                " ORDER BY due_ms LIMIT ?",
                (now_ms, limit),
            )
            return [Arrived(origin, digest, json.loads(text)) for origin, digest, text in txn.fetchall()]

        return await self._inside.run("tandem_incoming_due", read)

    async def done(self, arrived: Arrived) -> None:
        """All that the EDU says has been kept or refused."""

        def delete(txn: LoggingTransaction) -> None:
            txn.execute(
                "DELETE FROM im_tandem_delivery_in WHERE origin = ? AND digest = ?",
                (arrived.origin, arrived.digest),
            )

        await self._inside.run("tandem_incoming_done", delete)

    async def put_off(self, arrived: Arrived, due_ms: int) -> None:
        """Look at this EDU again later."""

        def write(txn: LoggingTransaction) -> None:
            txn.execute(
                "UPDATE im_tandem_delivery_in SET due_ms = ? WHERE origin = ? AND digest = ?",
                (due_ms, arrived.origin, arrived.digest),
            )

        await self._inside.run("tandem_incoming_later", write)

    # Servers

    async def announced(self, server: str, now_ms: int) -> bool | None:
        """Whether that server takes receipts, as far as is known; None: it has to be asked."""

        def read(txn: LoggingTransaction) -> bool | None:
            txn.execute(
                "SELECT is_announced FROM im_tandem_server WHERE server_name = ? AND until_ms > ?",
                (server, now_ms),
            )
            row = txn.fetchone()
            return None if row is None else bool(row[0])

        return await self._inside.run("tandem_server_announced", read)

    async def learn(self, server: str, is_announced: bool, until_ms: int) -> None:
        """Keep an answer, or that there was none, until this time."""

        def write(txn: LoggingTransaction) -> None:
            txn.execute(
                "INSERT INTO im_tandem_server (server_name, is_announced, until_ms) VALUES (?, ?, ?)"
                " ON CONFLICT (server_name) DO UPDATE"
                " SET is_announced = excluded.is_announced, until_ms = excluded.until_ms",
                (server, int(is_announced), until_ms),
            )

        await self._inside.run("tandem_server_learn", write)

    # All

    async def expire(self, before_ms: int, now_ms: int) -> int:
        """Forget EDUs from before this time, and what is known of servers no longer; returns how many EDUs."""

        def delete(txn: LoggingTransaction) -> int:
            txn.execute("DELETE FROM im_tandem_server WHERE until_ms < ?", (now_ms,))
            txn.execute("DELETE FROM im_tandem_delivery_in WHERE received_ms < ?", (before_ms,))
            return int(txn.rowcount)

        return await self._inside.run("tandem_expire_federation", delete)
