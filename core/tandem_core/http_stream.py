"""The other half of the door to the wire: files, which are too big to be held in memory, up and down.

A file may take an hour, so no request here has an end by the clock: it ends when nothing has moved for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tandem_core.errors import Expected, Offline, ServerRefused
from tandem_core.http import Http, answer_of, words_for
from tandem_core.types import Json

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

CHUNK = 256 * 1024
IDLE_S = 60.0
_MOST_HOPS = 3
_MOST_WORDS = 1024 * 1024
_CONNECT_S = 10.0
_REDIRECTS = (307, 308)


class TooBig(Expected):
    """More came than was asked for, or than its sender said."""

    title = "The file is bigger than its sender says"
    advice = "It was not kept. Ask the sender about it."


async def send_file(
    http: Http,
    method: str,
    path: str,
    chunks: Callable[[], AsyncIterator[bytes]],
    size: int,
    mimetype: str,
    *,
    query: dict[str, str] | None = None,
    idle_s: float = IDLE_S,
) -> Json:
    """Send ``size`` bytes as the body, piece by piece; returns the JSON object of a 200. Raises as ``Http.request``.

    ``chunks`` begins them anew each time it is called; what they raise comes out as it is.
    """

    async def ask(token: str | None) -> Json:
        return await _send(http, method, path, chunks(), size, mimetype, token, query, idle_s)

    return await http.with_token(ask)


async def _send(
    http: Http,
    method: str,
    path: str,
    chunks: AsyncIterator[bytes],
    size: int,
    mimetype: str,
    token: str | None,
    query: dict[str, str] | None,
    idle_s: float,
) -> Json:
    import aiohttp

    url = _address(http.base_url + path)
    headers = _headers(token) | {"Content-Type": mimetype, "Content-Length": str(size)}
    async with _while_it_moves(idle_s) as moved:
        trouble: list[Exception] = []

        async def body() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    moved()
                    yield chunk
            except Exception as error:
                trouble.append(error)
                raise
            moved()

        try:
            async with http.connections().request(
                method,
                url.update_query(query) if query else url,
                data=body(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                allow_redirects=False,
            ) as answer:
                return await _words_of(answer)
        except Exception:
            if trouble:
                raise trouble[0] from None
            raise


async def fetch_file(
    http: Http,
    method: str,
    path: str,
    take: Callable[[bytes], Awaitable[None]],
    most: int,
    *,
    auth: bool = True,
    idle_s: float = IDLE_S,
    on_size: Callable[[int | None], None] = lambda size: None,
) -> None:
    """Hand the bytes of a 200 to ``take``, at most ``most`` of them; ``on_size`` hears first how many there will be.

    Follows the redirects that the specification allows (307 and 308, to storage elsewhere), where the token
    does not go. Raises TooBig, or as ``Http.request``; a body that ends too soon is Offline.
    """

    async def ask(token: str | None) -> None:
        url = http.base_url + path
        async with _while_it_moves(idle_s) as moved:
            for _ in range(_MOST_HOPS + 1):
                target = await _fetch(http, method, url, token, take, most, moved, on_size)
                if target is None:
                    return
                url, token = _followed(url, target), None
        raise Offline("too many redirects")

    await (http.with_token(ask) if auth else ask(None))


async def _fetch(
    http: Http,
    method: str,
    url: str,
    token: str | None,
    take: Callable[[bytes], Awaitable[None]],
    most: int,
    moved: Callable[[], None],
    on_size: Callable[[int | None], None],
) -> str | None:
    """One request; returns where it is redirected to."""
    import aiohttp

    async with http.connections().request(
        method,
        _address(url),
        headers=_headers(token) | {"Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        allow_redirects=False,
    ) as answer:
        moved()
        if answer.status in _REDIRECTS and "Location" in answer.headers:
            return answer.headers["Location"]
        if answer.status != 200:
            await _words_of(answer)
            raise Offline(f"HTTP {answer.status}")
        if (answer.content_length or 0) > most:
            raise TooBig
        on_size(answer.content_length)
        got = 0
        async for chunk in answer.content.iter_chunked(CHUNK):
            moved()
            got += len(chunk)
            if got > most:
                raise TooBig
            await take(chunk)
            moved()
    return None


class _while_it_moves:
    """A time limit that every movement pushes away; foreign errors become ours."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._limit = asyncio.timeout(idle_s)

    async def __aenter__(self) -> Callable[[], None]:
        await self._limit.__aenter__()
        loop = asyncio.get_running_loop()

        def moved() -> None:
            if not self._limit.expired():
                self._limit.reschedule(loop.time() + self._idle_s)

        return moved

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        import aiohttp

        try:
            await self._limit.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError as late:
            raise Offline(words_for(late)) from error
        if isinstance(error, aiohttp.ClientError | ConnectionError):
            raise Offline(words_for(error)) from error


async def _words_of(answer: aiohttp.ClientResponse) -> Json:
    """The JSON of a short answer; raises what it means."""
    data = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        data += chunk
        if len(data) > _MOST_WORDS:
            raise Offline("the answer is too big")
    if answer.status == 413:
        # Often a proxy in front of the homeserver says this, and not in JSON.
        raise ServerRefused(413, "M_TOO_LARGE", "")
    return answer_of(answer.status, bytes(data), answer.headers.get("Retry-After"))


def _address(url: str) -> URL:
    from yarl import URL

    try:
        return URL(url, encoded=True)
    except ValueError as error:
        raise Offline("an address that is none") from error


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _followed(url: str, target: str) -> str:
    """Where a redirect leads; never from TLS to none, nor to anything but a web server."""
    allowed = ("https",) if url.startswith("https:") else ("https", "http")
    try:
        named, found = urlsplit(target), urljoin(url, target)
        parts = urlsplit(found)
    except ValueError as error:
        raise Offline("a redirect to where no file can be") from error
    # "http:///x" would be joined to our own server's name.
    if parts.scheme not in allowed or not parts.hostname or (named.scheme and not named.netloc):
        raise Offline("a redirect to where no file can be")
    return found
