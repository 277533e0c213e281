"""The one door to the wire (law 12): requests to the homeserver, and its errors in our words."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote as _percent
from urllib.parse import urlsplit

from tandem_core.clock import Chance, Clock, SystemClock, jittered_backoff_s, system_chance
from tandem_core.codec import canonical, parse
from tandem_core.errors import Expected, NeedsApproval, Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.types import Json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

log = logging.getLogger("tandem.http")
T = TypeVar("T")

CLIENT_PREFIX = "/_matrix/client/v3/"
_LEAST_RETRY_AFTER_S = 1.0
_MOST_RETRY_AFTER_S = 600.0
_MOST_ANSWER = 64 * 1024 * 1024
_MOST_TOKENS = 3
"""So many access tokens are tried for one request: the one at hand, the one another program got, a new one."""


_Reply = tuple[int, bytes, str | None]
"""Status, content, Retry-After."""


class NotJson(Offline):
    """Something answered, but not a Matrix homeserver: a proxy's error page, a captive portal, a web server."""

    title = "The answer did not come from your homeserver"
    advice = "Tandem keeps trying; check the network if this lasts."


class TooBig(Offline):
    """The answer has more bytes than anybody could use (64 MiB)."""

    title = "Your homeserver's answer is too big"


def quote(part: str) -> str:
    """One part of a path, safe whatever it holds."""
    return _percent(part, safe="")


def path(*parts: str) -> str:
    """``path("rooms", room_id, "leave")`` -> ``/_matrix/client/v3/rooms/.../leave``, each part quoted."""
    return CLIENT_PREFIX + "/".join(quote(part) for part in parts)


class Tokens(Protocol):
    """Where access tokens come from that run out (``tandem_core.tokens``)."""

    async def current(self, token: str | None) -> str | None:
        """The token to ask with: this one, or the next one if it is about to run out. Never raises for that."""
        ...

    async def instead_of(self, refused: str) -> str | None:
        """Another token than this one, which the server does not take; None where there is none to be had.

        Raises Offline, RateLimited, StoreError: nobody knows yet.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way."""
        ...


