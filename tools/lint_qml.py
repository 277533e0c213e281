"""Run qmllint, as PySide6 ships it, over our QML; any warning fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PySide6

ROOT = Path(__file__).resolve().parent.parent
QML = ROOT / "app" / "tandem_app" / "qml"


def main() -> int:
    """Exit status 1 when qmllint has anything to say."""
    files = sorted(QML.glob("**/*.qml"))
    if not files:
        print("lint_qml: no QML found", file=sys.stderr)
        return 1
    qt = Path(PySide6.__file__).parent
    tool = next(path for path in (qt / "qmllint", qt / "Qt" / "libexec" / "qmllint") if path.exists())
    command = [
        str(tool),
        "-I",
        str(qt / "Qt" / "qml"),
        "-I",
        str(QML),
        "--max-warnings",
        "0",
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    raise SystemExit(main())
