"""A world whose programs can be told to die at a crash point, and the traffic that brings them there."""

from __future__ import annotations

import contextlib
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tandem_core.store.database import Transaction
from tandem_demo.device import DemoFailed, Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tandem_demo.world import World
from tests.torture import ledger
from tests.torture.points import points

NAMES = {"notifier": "notifier", "app": "window"}
"""What a device calls the process of a program."""
_QUEUES = 4
_PROMPT = 3
"""Of the queues, those that are worked off at once."""


@dataclass(frozen=True, slots=True, order=True)
class Aim:
    """Where a program is to die: the phase of a point, the so-many-th time that it comes by."""

    program: str
    point: str
    phase: str
    times: int = 1
    blow: str = "KILL"
    """The signal that it is to get: KILL, or STOP."""

    @property
    def step(self) -> str:
        return f"{self.point} {self.phase}"


def aims(program: str) -> list[Aim]:
    """Every phase of every point of a program, once."""
    steps = {(point.name, phase) for point in points(program) for phase in point.phases}
    return sorted(Aim(program, name, phase) for name, phase in steps)


class Scene:
    """Alice's two programs under fire; Bob's devices write to her and read what she writes."""

    def __init__(self, world: World, folder: Path, seed: int, stack: ExitStack) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.written = 0
        self.kills = 0
        self._folder = folder
        self._pens = {device.name: Pen(device, stack) for device in world.devices}
        folder.mkdir(exist_ok=True)
        for program in NAMES:
            (folder / program).mkdir(exist_ok=True)
            names = {p.name for p in points(program) if not p.name.startswith(("commit ", "popup"))}
            (folder / program / "requests.txt").write_text("\n".join(sorted(names)), "utf-8")
        ledger.watch(world.server.folder / "homeserver.db")
        self.plain = world.alice.ctl("create", "--name", "Open words", "--plain")["room_id"]
        self.guest: Device | None = None
        """Bob's newest device, which only signs in."""
        self._newcomers = 0
        self._password = secrets.token_urlsafe(12)
        warden = RawClient(world.server.base_url, world.admin_token)
        bob = quote(f"@bob:{world.server.server_name}")
        asked = {"password": self._password, "logout_devices": False}
        warden.ok("PUT", f"/_synapse/admin/v2/users/{bob}", asked)

    @property
    def alice(self) -> Device:
        return self.world.alice

    def start(self, program: str, aim: Aim | None = None) -> None:
        """Start one of Alice's programs, perhaps with a place to die at; does not wait for it."""
        mark = [] if aim is None else [aim.point, aim.phase, str(aim.times), aim.blow]
        command = [sys.executable, "-m", "tests.torture.program", program, str(self._trace(program)), *mark]
        self.alice.start(NAMES[program], command)

    def reached(self, program: str) -> set[str]:
        """The steps that this program has come by so far."""
        trace = self._trace(program)
        lines = trace.read_text("utf-8").splitlines() if trace.exists() else []
        return {line for line in lines if not line.startswith("SIG")}

    def is_dead(self, program: str) -> bool:
        return not self.alice.runs(NAMES[program])

    def is_stopped(self, program: str) -> bool:
        """Whether a program was suspended (SIGSTOP)."""
        child = self.alice.running[NAMES[program]]
        return Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"

    def bury(self, program: str) -> None:
        """Take a program that has ended off the table; one that has not is killed."""
        self.alice.stop(NAMES[program], signal.SIGKILL)

    def ready(self, program: str) -> None:
        """Have one of Alice's programs running, without any aim, and syncing."""
        name = NAMES[program]
        if not self.alice.runs(name):
            self.alice.stop(name)
            self.start(program)
        if program == "app":
            WindowDriver(self.alice).do("wait_painted")
        wait_for(f"Alice's {name}", lambda: self.alice.is_syncing(program))

    def make_ready(self) -> None:
        """Have everything running."""
        for device in (self.world.phone, self.world.laptop):
            if not device.runs("notifier"):
                device.stop("notifier")
                device.start_notifier()
        for program in NAMES:
            self.ready(program)

    def outlives_start(self, program: str) -> bool:
        """Whether a program with an aim lives until it syncs."""
        name = NAMES[program]
        end = time.monotonic() + 20
        while self.alice.runs(name) and time.monotonic() < end:
            if self.alice.is_syncing(program):
                return True
            time.sleep(0.02)
        return False

    def attempt(self, deed: Callable[[], object]) -> None:
        """Do what a program may die of."""
        with contextlib.suppress(DemoFailed, OSError):
            deed()

    def stir(self, *, new_keys: bool = True) -> None:
        """One round of traffic: both sides write in both rooms, with keys that must travel first."""
        world = self.world
        for device in world.devices:
            if new_keys:
                self.change(device, _retire_keys)
        for device, room in (
            (world.phone, world.direct),
            (world.alice, world.direct),
            (world.laptop, world.group),
            (world.alice, world.group),
        ):
            self.write(device.name, room)

    def next(self) -> str:
        """Words that nobody has written before."""
        self.written += 1
        return f"{self.written} {self.rng.getrandbits(32):08x}"

    def write(self, author: str, room_id: str) -> str:
        """Have a device write; returns its words."""
        body = f"{author} {self.next()}"
        self._pens[author].write(room_id, body)
        return body

    def write_from_afar(self) -> str:
        """Bob's phone writes to Alice; nothing of Alice's is touched."""
        self.change(self.world.phone, _retire_keys)
        return self.write("bob-phone", self.world.direct)

    def await_event(self, body: str) -> None:
        """Wait until Alice's device has these words as an event, opened."""
        wait_for(
            "a message on Alice's device",
            lambda: self.alice.ask("SELECT 1 FROM event WHERE body = ? AND seal = 'opened'", (body,)),
        )

    def change(self, device: Device, work: Callable[[Transaction], None]) -> None:
        """Change a device's store as one of its programs would, in a transaction."""
        self._pens[device.name]._db.write_now(work)

    def newcomer(self) -> None:
        """Bob signs in on one more device; the one before signs out."""
        if self.guest is not None:
            self.guest.ctl("logout")
        self._newcomers += 1
        device = Device(f"bob-new-{self._newcomers}", self._folder / f"new{self._newcomers}", headless=True)
        device.home.mkdir(mode=0o700)
        device.ctl(
            "login", "--homeserver", self.world.server.base_url, "--user", "bob", "--password-file", "-",
            "--device-name", "New", password=self._password,
        )  # fmt: skip
        self.guest = device

    def compare(self) -> ledger.Findings:
        """The ledger's word, once everything is at rest."""
        self._rest()
        world = self.world
        return ledger.compare(
            world.server.folder / "homeserver.db",
            {device.name: device.paths.database for device in world.devices},
            {device.name: device.popups_file for device in world.devices},
        )

    def empty_queues(self) -> None:
        """Wait until all that has come in is processed and all that Alice wrote is sent."""
        wait_for("empty queues", lambda: not any(self._queues(self.alice)[:_PROMPT]), every_s=0.02)

    def _rest(self) -> None:
        """Wait until no queue holds anything and nothing new has come for a second.

        Receipts are not waited for: they are held back on purpose.
        """
        before: list[tuple[int, ...]] = []
        end = time.monotonic() + 90
        while time.monotonic() < end:
            now = [self._queues(device) for device in self.world.devices]
            if now == before and not any(any(queue[:_QUEUES]) for queue in now):
                return
            before = now
            time.sleep(1)

    def _queues(self, device: Device) -> tuple[int, ...]:
        return tuple(
            int(device.ask(f"SELECT count(*) FROM {what}")[0][0])
            for what in (
                "send_queue WHERE state IN ('queued', 'sending')",
                "inbox WHERE state = 0",
                "to_device_out WHERE done = 0",
                "notification WHERE state = 'due'",
                "event",
                "timeline",
            )
        )

    def _trace(self, program: str) -> Path:
        return self._folder / program / "trace"


def _retire_keys(txn: Transaction) -> None:
    txn.execute("UPDATE megolm_outbound SET retired = 1")
