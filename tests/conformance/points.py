"""What a point of the suite is, and what can come of it.

A point is a coroutine function in a table. It returns a few words when the clause holds, and raises otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bench import Bench


class Result(Enum):
    """The four things a report can say."""

    HOLDS = "holds"
    DOES_NOT = "does not"
    NOT_SUPPORTED = "not supported"
    NOT_TRIED = "not tried"


class Level(Enum):
    """How strong the proposal's words are."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    SUGGESTED = "suggested"


class Broken(Exception):
    """The server did something that the clause forbids, or left out what it demands."""


class Unsupported(Exception):
    """The server does not have this feature, and says or shows so."""


class NotTried(Exception):
    """What the point needs is not there, or could not be prepared."""


Body = Callable[["Bench"], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Point:
    """``clause``: the proposal and its section, as ``MSC4089, Proposal``. ``is_alone``: nothing runs beside it."""

    id: str
    sentence: str
    clause: str
    level: Level
    body: Body
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one point; ``detail`` is for people and is not compared."""

    point: Point
    result: Result
    detail: str


class Table:
    """The points of one proposal, in their order; ``alone`` if they disturb others, say by failing as a service."""

    def __init__(self, title: str, *, alone: bool = False) -> None:
        self.title = title
        self._alone = alone
        self.points: list[Point] = []

    def point(
        self, id_: str, sentence: str, clause: str, level: Level = Level.REQUIRED
    ) -> Callable[[Body], Body]:
        """Put the decorated coroutine function into the table."""

        def keep(body: Body) -> Body:
            self.points.append(Point(id_, sentence, clause, level, body, self._alone))
            return body

        return keep


def check(is_so: bool, words: str) -> None:
    """Raise Broken with these words unless it is so."""
    if not is_so:
        raise Broken(words)
