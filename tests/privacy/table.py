"""The table of ``make privacy``: for each goal the reference, what was measured, the bar, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. ``holds`` None: measured, but there is no bar for it; ``detail`` goes into the JSON file only."""

    goal: str
    what: str
    reference: str
    ours: str
    bar: str
    holds: bool | None
    detail: dict[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


_HEADS = ("goal", "what the attacker wants", "confirms at once", "Tandem", "bar", "holds")


def markdown(lines: Sequence[Line]) -> list[str]:
    """The table, as documents have it and as a terminal shows it."""
    cells = [
        _HEADS,
        *((line.goal, line.what, line.reference, line.ours, line.bar, _word(line.holds)) for line in lines),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
    told = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    told.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return told


def broken(lines: Sequence[Line]) -> list[Line]:
    """The figures that miss their bar."""
    return [line for line in lines if line.holds is False]


def _word(holds: bool | None) -> str:
    return {True: "yes", False: "NO", None: "-"}[holds]
