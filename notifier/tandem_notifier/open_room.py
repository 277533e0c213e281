"""A popup was clicked: open its room in the window, which is started if it does not run."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tandem_core.doorbell import ring_once
from tandem_core.errors import BadInput
from tandem_core.paths import DEFAULT_PROFILE, ProfilePaths
from tandem_core.types import Role
from tandem_core.uri import Address, Kind, to_uri
from tandem_notifier.popup import VERIFICATION, Click

log = logging.getLogger("tandem.popups")


class RoomOpener:
    """Asks the window that runs, or starts one."""

    def __init__(self, paths: ProfilePaths) -> None:
        self._paths = paths
        self._children: list[subprocess.Popen[bytes]] = []

    async def open(self, click: Click) -> None:
        """Lead to the event; says in the log if that cannot be done."""
        uri = ""  # what waits for an answer is shown by the window itself
        if not click.room_id.startswith(VERIFICATION):
            try:
                uri = to_uri(Address(Kind.EVENT, click.room_id, click.event_id))
            except BadInput:
                log.warning("the room of this popup has no address: %s", click.room_id)
                return
        message = {"kind": "open", "uri": uri, "token": click.token}
        if await asyncio.to_thread(ring_once, self._paths.socket(Role.APP), message):
            return
        program = find_program("tandem")
        if program is None:
            log.warning("the window cannot be opened: the program tandem is not installed")
            return
        # A window that was closed meanwhile is taken off the process table here.
        self._children = [child for child in self._children if child.poll() is None]
        try:
            self._children.append(
                await asyncio.to_thread(_start, program, self._paths.profile, uri, click.token)
            )
        except OSError as error:
            log.warning("the window cannot be started: %s", error.strerror)


def find_program(name: str) -> str | None:
    """A program of ours: beside this Python first, then where the system looks."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def _start(program: str, profile: str, uri: str, token: str | None) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID"):
        environment.pop(name, None)
    if token:
        environment |= {"XDG_ACTIVATION_TOKEN": token, "DESKTOP_STARTUP_ID": token}
    profile_words = [] if profile == DEFAULT_PROFILE else ["--profile", profile]
    return subprocess.Popen(
        [program, *profile_words, *([uri] if uri else [])],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
