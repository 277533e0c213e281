"""``make torture MINUTES=10``: every crash point of both programs, then a storm of all other faults; then one table."""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from tandem_demo.device import PROCESSES, DemoFailed
from tandem_demo.tell import Teller
from tandem_demo.world import running_world
from tests.support.proxy.proxy import FaultProxy
from tests.torture.aims import aims, later_aims
from tests.torture.report import Report
from tests.torture.scene import Scene
from tests.torture.stages import excuse
from tests.torture.storm import storm
from tests.torture.sweep import sweep


def main() -> int:
    """Exit status 0 when nothing is wrong. Ctrl-C ends everything, and shows the table as far as it got."""
    options = _options()
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    _tell(f"seed {options.seed}")
    report, started = Report(), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="tandem-torture-") as folder, ExitStack() as stack:
            _run(options, Path(folder), report, stack)
    except KeyboardInterrupt:
        _tell("interrupted")
    minutes = (time.monotonic() - started) / 60
    print(f"\nseed {options.seed}, {minutes:.1f} minutes")
    for line in report.lines():
        print(line)
    if options.json is not None:
        told = {"seed": options.seed, "minutes": round(minutes, 2), **report.as_json()}
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 1 if report.wrong or not report.rounds else 0


def _interrupt(*_: object) -> NoReturn:
    """End what was started and show the table; a second Ctrl-C must not leave processes behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long in all (10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--points", type=int, default=None, help="only so many crash points, drawn (all)")
    parser.add_argument("--round", type=int, default=1, help="the storm's first round, to have one again (1)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the table here, too")
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: Path, report: Report, stack: ExitStack) -> None:
    end = time.monotonic() + 60 * options.minutes
    world = stack.enter_context(running_world(folder / "world", Teller(io.StringIO()), headless=True))
    proxy = stack.enter_context(FaultProxy(world.server.base_url, seed=options.seed))
    world.laptop.start_notifier()
    world.alice.stop("notifier")
    scene = Scene(world, folder / "scene", options.seed, stack)
    chosen = [
        aim
        for program in PROCESSES
        for aim in [*aims(program), *later_aims(program)]
        if excuse(aim) is None
    ]  # fmt: skip
    random.Random(options.seed).shuffle(chosen)
    chosen = chosen[: options.points]
    _tell(f"{len(chosen)} crash points, then a storm; about {options.minutes:g} minutes in all")
    try:
        sweep(scene, chosen, report, _tell, until_s=end)
        if not report.wrong:
            storm(scene, proxy, options.seed, end, report, _tell, first=options.round)
    except DemoFailed as failed:
        report.note_stuck(str(failed), "the last line above")
    finally:
        if scene.guest is not None:
            scene.guest.stop_all()


def _tell(words: str) -> None:
    print(f"torture: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
