"""The home server's own way for receipts, one by one (MSC4089) or many at once to ``@:server`` (MSC4246).

Only where the server announces it (DESIGN law 10). Whether another server can be reached is known by the answer to a
single receipt alone: a batch is answered alike whatever becomes of it, so it is for authors who are known to be
reached.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from tandem_core.capabilities import Capabilities
from tandem_core.clock import Clock
from tandem_core.errors import Offline, RateLimited, ServerRefused
from tandem_core.http import Http, path
from tandem_core.receipts.transports import Answers, Due, Outcome, Refused
from tandem_core.store import confirmations
from tandem_core.store.database import Database
from tandem_core.types import EventId, Json, Me, RoomId, UserId, server_of

SHARE_KEY = "im.tandem.share"
UNROUTABLE = "IM_TANDEM_UNROUTABLE"
"""The server takes receipts, and cannot bring this one to its author's server."""
BATCH = "im.tandem.delivery.batch"
MOST_IN_BATCH = 64
ROUTE_MS = 86_400_000
"""How long it is remembered whether an author's server can be reached."""

_NAMES = ("m.delivery", "org.matrix.msc4089.delivery")
_UNKNOWN_NAME = frozenset({"M_UNKNOWN", "M_UNRECOGNIZED"})


class ServerTransport:
    """The server tells the author only, and knows the device by its token."""

    name = "server"

    def __init__(self, db: Database, http: Http, me: Me, server: Capabilities, *, clock: Clock) -> None:
        """``server`` must announce delivery receipts."""
        assert server.receipt_type is not None
        self._db = db
        self._http = http
        self._me = me
        self._clock = clock
        self._can_batch = server.delivery_batch
        self._names = sorted(_NAMES, key=lambda name: name != server.receipt_type)

    async def send(self, sender: UserId, due: Sequence[Due]) -> Answers:
        """As ``Transport.send``. An author whose server is known not to take receipts costs no request."""
        server = server_of(sender)
        is_reached = await self._is_reached(server)
        answers: Answers = {}
        rest = list(due)
        try:
            while rest and is_reached is not False:
                if is_reached and self._can_batch and len(rest) > 1:
                    portion = _portion(rest)
                    if not await self._send_batch(portion):
                        self._can_batch = False
                        continue
                    answers |= dict.fromkeys((each.row.event_id for each in portion), Outcome.SENT)
                    rest = [each for each in rest if each not in portion]
                    continue
                each = rest.pop(0)
                answer = await self._send_one(each.row.room_id, each.row.event_id, each.share)
                answers[each.row.event_id] = answer
                if answer is Outcome.SENT and is_reached is None:
                    is_reached = await self._learn(server, True)
                elif answer == Refused(UNROUTABLE):
                    answers[each.row.event_id] = Outcome.NO_WAY
                    if not self._is_own(server):
                        is_reached = await self._learn(server, False)
        except (Offline, RateLimited):
            if not answers:
                raise
            return answers
        return answers | dict.fromkeys((each.row.event_id for each in rest), Outcome.NO_WAY)

    async def _is_reached(self, server: str) -> bool | None:
        if self._is_own(server):
            return True
        now_ms = self._clock.now_ms()
        return await self._db.read(confirmations.route, server, now_ms - ROUTE_MS, now_ms)

    async def _learn(self, server: str, takes: bool) -> bool:
        now_ms = self._clock.now_ms()
        await self._db.write(confirmations.learn_route, server, takes, now_ms, now_ms - ROUTE_MS)
        return takes

    def _is_own(self, server: str) -> bool:
        return server == server_of(self._me.user_id)

    async def _send_batch(self, portion: Sequence[Due]) -> bool:
        """Send many in one request; False if the server does not take them so."""
        rooms: dict[RoomId, list[EventId]] = {}
        for each in portion:
            rooms.setdefault(each.row.room_id, []).append(each.row.event_id)
        content: Json = {"share": portion[0].share, "rooms": rooms}
        server = f"@:{server_of(self._me.user_id)}"
        try:
            await self._http.request(
                "PUT",
                path("sendToDevice", BATCH, f"tandem.{secrets.token_hex(12)}"),
                {"messages": {server: {"": content}}},
            )
        except ServerRefused:
            return False
        return True

    async def _send_one(self, room_id: RoomId, event_id: EventId, share: str) -> Outcome | Refused:
        """Send one, under the name that the server has announced; if it does not know that, under the other."""
        for name in self._names:
            try:
                await self._http.request(
                    "POST", path("rooms", room_id, "receipt", name, event_id), {SHARE_KEY: share}
                )
            except ServerRefused as refusal:
                if refusal.status in (400, 404) and refusal.errcode in _UNKNOWN_NAME:
                    continue
                return Refused(refusal.errcode or f"http_{refusal.status}")
            return Outcome.SENT
        return Outcome.NO_WAY


def _portion(rest: Sequence[Due]) -> list[Due]:
    """As many as go into one batch: those that share as much as the first."""
    return [each for each in rest if each.share == rest[0].share][:MOST_IN_BATCH]
