"""The wraps by which receipts for other homeservers learn of Synapse's transactions; ``seams`` knows where they go."""

from __future__ import annotations

from typing import Any

from tandem_synapse import seams
from tandem_synapse.federation_out import Outgoing
from tandem_synapse.federation_wire import EDU_TYPE


def _send_transaction(original: seams.Method) -> seams.Method:
    async def send_new_transaction(self: Any, destination: str, pdus: Any, edus: Any) -> Any:
        result = await original(self, destination, pdus, edus)
        outgoing = seams.attached(self._store, Outgoing)
        # A manager that was shut down returns without having sent anything.
        if outgoing is not None and not getattr(self, "_is_shutdown", False):
            for edu in edus:
                if edu.edu_type == EDU_TYPE:
                    await outgoing.taken(destination, edu.content)
        return result

    return send_new_transaction


def _server_up(original: seams.Method) -> seams.Method:
    def notify_remote_server_up(self: Any, server: str) -> None:
        original(self, server)
        outgoing = seams.attached(self, Outgoing)
        if outgoing is not None:
            outgoing.is_up(server)

    return notify_remote_server_up


MAKERS: dict[str, seams.Maker] = {
    seams.SEND_TRANSACTION: _send_transaction,
    seams.SERVER_UP: _server_up,
}
