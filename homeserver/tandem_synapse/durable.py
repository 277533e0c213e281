"""Receipts that wait for their author: each release also as to-device event from ``@:server``, for who asks for it.

An author asks with account data ``im.tandem.delivery_settings`` ``{"durable": true}``. The event, of type
``im.tandem.delivery``, goes to all the author's devices and stays in each inbox until that device acknowledges it.
Its content is ``{"rooms": {room id: <content of m.receipt in that room>}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse.module_api import LoggingTransaction, ModuleApi

from tandem_synapse import content
from tandem_synapse.config import ModuleConfig
from tandem_synapse.delivery import Delivery
from tandem_synapse.seams import Inside
from tandem_synapse.store import DeliveryRow, DeliveryStore
from tandem_synapse.to_server import ALL_DEVICES, ToServer

SETTINGS_TYPE = "im.tandem.delivery_settings"
EVENT_TYPE = "im.tandem.delivery"
MAX_BYTES = 32_768
"""Of the rows in one event; Synapse takes 65,536 bytes, and half of it leaves room for what ids repeat."""
_REACHED_WITHIN_S = 0.05


class DurableReceipts:
    """One per homeserver process that releases receipts.

    ``im_tandem_durable`` keeps for each author who asked up to which position of the receipts stream the events
    are in the inboxes, so that a crash between a release and its event loses nothing: the start catches up.
    """

    def __init__(
        self,
        api: ModuleApi,
        inside: Inside,
        settings: ModuleConfig,
        delivery: Delivery,
        to_server: ToServer,
    ) -> None:
        self._api = api
        self._inside = inside
        self._to_server = to_server
        self._emit_type = settings.emit_type
        self._rows = DeliveryStore(inside)
        self._positions = _Positions(inside)
        self._busy: set[str] = set()
        self._again: dict[str, int] = {}
        delivery.on_released(self._released)
        api.register_account_data_callbacks(on_account_data_updated=self._account_data_changed)

    async def start(self) -> None:
        """Hand over what was released and not yet handed over when the server stopped."""
        for author in await self._positions.authors():
            if await self._asks(author):
                await self._hand_over(author, 0)
            else:
                await self._positions.end(author)

    async def _account_data_changed(
        self, user_id: str, room_id: str | None, type_: str, settings: Mapping[str, Any]
    ) -> None:
        if room_id is None and type_ == SETTINGS_TYPE:
            if asks(settings):
                await self._positions.begin(user_id, self._inside.now().stream)
            else:
                await self._positions.end(user_id)

    async def _asks(self, author: str) -> bool:
        return asks(await self._api.account_data_manager.get_global(author, SETTINGS_TYPE))

    def _released(self, author: str, rows: Sequence[DeliveryRow]) -> None:
        if rows and self._inside.is_local(author):
            positions = [row.stream_id for row in rows]
            self._api.run_as_background_process(
                "tandem_durable", self._hand_over, author, max(positions), min(positions)
            )

    async def _hand_over(self, author: str, last: int, first: int | None = None) -> None:
        """Send what the author has not got up to the position ``last``; one at a time for each author."""
        if author in self._busy:
            self._again[author] = max(last, self._again.get(author, 0))
            return
        self._busy.add(author)
        try:
            if not await self._asks(author):
                return
            if first is not None:
                # The settings may be older than this module.
                await self._positions.begin(author, first - 1)
            await self._send_up_to(author, last)
            while author in self._again:
                await self._send_up_to(author, self._again.pop(author))
        finally:
            self._again.pop(author, None)
            self._busy.discard(author)

    async def _send_up_to(self, author: str, last: int) -> None:
        # Positions before this one may still be on their way to the database; syncs wait for them, too.
        while self._inside.now().stream < last:
            await self._api.sleep(_REACHED_WITHIN_S)
        low = await self._positions.of(author)
        if low is None:
            return
        rows = await self._rows.since(author, low, self._inside.now())
        for some in portions(rows):
            rooms = content.by_room(some, self._emit_type)
            await self._to_server.send(EVENT_TYPE, {author: {ALL_DEVICES: {"rooms": rooms}}})
        if rows:
            # Behind the last event only: positions may be shared by rows of several events.
            await self._positions.move(author, max(row.stream_id for row in rows))


def asks(settings: Mapping[str, Any] | None) -> bool:
    """Whether this account data asks for durable receipts."""
    return settings is not None and settings.get("durable") is True


def portions(rows: Sequence[DeliveryRow]) -> Iterator[list[DeliveryRow]]:
    """The rows in order, as many together as one event may carry."""
    some: list[DeliveryRow] = []
    size = 0
    for row in rows:
        length = _length(row)
        if length > MAX_BYTES:
            row = replace(row, devices={})
            length = _length(row)
        if some and size + length > MAX_BYTES:
            yield some
            some, size = [], 0
        some.append(row)
        size += length
    if some:
        yield some


def _length(row: DeliveryRow) -> int:
    """Bytes of the row in an event, or more. Twice what it is made of: names of keys and times come with it."""
    return 2 * len(json.dumps([row.room_id, row.event_id, row.user_id, row.devices]))


class _Positions:
    """Reads and writes ``im_tandem_durable``."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def authors(self) -> list[str]:
        def read(txn: LoggingTransaction) -> list[str]:
            txn.execute("SELECT author FROM im_tandem_durable ORDER BY author")
            return [str(author) for (author,) in txn.fetchall()]

        return await self._inside.run("tandem_durable_authors", read)

    async def of(self, author: str) -> int | None:
        def read(txn: LoggingTransaction) -> int | None:
            txn.execute("SELECT stream_id FROM im_tandem_durable WHERE author = ?", (author,))
            row = txn.fetchone()
            return None if row is None else int(row[0])

        return await self._inside.run("tandem_durable_position", read)

    async def begin(self, author: str, position: int) -> None:
        """Receipts behind this position are due; nothing changes for who has asked before."""

        def write(txn: LoggingTransaction) -> None:
            txn.execute(
                "INSERT INTO im_tandem_durable (author, stream_id) VALUES (?, ?) ON CONFLICT (author) DO NOTHING",
                (author, position),
            )

        await self._inside.run("tandem_durable_begin", write)

    async def move(self, author: str, position: int) -> None:
        def write(txn: LoggingTransaction) -> None:
            txn.execute("UPDATE im_tandem_durable SET stream_id = ? WHERE author = ?", (position, author))

        await self._inside.run("tandem_durable_move", write)

    async def end(self, author: str) -> None:
        def write(txn: LoggingTransaction) -> None:
            txn.execute("DELETE FROM im_tandem_durable WHERE author = ?", (author,))

        await self._inside.run("tandem_durable_end", write)
