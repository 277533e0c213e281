"""The client that the goals are held against: it confirms everything it is sent, at once, as the first drafts had it.

It syncs as any client does and posts a delivery receipt for each event of another person, silent or not, known or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp

from tandem_demo.raw import CLIENT, RawClient
from tests.conftest import new_user
from tests.privacy.attacker import Plan, measure
from tests.privacy.rig import make_authors, path_to, synapse
from tests.privacy.timing import Collected, State

_TYPE = "org.matrix.msc4089.delivery"
_PAUSE_S = (0.02, 0.3)
_WAIT_S = 10.0


class ImmediateClient:
    """One device that confirms at once, through the given way."""

    def __init__(self, base_url: str, client: RawClient) -> None:
        self._base = f"{base_url}{CLIENT}"
        self._user_id = client.user_id
        self._headers = {"Authorization": f"Bearer {client.token}"}
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Sync and confirm until cancelled."""
        since: str | None = None
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                words = {"timeout": "20000" if since else "0", **({"since": since} if since else {})}
                async with session.get(f"{self._base}/sync", params=words, headers=self._headers) as answer:
                    said = await answer.json()
                is_first, since = since is None, said["next_batch"]
                self.ready.set()
                if is_first:
                    continue
                for room_id, room in said.get("rooms", {}).get("join", {}).items():
                    for event in room.get("timeline", {}).get("events", ()):
                        if event["sender"] != self._user_id:
                            group.create_task(self._confirm(session, room_id, event["event_id"]))

    async def _confirm(self, session: aiohttp.ClientSession, room_id: str, event_id: str) -> None:
        url = f"{self._base}/rooms/{quote(room_id)}/receipt/{_TYPE}/{quote(event_id)}"
        with suppress(aiohttp.ClientError):
            async with session.post(url, json={}, headers=self._headers) as answer:
                await answer.read()


def collect_reference(
    folder: Path, states: Sequence[State], *, authors: int, flushes: int, seed: int, until: float
) -> Collected:
    """The reference client's delays in each state, in real time, on a server that holds nothing."""
    server = synapse(folder / "synapse", hold=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found, plan = Collected(), Plan(flushes, pause_s=_PAUSE_S, wait_s=_WAIT_S)
    with server.running(), path_to(server, 1.0, folder / "path.out", seed=seed) as way:
        localpart, password = new_user(server, "immediate")
        me = RawClient(server.base_url).login(localpart, password)
        people = make_authors(server, authors, me.user_id)
        for author in people:
            me.join(author.room)
            author.share([])

        async def visit(state: State, number: int) -> None:
            client = ImmediateClient(way.base_url, me)
            running = asyncio.create_task(client.run())
            await client.ready.wait()
            try:
                within_s = flushes * plan.wait_s
                found.add(state, await measure(people, plan, 1.0, seed=seed + number, within_s=within_s))
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

        for number, state in enumerate(states):
            if time.monotonic() > until:
                break
            way.be(one_way_ms=state.one_way_ms, idle_ms=state.idle_ms)
            asyncio.run(visit(state, number))
    return found
