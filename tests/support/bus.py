"""A session bus of the tests' own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>{services}
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


class Bus:
    """A real dbus-daemon on a private socket; ``stop`` and ``start`` as a session would.

    ``services`` is a folder of D-Bus service files, whose programs the bus starts when they are called.
    """

    def __init__(self, folder: Path, services: Path | None = None) -> None:
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        self._config = folder / "bus.conf"
        self._config.write_text(
            _CONFIG.format(
                socket=self.socket, services=f"<servicedir>{services}</servicedir>" if services else ""
            )
        )
        self._daemon: subprocess.Popen[str] | None = None

    def start(self) -> None:
        program = shutil.which("dbus-daemon")
        if program is None:
            pytest.fail("needs dbus-daemon (Debian: apt install dbus-daemon)")
        self._daemon = subprocess.Popen(
            [program, f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline().startswith("unix:")

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()
            assert self._daemon.stdout is not None
            self._daemon.stdout.close()
            self._daemon = None
            self.socket.unlink(missing_ok=True)
