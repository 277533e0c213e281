"""Make the programs ready that the tests start: installed as root, otherwise named in one clear line.

What is installed here serves the tests only: a package's own services are neither started nor enabled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

DEBIAN = {
    "dbus-daemon": "dbus-daemon",
    "desktop-file-validate": "desktop-file-utils",
    "postgres": "postgresql",
    "redis-server": "redis-server",
}
"""A program that tests start, and the Debian package that has it."""

SERVICES = {"postgresql": "postgresql.service", "redis-server": "redis-server.service"}
"""The services that packages bring."""

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_POLICY = Path("/usr/sbin/policy-rc.d")


def main() -> int:
    """Exit status 1 when something is missing and cannot be installed."""
    missing = sorted({package for program, package in DEBIAN.items() if not _is_there(program)})
    if not missing:
        return 0
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"tandem: the tests need more. Install it first: sudo apt-get install {names}", file=sys.stderr)
        return 1
    print(f"tandem: installing what the tests need: {names} (up to 1 min)", file=sys.stderr, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, **_QUIET)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    with _no_service_starts():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"tandem: apt-get could not install {names}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return 1
    _disable(service for package, service in SERVICES.items() if package in missing)
    return 0


def _is_there(program: str) -> bool:
    # Debian keeps PostgreSQL's server out of the PATH, in a folder for each version.
    return shutil.which(program) is not None or any(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian asks this file whether a package may start its services."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", "utf-8")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _disable(services: Iterator[str]) -> None:
    if Path("/run/systemd/system").exists():
        for service in services:
            subprocess.run(["systemctl", "disable", "--now", service], check=False, **_QUIET)


if __name__ == "__main__":
    raise SystemExit(main())
