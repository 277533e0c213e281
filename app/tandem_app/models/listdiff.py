"""The steps that turn one list of distinct keys into another: what a Qt model tells its views. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Remove:
    """Rows ``first``..``last`` go away."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Insert:
    """New rows come to stand at ``first``..``last``; ``source`` is where they are in the new list."""

    first: int
    last: int
    source: int


@dataclass(frozen=True, slots=True)
class Move:
    """The row at ``start`` comes to stand at ``to``, above it (``to < start``)."""

    start: int
    to: int


Step = Remove | Insert | Move


def steps(old: Sequence[K], new: Sequence[K]) -> list[Step]:
    """Removals, then insertions and moves, each in terms of the list as the steps before left it."""
    found: list[Step] = []
    wanted = set(new)
    kept: list[K] = []
    last: int | None = None
    for row in range(len(old) - 1, -1, -1):
        if old[row] in wanted:
            if last is not None:
                found.append(Remove(row + 1, last))
                last = None
            kept.append(old[row])
        elif last is None:
            last = row
    if last is not None:
        found.append(Remove(0, last))
    kept.reverse()
    _arrange(kept, new, found)
    return found


def _arrange(kept: list[K], new: Sequence[K], found: list[Step]) -> None:
    known = set(kept)
    row = 0
    while row < len(new):
        if row < len(kept) and kept[row] == new[row]:
            row += 1
        elif new[row] in known:
            start = kept.index(new[row], row)
            found.append(Move(start, row))
            kept.insert(row, kept.pop(start))
            row += 1
        else:
            end = row
            while end + 1 < len(new) and new[end + 1] not in known:
                end += 1
            found.append(Insert(row, end, row))
            kept[row:row] = new[row : end + 1]
            row = end + 1
