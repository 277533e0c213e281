"""Make an environment with the oldest Synapse that the module supports: by hash, once, in ``.venv-synapse-oldest``.

Plain Synapse and nothing of ours; the tests install the module's wheel there as an administrator does. Prints the
path of its Python. Run again it does nothing but compare a stamp.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "synapse-oldest.txt"
VENV = ROOT / ".venv-synapse-oldest"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "made.stamp"


def main() -> int:
    """Exit status 1, with the reason, when it could not be made."""
    folder = os.open(LOCK.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not (STAMP.exists() and STAMP.read_text("utf-8") == _stamp() and PYTHON.exists()):
            _make()
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or str(error)).strip()
        print(f"tandem: the oldest Synapse could not be installed: {reason[-400:]}", file=sys.stderr)
        return 1
    finally:
        os.close(folder)
    print(PYTHON)
    return 0


def _make() -> None:
    print(
        "tandem: installing the oldest supported Synapse for the tests (up to 1 min)",
        file=sys.stderr,
        flush=True,
    )
    shutil.rmtree(VENV, ignore_errors=True)
    _run(sys.executable, "-m", "venv", "--without-pip", str(VENV))
    words = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")
    pip = (sys.executable, "-m", "pip", "--python", str(PYTHON), "install", *words)
    _run(*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK))
    STAMP.write_text(_stamp(), "utf-8")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def _stamp() -> str:
    digest = hashlib.sha256(f"{VENV} {sys.version_info[:2]}".encode())
    digest.update(LOCK.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
