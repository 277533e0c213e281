"""The fault proxy itself: every fault reaches the client as announced, and the log tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.aio import in_loop
from tests.support.proxy import actions
from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.wire import SYNC, Action, template

UPLOAD = "/_matrix/client/v3/keys/upload"


@dataclass
class Pair:
    """A server that counts, and a client behind the proxy."""

    proxy: FaultProxy
    client: aiohttp.ClientSession
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def sync(self, conn_id: str = "app", since: str | None = None) -> tuple[int, bytes, str]:
        block = {"enabled": True, "limit": 100} | ({} if since is None else {"since": since})
        return await self.post(f"{SYNC}?pos=1", {"conn_id": conn_id, "extensions": {"to_device": block}})

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
        headers = {"Authorization": "Bearer s3cret"}
        async with self.client.post(self.proxy.base_url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers.get("Retry-After", "")


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    heard: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(
            {"path": request.path_qs, "auth": request.headers["Authorization"], **await request.json()}
        )
        number = str(len(heard))
        block = {"to_device": {"events": [], "next_batch": number}}
        return web.json_response({"pos": number, "extensions": block})

    app = web.Application()
    app.router.add_post("/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with FaultProxy(f"http://127.0.0.1:{runner.addresses[0][1]}") as proxy:
            async with aiohttp.ClientSession() as client:
                yield Pair(proxy, client, heard)
    finally:
        await runner.cleanup()


@in_loop
async def test_without_a_rule_all_passes_and_the_log_holds_no_secret() -> None:
    async with pair() as both:
        status, data, _ = await both.sync(since="7")
        assert status == 200
        assert json.loads(data)["pos"] == "1"
        assert both.heard[0]["path"] == f"{SYNC}?pos=1"
        assert both.heard[0]["auth"] == "Bearer s3cret"
        [line] = both.proxy.log
        assert (line.conn_id, line.method, line.path, line.since, line.limit) == (
            "app", "POST", SYNC, "7", 100,
        )  # fmt: skip
        assert (line.status, line.next_batch, line.fault) == (200, "1", None)
        assert "s3cret" not in repr(both.proxy.log)


def test_a_template_holds_nothing_of_anybodys_own() -> None:
    rooms = "/_matrix/client/v3/rooms"
    assert template(f"{rooms}/!a:b/send/m.room.encrypted/txn") == f"{rooms}/{{}}/send/{{}}/{{}}"
    assert template(f"{rooms}/!a:b/receipt/m.read/$e") == f"{rooms}/{{}}/receipt/{{}}/{{}}"
    assert template("/_matrix/client/v3/user/@a:b/account_data/x").endswith("/user/{}/account_data/x")
    assert template(SYNC) == SYNC


@pytest.mark.parametrize(
    ("action", "reaches_server"),
    [
        (actions.drop_request(), 0),
        (actions.drop_answer(), 1),
        (actions.truncate(), 1),
        (actions.truncate(0), 1),
    ],
    ids=["request", "answer", "half", "nothing"],
)
@in_loop
async def test_a_broken_connection_is_one_and_no_token_counts_as_delivered(
    action: Action, reaches_server: int
) -> None:
    async with pair() as both:
        both.proxy.add("broken", action)
        with pytest.raises(aiohttp.ClientError):
            await both.sync()
        assert len(both.heard) == reaches_server
        [line] = both.proxy.log
        assert (line.fault, line.status, line.next_batch) == ("broken", 0, None)
        assert (await both.sync())[0] == 200


@pytest.mark.parametrize(
    ("action", "status", "told"),
    [
        (actions.refuse(500, "M_UNKNOWN"), 500, b'"errcode": "M_UNKNOWN"'),
        (actions.page(502), 502, b"<html>"),
        (actions.limited(), 429, b"M_LIMIT_EXCEEDED"),
        (actions.limited(10**9), 429, b'"retry_after_ms": 1000000000'),
        (actions.signed_out(soft=True), 401, b'"soft_logout": true'),
        (actions.signed_out(soft=False), 401, b'"soft_logout": false'),
        (actions.unknown_pos(), 400, b"M_UNKNOWN_POS"),
    ],
)
@in_loop
async def test_an_answer_of_the_proxys_own_never_reaches_the_server(
    action: Action, status: int, told: bytes
) -> None:
    async with pair() as both:
        both.proxy.add("own", action)
        got, data, _ = await both.sync()
        assert got == status == both.proxy.log[0].status
        assert told in data
        assert both.heard == []


@in_loop
async def test_a_wish_to_slow_down_can_come_in_the_header() -> None:
    async with pair() as both:
        both.proxy.add("limited", actions.limited(header="3"))
        assert (await both.sync())[::2] == (429, "3")


@in_loop
async def test_an_answer_is_spoiled_in_every_way() -> None:
    async with pair() as both:
        both.proxy.add("corrupt", actions.corrupt())
        with pytest.raises(ValueError, match=r"."):
            json.loads((await both.sync())[1])
        both.proxy.add("types", actions.wrong_types())
        assert json.loads((await both.sync())[1]) == {"pos": [7], "extensions": [7]}
        inside = ("extensions", "to_device", "next_batch")
        both.proxy.add("inside", actions.wrong_types_inside(*inside, value=7))
        assert json.loads((await both.sync())[1])["extensions"]["to_device"]["next_batch"] == 7
        both.proxy.add("block", actions.without("extensions", "to_device"))
        assert json.loads((await both.sync())[1])["extensions"] == {}
        both.proxy.add("token", actions.without(*inside))
        assert json.loads((await both.sync())[1])["extensions"]["to_device"] == {"events": []}
        assert [line.next_batch for line in both.proxy.log] == [None] * 5
        assert len(both.heard) == 5


@in_loop
async def test_the_server_gets_a_request_twice_or_with_another_token() -> None:
    async with pair() as both:
        both.proxy.add("twice", actions.duplicate())
        assert json.loads((await both.sync(since="3"))[1])["pos"] == "2"
        both.proxy.add("future", actions.send_since("999"), times=2)
        await both.sync(since="3")
        await both.sync()
        blocks = [one["extensions"]["to_device"] for one in both.heard]
        assert [block.get("since") for block in blocks] == ["3", "3", "999", None]
        assert [line.since for line in both.proxy.log] == ["3", "3", None]


@in_loop
async def test_a_held_answer_is_overtaken() -> None:
    async with pair() as both:
        hold = actions.Hold()
        both.proxy.add("held", hold, conn_id="app")
        late = asyncio.ensure_future(both.sync())
        await asyncio.to_thread(hold.reached.wait, 20)
        assert json.loads((await both.sync("notifier"))[1])["pos"] == "2"
        assert not late.done()
        hold.release()
        assert json.loads((await late)[1])["pos"] == "1"


@in_loop
async def test_a_request_that_its_client_gives_up_leaves_the_fault_to_the_next_one() -> None:
    async with pair() as both:
        hold = actions.Hold()
        rule = both.proxy.add("held", hold, conn_id="app")
        given_up = asyncio.ensure_future(both.sync())
        assert await asyncio.to_thread(hold.reached.wait, 20)
        given_up.cancel()
        while rule.met:
            await asyncio.sleep(0.01)
        hold.reached.clear()
        late = asyncio.ensure_future(both.sync())
        assert await asyncio.to_thread(hold.reached.wait, 20)
        hold.release()
        assert json.loads((await late)[1])["pos"] == "2"


@in_loop
async def test_an_old_answer_comes_again_to_the_same_connection() -> None:
    async with pair() as both:
        both.proxy.add("stale", actions.Stale(), times=None)
        got = [json.loads((await both.sync(who))[1])["pos"] for who in ("app", "notifier", "app", "notifier")]
        assert got == ["1", "2", "1", "2"]


@in_loop
async def test_a_delayed_answer_comes() -> None:
    async with pair() as both:
        both.proxy.add("late", actions.delay(0.05))
        assert (await both.sync())[0] == 200
        assert both.proxy.log[0].fault == "late"


@in_loop
async def test_a_rule_takes_what_it_names_and_no_more() -> None:
    async with pair() as both:
        rule = both.proxy.add(
            "second",
            actions.page(502),
            path="/keys/upload",
            first=2,
            times=1,
            when=lambda one: "a" in one.body,
        )
        bodies = ({"a": 1}, {"b": 1}, {"a": 1}, {"a": 1})
        assert [(await both.post(UPLOAD, body))[0] for body in bodies] == [200, 200, 502, 200]
        assert (rule.matched, rule.met) == (2, 1)
        both.proxy.add("all of one", actions.page(503), conn_id="notifier", method="POST", times=None)
        assert [(await both.sync(who))[0] for who in ("app", "notifier", "notifier")] == [200, 503, 503]
        both.proxy.heal()
        assert (await both.sync("notifier"))[0] == 200
        both.proxy.add("some", actions.page(502), share=0.5, times=None)
        statuses = [(await both.sync())[0] for _ in range(40)]
        assert 5 < statuses.count(502) < 35
