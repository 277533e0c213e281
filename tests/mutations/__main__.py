"""``python -m tests.mutations [NAME...]``: try mutants, all or those named, and print who caught each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.mutations.mutants import MUTANTS
from tests.mutations.pool import Pool


def main(names: list[str]) -> int:
    """Print the table; exit status 1 if a mutant survived or could not be tried, 2 for a name that is none."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    if strangers := [name for name in names if name not in known]:
        print(f"no such mutant: {', '.join(strangers)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names] or list(MUTANTS)
    at_large = 0
    wide = max(len(mutant.name) for mutant in chosen)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, Pool(Path(folder), chosen) as pool:
        without = pool.baseline()
        print(f"{'(none)':{wide}}  {without.seconds:5.1f} s  all {len(without.passed)} tests pass")
        for mutant in chosen:
            try:
                verdict = pool.verdict(mutant)
            except Exception as error:
                at_large += 1
                print(f"{mutant.name:{wide}}      - s  NOT TRIED: {error}")
                continue
            at_large += verdict.caught_by is None
            print(
                f"{mutant.name:{wide}}  {verdict.seconds:5.1f} s  {verdict.caught_by or 'SURVIVED'}",
                flush=True,
            )
    print(f"{len(chosen) - at_large} of {len(chosen)} mutants caught")
    return 1 if at_large else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
