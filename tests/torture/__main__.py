"""``make torture MINUTES=10``: every crash point of both programs, then kills at random moments; then one table."""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tandem_demo.tell import Teller
from tandem_demo.world import running_world
from tests.torture.scene import NAMES, Scene, aims
from tests.torture.stages import excuse
from tests.torture.storm import storm
from tests.torture.sweep import Report, sweep


def main() -> int:
    """Exit status 0 when nothing was lost, doubled or reused."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long in all (10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--points", type=int, default=None, help="only so many crash points, drawn (all)")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    _tell(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = stack.enter_context(
            running_world(Path(folder) / "world", Teller(io.StringIO()), headless=True)
        )
        world.laptop.start_notifier()
        world.alice.stop("notifier")
        scene = Scene(world, Path(folder) / "scene", options.seed, stack)
        chosen = [aim for program in NAMES for aim in aims(program) if excuse(aim) is None]
        scene.rng.shuffle(chosen)
        chosen = chosen[: options.points]
        _tell(
            f"{len(chosen)} crash points, then kills at random moments; about {options.minutes:.0f} min in all"
        )
        swept = sweep(scene, chosen, _tell, until_s=end)
        stormed = Report() if swept.wrong else storm(scene, end, _tell)
        _show(swept, stormed)
        if scene.guest is not None:
            scene.guest.stop_all()
    return 1 if swept.wrong or stormed.wrong else 0


def _show(swept: Report, stormed: Report) -> None:
    kills = swept.kills + stormed.kills
    last = stormed if stormed.letters else swept
    waits = sorted(swept.recovered_s + stormed.recovered_s)
    wrong = swept.wrong + stormed.wrong
    rows = [
        ("crash points hit", f"{len(swept.hit)} of {len(swept.hit) + len(swept.missed)}"),
        ("kills -9", f"{kills}"),
        ("to-device events compared", f"{last.letters}"),
        ("room events compared, in every view", f"{last.events}"),
        ("lost, doubled, unreadable, reused, disordered", f"{len(wrong)}"),
        ("95 % bound per kill, if none", f"< {3 / kills:.2%}" if kills and not wrong else "-"),
        ("notifications repeated by a kill", f"{last.repeated_popups}"),
        ("from ready to caught up, median", f"{statistics.median(waits) * 1000:.0f} ms" if waits else "-"),
        ("from ready to caught up, p99", f"{waits[int(len(waits) * 0.99)] * 1000:.0f} ms" if waits else "-"),
    ]
    print()
    for what, value in rows:
        print(f"{what:48} {value:>12}")
    for aim in swept.missed:
        print(f"not reached: {aim.program} {aim.step}")
    for words in wrong[:20]:
        print(f"WRONG {words}")


def _tell(words: str) -> None:
    print(f"torture: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
