"""What a run of torture did and found, as one table or as JSON."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.torture.aims import Aim
from tests.torture.ledger import Findings

NOT_CAUGHT_UP = "not caught up"
AFTER_KILLS = "kills"
AFTER_POINTS = "a dozen kills at crash points"
"""With the two dozen messages that were written meanwhile, each with a new key."""
AFTER_NETWORK = "network faults"
AFTER_SERVER = "server restarts"
RECOVERIES = (AFTER_KILLS, AFTER_POINTS, AFTER_NETWORK, AFTER_SERVER)
_MOST_TOLD = 20
SLOW_S = 2.0


@dataclass
class Report:
    """Grows while a run goes on; may be shown at any time."""

    kills: Counter[str] = field(default_factory=Counter)
    """SIGKILLs of programs that lived, by what was killed and when."""
    faults: Counter[str] = field(default_factory=Counter)
    """Everything else that was done to them, by kind."""
    rounds: int = 0
    """Comparisons of the ledger."""
    compared_kills: int = 0
    """Kills before the last comparison: what came after it proves nothing yet."""
    server_restarts: int = 0
    hit: list[Aim] = field(default_factory=list)
    missed: list[Aim] = field(default_factory=list)
    """Aims that the program did not come by while it was waited for."""
    recovered_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From a program being ready again to everything being in and out, by what came before."""
    slow: list[str] = field(default_factory=list)
    """Recoveries that took long, in words: no findings."""
    last: Findings = field(default_factory=Findings)
    """The newest comparison."""
    findings: dict[str, list[str]] = field(
        default_factory=lambda: {**{name: [] for name in Findings().by_class()}, NOT_CAUGHT_UP: []}
    )
    _known: set[str] = field(default_factory=set)

    @property
    def wrong(self) -> list[str]:
        """Everything that does not hold, in words."""
        return [words for part in self.findings.values() for words in part]

    def take(self, found: Findings, after: str) -> None:
        """Note a comparison; the sentences say after what. What is known already is not told again."""
        self.rounds += 1
        self.last = found
        self.compared_kills = self.kills.total()
        for name, part in found.by_class().items():
            self._note(name, part, after)

    def note_recovery(
        self, kind: str, took_s: float, words: str, more: Callable[[], str] = lambda: ""
    ) -> None:
        """Something has recovered from this kind of trouble; the words are kept, and more asked, if it was slow."""
        self.recovered_s[kind].append(took_s)
        if took_s > SLOW_S:
            self.slow.append(f"{took_s:.1f} s {words}{more()}")

    def note_stuck(self, words: str, after: str) -> None:
        """A wait ran out."""
        self._note(NOT_CAUGHT_UP, [words], after)

    def _note(self, name: str, part: list[str], after: str) -> None:
        self.findings[name] += [f"after {after}: {words}" for words in part if words not in self._known]
        self._known |= set(part)

    def as_json(self) -> dict[str, Any]:
        """All that the table says, in numbers."""
        kills, letters = self.kills.total(), self.last.letters
        return {
            "rounds": self.rounds,
            "crash_points": {
                "hit": len(self.hit),
                "not_reached": [f"{aim.program} {aim.step}" for aim in self.missed],
            },
            "kills": {"in all": kills, **dict(sorted(self.kills.items()))},
            "faults": dict(sorted(self.faults.items())),
            "server_restarts": self.server_restarts,
            "to_device_events": letters,
            "room_events": self.last.events,
            "delivery_receipts": self.last.receipts,
            "findings": {name: len(part) for name, part in self.findings.items()},
            "notifications_repeated": self.last.repeated_popups,
            "to_device_events_repeated_by_the_server": self.last.repeated_letters,
            "bound_95": None
            if self.wrong
            else {"per kill": _bound(self.compared_kills), "per event": _bound(letters)},
            "recovery_s": {
                what: {"times": len(waits), "p50": statistics.median(waits), "p99": p99(waits)}
                for what, waits in self.recovered_s.items()
                if waits
            },
            "slow": self.slow,
            "wrong": self.wrong,
        }

    def lines(self) -> Iterator[str]:
        """The table, then what was not reached and what is wrong."""
        for what, value in self._rows():
            yield f"{what:52} {value:>18}"
        for aim in self.missed:
            yield f"not reached: {aim.program} {aim.step}{f' x{aim.times}' * (aim.times > 1)}"
        for words in self.slow[:_MOST_TOLD]:
            yield f"slow: {words}"
        for words in self.wrong[:_MOST_TOLD]:
            yield f"WRONG {words}"
        if len(self.wrong) > _MOST_TOLD:
            yield f"... and {len(self.wrong) - _MOST_TOLD} more"

    def _rows(self) -> Iterator[tuple[str, str]]:
        kills, letters = self.kills.total(), self.last.letters
        yield "rounds, each compared with the server's book", f"{self.rounds}"
        yield "crash points hit", f"{len(self.hit)} of {len(self.hit) + len(self.missed)}"
        yield "kills with SIGKILL", f"{kills}"
        for kind, times in sorted(self.kills.items()):
            yield f"  {kind}", f"{times}"
        yield "other faults", f"{self.faults.total()}"
        for kind, times in sorted(self.faults.items()):
            yield f"  {kind}", f"{times}"
        yield "server killed and started again", f"{self.server_restarts}"
        yield "to-device events compared", f"{letters}"
        yield "room events compared, in every view", f"{self.last.events}"
        yield "delivery receipts compared", f"{self.last.receipts}"
        for name, part in self.findings.items():
            yield name, f"{len(part)}"
        yield (
            "95 % bound per kill, if none of these",
            "-" if self.wrong else _percent(_bound(self.compared_kills)),
        )
        yield "95 % bound per to-device event, if none", "-" if self.wrong else _percent(_bound(letters))
        yield "notifications repeated by a kill", f"{self.last.repeated_popups}"
        yield "to-device events repeated by the server", f"{self.last.repeated_letters}"
        for what in RECOVERIES:
            waits = self.recovered_s.get(what, [])
            told = f"{statistics.median(waits):.2f} s, {p99(waits):.2f} s ({len(waits)})" if waits else "-"
            yield f"from ready to caught up after {what}: p50, p99", told


def p99(values: list[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _bound(tries: int) -> float | None:
    """The rule of three: none in n tries means, with 95 % confidence, less than 3/n."""
    return 3 / tries if tries else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"< {share:.3%}"
