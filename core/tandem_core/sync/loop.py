"""The long poll: ask with this connection's place and token, apply the answer, ask again.

The window of rooms starts small, so that a first screenful comes at once, and grows while it is in use. A
place (``pos``) that the server no longer knows is given up, the to-device token is not (law 1). Which program
asks for to-device events, and with which token, is for ``readers`` and ``turn`` to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from tandem_core.clock import Chance, Clock, elapsed_ms, jittered_backoff_s
from tandem_core.errors import Expected, Offline, RateLimited, ServerRefused, SignedOut
from tandem_core.http import Http
from tandem_core.store import inbox
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_core.store.session import Connection
from tandem_core.sync import request
from tandem_core.sync.apply import Applied, apply
from tandem_core.sync.departures import settle_departures
from tandem_core.sync.place import (
    Standing,
    adopt_token,
    grown_key,
    keep_rule,
    place_went_back,
    standing,
    start_over,
    token_went_back,
)
from tandem_core.sync.readers import Poll, Question, Rule, plan
from tandem_core.sync.response import NotAResponse, Response, read
from tandem_core.sync.turn import Alone, Turn
from tandem_core.types import Json, Me, Role, RoomId
from tandem_core.worker import pause_after_s

log = logging.getLogger("tandem.sync.loop")

LONG_POLL_MS = 30_000
_SPARE_S = 20.0
_PROBE_EVERY_S = 600.0
_CALM_S = 600.0
"""After so long without a start over, the next one is not hurried by those before."""
_ASK_RULE_EVERY_MS = 24 * 3600 * 1000
"""A server may be replaced by another kind; so what it does is looked at again."""
_KEEP_DIGESTS_MS = 30 * 24 * 3600 * 1000
"""Processed to-device events are told apart from repeated ones for so long."""


class SyncLoop:
    """Keeps one connection in sync until cancelled or signed out.

    ``on_state`` is told when the server stops or starts to answer: None, or what is wrong. Without a ``turn``
    this program is the only one, and the server one of MSC4538.
    """

    def __init__(
        self,
        db: Database,
        http: Http,
        me: Me,
        role: Role,
        *,
        clock: Clock,
        chance: Chance,
        on_state: Callable[[Expected | None], None] = lambda trouble: None,
        long_poll_ms: int = LONG_POLL_MS,
        turn: Turn | None = None,
    ) -> None:
        self._db = db
        self._http = http
        self._me = me
        self._role = role
        self._clock = clock
        self._chance = chance
        self._on_state = on_state
        self._long_poll_ms = long_poll_ms
        self._turn: Turn = turn or Alone()
        self._turn.on_taken(self._on_turn)
        self._question = None if turn is None else Question()
        self._said: str | None = None
        """The token that the server heard last from this connection."""
        self._is_new_turn = False
        self._watched: frozenset[RoomId] = frozenset()
        self._ask_again = asyncio.Event()
        self._rooms = request.FIRST_ROOMS
        self._grown_before = False
        self._probed_at: float | None = None
        self._recoveries = 0
        self._recovered_at = 0.0
        self._heard: set[RoomId] | None = None
        """Rooms heard of since a start without a place; None when we kept one."""

    def watch_room(self, *room_ids: RoomId) -> None:
        """Follow these rooms closely (the open ones) instead of those before; asks again at once."""
        watched = frozenset(room_ids)
        if watched != self._watched:
            self._watched = watched
            self._ask_again.set()

    async def run(self) -> None:
        """Sync until cancelled; raises SignedOut."""
        self._grown_before = bool(await self._db.read(sessions.fact, self._grown_key))
        failures = 0
        while True:
            try:
                await self.step()
                failures = 0
            except SignedOut:
                raise
            except RateLimited as limited:
                await self._clock.sleep(pause_after_s(limited, failures, self._chance))
                failures += 1
            except Expected as trouble:
                failures = await self._pause(failures, trouble)
            except Exception:
                log.exception("a sync step failed")
                failures = await self._pause(failures, Offline("the answer could not be used"))

    async def step(self) -> Applied | None:
        """One request and what comes of it; None if it was given up for a new one."""
        self._ask_again.clear()
        stand, poll = await self._next()
        place = stand.place
        try:
            answer = await self._ask(place, poll)
        except ServerRefused as refused:
            if not await self._recover(refused, place, poll):
                raise
            await self._brake()
            return None
        if answer is None:
            return None
        try:
            response = read(answer)
        except NotAResponse as error:
            raise Offline("the answer is no sync response") from error
        is_token_old = token_went_back(place, response)
        if is_token_old or place_went_back(place, response):
            # Nothing of this answer is kept, so all of it comes again.
            log.warning("%s: the server was set back to an earlier time; starting over", self._role)
            await self._start_over(and_forget_tokens=is_token_old)
            await self._brake()
            return None
        applied = await self._db.write(
            apply,
            self._role,
            self._me,
            response,
            poll=poll,
            now_ms=self._clock.now_ms(),
            chance=self._chance,
        )
        if applied.skipped:
            log.warning("%s: %d pieces of a sync response were skipped", self._role, applied.skipped)
        if poll.asks:
            await self._after_asking(stand, poll, response)
        self._on_state(None)
        await self._grow(response)
        return applied

    async def _next(self) -> tuple[Standing, Poll]:
        """Where we stand and what to ask for; starts over where that is needed."""
        stand = await self._db.read(standing, self._role)
        if self._question is None:
            stand = replace(stand, rule=Rule.SINCE)
        if stand.place.pos is None and self._heard is None:
            await self._start_over()
        if self._is_new_turn and stand.rule.both_may_read:
            stand = replace(stand, place=await self._db.write(adopt_token, self._role))
        self._is_new_turn = False
        place, rule = stand.place, stand.rule
        if self._question is not None and self._question.is_under_way:
            if place.pos is not None and place.covered and self._turn.is_ours:
                return stand, Poll(since=self._question.since, is_long=False)
            self._question.give_up()
        reads = self._turn.is_ours or (rule.both_may_read and self._turn.is_overdue)
        poll = plan(place, rule, reads=reads, said=self._said, is_probe=self._is_probe_due())
        if poll is None:
            await self._start_over()
            return await self._db.read(standing, self._role), Poll()
        return stand, poll

    async def _after_asking(self, stand: Standing, poll: Poll, response: Response) -> None:
        """Note what the server was told, learn its rule from what it said, and let the other program have its turn."""
        events = () if response.to_device is None else response.to_device.events
        if poll.since is None:
            self._probed_at = self._clock.monotonic_s()
            await self._db.write(inbox.forget_old, self._clock.now_ms() - _KEEP_DIGESTS_MS)
        else:
            self._said = poll.since
        if self._question is None:
            return
        if self._question.is_under_way:
            learned = self._question.hear(events)
            if learned is not None:
                await self._db.write(keep_rule, learned, self._clock.now_ms())
                if learned is not stand.rule:
                    log.info("%s: the server deletes to-device events by the rule %s", self._role, learned)
        elif self._turn.is_ours and elapsed_ms(stand.shown_at, self._clock.now_ms()) > _ASK_RULE_EVERY_MS:
            self._question.begin(poll.since, events)
        elif (
            stand.rule.both_may_read
            and self._turn.may_end
            and not events
            and poll.since == stand.place.since is not None
        ):
            self._turn.end()

    @property
    def _grown_key(self) -> str:
        return grown_key(self._role)

    @property
    def _is_growing(self) -> bool:
        return self._rooms < request.ALL_ROOMS

    async def _ask(self, place: Connection, poll: Poll) -> Json | None:
        """Send the request; give it up if something else is to be asked meanwhile.

        Giving up is safe: an unanswered request is repeated from the same place (MSC4186).
        """
        body = request.body(
            self._role, rooms=self._rooms, since=poll.since, asks=poll.asks, watched=self._watched
        )
        timeout_ms = self._long_poll_ms if poll.is_long and not self._is_growing else 0
        asked = asyncio.ensure_future(
            self._http.request(
                "POST",
                request.SYNC_PATH,
                body,
                query=request.query(place.pos, timeout_ms),
                timeout_s=timeout_ms / 1000 + _SPARE_S,
            )
        )
        again = asyncio.ensure_future(self._ask_again.wait())
        try:
            await asyncio.wait({asked, again}, return_when=asyncio.FIRST_COMPLETED)
            return await asked if asked.done() else None
        finally:
            for task in (asked, again):
                task.cancel()
            await asyncio.gather(asked, again, return_exceptions=True)

    def _on_turn(self) -> None:
        """It is our turn to wait for to-device events."""
        self._is_new_turn = True
        self._ask_again.set()

    async def _recover(self, refused: ServerRefused, place: Connection, poll: Poll) -> bool:
        """Give up what the server cannot use; returns whether there is something new to try."""
        if refused.status != 400:
            return False
        if refused.errcode == "M_INVALID_PARAM" and poll.since is not None:
            # Only ever a token that no server of ours made (a restored backup, a foreign store).
            log.warning("%s: the server does not know our to-device token", self._role)
            await self._db.write(sessions.forget_tokens)
            return True
        # M_UNKNOWN_POS: expired. M_UNKNOWN "Invalid stream token": malformed; to be treated the same way.
        if place.pos is not None and refused.errcode in ("M_UNKNOWN_POS", "M_UNKNOWN", "M_INVALID_PARAM"):
            log.info("%s: the server does not know our place any more; starting over", self._role)
            await self._start_over()
            return True
        return False

    async def _start_over(self, *, and_forget_tokens: bool = False) -> None:
        await self._db.write(start_over, self._role, and_forget_tokens=and_forget_tokens)
        self._probed_at = None
        self._rooms = request.FIRST_ROOMS
        self._grown_before = False
        self._heard = set()

    async def _brake(self) -> None:
        """Pause before the next request if starting over helps only for a moment, longer each time."""
        now_s = self._clock.monotonic_s()
        if now_s - self._recovered_at > _CALM_S:
            self._recoveries = 0
        self._recovered_at = now_s
        self._recoveries += 1
        if self._recoveries > 1:
            await self._clock.sleep(jittered_backoff_s(self._recoveries - 2, self._chance))

    async def _grow(self, response: Response) -> None:
        if self._heard is not None:
            self._heard.update(room.room_id for room in response.rooms)
        if not self._is_growing:
            return
        # With all rooms sent once, only changes come: no need for small steps.
        count = 0 if self._grown_before else response.count or 0
        self._rooms = request.next_window(self._rooms, count)
        if self._is_growing:
            return
        await self._db.write(sessions.set_fact, self._grown_key, True)
        if self._heard is not None:
            heard, self._heard = self._heard, None
            with contextlib.suppress(Offline, RateLimited, ServerRefused):
                await settle_departures(self._http, self._db, self._role, heard)

    def _is_probe_due(self) -> bool:
        """Now and then, and after every break, the token is left out, which acknowledges nothing.

        A server restored from a backup answers a token from its future with silence, and deletes all that
        came meanwhile once its count has passed that token; so it must not see it again.
        """
        if self._probed_at is None:
            return True
        return self._clock.monotonic_s() - self._probed_at >= _PROBE_EVERY_S

    async def _pause(self, failures: int, trouble: Expected) -> int:
        pause = pause_after_s(trouble, failures, self._chance)
        log.warning("%s: %s (%s); again in %.1f s", self._role, trouble.title, trouble.detail, pause)
        self._on_state(trouble)
        if isinstance(trouble, Offline):
            self._probed_at = None
        await self._clock.sleep(pause)
        return failures + 1
