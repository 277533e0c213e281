"""A room key that the notifier fetched, until the row that waits for it in the window can be read."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from vodozemac import GroupSession

from bench.measure import Figure, staying
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.scenarios.peer import Address, Peer, look_up

_GOAL_MS = 200.0
_WAITS = (
    "SELECT 1 FROM timeline JOIN event USING (event_id)"
    " WHERE conn = 'app' AND event_id = ? AND shown AND seal = 'sealed'"
)
_NEW = "SELECT conn, received_at FROM inbox WHERE seq > ? ORDER BY seq LIMIT 1"


def key_to_row(server: SynapseServer, keys: int) -> list[Figure]:
    """From the notifier's commit of the key to the frame that shows the words; median and 95th percentile.

    Either program may be given a key first: those that the window fetched itself are not counted.
    """
    for name in ("sleeper", "keyholder"):
        server.register(name, "bench")
    peer = Peer(RawClient(server.base_url).login("keyholder", "bench"))
    with tempfile.TemporaryDirectory() as folder:
        device = Device("sleeper", Path(folder), headless=True)
        device.ctl(
            "login", "--homeserver", server.base_url, "--user", "sleeper", "--password-file", "-", password="bench"
        )  # fmt: skip
        user_id, device_id = device.ask("SELECT user_id, device_id FROM session")[0]
        room = peer.client.create_encrypted_room(user_id)
        device.start_notifier()
        try:
            device.ctl("join", room)
            to = look_up(peer.client, user_id, device_id)
            peer.begin(to)
            delays, fetched = _delays(device, peer, to, room, keys)
        finally:
            device.stop_all()
    how = f"{len(delays)} keys that the notifier fetched, of {fetched}; from its commit to the frame; floor: the goal"
    values = {"median": statistics.median(delays), "p95": statistics.quantiles(delays, n=20)[-1]}
    what = "key fetched by the notifier to words in the window"
    return [
        Figure(f"{what}, {name}", ms, _GOAL_MS, "ms", ms / _GOAL_MS, 1.0, how) for name, ms in values.items()
    ]


def _delays(device: Device, peer: Peer, to: Address, room: str, keys: int) -> tuple[list[float], int]:
    """Milliseconds for each key that the notifier was given first, and how many keys there were in all."""
    delays: list[float] = []
    fetched = 0
    with staying(device.home) as window:
        window.tell(f"open {room}")
        to_wall_ms = (time.time() - time.monotonic()) * 1000
        while len(delays) < keys:
            fetched += 1
            if fetched > 20 * keys:
                raise RuntimeError("the notifier is hardly ever given a key first")
            session, body = GroupSession(), f"words {fetched}"
            content = peer.room_key(room, session)
            event_id = peer.post(room, session, body)
            wait_for("the row", partial(device.ask, _WAITS, (event_id,)), every_s=0.02)
            last = device.ask("SELECT coalesce(max(seq), 0) FROM inbox")[0][0]
            window.tell(f"await {body}")
            peer.deliver(to, peer.seal(to, "m.room_key", content))
            painted_ms = window.hear()["painted"] * 1000 + to_wall_ms
            conn, received_at = device.ask(_NEW, (last,))[0]
            if conn == "notifier":
                delays.append(painted_ms - received_at)
    return delays, fetched


def main() -> int:
    """``python -m bench.fresh``: only this, with a homeserver of its own."""
    import os

    from bench.measure import show

    os.environ["TANDEM_VAULT"] = "file"
    with tempfile.TemporaryDirectory() as folder:
        server = SynapseServer.create(Path(folder) / "synapse")
        with server.running():
            show(key_to_row(server, 30), Path(folder) / "figures.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
