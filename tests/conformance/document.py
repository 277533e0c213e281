"""``python -m tests.conformance.document``: docs/CONFORMANCE.md from the table of points and what is recorded.

With ``--check`` nothing is written; exit status 1 says that the file is not what would be written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .points import Level, Point, Result
from .report import Expectation
from .suite import TABLES, chosen

EXPECTATIONS = Path(__file__).parent / "expectations"
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "CONFORMANCE.md"
COLUMNS = ("module", "module-with-stock", "stock")
"""The recorded servers, in the order of the table."""

_HEAD = """# Which clauses hold

Point by point, what is shown of MSC3885 and MSC4538 (to-device messages in sliding sync), MSC4089 (delivery receipts),
MSC3682 (account data for application services), MSC4203 (to-device messages for application services) and MSC4246
(to-device messages to and from a server). Recorded from running servers: `tests/conformance/test_expectations.py` runs
the suite again and compares. Made by `python -m tests.conformance.document`.

**holds**: seen. **does not**: seen to be otherwise. *not supported*: the server does not have it. *not tried*: what the
point needs was not there. A number leads to the reason below. Clauses are required, unless they say *recommended* or
*suggested*.
"""

_TAIL = """## Run it against your homeserver

The suite needs Python 3.11 and aiohttp, and nothing else of this repository: the folder `tests/conformance` can be
copied. It speaks HTTP only and knows no particular homeserver. Its README has the details.

```
make conformance URL=http://127.0.0.1:8008   # with CONFORMANCE_SECRET or CONFORMANCE_ACCOUNTS in the environment
```

A point that fails says what came instead. Please report a point that misreads a proposal.
"""


def main() -> int:
    """Write the document, or compare."""
    parser = argparse.ArgumentParser(prog="conformance.document", description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    text = document({name: Expectation.read(EXPECTATIONS / f"{name}.json") for name in COLUMNS})
    if not is_check:
        DOCUMENT.write_text(text, "utf-8")
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text("utf-8") == text:
        return 0
    print(f"{DOCUMENT.name} is out of date: run python -m tests.conformance.document", file=sys.stderr)
    return 1


def document(expectations: dict[str, Expectation]) -> str:
    """The whole text."""
    notes: list[str] = []
    columns = list(expectations.values())
    parts = [_HEAD, _legend(columns), _counts(columns)]
    for table in TABLES:
        there = {
            number: one
            for number, one in enumerate(columns, 1)
            if any(point.id in one.results for point in table.points)
        }
        rows = [
            f"## {table.title}\n",
            f"| point | clause | {' | '.join(map(str, there))} |",
            "|---|---|" + "---|" * len(there),
        ]
        rows += [_row(point, list(there.values()), notes) for point in table.points]
        parts.append("\n".join(rows) + "\n")
    reasons = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
    parts += [f"## Deviations, and why\n\n{reasons}\n", _TAIL]
    return "\n".join(parts)


def _legend(columns: list[Expectation]) -> str:
    rows = []
    for number, one in enumerate(columns, 1):
        beside = f"; the second server: {one.second}" if one.second else ""
        rows.append(f"- column {number}: {one.server}{beside}")
    return "\n".join(rows) + "\n"


def _counts(columns: list[Expectation]) -> str:
    ids = [point.id for point in chosen()]
    rows = [
        f"- column {number}: "
        + ", ".join(
            f"{result.value} {sum(1 for id_ in ids if one.results.get(id_) == result.value)}"
            for result in Result
        )
        for number, one in enumerate(columns, 1)
    ]
    return f"{len(ids)} points.\n\n" + "\n".join(rows) + "\n"


def _row(point: Point, columns: list[Expectation], notes: list[str]) -> str:
    level = "" if point.level is Level.REQUIRED else f" *({point.level.value})*"
    cells = [_cell(point.id, one, notes) for one in columns]
    return f"| `{point.id}`{level}<br>{point.sentence} | {point.clause} | {' | '.join(cells)} |"


def _cell(id_: str, one: Expectation, notes: list[str]) -> str:
    result = one.results.get(id_, "")
    words = (
        f"**{result}**"
        if result in (Result.HOLDS.value, Result.DOES_NOT.value)
        else f"*{result}*" * bool(result)
    )
    reason = one.reasons.get(id_) or one.remarks.get(id_)
    if reason is None:
        return words
    note = f"{reason['whose']}: {reason['reason']}"
    if note not in notes:
        notes.append(note)
    return f"{words} ({notes.index(note) + 1})"


if __name__ == "__main__":
    raise SystemExit(main())
