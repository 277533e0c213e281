"""Queries for more ids than one statement takes."""

from __future__ import annotations

import sqlite3

import pytest

from tandem_core.store import portions


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1200])
def test_every_id_is_asked_for_once(count: int) -> None:
    ids = list(range(count))
    with sqlite3.connect(":memory:") as conn:
        conn.execute("CREATE TABLE thing (id INTEGER, other INTEGER, kind TEXT)")
        conn.executemany("INSERT INTO thing VALUES (?, -1, 'ours')", [(number,) for number in range(2000)])
        conn.execute("INSERT INTO thing VALUES (0, 0, 'theirs')")
        found = portions.rows(
            conn,
            "SELECT id FROM thing WHERE kind = ? AND (id IN ({0}) OR other IN ({0})) ORDER BY id",
            ids,
            before=("ours",),
        )
        assert [row[0] for row in found] == ids
    conn.close()
