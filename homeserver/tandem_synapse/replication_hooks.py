"""The bodies of the wraps that make the module work with workers.

A process that syncs learns of new receipts from the one that writes them. What travels is the stream position and
the author to wake, in a row of Synapse's own receipts stream that names no room, no reader and no event: a process
without this module does nothing with it, and never tells another server (DESIGN law 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem_synapse import seams
from tandem_synapse.delivery import Delivery
from tandem_synapse.relay import Endpoint, Relay

ROW_TYPE = "im.tandem.delivery"


def _updated_receipts(original: seams.Method) -> seams.Method:
    async def get_all_updated_receipts(
        self: Any, instance_name: str, last_id: int, current_id: int, limit: int
    ) -> Any:
        updates, reached, limited = await original(self, instance_name, last_id, current_id, limit)
        delivery = seams.attached(self, Delivery)
        if delivery is None or last_id == reached:
            return updates, reached, limited
        ours = await delivery.released(instance_name, last_id, reached)
        rows = [(position, wake_row(author)) for position, author in ours]
        return sorted([*updates, *rows], key=lambda update: update[0]), reached, limited

    return get_all_updated_receipts


def wake_row(author: str) -> tuple[str, str, str, str, None, dict[str, str]]:
    """Room, type, user, event, thread and data of a row that means: look again, there is something for this author.

    The empty user is no user of this server, so that stock code drops the row before it comes to federation.
    """
    return ("", ROW_TYPE, "", "", None, {"author": author})


def _on_rdata(original: seams.Method) -> seams.Method:
    async def on_rdata(self: Any, stream_name: str, instance_name: str, token: int, rows: list[Any]) -> Any:
        if stream_name != seams.RECEIPTS_STREAM:
            return await original(self, stream_name, instance_name, token, rows)
        result = await original(self, stream_name, instance_name, token, _stock(rows))
        delivery = seams.attached(self, Delivery)
        authors = {row.data["author"] for row in rows if row.receipt_type == ROW_TYPE}
        if delivery is not None and authors:
            delivery.wake(authors)
        return result

    return on_rdata


def _stock(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.receipt_type != ROW_TYPE]


def _register_servlets(original: seams.Method) -> seams.Method:
    def register_servlets(self: Any, hs: Any) -> None:
        original(self, hs)
        if seams.attached_to(hs, Relay) is not None:
            Endpoint(hs).register(self)

    return register_servlets


MAKERS: dict[str, seams.Maker] = {
    seams.UPDATED_RECEIPTS: _updated_receipts,
    seams.ON_RDATA: _on_rdata,
    seams.REPLICATION_SERVLETS: _register_servlets,
}
