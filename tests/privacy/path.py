"""The way between the victim and its server: a place's delay each way, and what an idle machine adds to it.

``python -m tests.privacy.path --upstream URL --scale 5`` prints its address; ``POST /_path`` changes the way. Delays
are those of unscaled time and pass as many times faster; so do the long polls that go through.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.wire import SYNC, Answer, Asked, Json

CONTROL = "/_path"
_MOST_LOG = 10_000


class PathProxy(FaultProxy):
    """A reverse proxy that takes its time. ``way``: ``one_way_ms``, and ``idle_ms``, the mean of what idling adds."""

    def __init__(self, upstream: str, scale: float, *, seed: int = 0) -> None:
        super().__init__(upstream, seed=seed)
        self._scale = scale
        self._draw = random.Random(seed)
        self.way: Json = {"one_way_ms": 0.0, "idle_ms": 0.0}

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.rel_url.path == CONTROL:
            if request.method == "POST":
                self.way |= await request.json()
            return web.json_response(self.way)
        del self.log[:-_MOST_LOG]
        return await super()._handle(request)

    async def _forward(self, asked: Asked) -> Answer:
        await self._travel()
        if asked.path == SYNC:
            asked = replace(asked, query=self._hurried(asked.query))
        answer = await super()._forward(asked)
        await self._travel()
        return answer

    def _hurried(self, query: str) -> str:
        words = dict(parse_qsl(query))
        if "timeout" in words:
            words["timeout"] = str(round(int(words["timeout"]) / self._scale))
        return urlencode(words)

    async def _travel(self) -> None:
        delay_ms = travel_ms(self.way["one_way_ms"], self.way["idle_ms"], self._draw)
        # The selector rounds up to whole milliseconds; taking off less than one at random keeps the mean.
        wait_ms = delay_ms / self._scale - self._draw.random()
        if delay_ms:
            await asyncio.sleep(max(wait_ms, 0.0) / 1000)


def travel_ms(one_way_ms: float, idle_ms: float, chance: random.Random) -> float:
    """What one way takes: the place, and what an idle machine adds each time it is to wake up."""
    return one_way_ms + (chance.gammavariate(2.0, idle_ms / 2) if idle_ms else 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="path", description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with PathProxy(options.upstream, options.scale, seed=options.seed) as proxy:
        print(json.dumps({"base_url": proxy.base_url}), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    # Before any thread is started, so that all of them leave these signals to sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
