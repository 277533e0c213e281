"""``python -m bench.federation``: delivery receipts between two real homeservers, next to Synapse's own receipts.

How long a receipt takes from the reader's POST to the author's waiting sync on the other server, delivery and m.read in
turn; and how many transactions are refused when a server sends two streams of them to another (ADR 0009).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tandem_demo.raw import RawClient
from tandem_demo.synapse import modules
from tests.homeserver.remote_server import RemoteServer
from tests.homeserver.two_servers import TwoServers, federating

DELIVERY = "org.matrix.msc4089.delivery"
KINDS = (DELIVERY, "m.read")
ROUNDS, TRANSACTIONS = 30, 60
ROOM_VERSION = "10"


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.federation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as name:
        result = {
            "ms_to_the_author": latencies(Path(name) / "two", asked.rounds),
            "transactions_of_two_streams": refusals(Path(name) / "one", asked.transactions),
        }
    print(json.dumps(result, indent=1))


def latencies(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Median and greatest milliseconds of each kind; each receipt comes alone."""
    extra = {"modules": modules(coalesce_seconds=0)}
    with TwoServers(folder, here_extra=extra, there_extra=extra) as two:
        alice, bob = two.person(two.here, "alice"), two.person(two.there, "bob")
        room = two.room(alice, bob)
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(rounds + 1):
            for kind in KINDS:
                event = two.say(alice, room, str(number), bob)
                seconds = _one(alice, bob, room, event, kind)
                if number > 0:  # the first one asks the other server
                    took[kind].append(seconds * 1000)
    return {
        kind: {"median": round(statistics.median(times), 1), "most": round(max(times), 1)}
        for kind, times in took.items()
    }


def _one(alice: RawClient, bob: RawClient, room: str, event: str, kind: str) -> float:
    """Seconds from the POST to the answer of the author's long poll."""
    pos = _sync(alice, None, 0)["pos"]
    arrived: list[float] = []

    def wait() -> None:
        nonlocal pos
        while not arrived:
            answer = _sync(alice, pos, 20_000)
            pos = answer["pos"]
            rooms = answer["extensions"].get("receipts", {}).get("rooms", {})
            if kind in rooms.get(room, {}).get("content", {}).get(event, {}):
                arrived.append(time.perf_counter())

    poll = threading.Thread(target=wait)
    poll.start()
    time.sleep(0.3)  # the poll waits
    start = time.perf_counter()
    status, _ = bob.receipt(room, kind, event)
    assert status == 200
    poll.join()
    return arrived[0] - start


def _sync(person: RawClient, pos: str | None, timeout_ms: int) -> dict[str, Any]:
    status, answer = person.sliding_sync(
        {
            "conn_id": "bench",
            "lists": {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 1}},
            "extensions": {"receipts": {"enabled": True}},
        },
        pos=pos,
        timeout_ms=timeout_ms,
    )
    assert status == 200
    return answer


def refusals(folder: Path, transactions: int) -> dict[str, int]:
    """How a Synapse answers when another server sends two streams of transactions, one beside the other."""
    folder.mkdir()
    answers: Counter[str] = Counter()
    with RemoteServer(folder) as there:
        here = federating(folder / "synapse")
        path = here.folder / "homeserver.yaml"
        config = json.loads(path.read_text("utf-8"))
        config["listeners"][0]["resources"][0]["names"] = ["client", "federation"]
        path.write_text(json.dumps(config), "utf-8")
        with here.running():
            here.register("alice", "a long password")
            alice = RawClient(here.base_url).login("alice", "a long password")
            room = alice.create_room(preset="public_chat", room_version=ROOM_VERSION)
            there.join(here, room)

            def stream(pause_s: float) -> None:
                for number in range(transactions):
                    rooms = {room: {f"${number}": {there.user_id: {"ts": 1}}}}
                    edu = {"edu_type": "im.tandem.delivery", "content": {"version": 1, "rooms": rooms}}
                    try:
                        there.send_edus(here, [edu])
                        answers["200"] += 1
                    except AssertionError as error:
                        answers[str(error.args[0][0])] += 1
                    time.sleep(pause_s)

            streams = [threading.Thread(target=stream, args=(pause_s,)) for pause_s in (0.02, 0.05)]
            for each in streams:
                each.start()
            for each in streams:
                each.join()
    return dict(answers)


if __name__ == "__main__":
    main()
