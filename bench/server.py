"""``make bench-server``: what the module costs a homeserver, each figure next to Synapse's own of the same run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench import receipts
from bench.batches import batches
from bench.intervals import interval, median
from bench.measure import Figure, show
from tandem_demo.raw import CLIENT
from tandem_demo.services import Postgres
from tandem_demo.synapse import POSTGRES, SynapseServer, modules

_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}


def main() -> int:
    """Measure; exit status 0 when all was measured, met or missed."""
    parser = argparse.ArgumentParser(prog="bench.server", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--runs", type=int, default=100, help="isolated receipts of each kind (100)")
    parser.add_argument("--members", type=int, default=1000, help="people in the large room (1000)")
    parser.add_argument("--starts", type=int, default=7, help="starts with and without the module (7)")
    parser.add_argument("--syncs", type=int, default=400, help="syncs with and without the module (400)")
    parser.add_argument("--out", type=Path, default=Path("bench-server.json"))
    options = parser.parse_args()
    figures: list[Figure] = []
    for database in ("sqlite", "postgresql") if options.database == "both" else (options.database,):
        with _database(database):
            figures += [
                replace(each, name=f"{each.name} ({database})")
                for each in _measure(options.runs, options.members, options.syncs, options.starts)
            ]
    show(figures, options.out)
    return 0


def _measure(runs: int, members: int, syncs: int, starts: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, _running(Path(folder), with_module=True) as server:
        _tell("isolated receipts")
        figures = receipts.isolated(server, runs)
        _tell("many receipts at once")
        figures += receipts.flood(server, readers=16, events=25, rounds=5)
        _tell("batches of receipts")
        figures += batches(server, 15)
        _tell(f"a room of {members} people")
        figures += receipts.crowd(server, members)
    _tell("syncs of rooms without receipts")
    figures += _syncs(syncs)
    _tell("starts")
    return figures + _starts(starts)


@contextmanager
def _database(name: str) -> Iterator[None]:
    """From now on homeservers are made with this database."""
    if name == "sqlite":
        yield
        return
    with Postgres() as postgres:
        os.environ[POSTGRES] = json.dumps(postgres.database()["args"])
        try:
            yield
        finally:
            del os.environ[POSTGRES]


@contextmanager
def _running(folder: Path, *, with_module: bool) -> Iterator[SynapseServer]:
    extra = {"modules": modules(**_NO_LIMIT)} if with_module else {}
    server = SynapseServer.create(folder, with_module=with_module, extra=extra)
    with server.running():
        yield server


def _syncs(runs: int) -> list[Figure]:
    """``/sync`` and sliding sync after somebody's read receipt, in turn on a server with and one without."""
    taken: dict[str, list[list[float]]] = {"/sync": [[], []], "sliding sync": [[], []]}
    with (
        tempfile.TemporaryDirectory() as folder,
        _running(Path(folder) / "module", with_module=True) as module,
        _running(Path(folder) / "stock", with_module=False) as stock,
    ):
        sides = [_Side(module), _Side(stock)]
        for number in range(runs + 20):
            for place in (0, 1) if number % 2 else (1, 0):
                sides[place].read()
                for what, spent in (("/sync", sides[place].sync()), ("sliding sync", sides[place].slide())):
                    if number >= 20:  # the first warm caches up
                        taken[what][place].append(spent * 1000)
        for side in sides:
            side.close()
    return [_cost(what, ours, stock_) for what, (ours, stock_) in taken.items()]


def _cost(what: str, ours: Sequence[float], stock: Sequence[float]) -> Figure:
    value, floor = median(ours), median(stock)
    low, high = interval(ours, stock, median)
    how = f"median of {len(ours)} each, in turn; floor: without the module; 95 % of the ratios: {low:.3f} to {high:.3f}"
    return Figure(f"{what} of rooms without delivery receipts", value, floor, "ms", value / floor, 1.02, how)


class _Side:
    """A person with thirty rooms on one of the servers, and another one who reads."""

    def __init__(self, server: SynapseServer) -> None:
        self._me, self._other = receipts.Person(server, "me"), receipts.Person(server, "other")
        for number in range(30):
            self._room = self._me.raw.create_room(invite=[self._other.user_id], name=f"Room {number}")
            self._other.raw.join(self._room)
        self._since = str(self._me.raw.sync_v2()["next_batch"])
        self._me.catch_up()

    def read(self) -> None:
        """The stream of receipts moves on, and nothing of it is a delivery receipt."""
        event = self._me.raw.say(self._room, "next")
        self._other.confirm(self._room, receipts.READ, event)

    def sync(self) -> float:
        start = time.perf_counter()
        data = self._me.ask("GET", f"{CLIENT}/sync?timeout=0&since={self._since}")
        spent = time.perf_counter() - start
        self._since = str(json.loads(data)["next_batch"])
        return spent

    def slide(self) -> float:
        start = time.perf_counter()
        self._me.sync(0)
        return time.perf_counter() - start

    def close(self) -> None:
        self._me.close()
        self._other.close()


def _starts(runs: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        servers = {
            name: SynapseServer.create(Path(folder) / name, with_module=name == "module")
            for name in ("module", "stock")
        }
        taken: dict[str, list[float]] = {name: [] for name in servers}
        for number in range(runs + 1):
            for name in servers if number % 2 else reversed(servers):
                start = time.monotonic()
                servers[name].start()
                servers[name].wait_ready()
                if number:  # the first makes the database
                    taken[name].append((time.monotonic() - start) * 1000)
                servers[name].stop()
    value, floor = median(taken["module"]), median(taken["stock"])
    low, high = interval(taken["module"], taken["stock"], median)
    how = f"median of {runs} each, in turn; floor: without the module; 95 % of the ratios: {low:.2f} to {high:.2f}"
    return [Figure("start until it answers", value, floor, "ms", value / floor, 1.1, how)]


def _tell(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
