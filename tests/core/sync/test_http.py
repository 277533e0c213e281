"""The one door to the wire, against servers that answer as bad servers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tandem_core.errors import Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.http import Http, NotJson, TooBig, path, request_now
from tests.core.sync_world import StillClock
from tests.support.aio import in_loop

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback that gives every request to ``handler``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    try:
        await web.SockSite(runner, sock).start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await runner.cleanup()


def _always(status: int = 200, *, json: object = None, text: str | None = None, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        if text is not None:
            return web.Response(status=status, text=text, content_type="text/html", headers=headers)
        return web.json_response(json, status=status, headers=headers)

    return answer


async def _ask(handler: Handler, **options: float) -> object:
    async with serving(handler) as url:
        http = Http(url, token="t0ken")
        try:
            return await http.request("GET", "/x", **options)  # type: ignore[arg-type]
        finally:
            await http.close()


@in_loop
async def test_an_object_is_given_back() -> None:
    assert await _ask(_always(json={"a": 1})) == {"a": 1}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
def test_passing_failures_are_offline(status: int) -> None:
    async def ask() -> None:
        with pytest.raises(Offline):
            await _ask(_always(status, text="<html>gateway</html>"))
        with pytest.raises(Offline):
            await _ask(_always(status, json={"errcode": "M_UNKNOWN"}))

    asyncio.run(ask())


@in_loop
async def test_a_captive_portal_is_offline_and_not_an_answer() -> None:
    for handler in (
        _always(200, text="<html>log in</html>"),
        _always(403, text="<html>no</html>"),
        _always(json=[1]),
    ):
        with pytest.raises(NotJson):
            await _ask(handler)


@in_loop
async def test_a_matrix_error_keeps_its_code() -> None:
    with pytest.raises(ServerRefused) as refused:
        await _ask(_always(403, json={"errcode": "M_FORBIDDEN", "error": "no"}))
    assert (refused.value.status, refused.value.errcode, refused.value.message) == (403, "M_FORBIDDEN", "no")


@pytest.mark.parametrize("soft", [True, False])
def test_an_unknown_token_signs_out(soft: bool) -> None:
    async def ask() -> None:
        with pytest.raises(SignedOut) as signed_out:
            await _ask(_always(401, json={"errcode": "M_UNKNOWN_TOKEN", "soft_logout": soft}))
        assert signed_out.value.soft is soft

    asyncio.run(ask())


@in_loop
async def test_a_question_for_the_password_is_no_sign_out() -> None:
    with pytest.raises(ServerRefused):
        await _ask(_always(401, json={"flows": [], "session": "x"}))


@in_loop
async def test_the_servers_wish_to_slow_down_is_told_in_seconds() -> None:
    for handler, seconds in (
        (_always(429, json={"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}), 2.5),
        (_always(429, json={"errcode": "M_LIMIT_EXCEEDED"}, **{"Retry-After": "7"}), 7),
        (_always(429, json={"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": "odd"}), 5),
        (_always(429, json={"retry_after_ms": 10**12}), 600),
        (_always(429, json={"retry_after_ms": 0}), 1),
        (_always(429, json={"retry_after_ms": -5}), 1),
    ):
        with pytest.raises(RateLimited) as limited:
            await _ask(handler)
        assert limited.value.retry_after_s == seconds


@in_loop
async def test_retrying_waits_as_long_as_the_server_wishes() -> None:
    answers = [(429, {"retry_after_ms": 3000}), (502, {}), (200, {"ok": True})]

    async def answer(_: web.Request) -> web.StreamResponse:
        status, body = answers.pop(0)
        return web.json_response(body, status=status)

    clock = StillClock()
    async with serving(answer) as url:
        http = Http(url, clock=clock)
        assert await http.retry("GET", "/x") == {"ok": True}
        await http.close()
    assert clock.slept[0] == 3.0
    assert len(clock.slept) == 2


@in_loop
async def test_retrying_ends_when_the_time_is_over() -> None:
    clock = StillClock()
    async with serving(_always(429, json={"retry_after_ms": 40_000})) as url:
        http = Http(url, clock=clock)
        with pytest.raises(RateLimited):
            await http.retry("GET", "/x", deadline_s=60)
        await http.close()
    assert clock.slept == [40.0]


@in_loop
async def test_a_definite_refusal_is_not_retried() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)

    async with serving(answer) as url:
        http = Http(url, clock=StillClock())
        with pytest.raises(ServerRefused):
            await http.retry("POST", "/x", {})
        await http.close()
    assert asked == ["/x"]


@in_loop
async def test_a_silent_server_is_offline_after_the_timeout() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    with pytest.raises(Offline, match="in time"):
        await _ask(answer, timeout_s=0.2)


@in_loop
async def test_nobody_there_is_offline_and_the_words_hold_no_address() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    http = Http(f"http://127.0.0.1:{port}", token="t0ken")
    with pytest.raises(Offline) as offline:
        await http.request("GET", "/x?secret")
    await http.close()
    assert "secret" not in offline.value.sentence


@in_loop
async def test_who_asks_after_the_end_opens_no_connection_that_nobody_closes() -> None:
    http = Http("http://127.0.0.1:9")
    await http.close(for_good=True)
    with pytest.raises(Offline, match="ending"):
        await http.request("GET", "/x")


@in_loop
async def test_a_connection_cut_in_the_middle_is_offline() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"a":')
        assert request.transport is not None
        request.transport.close()
        return response

    with pytest.raises(Offline):
        await _ask(answer)


@pytest.mark.parametrize("is_said", [True, False])
def test_an_answer_that_is_too_big_is_not_read_to_its_end(
    is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server does not say how long it is."""
    monkeypatch.setattr("tandem_core.http._MOST_ANSWER", 100_000)

    async def much(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        if is_said:
            answer.content_length = 10_000_000
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await answer.write(b" " * 10_000)
        return answer

    with pytest.raises(TooBig):
        asyncio.run(_ask(much))


@in_loop
async def test_path_parts_token_body_and_query_arrive_as_they_are() -> None:
    seen: list[tuple[str, str, object, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(
            (
                request.raw_path,
                request.query.get("q", ""),
                await request.json(),
                request.headers.get("Authorization"),
            )
        )
        return web.json_response({})

    async with serving(answer) as url:
        http = Http(url, token="t0ken")
        await http.request("PUT", path("rooms", "!a/b:x?#é", "send"), {"ü": 1}, query={"q": "a&b=c"})
        await http.request("PUT", "/y", {}, auth=False)
        await http.close()
    (raw, query, body, token), (*_, anonymous) = seen
    assert raw.startswith("/_matrix/client/v3/rooms/%21a%2Fb%3Ax%3F%23%C3%A9/send?")
    assert (query, body, token, anonymous) == ("a&b=c", {"ü": 1}, "Bearer t0ken", None)


@in_loop
async def test_half_a_surrogate_pair_is_mended_at_the_door() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"a": "x\\ud83d"}', content_type="application/json")

    assert await _ask(answer) == {"a": "x�"}


@in_loop
async def test_a_bomb_of_brackets_and_nan_are_no_json() -> None:
    for body in (b"[" * 200_000, b'{"a": NaN}', b"\xff\xfe{}"):

        async def answer(_: web.Request, body: bytes = body) -> web.StreamResponse:
            return web.Response(body=body, content_type="application/json")

        with pytest.raises(NotJson):
            await _ask(answer)


async def _ask_now(handler: Handler, *, timeout_s: float = 10.0) -> object:
    async with serving(handler) as base_url:
        return await asyncio.to_thread(
            request_now, f"{base_url}/", "token", "POST", path("x") + "?a=b", {"c": "d"}, timeout_s=timeout_s
        )


@in_loop
async def test_a_request_without_a_loop_says_the_same() -> None:
    seen: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.extend([request.method, request.path_qs, request.headers["Authorization"], await request.json()])
        return web.json_response({"e": 1})

    assert await _ask_now(answer) == {"e": 1}
    assert seen == ["POST", "/_matrix/client/v3/x?a=b", "Bearer token", {"c": "d"}]


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (_always(502, text="<html>gateway</html>"), Offline),
        (_always(200, text="<html>log in</html>"), NotJson),
        (_always(json=[1]), NotJson),
        (_always(403, json={"errcode": "M_FORBIDDEN"}), ServerRefused),
        (_always(401, json={"errcode": "M_UNKNOWN_TOKEN"}), SignedOut),
        (_always(429, json={"errcode": "M_LIMIT_EXCEEDED"}), RateLimited),
        (_always(302, json={}, Location="/elsewhere"), ServerRefused),
    ],
)
def test_a_request_without_a_loop_fails_in_the_same_words(handler: Handler, error: type[Exception]) -> None:
    async def ask() -> None:
        with pytest.raises(error) as raised:
            await _ask_now(handler)
        assert type(raised.value) is error

    asyncio.run(ask())


