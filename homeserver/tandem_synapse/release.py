"""When a delivery receipt is shown to the author: the hold and the pace. Pure.

The hold hides which of a reader's devices spoke, and how many there are: the time is drawn from the event and the
reader, whatever comes in and when. The pace keeps an author in a large room from being flooded.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """The schedule of each (event, reader): one release in each span of ``high_ms`` from the event's arrival on.

    The n-th lies between ``n * high_ms + low_ms`` and ``(n + 1) * high_ms``, drawn with a secret of the server, so
    that nobody else can tell it, and every device of the reader, and a server that was restarted, has the same.
    """

    low_ms: int
    high_ms: int
    secret: bytes

    def until(self, event_id: str, reader: str, arrived_ms: int, now_ms: int) -> int:
        """The first release that is not over; all in milliseconds. ``now_ms`` where nothing is to be held."""
        if self.high_ms == 0:
            return now_ms
        arrived_ms = min(arrived_ms, now_ms)
        number = (now_ms - arrived_ms) // self.high_ms
        first = arrived_ms + self._release(event_id, reader, number)
        return first if first >= now_ms else arrived_ms + self._release(event_id, reader, number + 1)

    def _release(self, event_id: str, reader: str, number: int) -> int:
        message = "\0".join((event_id, reader, str(number))).encode()
        drawn = int.from_bytes(hmac.digest(self.secret, message, hashlib.sha256)[:8], "big") / 2**64
        return number * self.high_ms + self.low_ms + round(drawn * (self.high_ms - self.low_ms))


class Pace:
    """At most one release to an author in ``coalesce_ms``; the first after a pause goes at once."""

    def __init__(self, coalesce_ms: int) -> None:
        self._coalesce_ms = coalesce_ms
        self._rests_until: dict[str, int] = {}

    def take(self, author: str, now_ms: int) -> bool:
        """Whether something may be released to this author now; if so, the author rests from now on."""
        if self.rests(author, now_ms):
            return False
        self.went([author], now_ms)
        return True

    def give_back(self, author: str) -> None:
        """What ``take`` allowed has not been used."""
        self._rests_until.pop(author, None)

    def went(self, authors: Iterable[str], now_ms: int) -> None:
        """Something was released to these authors."""
        for author in authors:
            # Kept in the order of their ends, unless the clock is set back: so the first are over first.
            self._rests_until.pop(author, None)
            self._rests_until[author] = now_ms + self._coalesce_ms
        while self._rests_until:
            author = next(iter(self._rests_until))
            if self.rests(author, now_ms):
                break
            del self._rests_until[author]

    def rests(self, author: str, now_ms: int) -> bool:
        # A time further away than the rest is long is from before the clock was set back.
        return 0 < self._rests_until.get(author, 0) - now_ms <= self._coalesce_ms

    def ready(self, authors: Collection[str], now_ms: int) -> list[str]:
        """Those of the authors to whom something may be released now."""
        return [author for author in authors if not self.rests(author, now_ms)]

    def next_end(self, authors: Collection[str], now_ms: int) -> int | None:
        """When the first of those authors who rest may be given something."""
        ends = [self._rests_until[author] for author in authors if self.rests(author, now_ms)]
        return min(ends, default=None)
