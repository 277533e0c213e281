"""A homeserver whose access tokens run out, with Synapse's rules (its ``AuthHandler.refresh_token``).

A refresh token is good until the access token or the refresh token that came of it is used; each use of it throws
away what came of it before, and what it came of itself. ``tests/interop`` walks the same way with a real Synapse.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tandem_core import tokens
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import session as rows
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Json, Me, UserId
from tests.core.sync.test_http import serving
from tests.core.sync_world import StillClock

LIFE_MS = 300_000
ME = Me(UserId("@alice:x"), DeviceId("ONE"))


@dataclass
class Link:
    """One pair of the chain."""

    access: str
    refresh: str
    expires_at: int
    used: bool = False


@dataclass
class TokenServer:
    """One account with one device; ``now_ms`` is the server's clock."""

    now_ms: Callable[[], int]
    life_ms: int = 300_000
    chain: list[Link] = field(default_factory=list)
    """The last two pairs: older ones are deleted."""
    refreshes: list[str] = field(default_factory=list)
    """The refresh tokens that came in."""
    served: list[tuple[str, str, Any]] = field(default_factory=list)
    """Access token, path and body of each request that was done."""
    refused: list[tuple[str, bool]] = field(default_factory=list)
    """Access tokens that were not taken, and whether softly."""
    on_refresh: list[Callable[[web.Request], Awaitable[web.StreamResponse | None]]] = field(
        default_factory=list
    )
    """What answers the next refreshes; None for the server's own answer."""
    lose_answer: int = 0
    """So many refreshes are done, and their answers lost."""
    is_delegated: bool = False
    """As where another service keeps the tokens (MSC3861): every word on a token is a hard one."""
    before_answer: Callable[[str, str], None] | None = None
    signed_in: list[Json] = field(default_factory=list)
    versions: Json = field(
        default_factory=lambda: {
            "versions": ["v1.11"],
            "unstable_features": {"org.matrix.simplified_msc3575": True},
        }
    )
    _made: int = 0

    def pair(self) -> Link:
        """A new pair, not yet of the chain."""
        self._made += 1
        return Link(f"access{self._made}", f"refresh{self._made}", self.now_ms() + self.life_ms)

    def begin(self) -> Link:
        """Sign in."""
        self.chain = [self.pair()]
        return self.chain[0]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        match request.path:
            case "/_matrix/client/versions":
                return web.json_response(self.versions)
            case "/_matrix/client/v3/login":
                self.signed_in.append(body)
                made = self.begin()
                answer = {"user_id": "@alice:x", "device_id": body.get("device_id", "ONE")}
                return web.json_response(answer | self._told(made))
            case "/_matrix/client/v3/refresh":
                return await self._refresh(request, body["refresh_token"])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        link = next((link for link in self.chain if link.access == token), None)
        if link is None or link.expires_at < self.now_ms():
            soft = link is not None and not self.is_delegated
            self.refused.append((token, soft))
            return _no(401, "M_UNKNOWN_TOKEN", soft_logout=soft)
        link.used = True
        if self.before_answer is not None:
            self.before_answer(token, request.path)
        self.served.append((token, request.path, body))
        if request.path == "/_matrix/client/v3/logout":
            self.chain = []
        return web.json_response({"token": token})

    async def _refresh(self, request: web.Request, token: str) -> web.StreamResponse:
        self.refreshes.append(token)
        if self.on_refresh:
            answer = await self.on_refresh.pop(0)(request)
            if answer is not None:
                return answer
        index = next((i for i, link in enumerate(self.chain) if link.refresh == token), None)
        if index is None:
            return _no(401, "M_UNKNOWN_TOKEN")
        following = self.chain[index + 1 :]
        if len(following) > 1 or any(link.used for link in following):
            return _no(403, "M_FORBIDDEN")
        made = self.pair()
        self.chain = [self.chain[index], made]
        if self.lose_answer:
            self.lose_answer -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(self._told(made))

    def _told(self, made: Link) -> Json:
        return {"access_token": made.access, "refresh_token": made.refresh, "expires_in_ms": self.life_ms}


def _no(status: int, errcode: str, **more: Any) -> web.StreamResponse:
    return web.json_response({"errcode": errcode, "error": "no", **more}, status=status)


def answering(status: int, value: Any) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    """For ``on_refresh``: this answer, whatever was asked."""

    async def answer(_: web.Request) -> web.StreamResponse | None:
        if isinstance(value, str):
            return web.Response(status=status, text=value, content_type="text/html")
        return web.json_response(value, status=status)

    return answer


@dataclass
class Rig:
    """A server, a profile that is signed in there, and the programs that share it."""

    server: TokenServer
    url: str
    paths: ProfilePaths
    clock: StillClock
    db: Database
    made: list[tuple[Http, Database]]

    def program(self) -> Http:
        """The door of one more program: own memory, same store."""
        db = Database.open(self.paths.database)
        known = db.read_now(rows.session)
        assert known is not None
        http = tokens.renewing_http(self.paths, db, known, chance=random.Random(7), clock=self.clock)
        self.made.append((http, db))
        return http

    def session(self) -> rows.Session:
        found = self.db.read_now(rows.session)
        assert found is not None
        return found

    def later(self, seconds: float) -> None:
        self.clock.time_ms += int(seconds * 1000)


@contextlib.asynccontextmanager
async def signed_in_rig(paths: ProfilePaths, *, life_ms: int = LIFE_MS) -> AsyncIterator[Rig]:
    """A profile of Alice's, signed in at a server of the test's own."""
    clock = StillClock()
    server = TokenServer(clock.now_ms, life_ms)
    async with serving(server) as url:
        paths.make()
        db = Database.open(paths.database)
        first = server.begin()
        db.write_now(
            rows.set_session,
            ME,
            url,
            first.access,
            clock.now_ms(),
            refresh_token=first.refresh,
            expires_in_ms=life_ms,
        )
        rig = Rig(server, url, paths, clock, db, [])
        try:
            yield rig
        finally:
            for http, its_db in rig.made:
                await http.close()
                its_db.close()
            db.close()
