"""The window as a process of its own, and what it tells."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable

# The product's own main; what the window shows is told on stdout, a line a change.
TOLD = """
import sys
from tandem_app.main import main
def tell(window):
    window.windowTitleChanged.connect(lambda *_: print("title", window.title(), flush=True))
    def painted():
        window.frameSwapped.disconnect(painted)
        print("painted", flush=True)
    window.frameSwapped.connect(painted)
sys.exit(main(sys.argv[1:], on_window=tell))
"""
Start = Callable[..., subprocess.Popen[str]]
"""A function of pytest's: ``start(*arguments)`` gives the running window."""


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line a process says; it must say one before patience ends."""
    assert process.stdout is not None
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            return line.strip()
        assert process.poll() is None, process.communicate()[1]
    raise AssertionError("nothing was said")
