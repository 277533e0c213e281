"""One of the victim's programs, at the harness's speed: ``python -m tests.privacy.victim --role notifier --scale 5``.

The engine is the product's own, as the notifier and the window build it; only its clock and its event loop are
given to it from here. ``TANDEM_HOME`` says whose store it is. Ends with SIGTERM and then prints how late its loop was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time

from tandem_core import log
from tandem_core.clock import system_chance
from tandem_core.engine import Engine
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import take_role
from tandem_core.session import current
from tandem_core.store.database import Database
from tandem_core.types import Role
from tests.privacy.clockwork import Rate, ScaledClock, ScaledLoop


def main() -> int:
    options = _options()
    rate = Rate(options.scale, options.mono0, options.wall0)
    paths, role = profile_paths(), Role(options.role)
    paths.make()
    log.start(paths, f"victim-{role}", to_terminal=False, debug=False)
    late: list[float] = []
    with take_role(paths, role):
        db = Database.open(paths.database)
        try:
            with asyncio.Runner(loop_factory=lambda: ScaledLoop(rate)) as runner:
                runner.run(_serve(paths, db, role, rate, late))
        finally:
            db.close()
    print(json.dumps({"late_ms": sorted(late)}), flush=True)
    return 0


async def _serve(paths: ProfilePaths, db: Database, role: Role, rate: Rate, late: list[float]) -> None:
    engine = Engine(paths, db, current(db), role, clock=ScaledClock(rate), chance=system_chance())
    life = asyncio.create_task(engine.run())
    nap = asyncio.create_task(_note_lateness(rate, late))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, life.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await life
    finally:
        nap.cancel()


async def _note_lateness(rate: Rate, late: list[float]) -> None:
    """Sleep now and then, beside all that the engine does, and note how much longer it took."""
    chance = random.Random(2)
    while True:
        wish_s = chance.uniform(0.1, 0.4)
        began = time.monotonic()
        await asyncio.sleep(wish_s * rate.scale)
        late.append((time.monotonic() - began - wish_s) * 1000)
        if len(late) > 20_000:
            del late[:10_000]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="victim", description=__doc__)
    parser.add_argument("--role", choices=[str(role) for role in Role], required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--mono0", type=float, required=True)
    parser.add_argument("--wall0", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
