"""Make the programs ready that the tests start: installed as root, otherwise named in one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

DEBIAN = {"dbus-daemon": "dbus-daemon", "desktop-file-validate": "desktop-file-utils"}
"""A program that tests start, and the Debian package that has it."""


def main() -> int:
    """Exit status 1 when something is missing and cannot be installed."""
    missing = sorted({package for program, package in DEBIAN.items() if shutil.which(program) is None})
    if not missing:
        return 0
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"tandem: the tests need more. Install it first: sudo apt-get install {names}", file=sys.stderr)
        return 1
    print(f"tandem: installing what the tests need: {names} (up to 1 min)", file=sys.stderr, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, **quiet)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"tandem: apt-get could not install {names}: {done.stderr.strip()[-200:]}", file=sys.stderr)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    raise SystemExit(main())
