"""How long the window waits to write while the notifier works off a backlog."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.drain import backlog
from bench.measure import Figure
from tandem_core.crypto import drain
from tandem_core.store.database import Database, Transaction
from tandem_core.store.session import set_fact

_EVERY_S = 0.01
_BAR_MS = 20.0


def lock_wait(events: int) -> list[Figure]:
    """The 95th percentile of the wait from asking to write until the transaction is ours."""
    with tempfile.TemporaryDirectory() as folder:
        db, state = backlog(Path(folder), events)
        here, there = multiprocessing.get_context("spawn").Pipe()
        window = multiprocessing.get_context("spawn").Process(target=_write, args=(there, folder))
        window.start()
        here.recv()
        while db.write_now(drain.drain, state, 2):
            pass
        here.send("over")
        waits: list[float] = here.recv()
        window.join(10)
        db.close()
    value = statistics.quantiles(waits, n=20)[-1] * 1000
    how = (
        f"95th percentile of {len(waits)} writes while {events} room keys are drained; floor: the bar itself"
    )
    return [
        Figure(
            "wait for the write lock beside a draining backlog, p95",
            value, _BAR_MS, "ms", value / _BAR_MS, 1.0, how,
        )
    ]  # fmt: skip


def _write(pipe: Connection, folder: str) -> None:
    """The window: a small write now and then, as drafts, read markers and messages make."""
    db = Database.open(Path(folder) / "tandem.db")
    waits: list[float] = []
    pipe.send("ready")
    while not pipe.poll():
        asked = time.monotonic()

        def note(txn: Transaction, asked: float = asked) -> None:
            waits.append(time.monotonic() - asked)
            set_fact(txn, "bench", asked)

        db.write_now(note)
        time.sleep(_EVERY_S)
    pipe.send(waits)
    db.close()
