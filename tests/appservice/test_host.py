"""The running service: transactions reach every account it hosts, and one account's trouble is nobody else's."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tandem_appservice.host import Host, NameAccount, Options, log_of
from tandem_appservice.notify import to_log
from tandem_appservice.queue import Account, Queue
from tandem_appservice.registration import Namespaces, make
from tandem_core.errors import Expected
from tandem_core.paths import profile_paths
from tandem_core.role import is_running
from tandem_core.store import session
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Json, Me, Role, UserId
from tandem_demo.synapse import free_port
from tests.appservice.world import for_device, of_room, sight
from tests.core.sync.test_http import serving
from tests.core.sync_world import BOB, ROOM, member, message, olm
from tests.support.aio import in_loop

ONE, TWO = "@_one:example.org", "@_two:example.org"
pytestmark = pytest.mark.usefixtures("tandem_home")


class Homeserver:
    """What engines ask for; ``signed_out`` holds tokens that are not valid."""

    def __init__(self) -> None:
        self.signed_out: set[str] = set()
        self.is_soft = False
        self.pinged: list[str] = []
        self.pings: list[web.Response] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.signed_out:
            body = {"errcode": "M_UNKNOWN_TOKEN", "error": "", "soft_logout": self.is_soft}
            return web.json_response(body, status=401)
        match request.path.split("/")[4:]:
            case ["joined_rooms"]:
                return web.json_response({"joined_rooms": [ROOM]})
            case ["keys", "upload"]:
                return web.json_response({"one_time_key_counts": {"signed_curve25519": 50}})
            case ["rooms", _, "state"]:
                people = [member(user) for user in (ONE, TWO)]
                return web.json_response([*sight(*people).state])
            case ["pushrules", ""]:
                return web.json_response({"global": {}})
            case ["appservice", name, "ping"]:
                assert (await request.json())["transaction_id"]
                self.pinged.append(name)
                return self.pings.pop(0) if self.pings else web.json_response({"duration_ms": 1})
            case ["register"]:
                return web.json_response({"errcode": "M_USER_IN_USE", "error": ""}, status=400)
            case ["login"]:
                asked = await request.json()
                user, device_id = asked["identifier"]["user"], asked.get("device_id", "NEW")
                return web.json_response({"user_id": user, "device_id": device_id, "access_token": "fresh"})
        if request.path.endswith("/versions"):
            return web.json_response({"versions": ["v1.11"]})
        return web.json_response({"errcode": "M_NOT_FOUND", "error": ""}, status=404)


@dataclass
class Town:
    """A homeserver, the service, and its queue."""

    server: Homeserver
    base_url: str
    queue: Queue
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.registration = make(
            homeserver=self.base_url,
            server_name="example.org",
            url=f"http://127.0.0.1:{self.port}",
            namespaces=Namespaces(users=("@_.*",)),
        )

    def host(self, user: str, *, device_id: str = "D") -> None:
        profile = user[2:5]
        paths = profile_paths(profile)
        paths.make()
        db = Database.open(paths.database)
        db.write_now(session.set_session, Me(UserId(user), DeviceId("D")), self.base_url, f"token{user}", 1)
        db.close()
        self.queue.add(Account(user, device_id, profile), 1)

    async def send(self, txn_id: str, *events: Json, keys: Sequence[Json] = ()) -> int:
        token = {"Authorization": f"Bearer {self.registration.hs_token}"}
        url = f"{self.registration.url}/_matrix/app/v1/transactions/{txn_id}"
        async with (
            aiohttp.ClientSession() as client,
            client.put(url, json={"events": events, "to_device": keys}, headers=token) as answer,
        ):
            return answer.status

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        life = asyncio.create_task(
            Host(self.registration, self.queue, Options("127.0.0.1", self.port, to_log)).run()
        )
        try:
            await until(life, lambda: all(account.is_prepared for account in self.queue.accounts()))
            yield
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


async def until(life: asyncio.Task[None] | None, look: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not look():
            if life is not None and life.done():
                life.result()
            await asyncio.sleep(0.02)


def has(user: str, event_id: str) -> bool:
    with closing(sqlite3.connect(profile_paths(user[2:5]).database)) as conn:
        found = conn.execute("SELECT count(*) FROM timeline WHERE event_id = ?", (event_id,)).fetchone()
    return bool(found[0])


@asynccontextmanager
async def town(queue: Queue) -> AsyncIterator[Town]:
    server = Homeserver()
    async with serving(server) as url:
        yield Town(server, url, queue)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue.open(tmp_path / "service.db")
    yield made
    made.close()


@in_loop
async def test_a_transaction_reaches_every_account_of_its_room_also_one_that_was_added_meanwhile(
    queue: Queue,
) -> None:
    async with town(queue) as here:
        here.host(ONE)
        async with here.running():
            assert await here.send("1", of_room(message("first"))) == 200
            await until(None, lambda: has(ONE, "$first"))
            here.host(TWO)
            await until(None, lambda: all(account.is_prepared for account in queue.accounts()))
            assert await here.send("2", of_room(message("second"))) == 200
            for user in (ONE, TWO):
                await until(None, lambda user=user: has(user, "$second"))
            assert is_running(profile_paths("two"), Role.NOTIFIER)
            await until(None, lambda: queue.release(TWO))
            await until(None, lambda: not is_running(profile_paths("two"), Role.NOTIFIER))
            assert (
                await here.send("3", of_room(message("third")), keys=[for_device(olm("k"), TWO, "D")]) == 200
            )
            await until(None, lambda: _inbox("two") == 1)
            await until(None, lambda: has(ONE, "$third"))
            assert not has(TWO, "$third")
        assert not is_running(profile_paths("one"), Role.NOTIFIER)


@in_loop
async def test_an_account_that_is_signed_out_or_has_another_device_stops_nobody_else(queue: Queue) -> None:
    async with town(queue) as here:
        for user in (ONE, TWO):
            here.host(user)
        queue.add(Account(TWO, "ANOTHER", "two"), 1)
        here.host("@_six:example.org")
        here.server.signed_out.add("token@_six:example.org")
        life = asyncio.create_task(
            Host(here.registration, queue, Options("127.0.0.1", here.port, to_log)).run()
        )
        try:
            await until(life, lambda: next(a for a in queue.accounts() if a.user_id == ONE).is_prepared)
            assert await here.send("1", of_room(message("hello", BOB))) == 200
            await until(life, lambda: has(ONE, "$hello"))
            await until(life, lambda: _state("six") == "signed_out")
            assert not has(TWO, "$hello")
            # What waits for them is not lost: it is there when they are added again.
            assert queue.depth(TWO) == queue.depth("@_six:example.org") == 1
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


def _inbox(profile: str) -> int:
    with closing(sqlite3.connect(profile_paths(profile).database)) as conn:
        return int(conn.execute("SELECT count(*) FROM inbox").fetchone()[0])


def _state(profile: str) -> str:
    with closing(sqlite3.connect(profile_paths(profile).database)) as conn:
        row = conn.execute("SELECT state FROM session").fetchone()
    return str(row[0])


@in_loop
async def test_a_token_that_has_run_out_is_renewed_for_the_same_device(queue: Queue) -> None:
    async with town(queue) as here:
        here.host(ONE)
        here.server.is_soft = True
        here.server.signed_out.add(f"token{ONE}")
        async with here.running():
            assert await here.send("1", of_room(message("hello"))) == 200
            await until(None, lambda: has(ONE, "$hello"))
        (account,) = queue.accounts()
        assert account.device_id == "D"
        assert _state("one") == "signed_in"


def test_a_log_line_names_the_account_that_it_is_about_once() -> None:
    record = logging.LogRecord("tandem.x", logging.INFO, "", 1, "%d pieces", (7,), None)
    token = log_of.set("@100%:example.org")
    try:
        for _ in range(2):
            assert NameAccount().filter(record)
    finally:
        log_of.reset(token)
    assert record.getMessage() == "@100%:example.org 7 pieces"


@in_loop
async def test_the_homeserver_is_asked_to_knock_until_it_finds_the_service(queue: Queue) -> None:
    async with town(queue) as here:
        here.server.pings = [web.json_response({"errcode": "M_CONNECTION_FAILED", "error": ""}, status=502)]
        async with here.running():
            await until(None, lambda: queue.fact("reached") == {"ok": True, "detail": ""})
        assert here.server.pinged == ["tandem", "tandem"]
        here.server.pings = [web.json_response({"errcode": "M_UNKNOWN_TOKEN", "error": ""}, status=401)]
        async with here.running():
            await until(None, lambda: (queue.fact("reached") or {}).get("ok") is False)
        assert "registration" in queue.fact("reached")["detail"]


@in_loop
async def test_an_address_that_is_taken_is_told(queue: Queue) -> None:
    async with town(queue) as here, serving(Homeserver()) as taken:
        port = int(taken.rpartition(":")[2])
        with pytest.raises(Expected, match=str(port)) as told:
            await Host(here.registration, queue, Options("127.0.0.1", port, to_log)).run()
        assert "--listen" in told.value.sentence


@in_loop
async def test_whom_it_hosts_is_asked_of_the_queue(queue: Queue) -> None:
    async with town(queue) as here:
        here.host(ONE)
        async with here.running():
            token = {"Authorization": f"Bearer {here.registration.hs_token}"}
            found = []
            async with aiohttp.ClientSession(headers=token) as client:
                for user in (ONE, TWO):
                    async with client.get(f"{here.registration.url}/_matrix/app/v1/users/{user}") as answer:
                        found.append(answer.status)
            assert found == [200, 404]
