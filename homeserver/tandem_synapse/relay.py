"""Work that one process alone does, asked for by any of them.

Receipts have one home: the process that writes Synapse's receipts stream. Rows, positions and timers are its own, so
that nothing is done twice. In a Synapse of one process a call is a call. With workers it goes over Synapse's own
replication HTTP, with its secret, from wherever a request has arrived; refusals come back as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from synapse.module_api.errors import Codes, SynapseError

from tandem_synapse import seams

Json = dict[str, Any]
Work = Callable[[Json], Awaitable[Json]]


class Relay:
    """One per homeserver process, attached to it; each process names the same pieces of work."""

    def __init__(self, inside: seams.Inside) -> None:
        self._inside = inside
        self._works: dict[str, Work] = {}

    def at_writer(self, name: str, work: Work, *, stream: str = "receipts") -> Work:
        """``work`` as to be called here: itself on the process that writes the stream, elsewhere a request to that one.

        Takes and returns plain JSON objects. Raises what the work raises, if that is a SynapseError; one of status
        502 when the other process cannot be reached.
        """
        if self._inside.instance in self._inside.writers_of(stream):
            self._works[name] = work
            return work

        async def ask(payload: Json) -> Json:
            answer: Json = await self._inside.ask_writer(stream, Endpoint, name=name, payload=payload)
            return answer

        return ask

    async def answer(self, name: str, payload: Json) -> Json:
        """Do the work that another process asks for."""
        work = self._works.get(name)
        if work is None:
            words = f"tandem_synapse: no {name!r} in this process; do all processes have the same settings?"
            raise SynapseError(HTTPStatus.NOT_FOUND, words, Codes.NOT_FOUND)
        return await work(payload)


class Endpoint(seams.BaseEndpoint):
    """``POST /_synapse/replication/im_tandem/{name}/{transaction}``, between processes only."""

    NAME = "im_tandem"
    PATH_ARGS = ("name",)
    # A client waits for the answer: three tries in three seconds, then a clear 502.
    RETRY_ON_CONNECT_ERROR_ATTEMPTS = 1

    def __init__(self, hs: Any) -> None:
        super().__init__(hs)
        self.store = hs.get_datastores().main

    @staticmethod
    async def _serialize_payload(name: str, payload: Json) -> Json:  # type: ignore[override]
        return {"payload": payload}

    async def _handle_request(  # type: ignore[override]
        self, request: Any, content: Json, name: str
    ) -> tuple[int, Json]:
        relay = seams.attached(self, Relay)
        if relay is None:
            raise SynapseError(HTTPStatus.NOT_FOUND, "tandem_synapse is not set up here", Codes.NOT_FOUND)
        return HTTPStatus.OK, await relay.answer(name, content["payload"])