class Http:
    """Requests to one homeserver with one access token; with ``tokens``, with the next one once that has run out.

    aiohttp is imported with the first request: it costs 0.3 s, which no start should wait for.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        chance: Chance | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.tokens: Tokens | None = None
        self._chance = chance or system_chance()
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float = 30.0,
        auth: bool = True,
    ) -> Json:
        """Ask once; returns the JSON object of a 200.

        Raises Offline (no answer, 5xx, or no JSON: NotJson), RateLimited, SignedOut, ServerRefused.
        """
        return answer_of(*await self._reply(method, path, body, query, timeout_s, auth))

    async def request_list(self, path: str, *, timeout_s: float = 60.0) -> list[Any]:
        """GET once from one of the few endpoints that answer with a list; raises as ``request``."""
        status, data, retry_after = await self._reply("GET", path, None, None, timeout_s, True)
        if status >= 300:
            answer_of(status, data, retry_after)
        try:
            value: Any = parse(data)
        except ValueError:
            value = None
        if not isinstance(value, list):
            raise NotJson(f"HTTP {status}")
        return value

    async def retry(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        timeout_s: float = 30.0,
        auth: bool = True,
        deadline_s: float = 60.0,
    ) -> Json:
        """Ask until there is a definite answer or ``deadline_s`` has passed; then raises the last error.

        Waits as long as a 429 wishes, and with growing pauses after Offline.
        """
        end = self._clock.monotonic_s() + deadline_s
        failures = 0
        while True:
            try:
                return await self.request(method, path, body, query=query, timeout_s=timeout_s, auth=auth)
            except RateLimited as limited:
                pause: float = limited.retry_after_s
                error: Offline | RateLimited = limited
            except Offline as offline:
                pause = jittered_backoff_s(failures, self._chance)
                error = offline
            failures += 1
            if self._clock.monotonic_s() + pause > end:
                raise error
            await self._clock.sleep(pause)

    async def with_token(self, ask: Callable[[str | None], Awaitable[T]]) -> T:
        """Have ``ask`` called with a token that is good, and again with another where it raises SignedOut."""
        if self.tokens is None:
            return await ask(self.token)
        token = self.token = await self.tokens.current(self.token)
        for _ in range(_MOST_TOKENS - 1):
            try:
                return await ask(token)
            except SignedOut:
                other = None if token is None else await self.tokens.instead_of(token)
                if other is None:
                    raise
                token = self.token = other
        return await ask(token)

    def connections(self) -> aiohttp.ClientSession:
        """The open connections, for the other half of this door (``http_stream``). Raises Offline after the end."""
        import aiohttp

        if self._is_closed:
            raise Offline("this program is ending")
        if self._session is None:
            # The store keeps what matters; cookies of a homeserver do not.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self, *, for_good: bool = False) -> None:
        """Close the connections; the next request opens new ones, or is told Offline where this is the end."""
        if self.tokens is not None:
            await self.tokens.close()
        self._is_closed = for_good
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _reply(
        self,
        method: str,
        path: str,
        body: Json | None,
        query: dict[str, str] | None,
        timeout_s: float,
        auth: bool,
    ) -> _Reply:
        """Ask with a token that is good; where the server takes it no more, ask again with another one.

        Nothing was done by a request that was refused so.
        """
        if not auth or self.tokens is None:
            return await self._exchange(method, path, body, query, timeout_s, self.token if auth else None)
        token = self.token = await self.tokens.current(self.token)
        tries = 1
        while True:
            reply = await self._exchange(method, path, body, query, timeout_s, token)
            if token is None or tries == _MOST_TOKENS or not _refuses_token(reply):
                return reply
            other = await self.tokens.instead_of(token)
            if other is None:
                return reply
            token = self.token = other
            tries += 1

    async def _exchange(
        self,
        method: str,
        path: str,
        body: Json | None,
        query: dict[str, str] | None,
        timeout_s: float,
        token: str | None,
    ) -> _Reply:
        import aiohttp

        headers, data = _question(token, body)
        connections = self.connections()
        from yarl import URL

        url = URL(self.base_url + path, encoded=True)
        if query:
            url = url.update_query(query)
        try:
            async with connections.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(timeout_s, 10.0)),
                allow_redirects=method == "GET",
            ) as answer:
                if (answer.content_length or 0) > _MOST_ANSWER:
                    raise TooBig
                return answer.status, await _bounded(answer), answer.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Only the kind of error is told: its words may hold the address with its query.
            raise Offline(words_for(error)) from error


def request_now(
    base_url: str,
    token: str | None,
    method: str,
    path: str,
    body: Json | None = None,
    *,
    timeout_s: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> Json:
    """Ask once in the calling thread, without an event loop and what that costs to import.

    Returns and raises what ``Http.request`` does. ``timeout_s`` is for each wait on the network, not for all.
    ``meanwhile`` is called while the server makes its answer.
    """
    import http.client

    headers, data = _question(token, body)
    try:
        server = urlsplit(base_url.rstrip("/") + path)
        secure = server.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        with contextlib.closing(kind(server.hostname or "", server.port, timeout=timeout_s)) as connection:
            target = server.path + (f"?{server.query}" if server.query else "")
            connection.request(method, target, body=data, headers=headers)
            meanwhile()
            answer = connection.getresponse()
            content = answer.read(_MOST_ANSWER + 1)
            retry_after = answer.getheader("Retry-After")
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise Offline(words_for(error)) from error
    if len(content) > _MOST_ANSWER:
        raise TooBig
    return answer_of(answer.status, content, retry_after)


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The whole answer, whatever it said of its length; raises TooBig."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > _MOST_ANSWER:
            raise TooBig
    return bytes(content)


def _question(token: str | None, body: Json | None) -> tuple[dict[str, str], bytes | None]:
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is None:
        return headers, None
    headers["Content-Type"] = "application/json"
    return headers, canonical(body)


def answer_of(status: int, data: bytes, retry_after: str | None) -> Json:
    try:
        value: Any = parse(data)
    except ValueError:
        value = None
    if status >= 500:
        raise Offline(f"HTTP {status}")
    if not isinstance(value, dict):
        raise NotJson(f"HTTP {status}")
    if status < 300:
        return value
    if status == 429:
        raise RateLimited(_retry_after_s(value, retry_after))
    raise _refusal(status, value)


def _refuses_token(reply: _Reply) -> bool:
    if reply[0] != 401:
        return False
    try:
        answer_of(*reply)
    except SignedOut:
        return True
    except Expected:
        return False
    return False


def _refusal(status: int, answer: Json) -> ServerRefused | SignedOut:
    errcode = answer.get("errcode")
    message = answer.get("error")
    code = errcode if isinstance(errcode, str) else "M_UNKNOWN"
    if status == 401 and code in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):
        return SignedOut(soft=answer.get("soft_logout") is True)
    if status == 401 and isinstance(answer.get("flows"), list):
        return NeedsApproval(answer)
    return ServerRefused(status, code, message if isinstance(message, str) else "")


def _retry_after_s(answer: Json, header: str | None) -> float:
    wish = answer.get("retry_after_ms")
    if isinstance(wish, (int, float)) and not isinstance(wish, bool):
        seconds = wish / 1000
    else:
        seconds = float(header) if header and header.strip().isdigit() else 5.0
    return max(_LEAST_RETRY_AFTER_S, min(seconds, _MOST_RETRY_AFTER_S))


def words_for(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    name = type(error).__name__
    if "DNS" in name or name == "gaierror":
        return "the name of the server is not known"
    if "Certificate" in name or "SSL" in name:
        return "the server's certificate is not trusted"
    return "cannot connect" if "Connector" in name or "Refused" in name else "the connection broke"
