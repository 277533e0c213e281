"""Alice's two programs on a machine that fails them, with Bob and a real Synapse that do not."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tandem_core.store.database import Database, Transaction
from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.synapse import SynapseServer
from tandem_demo.traffic import Pen
from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.scene import LINKS, Scene


class Duo(Scene):
    """A scene whose programs can be started with faults; ``clock`` says by how many ms Alice's machine is wrong."""

    def __init__(self, server: SynapseServer, proxy: FaultProxy, folder: Path, stack: ExitStack) -> None:
        self.clock = folder / "clock"
        self.is_mounted = False
        """Whether the store is on a disk of its own."""
        self.set_clock(0)
        super().__init__(server, proxy, folder, stack)

    def set_clock(self, wrong_by_ms: int) -> None:
        """Set the clock of Alice's machine, while its programs run or not."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(wrong_by_ms), "ascii")
        fresh.rename(self.clock)

    def start(self) -> None:
        """Have every program running as it should be."""
        if not self.bob.runs("notifier"):
            self.bob.start_notifier()
        for program in LINKS:
            if not self.alice.runs(PROCESSES[program]):
                self.launch(program)
        for program in LINKS:
            self.await_syncing(program)

    def launch(self, program: str, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start one of Alice's programs with these faults, and wait for nothing."""
        self.alice.stop(PROCESSES[program])
        command = [sys.executable, "-m", "tests.faults.program", program, "--clock", str(self.clock), *words]
        return self.alice.start(PROCESSES[program], [*prefix, *command])

    def await_syncing(self, program: str) -> None:
        if program == "app":
            self.window.do("wait_painted")
        wait_for(f"Alice's {program}", lambda: self.alice.is_syncing(program), every_s=0.05)

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End both of Alice's programs."""
        for program in LINKS:
            self.alice.stop(PROCESSES[program], sig)

    def write_from_bob(self) -> str:
        """Bob writes, with a new key, and nothing of Alice's is opened here."""
        return self.write("bob")

    def change(self, work: Callable[[Transaction], None]) -> None:
        """Change Alice's store as one of her programs would."""
        self._stores["alice"].write_now(work)

    def release(self) -> None:
        """Have no file of Alice's store open in this process."""
        self._stores["alice"].close()
        self._pens["alice"]._db.close()

    def take_hold(self) -> None:
        """Open Alice's store again."""
        for holder, name in ((self._stores, "alice"),):
            holder[name] = Database.open(self.alice.paths.database)
            self._stack.callback(holder[name].close)
        self._pens["alice"] = Pen(self.alice, self._stack)

    def pids(self) -> list[int]:
        return [self.alice.running[PROCESSES[program]].pid for program in LINKS]

    def window_says(self, words: str) -> bool:
        """Whether a person can read these words in the window, or hear them."""
        return any(words in str(name) for name in self.window.do("names"))

    def await_words(self, words: str) -> None:
        wait_for(f"{words!r} in the window", partial(self.window_says, words), every_s=0.2)

    def notifier_said(self, words: str) -> bool:
        return words in (self.alice.paths.log / "notifier.log").read_text("utf-8")

    def ends(self, program: str) -> int:
        """Wait for a program's own end; returns its exit status."""
        return self.alice.running[PROCESSES[program]].wait(40)

    def last_words(self, program: str) -> str:
        """What a program wrote last to the terminal."""
        return (self.alice.home / f"{PROCESSES[program]}.out").read_text("utf-8").splitlines()[-1]

    def waiting_at_server(self) -> int:
        """How many to-device events Synapse keeps for Alice's device."""
        user_id, device_id = self.alice.ask("SELECT user_id, device_id FROM session")[0]
        conn = sqlite3.connect(f"file:{self.server.folder}/homeserver.db?mode=ro", uri=True, timeout=30)
        try:
            row = conn.execute(
                "SELECT count(*) FROM device_inbox WHERE user_id = ? AND device_id = ?", (user_id, device_id)
            ).fetchone()
        finally:
            conn.close()
        return int(row[0])

    def assert_whole(self) -> None:
        """All that was written is everywhere, and no token ever led."""
        self.settle()
        self.assert_tokens_never_led()
        self.assert_signed_in_and_running()
