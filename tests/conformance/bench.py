"""What a point works with: the servers, the service, how patient to be, and what was found out already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from .matrix import Device, Homeserver
from .points import NotTried
from .service import Service


@dataclass
class Bench:
    """``patience_s``: how long something may take to arrive before it counts as not coming."""

    server: Homeserver
    second: Homeserver | None = None
    service: Service | None = None
    patience_s: float = 40.0
    echo_type: str = ""
    """A to-device type that the servers answer by sending its content back, from ``@:server``."""
    _found: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    async def people(self, number: int) -> list[Device]:
        """Different accounts of the server, each with one new device."""
        return await self.server.people(number)

    async def foreigners(self, number: int) -> list[Device]:
        """The same on the second server."""
        return await self.other_server().people(number)

    def other_server(self) -> Homeserver:
        if self.second is None:
            raise NotTried("no second server is given")
        return self.second

    async def linked_service(self) -> Service:
        """The service, after a look whether the homeserver reaches it."""
        if self.service is None:
            raise NotTried("no registration of an application service is given")
        await self.service.check_linked(self.server)
        return self.service

    async def once(self, name: str, probe: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        """Probe for a feature one time; what the probe raised is raised again for each point that needs it."""
        if name not in self._found:
            self._found[name] = asyncio.ensure_future(probe(self))
        await asyncio.wait([self._found[name]])
        self._found[name].result()
