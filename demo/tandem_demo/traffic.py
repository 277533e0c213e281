"""Two hundred messages by both sides while programs are started, closed and killed; a ledger of what was written."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tandem_core.doorbell import ring_once
from tandem_core.sending import enqueue
from tandem_core.store.database import Database
from tandem_core.types import Change, RoomId, Topic
from tandem_demo.device import Device, wait_for
from tandem_demo.tell import Teller
from tandem_demo.world import World

_KILLS_EVERY = 10


@dataclass(frozen=True, slots=True)
class Written:
    """One message as its author wrote it; ``body`` is unique."""

    author: str
    room_id: str
    body: str


class Pen:
    """Writes messages the way tandemctl does: a row in the author's store and a ring."""

    def __init__(self, device: Device, stack: ExitStack) -> None:
        self.device = device
        self._db = Database.open(device.paths.database)
        stack.callback(self._db.close)

    def write(self, room_id: str, body: str) -> None:
        self._db.write_now(
            enqueue,
            RoomId(room_id),
            "m.room.message",
            {"msgtype": "m.text", "body": body},
            body=body,
            html=None,
            now_ms=time.time_ns() // 1_000_000,
        )
        for role in ("app", "notifier"):
            ring_once(self.device.paths.socket(role), [Change(Topic.OUTBOX, RoomId(room_id))])


def write_messages(
    world: World, count: int, seed: int, tell: Teller, open_window: Callable[[], None]
) -> list[Written]:
    """Write ``count`` messages, about half by each side; every tenth meets a program that is closed or killed.

    All programs run again when this returns. ``open_window`` starts Alice's window.
    """
    rng = random.Random(seed)
    ledger: list[Written] = []
    happened: dict[str, int] = {}
    with ExitStack() as stack:
        pens = [Pen(device, stack) for device in world.devices]
        for number in range(count):
            pen = pens[0] if number % 2 == 0 else rng.choice(pens[1:])
            room = world.direct if rng.random() < 0.6 else world.group
            body = f"{pen.device.name} writes line {number} ({rng.getrandbits(32):08x})"
            ledger.append(Written(pen.device.name, room, body))
            pen.write(room, body)
            if number % _KILLS_EVERY == _KILLS_EVERY - 1:
                deed = _disturb(world, rng, open_window)
                happened[deed] = happened.get(deed, 0) + 1
                tell.line(f"{number + 1} of {count} written; {deed}")
            time.sleep(rng.uniform(0.0, 0.12))
    tell.line("In all: " + ", ".join(f"{deed} x{times}" for deed, times in sorted(happened.items())))
    return ledger


def _disturb(world: World, rng: random.Random, open_window: Callable[[], None]) -> str:
    """Close, kill or start one program; what is down comes back at a later turn."""
    device = world.alice if rng.random() < 0.6 else rng.choice([world.phone, world.laptop])
    program = rng.choice(["window", "notifier"]) if device is world.alice else "notifier"
    if not device.runs(program):
        _start(device, program, open_window)
        return f"{device.name}'s {program} started"
    if rng.random() < 0.35:
        device.stop(program)
        return f"{device.name}'s {program} closed"
    device.stop(program, signal.SIGKILL)
    return f"{device.name}'s {program} killed (kill -9)"


def _start(device: Device, program: str, open_window: Callable[[], None]) -> None:
    if program == "window":
        open_window()
    else:
        device.start_notifier()


def settle(world: World, ledger: list[Written], open_window: Callable[[], None], tell: Teller) -> None:
    """Start what is down and wait until every queue is empty and every message is readable everywhere."""
    for device in world.devices:
        if not device.runs("notifier"):
            device.start_notifier()
    if not world.alice.runs("window"):
        open_window()
    bodies = {written.body for written in ledger}

    def is_quiet() -> bool:
        for device in world.devices:
            if device.ask("SELECT 1 FROM send_queue WHERE state IN ('queued','sending') LIMIT 1"):
                return False
            if device.ask("SELECT 1 FROM inbox WHERE state = 0 LIMIT 1") or device.ask(
                "SELECT 1 FROM gap LIMIT 1"
            ):
                return False
            if not bodies <= {str(row[0]) for row in device.ask("SELECT body FROM event")}:
                return False
        return not world.alice.ask("SELECT 1 FROM receipt_owed WHERE state = 'owed' LIMIT 1")

    try:
        wait_for("quiet", is_quiet, within_s=120, every_s=0.5)
    except Exception as error:  # the observer counts what is missing; this only stops waiting
        tell.line(f"Not everything settled: {error}")
