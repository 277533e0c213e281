"""Start the background notifier as a program of its own, when the settings want it and it does not run."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tandem_core import settings
from tandem_core.role import is_running, is_stood_in
from tandem_core.store import session as sessions
from tandem_core.types import Role

if TYPE_CHECKING:
    from tandem_core.paths import ProfilePaths
    from tandem_core.store.database import Database

log = logging.getLogger("tandem.app.notifier")

OFF = "TANDEM_NO_NOTIFIER"
"""Set in the environment, the window leaves the notifier alone (tests, a service that starts it)."""


async def start_if_wanted(paths: ProfilePaths, db: Database) -> bool:
    """Start ``tandem-notifier run`` unless it runs; returns whether it was started.

    It outlives the window. A new program is executed, never forked off: a fork after vodozemac was used
    would repeat the parent's random numbers (law 5).
    """
    if os.environ.get(OFF) or not await db.read(settings.get, "background.notifier"):
        return False
    if _runs(paths):
        return False
    command = notifier_command(paths.profile)
    if command is None:
        log.info("no tandem-notifier is installed beside this program")
        return False
    await asyncio.to_thread(_spawn, command)
    return True


async def follow_setting(paths: ProfilePaths, db: Database) -> None:
    """The setting has changed: start the notifier, or have the one that runs end in its own good order."""
    if os.environ.get(OFF):
        return
    if await db.read(settings.get, "background.notifier"):
        await start_if_wanted(paths, db)
        return
    program = await db.read(sessions.program, Role.NOTIFIER)
    # Its lock tells that it runs now, so the process number it wrote is its own.
    if program is not None and program.pid and _runs(paths):
        os.kill(program.pid, signal.SIGTERM)
        log.info("asked the notifier (process %d) to end", program.pid)


def _runs(paths: ProfilePaths) -> bool:
    """Whether the notifier itself runs; it waits until a command in its place has ended."""
    return is_running(paths, Role.NOTIFIER) and not is_stood_in(paths, Role.NOTIFIER)


def notifier_command(profile: str) -> list[str] | None:
    """The words that start the notifier of a profile; None where it is not installed."""
    beside = Path(sys.executable).with_name("tandem-notifier")
    program = str(beside) if beside.exists() else shutil.which("tandem-notifier")
    return [program, "--profile", profile, "run"] if program else None


def _spawn(command: list[str]) -> None:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
    )
    log.info("started the notifier as process %d", process.pid)
    # It is meant to outlive us: no warning that it was never waited for.
    process.returncode = 0
