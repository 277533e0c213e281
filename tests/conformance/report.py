"""Outcomes as text and as JSON, and beside what is expected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .points import Outcome, Result

Json = dict[str, Any]


@dataclass
class Expectation:
    """What a kind of server does, and why it deviates where it does.

    ``reasons``: point id to {"whose": who decided so, "reason": why}. Each "does not" has one. ``remarks``: the
    same for what no client can see, beside points that hold.
    """

    server: str
    second: str
    results: dict[str, str]
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Expectation:
        return cls(**json.loads(path.read_text("utf-8")))

    def write(self, path: Path) -> None:
        told = {
            "server": self.server,
            "second": self.second,
            "results": self.results,
            "reasons": self.reasons,
            "remarks": self.remarks,
        }
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def differences(self, outcomes: Iterable[Outcome]) -> list[str]:
        """What came otherwise, in words; points that were not chosen do not count."""
        return [
            f"{one.point.id}: expected {self.results.get(one.point.id, 'nothing')!r}, came {one.result.value!r}"
            + (f" ({one.detail})" if one.detail else "")
            for one in outcomes
            if self.results.get(one.point.id) != one.result.value
        ]

    def renewed(self, outcomes: Iterable[Outcome]) -> Expectation:
        """With these outcomes in place of the old ones; reasons stay where a clause still does not hold."""
        results = self.results | {one.point.id: one.result.value for one in outcomes}
        broken = {id_ for id_, result in results.items() if result == Result.DOES_NOT.value}
        reasons = {id_: reason for id_, reason in self.reasons.items() if id_ in broken}
        return Expectation(self.server, self.second, results, reasons, self.remarks)


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """How many of each, in the end."""
    counts = [(result, sum(1 for one in outcomes if one.result is result)) for result in Result]
    return [", ".join(f"{result.value}: {count}" for result, count in counts)]


def line(outcome: Outcome) -> str:
    """One point, as it is told while the suite runs."""
    detail = f"\n{'':16}{outcome.detail}" if outcome.detail else ""
    words = f"{outcome.point.id}  {outcome.point.sentence}  [{outcome.point.clause}]"
    return f"{outcome.result.value:14}  {words}{detail}"


def as_json(outcomes: Iterable[Outcome], about: Mapping[str, str]) -> Json:
    """``{server, second, points: [{id, sentence, clause, level, result, detail}]}``."""
    return {
        **about,
        "points": [
            {
                "id": one.point.id,
                "sentence": one.point.sentence,
                "clause": one.point.clause,
                "level": one.point.level.value,
                "result": one.result.value,
                "detail": one.detail,
            }
            for one in outcomes
        ],
    }
