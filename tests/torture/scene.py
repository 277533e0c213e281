"""A world whose programs can be told to die at a crash point, and the traffic that brings them there."""

from __future__ import annotations

import contextlib
import random
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tandem_core.store.database import Transaction
from tandem_demo.device import PROCESSES, DemoFailed, Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tandem_demo.world import World
from tests.support.keys import retire_keys
from tests.torture import ledger
from tests.torture.aims import Aim
from tests.torture.points import points

_QUEUES = 4
_PROMPT = 3
"""Of the queues, those that are worked off at once."""
_PATIENCE_S = 60.0
_REST_WITHIN_S = 90.0
_REST_S = 1.0


class Scene:
    """Alice's two programs under fire; Bob's devices write to her and read what she writes."""

    def __init__(self, world: World, folder: Path, seed: int, stack: ExitStack) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.written = 0
        self._folder = folder
        for device in world.devices:
            device.trust_unconfirmed()  # the newcomers of the stages only sign in
        self._pens = {device.name: Pen(device, stack) for device in world.devices}
        folder.mkdir(exist_ok=True)
        for program in PROCESSES:
            (folder / program).mkdir(exist_ok=True)
            names = {p.name for p in points(program) if not p.name.startswith(("commit ", "popup"))}
            (folder / program / "requests.txt").write_text("\n".join(sorted(names)), "utf-8")
        ledger.watch(self._server_db)
        self.ledger = ledger.Ledger(self._server_db)
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

    @property
    def _server_db(self) -> Path:
        return self.world.server.folder / "homeserver.db"

    def put_between(self, base_url: str) -> None:
        """Have Alice's programs talk to the server by this address from their next start on."""
        for program in PROCESSES:
            self.bury(program)

        def move(txn: Transaction) -> None:
            txn.execute("UPDATE session SET homeserver = ?", (base_url,))

        self.change(self.alice, move)

    def start(self, program: str, aim: Aim | None = None) -> None:
        """Start one of Alice's programs, perhaps with a place to die at; does not wait for it."""
        mark = [] if aim is None else [aim.point, aim.phase, str(aim.times), aim.blow]
        command = [sys.executable, "-m", "tests.torture.program", program, str(self._trace(program)), *mark]
        self.alice.start(PROCESSES[program], command)

    def reached(self, program: str) -> set[str]:
        """The steps that this program has come by so far."""
        trace = self._trace(program)
        lines = trace.read_text("utf-8").splitlines() if trace.exists() else []
        return {line for line in lines if not line.startswith("SIG")}

    def is_dead(self, program: str) -> bool:
        return not self.alice.runs(PROCESSES[program])

    def revive(self) -> None:
        """Start what is down, without waiting for it."""
        for program in PROCESSES:
            if self.is_dead(program):
                self.bury(program)
                self.start(program)
        for device in (self.world.phone, self.world.laptop):
            if not device.runs("notifier"):
                device.stop("notifier")
                device.start("notifier", [str(Path(sys.executable).parent / "tandem-notifier"), "run"])

    def is_stopped(self, program: str) -> bool:
        """Whether a program was suspended (SIGSTOP)."""
        child = self.alice.running[PROCESSES[program]]
        return Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"

    def bury(self, program: str) -> None:
        """Take a program that has ended off the table; one that has not is killed."""
        self.alice.stop(PROCESSES[program], signal.SIGKILL)

    def ready(self, program: str) -> None:
        """Have one of Alice's programs running, without any aim, and syncing."""
        name = PROCESSES[program]
        if not self.alice.runs(name):
            self.alice.stop(name)
            self.start(program)
        if program == "app":
            self._wait_painted()
        wait_for(f"Alice's {name}", lambda: self.alice.is_syncing(program))

    def make_ready(self) -> None:
        """Have everything running and syncing."""
        self.revive()
        for program in PROCESSES:
            self.ready(program)
        for device in (self.world.phone, self.world.laptop):
            wait_for(f"{device.name}'s notifier", partial(device.is_syncing, "notifier"))

    def _wait_painted(self) -> None:
        """A window that hangs is ended after a minute, so that it is told of and not waited for."""
        child = self.alice.running[PROCESSES["app"]]
        patience = threading.Timer(_PATIENCE_S, child.kill)
        patience.start()
        try:
            WindowDriver(self.alice).do("wait_painted")
        finally:
            patience.cancel()

    def outlives_start(self, program: str) -> bool:
        """Whether a program with an aim lives until it syncs."""
        name = PROCESSES[program]
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
                self.change(device, retire_keys)
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
        self.change(self.world.phone, retire_keys)
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
        """The ledger's word, once everything is at rest; raises DemoFailed if it does not come to rest."""
        self._rest()
        devices = self.world.devices
        return self.ledger.compare(
            {device.name: device.paths.database for device in devices},
            {device.name: device.popups_file for device in devices},
        )

    def await_first(self) -> None:
        """Start what is down, and wait until the first of Alice's programs is ready that was not.

        Not ready is also what was started a moment ago, after an earlier blow.
        """
        down = [
            program for program in PROCESSES if self.is_dead(program) or not self.alice.is_syncing(program)
        ]
        self.revive()
        if down:
            wait_for(
                "one of Alice's programs",
                lambda: any(self.alice.is_syncing(program) for program in down),
                every_s=0.02,
            )

    def catch_up(self) -> str:
        """Wait until Alice has all that the server has accepted for her, and what she wrote is sent.

        Returns what was waited for at the last.
        """
        waiting = ""

        def is_level() -> bool:
            nonlocal waiting
            counts = (*self._queues(self.alice)[:_PROMPT], *self.ledger.behind(self.alice.paths.database))
            named = zip(
                ("to send", "letters to read", "keys to send", "letters", "events"), counts, strict=True
            )
            if any(counts):
                waiting = ", ".join(f"{count} {name}" for name, count in named if count)
            return not any(counts)

        wait_for("Alice to have caught up", is_level, every_s=0.02)
        return waiting

    def _rest(self) -> None:
        """Wait until no queue holds anything and nothing new has come for a second.

        Receipts are not waited for: they are held back on purpose.
        """
        before: list[tuple[int, ...]] = []
        end = time.monotonic() + _REST_WITHIN_S
        since = time.monotonic()
        while time.monotonic() < end:
            now = [self._queues(device) for device in self.world.devices]
            if now != before or any(any(queue[:_QUEUES]) for queue in now):
                since = time.monotonic()
            elif time.monotonic() - since > _REST_S:
                return
            before = now
            time.sleep(0.15)
        waiting = {device.name: self._queues(device)[:_QUEUES] for device in self.world.devices}
        raise DemoFailed(f"no rest within {_REST_WITHIN_S:.0f} s; what waits is {waiting}")

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
