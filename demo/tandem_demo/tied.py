"""Run a module or a program that ends with whoever holds the other end of its standard input.

``python -m tandem_demo.tied MODULE ARGS...``: for servers we start that know nothing of us. The kernel closes the
pipe when its holder ends, however it ends. (PR_SET_PDEATHSIG would follow the thread that started us, not the
process: a server started by a worker thread would end with that thread.)

``python -m tandem_demo.tied --program [--user NAME] PROGRAM ARGS...``: the same for a program that is not Python's,
as another user if we are root. Ended by SIGTERM, it interrupts the program (SIGINT), which those we start take for
a request to end soon.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any


def command(python: str = sys.executable) -> list[str]:
    """The first words of a command that runs this file, by a Python that may know nothing of our packages."""
    if python == sys.executable:
        return [python, "-m", "tandem_demo.tied"]
    # Isolated: neither PYTHONPATH nor this folder, in which a file is named synapse.
    return [python, "-I", os.path.abspath(__file__)]


def main() -> None:
    """Watch standard input and run what the arguments name, a module as ``python -m`` does."""
    del sys.argv[0]
    if sys.argv[0] == "--program":
        raise SystemExit(_run_program(sys.argv[1:]))
    _watch(lambda: os.kill(os.getpid(), signal.SIGKILL))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _run_program(words: list[str]) -> int:
    as_user: dict[str, Any] = {}
    if words[0] == "--user":
        as_user = {"user": words[1], "group": _group_of(words[1]), "extra_groups": []}
        words = words[2:]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, **as_user)

    def end(*_: object) -> None:
        child.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end)
    _watch(end)
    return child.wait()


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _watch(end: Callable[[], object]) -> None:
    def read() -> None:
        while os.read(0, 512):
            pass
        end()

    threading.Thread(target=read, name="tied", daemon=True).start()


if __name__ == "__main__":
    main()
