"""``python -m bench.turns``: how often an event is fetched, and how soon a reader that dies is followed.

Both with real programs and a real Synapse behind the fault proxy, which counts. Only counts and medians of one run.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from tandem_core.sync.readers import Rule
from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.synapse import SynapseServer
from tests.support.proxy import actions
from tests.support.proxy.dialects import OtherServer
from tests.support.proxy.scene import LINKS, Scene
from tests.support.proxy.wire import SYNC

_WARM_UP = 4


def times_fetched(server: SynapseServer, folder: Path, events: int) -> Counter[int]:
    """How many events were fetched once, twice and so on, while both programs run."""
    with Scene.playing(server, folder) as scene:
        _warm_up(scene)
        fetched = actions.Fetched()
        scene.proxy.add("count", fetched, times=None)
        scene.exchange()
        fetched.times.clear()
        for _ in range(events):
            scene.write("bob")
            time.sleep(0.2)
        scene.settle()
        return Counter(fetched.times.values())


def followed_after_s(server: SynapseServer, folder: Path, kills: int) -> list[float]:
    """Seconds from the death of the only reader to the first request of its heir that reads."""
    found = []
    with Scene.playing(server, folder, other=OtherServer(Rule.POS)) as scene:
        _warm_up(scene)
        for _ in range(kills):
            begun = len(scene.proxy.log)
            scene.exchange()
            (reader,) = {line.conn_id for line in scene.proxy.seen(SYNC, since_number=begun) if line.reads}
            begun = len(scene.proxy.log)
            died = time.monotonic()
            scene.alice.stop(PROCESSES[str(reader)], signal.SIGKILL)
            (heir,) = set(LINKS) - {reader}
            wait_for("the heir", lambda begun=begun, heir=heir: bool(_reads(scene, heir, begun)))
            found.append(_reads(scene, heir, begun)[0] - died)
            scene.start()
            scene.settle()
    return found


def _warm_up(scene: Scene) -> None:
    for _ in range(_WARM_UP):
        scene.exchange()


def _reads(scene: Scene, link: str, since_number: int) -> list[float]:
    return [line.at for line in scene.proxy.seen(SYNC, conn_id=link, since_number=since_number) if line.reads]


def main() -> int:
    """Print both."""
    parser = argparse.ArgumentParser(prog="bench.turns", description=__doc__)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = SynapseServer.create(Path(folder) / "synapse")
        with server.running():
            times = times_fetched(server, Path(folder) / "a", options.events)
            waits = followed_after_s(server, Path(folder) / "b", options.kills)
    fetches = sum(count * number for count, number in times.items())
    print(f"events {sum(times.values())}, fetched {fetches} times, {fetches - sum(times.values())} too many")
    print(
        f"a reader that dies is followed after {statistics.median(waits) * 1000:.0f} ms (median),"
        f" {max(waits) * 1000:.0f} ms at most, of {len(waits)}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
