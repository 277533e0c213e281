"""Make .venv ready: Python packages by hash, the members, and the system libraries that Qt needs.

Plain standard library: it runs before anything is installed. Run again it does nothing but compare a stamp.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "bootstrap.log"
STAMP = VENV / "bootstrap.stamp"
LOCK = ROOT / "requirements" / "dev.txt"
MEMBERS = ("core", "resources", "notifier", "app", "homeserver", "appservice", "demo")

DEBIAN = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
    "libGLX.so.0": "libglx0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
    "libX11.so.6": "libx11-6",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
}
"""A shared library that Qt loads, and the Debian package that has it."""


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  the one file that an older Python may run
        _die(f"Python 3.11 or later is needed, this is {sys.version.split()[0]} (Debian package: python3)")
    if _is_ready():
        return 0
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("Another make is getting Tandem ready; waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        return 0 if _is_ready() else _make_ready()
    finally:
        os.close(folder)


def _is_ready() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text("utf-8") == _stamp()


def _make_ready() -> int:
    started = time.monotonic()
    _say("Getting Tandem ready; the first time takes two to four minutes, mostly downloads")
    STAMP.unlink(missing_ok=True)
    _make_venv()
    _install()
    _check_libraries()
    _check_fonts()
    STAMP.write_text(_stamp(), "utf-8")
    _say(f"Ready after {time.monotonic() - started:.0f} s")
    return 0


def _stamp() -> str:
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for path in (LOCK, Path(__file__), *(ROOT / member / "pyproject.toml" for member in MEMBERS)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_venv() -> None:
    if VENV.exists():
        if _is_whole():
            return
        _say("    .venv was left unfinished or comes from elsewhere; making it anew")
        shutil.rmtree(VENV)
    _say("1/4 Making a virtual environment in .venv")
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if probe.returncode:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _apt(["python3-venv", f"python{version}-venv"], "Python's venv module is missing")
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        _die(f"the virtual environment could not be made: {done.stdout.strip()} {done.stderr.strip()}")


def _is_whole() -> bool:
    """Whether .venv runs and was made in this place (its programs name their folder in the first lines)."""
    program = VENV / "bin" / "pip"
    if not PYTHON.exists() or not program.exists() or str(VENV) not in program.read_text("utf-8")[:400]:
        return False
    probe = [str(PYTHON), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _install() -> None:
    count = sum(
        1 for line in LOCK.read_text("utf-8").splitlines() if "==" in line and not line.startswith(" ")
    )
    _say(f"2/4 Installing up to {count} packages, each checked against its hash (1-3 min)")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)])
    _say("3/4 Installing Tandem itself, linked to this folder")
    editable = [word for member in MEMBERS for word in ("-e", str(ROOT / member))]
    _run([*pip, "--no-deps", "--no-build-isolation", *editable])


def _run(command: list[str]) -> None:
    """Run quietly into the log, with a sign of life every 20 seconds."""
    with LOG.open("a", encoding="utf-8") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        waited = 0
        while True:
            try:
                code = child.wait(20)
                break
            except subprocess.TimeoutExpired:
                waited += 20
                _say(f"    … still at it ({waited} s)")
    if code:
        tail = "\n".join(LOG.read_text("utf-8").splitlines()[-12:])
        _die(f"installing failed; the end of {LOG.relative_to(ROOT)}:\n{tail}")


def _check_libraries() -> None:
    _say("4/4 Checking the system libraries that Qt needs")
    tried: set[str] = set()
    while missing := _missing_libraries():
        unknown = sorted(name for name in missing if name not in DEBIAN)
        if unknown:
            _die(f"Qt cannot be loaded; shared libraries not found: {' '.join(unknown)}")
        if missing <= tried:
            _die(f"Qt still cannot be loaded after the packages were installed: {' '.join(sorted(missing))}")
        tried |= missing
        _apt(sorted({DEBIAN[name] for name in missing}), f"Qt needs {' '.join(sorted(missing))}")


def _missing_libraries() -> set[str]:
    """What ``ldd`` misses for the Qt modules and plug-ins we use, or else what a real start misses."""
    script = "import PySide6, pathlib; print(pathlib.Path(PySide6.__file__).parent)"
    where = subprocess.run([str(PYTHON), "-c", script], capture_output=True, text=True, check=True)
    folder = Path(where.stdout.strip())
    plugins = folder / "Qt" / "plugins" / "platforms"
    files = [folder / f"Qt{name}.abi3.so" for name in ("Core", "Gui", "Qml", "Quick", "Network", "Test")]
    files.append(plugins / "libqoffscreen.so")
    if os.environ.get("DISPLAY"):
        files.append(plugins / "libqxcb.so")
    missing: set[str] = set()
    for path in files:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
        missing |= {line.split()[0] for line in listed.stdout.splitlines() if "not found" in line}
    return missing or _missing_at_start()


def _missing_at_start() -> set[str]:
    """Start Qt without a display; returns the library it names, nothing when all is well."""
    script = "from PySide6.QtGui import QGuiApplication; import PySide6.QtQuick; QGuiApplication([])"
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "QT_QUICK_BACKEND": "software"}
    start = [str(PYTHON), "-c", script]
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return set()
    named = re.search(r"(lib[\w.+-]+\.so[\d.]*): cannot open shared object", done.stderr)
    if named is None:
        _die(f"Qt does not start: {' '.join(done.stderr.split()[-40:]) or f'exit status {done.returncode}'}")
    return {named[1]}


def _check_fonts() -> None:
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
    if not any(next(folder.rglob("*.[to]tf"), None) for folder in folders if folder.exists()):
        _apt(["fonts-dejavu-core"], "no font is installed")


def _apt(packages: list[str], why: str) -> None:
    """Install Debian packages as root; otherwise name them in one clear line and end."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _die(f"{why}. Install it first: sudo apt-get install {names}")
    _say(f"    {why}; installing the Debian packages {names} (up to 1 min)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, stdout=subprocess.DEVNULL)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[
            -1
        ]
        _die(f"{why}, and apt-get could not install {names}: {said}")


def _say(words: str) -> None:
    print(f"tandem: {words}", file=sys.stderr, flush=True)


def _die(words: str) -> NoReturn:
    _say(words)
    raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
