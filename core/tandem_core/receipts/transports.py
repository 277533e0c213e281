"""How receipts travel: what every way to an author has in common, and the home server's own endpoint (MSC4089)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tandem_core.capabilities import Capabilities
from tandem_core.errors import Offline, RateLimited, ServerRefused
from tandem_core.http import Http, path
from tandem_core.store.receipts import OwedRow
from tandem_core.types import EventId, Json, UserId

SHARE_KEY = "im.tandem.share"
UNROUTABLE = "IM_TANDEM_UNROUTABLE"
"""The server takes receipts, and cannot bring this one to its author's server."""


@dataclass(frozen=True, slots=True)
class Due:
    """A receipt to be sent now, and what it may say (a ``gate.Share``); the row's own share was decided earlier."""

    row: OwedRow
    share: str


class Outcome(StrEnum):
    """What became of a receipt."""

    SENT = "sent"
    """For good: the server has it, or it is stored here with everything that its sending needs."""
    NO_WAY = "no_way"
    """This way does not lead to the author; the next one is asked in the same flush."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no: it is never tried again. ``errcode`` is the server's."""

    errcode: str


Answers = dict[EventId, Outcome | Refused]


class Transport(Protocol):
    """One way to an author.

    ``send`` returns what became of each receipt; what the answer leaves out stays owed. It raises as
    ``Http.request`` (Offline, RateLimited) where nothing was sent: then all stay owed. Sending again what was
    sent before does no harm. It runs under the kernel lock ``receipts``, outside of any transaction.
    """

    name: str

    async def send(self, sender: UserId, due: Sequence[Due]) -> Answers: ...


class ServerTransport:
    """POST to the receipt endpoint; the server tells the author only, and knows the device by its token."""

    name = "server"

    def __init__(self, http: Http, receipt_type: str) -> None:
        self._http = http
        self._receipt_type = receipt_type

    async def send(self, sender: UserId, due: Sequence[Due]) -> Answers:
        answers: Answers = {}
        for each in due:
            row = each.row
            body: Json = {SHARE_KEY: each.share}
            try:
                await self._http.request(
                    "POST", path("rooms", row.room_id, "receipt", self._receipt_type, row.event_id), body
                )
            except ServerRefused as refusal:
                answers[row.event_id] = _refused(refusal)
            except (Offline, RateLimited):
                if not answers:
                    raise
                break
            else:
                answers[row.event_id] = Outcome.SENT
        return answers


def ways(http: Http, server: Capabilities, others: Sequence[Transport] = ()) -> list[Transport]:
    """The ways to an author in the order in which they are tried; ``others`` work on every server.

    A server that has not announced support would show the receipt to the whole room (DESIGN law 10).
    """
    if server.delivery and server.receipt_type:
        return [ServerTransport(http, server.receipt_type), *others]
    return list(others)


def _refused(refusal: ServerRefused) -> Outcome | Refused:
    if refusal.errcode == UNROUTABLE:
        return Outcome.NO_WAY
    return Refused(refusal.errcode or f"http_{refusal.status}")
