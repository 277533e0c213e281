"""``make privacy``: the attacker against the real programs, and one table of what he learns (docs/PRIVACY.md)."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests.privacy.run import Run, as_json, choose_scale, commit
from tests.privacy.sections import SECTIONS
from tests.privacy.table import Line, broken, markdown


def main() -> int:
    """Exit status 0 when every bar holds. Ctrl-C ends everything, and shows the table as far as it got."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Each probe that cannot be opened would be told.
    logging.getLogger("tandem").setLevel(logging.CRITICAL)
    wanted = set(options.goals.split(",")) if options.goals else None
    lines: list[Line] = []
    failed: list[str] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tandem-privacy-", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder), options.seed, options.minutes, _tell)
        try:
            choose_scale(run)
            if options.scale is not None:
                run.scale = options.scale
            _tell(f"seed {run.seed}, commit {commit()}; {run.notes[0]}")
            for name, (goals, measure) in SECTIONS.items():
                if wanted is not None and not wanted.intersection(goals):
                    continue
                if options.parts and name not in options.parts.split(","):
                    continue
                began = time.monotonic()
                _tell(f"{name}: {', '.join(goals)}")
                try:
                    found = measure(run)
                except Exception as error:
                    if options.strict:
                        raise
                    failed.append(f"{name} could not be measured: {type(error).__name__}: {error}")
                    _tell(failed[-1])
                    continue
                lines += [line for line in found if wanted is None or line.goal in wanted or line.goal == "-"]
                for line in found:
                    _tell(f"  {line.goal} {line.what}: {line.ours} (bar {line.bar})")
                _tell(f"{name} took {time.monotonic() - began:.0f} s")
        except KeyboardInterrupt:
            _tell("interrupted")
        lines.sort(key=lambda line: (line.goal == "-", int(line.goal[1:] or 0)))
        print(f"\ncommit {commit()}, seed {run.seed}, {(time.monotonic() - started) / 60:.1f} minutes\n")
        for told in (*markdown(lines), "", *run.notes, *failed):
            print(told)
        if options.json is not None:
            options.json.write_text(as_json(run, lines), "utf-8")
    return 1 if broken(lines) or failed or not lines else 0


def _interrupt(*_: object) -> NoReturn:
    """End what was started and show the table; a second Ctrl-C must not leave processes behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="privacy", description=__doc__)
    parser.add_argument("--goals", default="", metavar="D1,D2", help="only these (all)")
    parser.add_argument("--parts", default="", help=f"only these, of: {', '.join(SECTIONS)} (all)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--minutes", type=float, default=40, help="about how long in all (40); more gives narrower intervals"
    )
    parser.add_argument("--scale", type=float, default=None, help="another speed than the machine allows")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the table here, too")
    parser.add_argument(
        "--strict", action="store_true", help="end with the first section that cannot be measured"
    )
    return parser.parse_args()


def _tell(words: str) -> None:
    print(f"privacy: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
