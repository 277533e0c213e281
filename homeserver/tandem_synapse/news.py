"""Which authors have had receipts released since this process started: most syncs need not ask the database."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 100_000


class News:
    """Positions are stream ids. Until ``begin`` it knows nothing, and says that everybody may have something."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known_from: int | None = None
        self._last: dict[str, int] = {}

    def begin(self, position: int) -> None:
        """From this position on every release is noted here, before it can be read."""
        self._known_from = position

    def note(self, authors: Iterable[str], position: int) -> None:
        """Something was released to these authors."""
        for author in authors:
            self._last[author] = max(position, self._last.get(author, 0))
        if len(self._last) > self._most:
            if self._known_from is not None:
                self._known_from = max(self._last.values())
            self._last.clear()

    def may_have(self, author: str, low: int) -> bool:
        """False: nothing was released to this author behind ``low``."""
        return self._known_from is None or low < self._known_from or self._last.get(author, 0) > low
