"""One Tandem device in the demo: its own folder, its programs as real processes, its store read from outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem_core.paths import ProfilePaths, paths_below

PROCESSES = {"notifier": "notifier", "app": "window"}
"""What a device calls the process of each program."""
_BIN = Path(sys.executable).parent


class DemoFailed(Exception):
    """A step of the story did not happen; the words say which."""


def wait_for(what: str, ask: Callable[[], Any], *, within_s: float = 60.0, every_s: float = 0.1) -> Any:
    """Ask until the answer is true-ish and return it; raises DemoFailed naming ``what`` after ``within_s``."""
    end = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise DemoFailed(f"waited {within_s:.0f} s in vain for {what}")
        time.sleep(every_s)


@dataclass
class Device:
    """A signed-in device: ``home`` is its TANDEM_HOME."""

    name: str
    home: Path
    headless: bool
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def paths(self) -> ProfilePaths:
        """The same paths that the programs of this device compute for themselves."""
        return paths_below(self.home)

    @property
    def popups_file(self) -> Path:
        return self.home / "popups.jsonl"

    def environment(self) -> dict[str, str]:
        """What its programs are started with: an own folder, no keyring, and no second notifier."""
        extra = {
            "TANDEM_HOME": str(self.home),
            "TANDEM_VAULT": "file",
            "TANDEM_NO_NOTIFIER": "1",
        }
        if self.headless:
            extra |= {
                "TANDEM_POPUP_LOG": str(self.popups_file),
                "QT_QPA_PLATFORM": "offscreen",
                "QT_QUICK_BACKEND": "software",
                "DBUS_SESSION_BUS_ADDRESS": "disabled:",
            }
        return os.environ | extra

    def ctl(self, *words: str, within_s: float = 60.0, password: str | None = None) -> Any:
        """Run ``tandemctl --json WORDS`` and return what it printed; raises DemoFailed with its reason."""
        done = subprocess.run(
            [str(_BIN / "tandemctl"), "--json", *words],
            env=self.environment(),
            input=password,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"tandemctl {words[0]} on {self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def start(self, program: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program of this device; its output goes to a file in the device's folder."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / f"{program}.out").open("a", encoding="utf-8")
        child = subprocess.Popen(
            command,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if program == "window" else log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        log.close()
        self.running[program] = child
        return child

    def trust_unconfirmed(self) -> None:
        """Write to devices, too, that their owner has not confirmed: for stories that are not about trust."""
        self.ctl("settings", "set", "encryption.exclude_unsigned", "false")

    def confirm_as_recommended(self) -> None:
        """Answer the question that a window asks once per account: whether others learn that messages came."""
        self.ctl("settings", "set", "receipts.answered", "true")

    def start_notifier(self) -> None:
        self.start("notifier", [str(_BIN / "tandem-notifier"), "run"])
        wait_for(f"{self.name}'s notifier", lambda: self.is_syncing("notifier"))

    def is_syncing(self, role: str) -> bool:
        """Whether this program says so itself, in the store."""
        try:
            row = self.ask("SELECT state, pid FROM program WHERE role = ?", (role,))
        except sqlite3.Error:
            return False
        child = self.running.get(PROCESSES[role])
        return bool(row and row[0][0] == "syncing" and child is not None and row[0][1] == child.pid)

    def runs(self, program: str) -> bool:
        child = self.running.get(program)
        return child is not None and child.poll() is None

    def stop(self, program: str, sig: signal.Signals = signal.SIGTERM, *, within_s: float = 15.0) -> None:
        """End one program by its pid and wait for it; SIGKILL if it does not go."""
        child = self.running.pop(program, None)
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(sig)
            try:
                child.wait(within_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()

    def stop_all(self) -> None:
        for program in list(self.running):
            self.stop(program)

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read the device's store from outside, read-only."""
        conn = sqlite3.connect(f"{self.paths.database.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            rows: list[tuple[Any, ...]] = conn.execute(sql, values).fetchall()
        finally:
            conn.close()
        return rows

    def popups(self) -> list[dict[str, Any]]:
        """The notifications shown so far, where they go to a log."""
        if not self.popups_file.exists():
            return []
        lines = self.popups_file.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
