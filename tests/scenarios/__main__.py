"""``python -m tests.scenarios --restarts 300 --seed N``: the field's test of random restarts, in full; one table."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tandem_demo.synapse import SynapseServer
from tests.scenarios.restarts import Report, run
from tests.scenarios.stage import Stage


def main() -> int:
    """Exit status 0 when everything written could be read everywhere, once, in order."""
    parser = argparse.ArgumentParser(prog="scenarios", description=__doc__)
    parser.add_argument("--restarts", type=int, default=300, metavar="N", help="iterations (300)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    os.environ["TANDEM_VAULT"] = "file"
    _tell(f"seed {options.seed}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        server = SynapseServer.create(Path(folder) / "synapse", with_module=True)
        server.start()
        try:
            server.wait_ready()
            with Stage.playing(server, Path(folder)) as stage:
                report = run(stage, options.restarts, options.seed, _tell)
        except AssertionError as error:
            print(f"WRONG {error}")
            return 1
        finally:
            server.stop()
    _show(report, time.monotonic() - begun)
    return 0


def _show(report: Report, took_s: float) -> None:
    rows = [
        ("iterations", report.iterations),
        *((f"restarts: {what}", count) for what, count in sorted(report.restarts.items())),
        ("messages, read in three views", report.compared),
        *((f"written by {what}", count) for what, count in sorted(report.sent.items())),
        ("room keys", report.sessions),
        ("unreadable, lost, doubled, out of order", 0),
        ("letters that could not be used", report.unusable),
        ("sessions that had to be mended", report.mended),
        ("minutes", round(took_s / 60, 1)),
    ]
    print()
    for what, value in rows:
        print(f"{what:44} {value:>8}")


def _tell(words: str) -> None:
    print(f"scenarios: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
