"""The homeserver's side of the door: who may come in, what is refused, and that 200 comes after the commit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tandem_appservice.registration import Namespaces, make
from tandem_appservice.server import application
from tandem_appservice.transaction import Transaction
from tandem_core.errors import DiskFull
from tests.appservice.world import of_room
from tests.core.sync_world import ME, message
from tests.support.aio import in_loop

REGISTRATION = make(
    homeserver="http://127.0.0.1:9",
    server_name="example.org",
    url="http://127.0.0.1:29340",
    namespaces=Namespaces(users=("@_tandem_.*:example\\.org",)),
)
TOKEN = {"Authorization": f"Bearer {REGISTRATION.hs_token}"}
V1 = "/_matrix/app/v1"
_MOST = 100_000


@dataclass
class Hall:
    """What stands behind the door."""

    base: str = ""
    taken: list[Transaction] = field(default_factory=list)
    trouble: Exception | None = None

    async def accept(self, said: Transaction) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.taken.append(said)

    async def is_hosted(self, user_id: str) -> bool:
        return user_id == ME.user_id

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.base + path, data=data, headers=headers or TOKEN) as answer,
        ):
            said = await answer.json()
            return answer.status, said.get("errcode", said)


@asynccontextmanager
async def _hall() -> AsyncIterator[Hall]:
    hall = Hall()
    app = application(REGISTRATION, hall.accept, hall.is_hosted, most_body=_MOST)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    hall.base = f"http://{host}:{port}"
    try:
        yield hall
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("path", [f"{V1}/transactions/7", "/transactions/7"])
def test_a_transaction_is_taken_on_the_path_of_today_and_of_old(path: str) -> None:
    async def go() -> None:
        async with _hall() as hall:
            assert await hall.ask("PUT", path, {"events": [of_room(message("a"))]}) == (200, {})
            assert [said.txn_id for said in hall.taken] == ["7"]
            assert hall.taken[0].events[0]["event_id"] == "$a"

    in_loop(go)()


@in_loop
async def test_the_token_is_asked_for_and_checked_wherever_it_stands() -> None:
    async with _hall() as hall:
        right, wrong = REGISTRATION.hs_token, REGISTRATION.as_token
        bearer = {"Authorization": f"Bearer {wrong}"}
        where = f"{V1}/transactions/1"
        nobody = {"X": "y"}
        assert await hall.ask("PUT", where, {}, headers=nobody) == (401, "M_MISSING_TOKEN")
        assert await hall.ask("PUT", where, {}, headers=bearer) == (403, "M_FORBIDDEN")
        assert await hall.ask("PUT", f"{where}?access_token={wrong}", {}, headers=nobody) == (
            403,
            "M_FORBIDDEN",
        )
        assert await hall.ask("PUT", f"{where}?access_token={wrong}", {}) == (403, "M_FORBIDDEN")
        assert await hall.ask("GET", f"{V1}/users/x", headers=bearer) == (403, "M_FORBIDDEN")
        assert await hall.ask("GET", "/anything", headers=bearer) == (403, "M_FORBIDDEN")
        assert hall.taken == []
        assert await hall.ask("PUT", f"{where}?access_token={right}", {}, headers=nobody) == (200, {})


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        (b"", 400, "M_NOT_JSON"),
        (b'{"events": [', 400, "M_NOT_JSON"),
        (b'{"events": NaN}', 400, "M_NOT_JSON"),
        (b"\xff\xfe", 400, "M_NOT_JSON"),
        (b"[" * 20_000, 400, "M_NOT_JSON"),
        (b"[]", 400, "M_BAD_JSON"),
        (b'{"events": {}}', 400, "M_BAD_JSON"),
        (b'{"events": ["' + b"x" * _MOST + b'"]}', 413, "M_TOO_LARGE"),
    ],
)
def test_a_body_that_is_no_transaction_is_a_clear_error_and_nothing_is_taken(
    body: bytes, status: int, errcode: str
) -> None:
    async def go() -> None:
        async with _hall() as hall:
            assert await hall.ask("PUT", f"{V1}/transactions/1", body) == (status, errcode)
            assert hall.taken == []
            assert await hall.ask("PUT", f"{V1}/transactions/1", {"events": []}) == (200, {})

    in_loop(go)()


@in_loop
async def test_what_cannot_be_kept_is_not_answered_with_200() -> None:
    async with _hall() as hall:
        hall.trouble = DiskFull()
        assert await hall.ask("PUT", f"{V1}/transactions/1", {"events": []}) == (503, "M_UNKNOWN")
        hall.trouble = RuntimeError("a fault")
        assert await hall.ask("PUT", f"{V1}/transactions/1", {"events": []}) == (500, "M_UNKNOWN")
        hall.trouble = None
        assert await hall.ask("PUT", f"{V1}/transactions/1", {"events": []}) == (200, {})


@in_loop
async def test_the_server_may_ask_for_users_and_rooms_and_whether_we_are_there() -> None:
    async with _hall() as hall:
        assert await hall.ask("GET", f"{V1}/users/%40alice%3Aexample.org") == (200, {})
        assert await hall.ask("GET", f"{V1}/users/%40eve%3Aexample.org") == (404, "M_NOT_FOUND")
        assert await hall.ask("GET", f"{V1}/rooms/%23x%3Aexample.org") == (404, "M_NOT_FOUND")
        assert await hall.ask("POST", f"{V1}/ping", {"transaction_id": "x"}) == (200, {})


@in_loop
async def test_what_this_service_does_not_know_is_told_in_matrix_words() -> None:
    async with _hall() as hall:
        assert await hall.ask("GET", f"{V1}/thirdparty/protocol/irc") == (404, "M_UNRECOGNIZED")
        assert await hall.ask("POST", f"{V1}/transactions/1", {}) == (405, "M_UNRECOGNIZED")
