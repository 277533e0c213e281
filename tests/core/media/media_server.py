"""A content repository on loopback with Synapse's rules, and with the ways in which a network and a server fail."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tandem_core.http import Http
from tandem_core.types import Json, Me
from tests.core.crypto.key_server import KeyServer
from tests.support.served import Served

NAME = "example.org"
_V1, _OLD = "/_matrix/client/v1/media", "/_matrix/media/v3"
_PIECE = 64 * 1024


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    token: str | None
    mimetype: str
    length: int | None


@dataclass
class Repository:
    """What lies there, and what goes wrong next."""

    media: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    limit: int | None = None
    is_old: bool = False
    """Before v1.11: only the endpoints without authentication."""
    cut_after: int | None = None
    """The next download ends after so many bytes, though more were promised."""
    break_uploads: int = 0
    """So many uploads are read by half, then the connection goes."""
    lose_answers: int = 0
    """So many uploads are kept, and their answers are not sent."""
    stall: bool = False
    """The next body, either way, stops halfway while this is so."""
    redirect: Callable[[str], str] | None = None
    """Where a download is to be found, by its id."""
    redirect_status: int = 307
    refuse: tuple[int, Json | str] | None = None
    """The answer to every upload."""
    invent: int = 0
    """A download is said to be as long as it is, and so many bytes longer."""
    token: str | None = None
    """The only access token that is good."""

    @property
    def uploads(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def put(self, data: bytes) -> str:
        """Something that somebody has uploaded; returns its mxc."""
        media_id = hashlib.sha256(data).hexdigest()[:24]
        self.media[media_id] = data
        return f"mxc://{NAME}/{media_id}"


class MediaServer(Served):
    """Serves a repository; use as a context manager."""

    def __init__(self, repository: Repository) -> None:
        super().__init__("media")
        self.repository = repository

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[web.BaseRunner]:  # type: ignore[override]
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        yield web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.repository.stall = False
        for _ in range(5):
            await asyncio.sleep(0.01)  # connections that were torn say so a moment later

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        here = self.repository
        authorization = request.headers.get("Authorization")
        token = authorization.removeprefix("Bearer ") if authorization else None
        here.asked.append(
            Asked(request.method, request.path, token, request.content_type, request.content_length)
        )
        if here.token not in (None, token):
            await request.read()
            return web.json_response({"errcode": "M_UNKNOWN_TOKEN", "error": "?"}, status=401)
        prefix = _OLD if here.is_old else _V1
        path = request.path
        if request.method == "POST" and path == f"{_OLD}/upload":
            return await self._upload(request)
        if request.method == "GET" and path == f"{prefix}/config":
            return web.json_response({} if here.limit is None else {"m.upload.size": here.limit})
        if request.method == "GET" and path.startswith((f"{prefix}/download/{NAME}/", "/elsewhere/")):
            return await self._download(request, path.rsplit("/", 1)[1])
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "?"}, status=404)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        here = self.repository
        data = bytearray()
        half = (request.content_length or 0) // 2
        async for chunk in request.content.iter_chunked(_PIECE):
            data += chunk
            if len(data) > half and here.break_uploads:
                here.break_uploads -= 1
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            while here.stall:
                await asyncio.sleep(0.01)
        if here.refuse is not None:
            status, words = here.refuse
            if isinstance(words, str):
                return web.Response(status=status, text=words, content_type="text/html")
            return web.json_response(words, status=status)
        if here.limit is not None and len(data) > here.limit:
            return web.json_response({"errcode": "M_TOO_LARGE", "error": "too large"}, status=413)
        source = here.put(bytes(data))
        if here.lose_answers:
            here.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        return web.json_response({"content_uri": source})

    async def _download(self, request: web.Request, media_id: str) -> web.StreamResponse:
        here = self.repository
        if here.redirect is not None and not request.path.startswith("/elsewhere/"):
            return web.Response(status=here.redirect_status, headers={"Location": here.redirect(media_id)})
        data = here.media.get(media_id)
        if data is None:
            return web.json_response({"errcode": "M_NOT_FOUND", "error": "no such media"}, status=404)
        response = web.StreamResponse(headers={"Content-Type": "image/svg+xml"})
        response.content_length = len(data) + here.invent
        await response.prepare(request)
        for start in range(0, len(data), _PIECE):
            if here.cut_after is not None and start >= here.cut_after:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(data[start : start + _PIECE])
            while here.stall:
                await asyncio.sleep(0.01)
        if here.invent:
            assert request.transport is not None
            request.transport.close()
        return response


class MediaKeyServer(KeyServer):
    """The key server of the tests of encryption, whose devices find a content repository as well."""

    media_url = ""

    def http(self, me: Me) -> Any:
        return _Door(super().http(me), self.media_url)


class _Door:
    """What is streamed, and asked of the repository, goes over real connections; all else to the server in memory."""

    def __init__(self, door: Any, url: str) -> None:
        self._door = door
        self._real = Http(url, token="token")
        self.base_url = self._real.base_url
        self.token = "token"
        self.connections = self._real.connections
        self.with_token = self._real.with_token
        self.close = self._real.close

    async def request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Json:
        door = self._real if "/media/" in path else self._door
        answer: Json = await door.request(method, path, *args, **kwargs)
        return answer

    retry = request
