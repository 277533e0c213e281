"""``make bench``: every figure against a floor of the same run; prints a table and JSON, and judges nothing."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import drain, fresh, live, starts, waiting
from bench.measure import Figure, show
from tandem_demo.synapse import SynapseServer


def main() -> int:
    """Measure; exit status 0 when all was measured, met or missed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rooms", type=int, default=2000, help="rooms of the large account (2000)")
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each start (7)")
    parser.add_argument("--quick", action="store_true", help="only what needs no homeserver")
    parser.add_argument("--out", type=Path, default=Path("bench-results.json"))
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["TANDEM_VAULT"] = "file"
    figures: list[Figure] = []
    _tell("inbox drain (10 s)")
    figures += drain.inbox_drain(1000, 3)
    _tell("waiting for the lock beside a backlog (5 s)")
    figures += waiting.lock_wait(5000)
    _tell("between the programs (2 s)")
    figures += live.across_programs(100)
    _tell("warm start and memory from a full store (30 s)")
    figures += _full_store(options.runs)
    if not options.quick:
        figures += _with_server(options)
    show(figures, options.out)
    return 0


def _full_store(runs: int) -> list[Figure]:
    from tandem_core.paths import profile_paths
    from tests.app.seed import Seed

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TANDEM_HOME"] = folder
        seed = Seed(profile_paths())
        seed.sign_in()
        seed.many_rooms(1999)
        room = seed.room("Fifty thousand")
        seed.many_messages(room, 50_000)
        seed.close()
        return starts.warm(Path(folder), runs) + starts.window_memory(Path(folder), room)


def _with_server(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        server = SynapseServer.create(Path(folder) / "synapse")
        with server.running():
            _tell("message to pixels (20 s)")
            figures = live.message_to_pixels(server, 15)
            _tell("a key from the notifier to the window (20 s)")
            figures += fresh.key_to_row(server, 30)
            _tell(f"making {options.rooms} rooms on a real homeserver (minutes)")
            few, many = starts.seed_server(server, 20, options.rooms)
            figures += starts.notifier_memory(server)
            _tell("cold starts (1 min)")
            return figures + starts.cold(server, few, many, options.runs)


def _tell(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