@in_loop
async def test_a_request_without_a_loop_to_nobody_is_offline() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for base_url in (f"http://127.0.0.1:{port}", "http://name.invalid", "http://127.0.0.1:odd"):
        with pytest.raises(Offline):
            request_now(base_url, None, "GET", path("x"), timeout_s=5.0)


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (_always(json={"no": "list"}), NotJson),
        (_always(text="<html>"), NotJson),
        (_always(503, json={}), Offline),
        (_always(403, json={"errcode": "M_FORBIDDEN"}), ServerRefused),
        (_always(401, json={"errcode": "M_UNKNOWN_TOKEN"}), SignedOut),
        (_always(429, json={"retry_after_ms": 5000}), RateLimited),
    ],
)
def test_a_list_is_told_from_everything_else(handler: Handler, error: type[Exception]) -> None:
    async def go() -> None:
        async with serving(_always(json=[1, {"a": 2}])) as url:
            assert await _ask_list(url) == [1, {"a": 2}]
        async with serving(handler) as url:
            with pytest.raises(error):
                await _ask_list(url)

    in_loop(go)()


async def _ask_list(url: str) -> list[object]:
    http = Http(url, token="t")
    try:
        return await http.request_list("/_matrix/client/v3/rooms/x/state")
    finally:
        await http.close()
