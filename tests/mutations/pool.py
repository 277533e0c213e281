"""Two copies at work at once: one process per mutant is mostly waiting for one core."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from tests.mutations.mutants import SOUND
from tests.mutations.record import Mutant
from tests.mutations.run import Copy, Unusable, Verdict

_WORKERS = 2


class Pool:
    """Tries mutants in copies of its own; ``verdict`` waits for one of them."""

    def __init__(self, folder: Path, mutants: Iterable[Mutant]) -> None:
        self._copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(_WORKERS)
        chosen = list(mutants)
        for number in range(_WORKERS):
            self._copies.put(Copy(folder / f"copy{number}"))
        tests = list(dict.fromkeys([*SOUND, *(test for mutant in chosen for test in mutant.tests)]))
        self._baseline = self._threads.submit(self._without, tests)
        self._verdicts: dict[str, Future[Verdict]] = {
            mutant.name: self._threads.submit(self._with, mutant) for mutant in chosen
        }

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def baseline(self) -> Verdict:
        """All tests on the code as it is; raises Unusable if one fails, for then nobody could say what was caught."""
        return self._baseline.result()

    def verdict(self, mutant: Mutant) -> Verdict:
        """What came of this mutant; raises StaleAnchor or Unusable."""
        return self._verdicts[mutant.name].result()

    def _without(self, tests: list[str]) -> Verdict:
        copy = self._copies.get()
        try:
            verdict = copy.run(tests, stop=False)
        finally:
            self._copies.put(copy)
        if verdict.failed:
            raise Unusable(f"without any mutant: {verdict.failed}")
        return verdict

    def _with(self, mutant: Mutant) -> Verdict:
        copy = self._copies.get()
        try:
            return copy.try_mutant(mutant)
        finally:
            self._copies.put(copy)
