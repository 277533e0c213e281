"""From another person's message to pixels, and from one program's commit to the other's eyes."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.measure import Figure, staying
from tandem_core.doorbell import Bell
from tandem_core.paths import profile_paths
from tandem_core.store.database import Database, Transaction
from tandem_core.store.session import set_fact
from tandem_core.types import Role, Topic
from tandem_demo.device import Device
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer


def message_to_pixels(server: SynapseServer, runs: int) -> list[Figure]:
    """Somebody's message in the open room, against the answer to a bare long poll for the same message."""
    for name in ("reader", "writer"):
        server.register(name, "bench")
    writer = RawClient(server.base_url).login("writer", "bench")
    bare = RawClient(server.base_url).login("reader", "bench")
    room = writer.create_room(preset="private_chat", invite=[bare.user_id], name="Pixels")
    bare.join(room)
    with tempfile.TemporaryDirectory() as folder:
        device = Device("reader", Path(folder), headless=True)
        device.ctl(
            "login",
            "--homeserver",
            server.base_url,
            "--user",
            "reader",
            "--password-file",
            "-",
            password="bench",
        )
        polls, pixels = [], []
        with staying(device.home) as window:
            window.tell(f"open {room}")
            time.sleep(2)
            for number in range(runs):
                body = f"message {number}"
                window.tell(f"await {body}")
                heard: list[float] = []
                poll = threading.Thread(target=_poll, args=(bare, heard))
                poll.start()
                time.sleep(0.4)
                sent = time.monotonic()
                writer.say(room, body)
                pixels.append(window.hear()["painted"] - sent)
                poll.join(20)
                polls.append(heard[0] - sent)
    extra = (statistics.median(pixels) - statistics.median(polls)) * 1000
    floor = statistics.median(polls) * 1000
    how = f"median of {runs}; floor: a bare long poll's latency, {floor:.0f} ms; ratio: what comes on top, of 60 ms"
    return [Figure("message to pixels, beyond the bare long poll", extra, 60.0, "ms", extra / 60.0, 1.0, how)]


def _poll(client: RawClient, heard: list[float]) -> None:
    lists = {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 1}}
    body = {"conn_id": "floor", "lists": lists}
    _, answer = client.sliding_sync(body)
    client.sliding_sync(body, pos=answer["pos"], timeout_ms=20_000)
    heard.append(time.monotonic())


def across_programs(runs: int) -> list[Figure]:
    """A row committed by one process until another one has read it, through the doorbell."""
    with tempfile.TemporaryDirectory() as folder:
        import os

        os.environ["TANDEM_HOME"] = folder
        paths = profile_paths()
        paths.make()
        db = Database.open(paths.database)
        here, there = multiprocessing.get_context("spawn").Pipe()
        other = multiprocessing.get_context("spawn").Process(target=_listen, args=(there, folder))
        other.start()
        here.recv()
        bell = Bell(paths.socket(Role.NOTIFIER))
        db.listen(bell.ring)
        delays = []
        for number in range(runs):

            def write(txn: Transaction, number: int = number) -> None:
                set_fact(txn, "bench", number)
                txn.changed(Topic.TIMELINE)

            started = time.monotonic()
            db.write_now(write)
            seen, when = here.recv()
            while seen != number:
                seen, when = here.recv()
            delays.append(when - started)
        here.send("end")
        other.join(10)
        db.close()
    value = statistics.median(delays) * 1000
    how = f"median of {runs}, from before the write to the other's read; floor: the goal itself"
    return [Figure("stored by one program, visible in the other", value, 20.0, "ms", value / 20.0, 1.0, how)]


def _listen(pipe: Connection, folder: str) -> None:
    """The other program: a doorbell, and a look at the store when it rings."""
    import asyncio
    import os

    os.environ["TANDEM_HOME"] = folder
    from tandem_core.doorbell import DoorbellServer
    from tandem_core.store.session import fact

    async def run() -> None:
        paths = profile_paths()
        db = Database.open(paths.database)
        rung = asyncio.Event()
        server = DoorbellServer(paths.socket(Role.NOTIFIER), lambda message: rung.set())
        await server.start()
        pipe.send("ready")
        while not pipe.poll():
            try:
                await asyncio.wait_for(rung.wait(), 0.5)
            except TimeoutError:
                continue
            rung.clear()
            seen = await db.read(fact, "bench")
            pipe.send((seen, time.monotonic()))
        await server.close()
        db.close()

    asyncio.run(run())
