"""How receipts travel: what every way to an author has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tandem_core.store.receipts import OwedRow
from tandem_core.types import EventId, UserId


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
    LATER = "later"
    """This way does, but something has to come first; the receipt stays owed."""


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
