"""Who may read to-device events, and with which token: decided from what the server was seen to do. Pure.

Three kinds of servers are known. MSC4538's own rule keeps every event until a request says a ``since`` that covers
it, and gives all of them where ``since`` is missing. Some take the connection's ``pos`` where ``since`` is missing.
Some know no ``since`` at all and delete whatever the ``pos`` of a request covers. With the last two a connection
whose ``pos`` went on while it did not ask for to-device events must not ask again from there: it would delete
what nobody has read. ``Connection.covered`` keeps track of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.store import inbox
from tandem_core.store.session import Connection
from tandem_core.types import Json


class Rule(StrEnum):
    """When this server deletes a to-device event."""

    UNKNOWN = "unknown"
    SINCE = "since"
    """When a ``since`` covers it; none says everything (MSC4538)."""
    SINCE_OR_POS = "since_or_pos"
    """When a ``since`` covers it, or, in a request without one, the ``pos``."""
    POS = "pos"
    """When the ``pos`` of a request covers it; ``since`` is not looked at."""

    @property
    def both_may_read(self) -> bool:
        return self in (Rule.SINCE, Rule.SINCE_OR_POS)


@dataclass(frozen=True, slots=True)
class Poll:
    """One request: whether it asks for to-device events, with which token, and whether the server may take its time."""

    asks: bool = True
    since: str | None = None
    is_long: bool = True


def plan(place: Connection, rule: Rule, *, reads: bool, said: str | None, is_probe: bool) -> Poll | None:
    """The next request of a connection; None: it must start over without its place first.

    ``reads`` is whether it is this program's turn to read, ``said`` the token that it told the server last, and
    ``is_probe`` whether it is time to leave the token out, which shows a server that was set back; it does not wait.
    """
    if place.pos is None:
        return Poll(since=None)
    # A token that the server has not heard yet is told even out of turn, in a request that does not wait.
    owes = place.since is not None and place.since != said
    if rule.both_may_read:
        may_leave_out = place.covered or rule is Rule.SINCE
        if is_probe and may_leave_out:
            return Poll(since=None, is_long=False)
        if place.since is None:
            return Poll(since=None, is_long=reads) if may_leave_out else None
        if reads or owes:
            return Poll(since=place.since, is_long=reads)
        return Poll(asks=False)
    if not place.covered:
        return None if reads else Poll(asks=False)
    if reads:
        return Poll(since=None if is_probe else place.since, is_long=not is_probe)
    return Poll(since=place.since, is_long=False) if owes else Poll(asks=False)


def newest(own: str | None, other: str | None) -> str | None:
    """The token to go on with when a turn begins: what the other program has committed is in our inbox, too."""
    if own is None or other is None:
        return own or other
    if own.isdecimal() and other.isdecimal():
        return max(own, other, key=int)
    return own


class Question:
    """Asks the server for its rule, at no cost but an answer that comes again.

    After an answer with events the token that came with it is held back once, and then left out once. Who sends the
    events again has kept them; what is asked again is committed already, so nothing can be lost by it.
    """

    _ENOUGH = 2
    """So many silent answers prove a server of ``Rule.POS``; one may be a coincidence."""

    def __init__(self) -> None:
        self._held_back: str | None = None
        self._events: frozenset[str] = frozenset()
        self._leaves_out = False
        self._silent = 0

    @property
    def is_under_way(self) -> bool:
        return bool(self._events)

    @property
    def since(self) -> str | None:
        """The token of the next request, while the question is under way."""
        return None if self._leaves_out else self._held_back

    def begin(self, since: str | None, events: Iterable[Json]) -> None:
        """An answer to a request with ``since`` brought events. Only sealed ones will do: they are unique."""
        marks = {inbox.mark(event) for event in events}
        if since is not None and marks and None not in marks:
            self._held_back = since
            self._events = frozenset(filter(None, marks))

    def hear(self, events: Iterable[Json]) -> Rule | None:
        """The answer to a request that held the token back; returns the rule once it is known."""
        came_again = not self._events.isdisjoint(filter(None, map(inbox.mark, events)))
        if self._leaves_out:
            self._end()
            return Rule.SINCE if came_again else Rule.SINCE_OR_POS
        if came_again:
            self._leaves_out = True
            return None
        self._silent += 1
        self._end()
        return Rule.POS if self._silent >= self._ENOUGH else None

    def give_up(self) -> None:
        """Something came in between."""
        self._end()

    def _end(self) -> None:
        self._events = frozenset()
        self._leaves_out = False
