"""A program of ours that dies at a crash point.

``python -m tests.torture.program app|notifier TRACE [POINT PHASE TIMES SIGNAL]``: the product's own ``main``,
unchanged; the points are put around it from here, so that a shipped program carries nothing of them. Each step that
is reached for the first time is a line in TRACE, beside which ``requests.txt`` names the known requests. With a
point, the program sends itself SIGNAL (KILL or STOP) when it reaches that phase of it for the TIMES-th time.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture.points import SEND_TO_DEVICE, function_name, template

_asked: contextvars.ContextVar[str] = contextvars.ContextVar("asked", default="")


class Reached:
    """Notes what is reached, and dies where it is told to."""

    def __init__(self, trace: Path, mark: str | None, times: int, blow: signal.Signals) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._mark = mark
        self._times = times
        self._blow = blow
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str, phase: str) -> None:
        step = f"{name} {phase}"
        with self._lock:
            self._counted[step] += 1
            if self._counted[step] == 1:
                os.write(self._trace, f"{step}\n".encode())
            if step == self._mark and self._counted[step] == self._times:
                os.write(self._trace, f"{self._blow.name} {step}\n".encode())
                # To this very thread: a SIGSTOP for the process may find another one first, and this one goes on.
                signal.pthread_kill(threading.get_ident(), self._blow)


def watch_commits(reached: Reached) -> None:
    """Points inside and after every transaction."""
    from tandem_core.store.database import Database

    transact: Any = Database._transact

    def watched(self: Database, conn: Any, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        name = f"commit {function_name(work)}"

        def inside(txn: Any, *args: Any, **kwargs: Any) -> Any:
            result = work(txn, *args, **kwargs)
            txn.at_commit.append(lambda: reached(name, "inside"))
            return result

        result = transact(self, conn, inside, *args, **kwargs)
        reached(name, "after")
        return result

    Database._transact = watched  # type: ignore[method-assign]


def watch_requests(reached: Reached, known: list[str]) -> None:
    """Points before, within and after every request."""
    from tandem_core import http
    from tandem_core.sync import first

    exchange: Any = http.Http._exchange
    request_now: Any = http.request_now
    bounded = http._bounded

    async def watched(self: http.Http, method: str, path: str, *rest: Any) -> Any:
        name = template(method, path, known)
        reached(name, "before")
        _asked.set(name)
        answer = await exchange(self, method, path, *rest)
        reached(name, "answered")
        return answer

    def watched_now(base_url: str, token: str | None, method: str, path: str, *rest: Any, **more: Any) -> Any:
        name = template(method, path, known)
        reached(name, "before")
        answer = request_now(base_url, token, method, path, *rest, **more)
        reached(name, "answered")
        return answer

    async def watched_body(answer: Any) -> bytes:
        if name := _asked.get():
            reached(name, "body")
        return await bounded(answer)

    http.Http._exchange = watched  # type: ignore[method-assign]
    http._bounded = watched_body
    first.request_now = watched_now


def watch_popups(reached: Reached) -> None:
    """Points before and after a notification is put on the screen, which is a file here."""
    from tandem_notifier.popups.log import LogPopups

    show: Any = LogPopups.show

    async def watched(self: LogPopups, *args: Any) -> Any:
        reached("popup", "before")
        shown = await show(self, *args)
        reached("popup", "after")
        return shown

    LogPopups.show = watched  # type: ignore[method-assign]


def send_singly() -> None:
    """One request to each device, as a room of some hundred devices would need: there is a k-th of n."""
    from tandem_core.crypto import group

    group.RECIPIENTS_PER_REQUEST = 1


def main() -> int:
    program, trace, *aim = sys.argv[1:]
    mark, times, blow = (f"{aim[0]} {aim[1]}", int(aim[2]), f"SIG{aim[3]}") if aim else (None, 0, "SIGKILL")
    reached = Reached(Path(trace), mark, times, signal.Signals[blow])
    known = Path(trace).with_name("requests.txt").read_text("utf-8").splitlines()
    watch_commits(reached)
    watch_requests(reached, known)
    if mark is not None and mark.startswith(SEND_TO_DEVICE):
        send_singly()
    if program == "notifier":
        watch_popups(reached)
        from tandem_notifier.main import main as notifier

        return notifier(["run"])
    from tandem_demo.window import main as window

    return window()


if __name__ == "__main__":
    sys.exit(main())
