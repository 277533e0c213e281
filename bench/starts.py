"""Cold and warm start to a painted room list, and memory, with 20 and with 2,000 rooms."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.measure import Figure, first_line_s, in_turn, staying
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer

SCREENFUL = 11
"""Rooms that a window of the usual height shows."""


def seed_server(server: SynapseServer, small: int, large: int) -> tuple[RawClient, RawClient]:
    """One account with few rooms and one with many; says how it goes, since it takes minutes."""
    people = []
    for name, count in (("few", small), ("many", large)):
        server.register(name, "bench")
        person = RawClient(server.base_url).login(name, "bench")

        def make(number: int, person: RawClient = person) -> None:
            room = person.create_room(preset="private_chat", name=f"Room {number:04}")
            person.say(room, f"the last words of room {number}")

        started, done = time.monotonic(), 0
        with ThreadPoolExecutor(3) as pool:
            for _ in pool.map(make, range(count)):
                done += 1
                if done % 200 == 0:
                    left = (time.monotonic() - started) / done * (count - done)
                    print(
                        f"bench: {done} of {count} rooms made, {left:.0f} s to go",
                        file=sys.stderr,
                        flush=True,
                    )
        people.append(person)
    return people[0], people[1]


@contextlib.contextmanager
def cold_home(server: SynapseServer, user: str) -> Iterator[Path]:
    """A signed-in home with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        device = Device(user, Path(folder), headless=True)
        device.ctl(
            "login", "--homeserver", server.base_url, "--user", user, "--password-file", "-", password="bench"
        )
        _empty(device)
        yield Path(folder)


def _empty(device: Device) -> None:
    """tandemctl login leaves a first sync behind; a cold start has none."""
    conn = sqlite3.connect(device.paths.database)
    with conn:
        for table in ("connection", "room", "room_fact", "member", "timeline", "gap", "event", "read_marker"):
            conn.execute(f"DELETE FROM {table}")
    conn.close()


def cold(server: SynapseServer, few: RawClient, many: RawClient, runs: int) -> list[Figure]:
    """Signed in, nothing synced yet: to the first screenful of rooms, against a bare window plus a bare request."""
    turn = iter(range(10**9))

    def bare_request() -> float:
        started = time.monotonic()
        body = {
            "conn_id": f"bench{next(turn)}",
            "lists": {
                "all": {"ranges": [[0, 19]], "required_state": [["m.room.name", ""]], "timeline_limit": 1}
            },
        }
        status, answer = many.sliding_sync(body)
        if status != 200 or len(answer["rooms"]) != 20:
            raise RuntimeError("the bare request failed")
        return time.monotonic() - started

    with cold_home(server, "few") as few_home, cold_home(server, "many") as many_home:
        pristine = {home: _keep(home) for home in (few_home, many_home)}

        def ours(home: Path) -> float:
            shutil.rmtree(home / "data")
            shutil.copytree(pristine[home], home / "data")
            return first_line_s("bench.probe", str(SCREENFUL), home=home)[0]

        medians = in_turn(
            runs,
            window=lambda: first_line_s("bench.bare")[0],
            request=bare_request,
            few=lambda: ours(few_home),
            many=lambda: ours(many_home),
        )
        for kept in pristine.values():
            shutil.rmtree(kept.parent)
    floor = (medians["window"] + medians["request"]) * 1000
    value, small = medians["many"] * 1000, medians["few"] * 1000
    return [
        Figure(
            "cold start to a screenful, 2,000 rooms", value, floor, "ms", value / floor, 1.6,
            "process start to the frame that shows it; floor: a bare Qt Quick window + one bare sliding sync request",
        ),
        Figure(
            "cold start, 2,000 rooms against 20", value, small, "ms", value / small, 1.3,
            "the same; floor: an account with 20 rooms",
        ),
    ]  # fmt: skip


def warm(home: Path, runs: int) -> list[Figure]:
    """From a full store: to the painted room list, against a bare window."""
    medians = in_turn(
        runs,
        window=lambda: first_line_s("bench.bare")[0],
        ours=lambda: first_line_s("bench.probe", str(SCREENFUL), home=home)[0],
    )
    value, floor = medians["ours"] * 1000, medians["window"] * 1000
    how = "process start to the frame with the list, 2,000 rooms and a room of 50,000 messages in the store"
    return [Figure("warm start to the room list, 2,000 rooms", value, floor, "ms", value / floor, 1.6, how)]


def notifier_memory(server: SynapseServer) -> list[Figure]:
    """Resident memory of an idle notifier after its first sync."""
    with cold_home(server, "few") as home:
        device = Device("few", home, headless=True)
        device.start_notifier()
        try:
            wait_for(
                "a first sync", lambda: device.ask("SELECT 1 FROM connection WHERE synced_at IS NOT NULL")
            )
            time.sleep(3)
            rss = _rss_mib(device.running["notifier"].pid)
        finally:
            device.stop_all()
    return [
        Figure(
            "notifier, idle after sync", rss, 45.0, "MiB", rss / 45.0, 1.0, "VmRSS; floor: the goal itself"
        )
    ]


def window_memory(home: Path, room: str) -> list[Figure]:
    """Resident memory of the window with 2,000 rooms and the room of 50,000 messages open."""
    with staying(home, rooms=2000) as window:
        window.tell(f"open {room}")
        time.sleep(3)
        window.tell("memory")
        said = window.hear()
    rss = said["rss_kib"] / 1024
    how = f"VmRSS with a room of {said['messages']} rows open; floor: the goal itself"
    return [Figure("window, 2,000 rooms, 50,000 messages open", rss, 150.0, "MiB", rss / 150.0, 1.0, how)]


def _keep(home: Path) -> Path:
    kept = Path(tempfile.mkdtemp()) / "data"
    shutil.copytree(home / "data", kept)
    return kept


def _rss_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
