"""The field's scenarios are played here: the proxy's scene, with a hand on which of Alice's programs does what."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tandem_core.doorbell import ring_once
from tandem_core.sending import enqueue
from tandem_core.store.database import Transaction
from tandem_core.types import Change, RoomId, Topic
from tandem_demo.device import PROCESSES, Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.e2e.scene import event_of
from tests.scenarios.peer import Address, Peer, look_up
from tests.support.keys import retire_keys
from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.scene import LINKS, Scene
from tests.support.proxy.wire import Answer, Asked, Forward


class Stage(Scene):
    """A scene with rooms of each test's own, peers written by hand, and one program sending at a time."""

    def __init__(self, server: SynapseServer, proxy: FaultProxy, folder: Path, stack: ExitStack) -> None:
        super().__init__(server, proxy, folder, stack)
        self.alice_raw = self._raw(self.alice)
        self.bob_raw = self._raw(self.bob)
        self.address = look_up(self.bob_raw, self.alice_raw.user_id, self.alice_raw.device_id)
        self._tablets = 0

    def room_with(self, *peers: Peer, bob: bool = True, **rotation: int) -> str:
        """An encrypted room of Alice's that Bob and these peers have joined, known to all programs."""
        room_id = self.alice_raw.create_room(
            preset="private_chat",
            invite=[peer.user_id for peer in peers] + ([self.bob_raw.user_id] if bob else []),
            initial_state=[
                {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2", **rotation}}
            ],
        )
        for client in [peer.client for peer in peers] + ([self.bob_raw] if bob else []):
            client.join(room_id)
        joined = 1 + len(peers) + bob
        for link in LINKS:
            if self.alice.runs(PROCESSES[link]):
                self.wait_members(self.alice, link, room_id, joined)
        if bob:
            self.wait_members(self.bob, "notifier", room_id, 1)
        return room_id

    @contextmanager
    def tablet(self, *, known: bool = True) -> Iterator[Device]:
        """One more device of Bob's, running; by default Alice has it on her list. Signs out at the end."""
        self._tablets += 1
        device = self._signed_in("bob", f"bob-tablet-{self._tablets}", self.server.base_url)
        device.start_notifier()
        if known:
            wait_for("the tablet on Alice's list", lambda: self.has_on_list(device))
        yield device
        if device.runs("notifier"):
            device.ctl("logout")
            device.stop("notifier")

    def has_on_list(self, device: Device) -> bool:
        """Whether Alice's device knows another one."""
        ids = device.ask("SELECT user_id, device_id FROM session")[0]
        there = "SELECT 1 FROM device WHERE user_id = ? AND device_id = ? AND NOT deleted"
        return bool(self.alice.ask(there, ids))

    def wait_members(self, device: Device, link: str, room_id: str, count: int) -> None:
        """Wait until a connection knows the room, and so many who joined it (those who sync told it of)."""

        def known() -> bool:
            row = device.ask(
                "SELECT joined_count FROM room WHERE conn = ? AND room_id = ? AND membership = 'join'"
                " AND encryption IS NOT NULL",
                (link, room_id),
            )
            return bool(row) and (row[0][0] or 0) >= count

        wait_for(f"the room in {device.name}'s {link} view", known)

    def send(self, room_id: str, *, by: str | None = None, new_key: bool = False) -> str:
        """Alice writes, and only this program of hers is told (None: both, as usual); returns the words."""
        body = f"alice in {room_id[1:5]} {secrets.token_hex(4)}"
        self.queue(self.alice, room_id, body, [by] if by else list(LINKS), new_key=new_key)
        return body

    def bob_sends(self, room_id: str, *, new_key: bool = False) -> str:
        """Bob writes; returns the words."""
        body = f"bob in {room_id[1:5]} {secrets.token_hex(4)}"
        self.queue(self.bob, room_id, body, ["notifier"], new_key=new_key)
        return body

    def queue(self, device: Device, room_id: str, body: str, links: list[str], *, new_key: bool) -> None:
        """A row in the queue, and a ring at these programs' doors; with ``new_key`` the room's session is over."""

        def write(txn: Transaction) -> None:
            if new_key:
                retire_keys(txn)
            enqueue(
                txn,
                RoomId(room_id),
                "m.room.message",
                {"msgtype": "m.text", "body": body},
                body=body,
                now_ms=time.time_ns() // 1_000_000,
            )

        self.change(device, write)
        for link in links:
            ring_once(device.paths.socket(link), [Change(Topic.OUTBOX, RoomId(room_id))])

    def change(self, device: Device, work: Callable[[Transaction], Any]) -> None:
        """Change a device's store in a transaction, as one of its programs would."""
        self._stores["alice" if device is self.alice else "bob"].write_now(work)

    def read_by(self, device: Device, body: str, *links: str) -> str:
        """Wait until these words can be read in these views, then return their event's id."""
        event_id = event_of(device, body)
        for link in links:
            wait_for(f"words in {device.name}'s {link} view", partial(shows, device, link, event_id))
        return event_id

    def session_of(self, device: Device, body: str) -> str:
        """The Megolm session that words were sent with, as the event on the wire says."""
        event_id = event_of(device, body)
        return str(device.ask("SELECT session_id FROM event WHERE event_id = ?", (event_id,))[0][0])

    def only(self, link: str) -> None:
        """Have just this program of Alice's running."""
        for one, program in PROCESSES.items():
            if one != link:
                self.alice.stop(program)
        if not self.alice.runs(PROCESSES[link]):
            self.alice.stop(PROCESSES[link])
            self.launch(link)
        self.ready(link)

    def ready(self, *links: str) -> None:
        """Wait until these programs, which were launched, have their connection."""
        for link in links:
            wait_for(f"Alice's {link}", partial(self.alice.is_syncing, link), every_s=0.05)

    def launch(self, link: str) -> None:
        """Start one of Alice's programs and do not wait for it."""
        if link == "app":
            self.alice.start("window", [sys.executable, "-m", "tandem_demo.window"])
        else:
            notifier = Path(sys.executable).with_name("tandem-notifier")
            self.alice.start("notifier", [str(notifier), "run"])

    def blow(self, link: str) -> Callable[[], None]:
        """A SIGKILL for this program, as it runs now."""
        pid = self.alice.running[PROCESSES[link]].pid
        return lambda: os.kill(pid, signal.SIGKILL)

    def bury(self, link: str) -> None:
        """Wait until a program that got its blow is gone."""
        wait_for("its end", lambda: not self.alice.runs(PROCESSES[link]))
        self.alice.stop(PROCESSES[link])

    def unusable(self) -> list[tuple[Any, ...]]:
        """To-device events that Alice's device had to set aside, and why."""
        return self.alice.ask("SELECT sender, error FROM inbox WHERE state = 2 ORDER BY seq")

    def forget_unusable(self) -> None:
        """What a test sent on purpose shall not be found by the next one."""
        self.change(self.alice, lambda txn: txn.execute("DELETE FROM inbox WHERE state = 2"))

    def _raw(self, device: Device) -> RawClient:
        token, user_id, device_id = device.ask("SELECT access_token, user_id, device_id FROM session")[0]
        return RawClient(self.server.base_url, token, user_id, device_id)


def await_words(device: Device, body: str) -> None:
    """Wait until a device has these words in clear."""
    sql = "SELECT 1 FROM event WHERE body = ? AND seal = 'opened'"
    wait_for(f"words on {device.name}", lambda: device.ask(sql, (body,)))


class Ear:
    """An action that changes nothing and keeps what passes: each request with its answer."""

    def __init__(self, then: Callable[[Answer], object] = lambda answer: None) -> None:
        self.heard: list[tuple[Asked, Answer]] = []
        self._then = then

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        self.heard.append((asked, answer))
        self._then(answer)
        return answer


def killing(blow: Callable[[], None], *, after: Callable[[Answer], bool] = lambda answer: True) -> KillAction:
    """The server has worked; the program that asked dies before it hears so, if the answer is such a one."""
    return KillAction(blow, after)


class KillAction:
    """Once; ``struck`` says that it has happened."""

    def __init__(self, blow: Callable[[], None], after: Callable[[Answer], bool]) -> None:
        self.struck = threading.Event()
        self._blow = blow
        self._after = after

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        if self.struck.is_set() or not self._after(answer):
            return answer
        self._blow()
        self.struck.set()
        return None


def shows(device: Device, link: str, event_id: str) -> bool:
    """Whether a connection's view shows this event in clear."""
    return bool(
        device.ask(
            "SELECT 1 FROM timeline JOIN event USING (event_id)"
            " WHERE conn = ? AND event_id = ? AND shown AND seal IN ('opened', 'plain')",
            (link, event_id),
        )
    )


def sealed_letters(answer: Answer) -> list[dict[str, Any]]:
    """The encrypted to-device events in an answer to sync."""
    block = answer.body.get("extensions", {}).get("to_device", {})
    return [event for event in block.get("events", []) if event["type"] == "m.room.encrypted"]


def olm_types(answer: Answer, to: Address) -> list[int]:
    """Of each sealed letter to this device: 0 begins a session, 1 goes on with one."""
    return [event["content"]["ciphertext"][to.curve25519]["type"] for event in sealed_letters(answer)]
