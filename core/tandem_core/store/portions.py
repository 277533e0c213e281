"""Ask for many ids with one query: ``IN (?, …)`` in portions that every SQLite takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

_MOST = 500


def rows(
    conn: sqlite3.Connection, sql: str, ids: Sequence[object], before: Sequence[object] = ()
) -> Iterator[sqlite3.Row]:
    """The rows of a query in which ``{0}`` stands for the ids; their order holds within a portion.

    ``before`` are the values of the placeholders that come before the ids.
    """
    for start in range(0, len(ids), _MOST):
        portion = ids[start : start + _MOST]
        # Numbered, so that a query may name its ids twice.
        marks = ",".join(f"?{number}" for number in range(len(before) + 1, len(before) + len(portion) + 1))
        yield from conn.execute(sql.format(marks), (*before, *portion))
