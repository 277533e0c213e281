"""Hold what no linter holds: the layout's rules and that the lock names no host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_INIT = ("app", "appservice", "notifier", "packaging", "resources", "tests")
PACKAGES = (
    "core/tandem_core",
    "app/tandem_app",
    "notifier/tandem_notifier",
    "resources/tandem_resources",
    "homeserver/tandem_synapse",
    "appservice/tandem_appservice",
    "demo/tandem_demo",
)
LONG = 500
LONGER = {"homeserver/tandem_synapse/seams.py": 900}
"""One duty that is longer: who adapts the module to a new Synapse is to look in one file."""


def main() -> int:
    """Print each broken rule; exit status 1 if there is one."""
    faults = [
        f"{folder}/__init__.py hides other packages"
        for folder in NO_INIT
        if (ROOT / folder / "__init__.py").exists()
    ]
    faults += [
        f"{package} lacks py.typed" for package in PACKAGES if not (ROOT / package / "py.typed").exists()
    ]
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        for number, line in enumerate(lock.read_text("utf-8").splitlines(), 1):
            if re.search(r"://|--index|--find-links|^-e", line):
                faults.append(f"{lock.relative_to(ROOT)}:{number} names a host or a folder")
    for name in _tracked():
        path = ROOT / name
        if path.name == "package-lock.json" and '"resolved"' in path.read_text("utf-8"):
            faults.append(f"{name} names hosts (npm: omit-lockfile-registry-resolved)")
        if path.suffix in (".py", ".qml") and path.exists():
            lines = len(path.read_text("utf-8").splitlines())
            most = LONGER.get(name, LONG)
            if lines > most:
                faults.append(f"{name} has {lines} lines; a file has one duty and at most {most} lines")
    for fault in faults:
        print(f"check_tree: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


if __name__ == "__main__":
    raise SystemExit(main())
