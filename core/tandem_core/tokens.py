"""Access tokens that run out, and the next ones (spec, "Refreshing access tokens").

One program at a time asks for the next pair, under the kernel lock ``token`` (law 14), and looks first whether the
other one has it already. A pair is committed before it is used: the server takes the refresh token that it has
answered to until the pair that came of it is used, so that an answer that was lost, on its way or with its program,
is asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from tandem_core.clock import Chance, Clock, SystemClock, jittered_backoff_s, system_chance
from tandem_core.errors import Expected, Offline, RateLimited, ServerRefused, SignedOut, StoreError
from tandem_core.http import Http, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import session as store
from tandem_core.store.database import Database
from tandem_core.store.session import Session, SessionState
from tandem_core.types import Json

log = logging.getLogger("tandem.tokens")

REFRESH_PATH = path("refresh")
_TIMEOUT_S = 15.0
_PATIENCE_S = 20.0
"""Who holds the lock for longer hangs; without a good token nothing can be asked until it goes on or dies."""
_COURTESY_S = 5.0
"""So long a request whose token is still good waits for the next one."""
_LOOK_AGAIN_S = 10.0
_GOODBYE_S = 3.0
_MOST_AHEAD_MS = 60_000
_LEAST_LIFE_MS = 1000
"""A token that is said to live shorter is used until it is refused; there is no keeping ahead of that."""
_ENDS = frozenset({"M_UNKNOWN_TOKEN", "M_FORBIDDEN", "M_UNRECOGNIZED"})
"""What a server says of a refresh token that it will never take."""


def renewing_http(
    paths: ProfilePaths,
    db: Database,
    session: Session,
    *,
    chance: Chance | None = None,
    clock: Clock | None = None,
    base_url: str | None = None,
) -> Http:
    """The door for a session: requests go on with the next access token once one has run out."""
    clock, chance = clock or SystemClock(), chance or system_chance()
    http = Http(base_url or session.homeserver, token=session.access_token, chance=chance, clock=clock)
    http.tokens = SessionTokens(paths, db, http, session, clock=clock, chance=chance)
    return http


def read_expiry(answer: Json) -> tuple[str | None, int | None]:
    """Refresh token and lifetime (ms) from the answer to a login or a refresh, where they are given and make sense."""
    refresh, life = answer.get("refresh_token"), answer.get("expires_in_ms")
    is_life = isinstance(life, int) and not isinstance(life, bool) and 0 <= life < 2**53
    return refresh if isinstance(refresh, str) and refresh else None, life if is_life else None


def is_due(session: Session, now_ms: int) -> bool:
    """Whether it is time for the next access token: a minute before this one runs out, or a quarter of its life."""
    if session.refresh_token is None or session.token_expires_at is None:
        return False
    life_ms = session.token_expires_at - session.token_made_at
    if life_ms < _LEAST_LIFE_MS:
        return False
    return now_ms >= session.token_expires_at - min(_MOST_AHEAD_MS, life_ms // 4)


class SessionTokens:
    """The access tokens of the session in the store, for one program's requests.

    Where the server takes the refresh token no more, the access token lives on, and the server's word on it says
    how the session ends.
    """

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        session: Session,
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._me = session.me
        self._known: Session | None = session
        self._clock = clock
        self._chance = chance
        self._asking: asyncio.Task[Expected | None] | None = None
        self._failures = 0
        self._not_before_s = 0.0

    async def current(self, token: str | None) -> str | None:
        """The token to ask with: the next one is fetched ahead; where that fails, this one is used while it lasts."""
        try:
            known = self._known
            if known is None or known.access_token != token:
                known = await self._read()
            if known is None or known.access_token is None:
                return token
            now_s = self._clock.monotonic_s()
            if is_due(known, self._clock.now_ms()) and now_s >= self._not_before_s:
                trouble = await self._renewed(known.access_token, _COURTESY_S)
                if trouble is not None:
                    log.info("no new access token yet: %s", trouble.title)
                known = self._known or known
            return known.access_token or token
        except StoreError as trouble:
            log.info("no new access token yet: %s", trouble.title)
            return token

    async def instead_of(self, refused: str) -> str | None:
        """Another token than this one: the one that another program has got already, or a new one."""
        known = await self._read()
        if known is not None and known.access_token == refused and known.refresh_token is not None:
            trouble = await self._renewed(refused, _PATIENCE_S)
            if trouble is not None:
                raise trouble
            known = self._known
        return None if known is None or known.access_token == refused else known.access_token

    async def close(self) -> None:
        """Let an answer that is under way arrive, if it comes soon."""
        asking = self._asking
        if asking is not None and not asking.done():
            await asyncio.wait({asking}, timeout=_GOODBYE_S)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    async def _read(self) -> Session | None:
        """The session as it is now; None if it has ended, or is another device's."""
        found = await self._db.read(store.session)
        is_ours = found is not None and found.me == self._me and found.state is SessionState.SIGNED_IN
        self._known = found if is_ours else None
        return self._known

    async def _renewed(self, stale: str, patience_s: float) -> Expected | None:
        """Have another token than ``stale`` in the store; returns what kept us from it.

        One question for all who wait for it here. Giving up the wait does not give up the question.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._renew(stale), name="tandem-token")
        done, _ = await asyncio.wait({self._asking}, timeout=patience_s)
        if done:
            return self._asking.result()
        self._not_before_s = self._clock.monotonic_s() + _LOOK_AGAIN_S
        return Offline("the session is being renewed")

    async def _renew(self, stale: str) -> Expected | None:
        try:
            async with netlock(self._paths, "token"):
                known = await self._read()
                if known is not None and known.access_token == stale and known.refresh_token is not None:
                    await self._ask(known.refresh_token)
        except Expected as trouble:
            pause_s = jittered_backoff_s(self._failures, self._chance)
            if isinstance(trouble, RateLimited):
                pause_s = max(pause_s, trouble.retry_after_s)
            self._failures += 1
            self._not_before_s = self._clock.monotonic_s() + pause_s
            return trouble
        self._failures = 0
        return None

    async def _ask(self, refresh_token: str) -> None:
        asked_at = self._clock.now_ms()
        try:
            answer = await self._http.request(
                "POST", REFRESH_PATH, {"refresh_token": refresh_token}, auth=False, timeout_s=_TIMEOUT_S
            )
        except (SignedOut, ServerRefused) as refused:
            if isinstance(refused, ServerRefused) and refused.errcode not in _ENDS:
                raise Offline("the session could not be renewed") from refused
            log.warning("the server does not renew this session any more")
            await self._db.write(store.forget_refresh_token, refresh_token)
        else:
            access_token = answer.get("access_token")
            if not isinstance(access_token, str) or not access_token:
                raise Offline("the session could not be renewed")
            following, life_ms = read_expiry(answer)
            await self._db.write(store.renew, refresh_token, access_token, following, life_ms, asked_at)
            log.info("the session was renewed")
        await self._read()
