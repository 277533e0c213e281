"""Run a module as a program that ends with whoever holds the other end of its standard input.

``python -m tandem_demo.tied MODULE ARGS...``: for servers we start that know nothing of us. The kernel closes the
pipe when its holder ends, however it ends. (PR_SET_PDEATHSIG would follow the thread that started us, not the
process: a server started by a worker thread would end with that thread.)
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Watch standard input and run the module named by the first argument, as ``python -m`` does."""
    threading.Thread(target=_end_with_the_pipe, name="tied", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_the_pipe() -> None:
    while os.read(0, 512):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
