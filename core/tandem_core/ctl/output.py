"""Print results: one JSON value, or lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any


def show_json(value: Any) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show(lines: Iterable[str]) -> None:
    for line in lines:
        print(clean(line), flush=True)


def note(sentence: str) -> None:
    """A remark beside the result, on stderr."""
    print(f"tandemctl: {sentence}", file=sys.stderr)


def clean(text: str) -> str:
    """Without the control characters that would let a message steer the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def table(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Columns as wide as their widest cell; the last one is not padded."""
    if not rows:
        return []
    cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]) - 1)]
    return [
        gap.join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in cells
    ]


def local_time(ms: int | None) -> str:
    """A time in the machine's zone, to the minute; a dash where there is none."""
    if ms is None:
        return "-"
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "?"
