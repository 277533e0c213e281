"""What the harness does to the victim's store between measurements: a day goes by, and the owner looks in.

The budgets are counted by the hour and the day and stop when nobody attends; a run of minutes would measure nothing
else. Neither changes how long anything is held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tandem_core.clock import SystemClock
from tandem_core.receipts import planning
from tandem_core.store.database import Database, Transaction
from tandem_core.types import RoomId
from tandem_demo.device import Device

_EVERY_S = 0.7
_AGO_MS = 5_000
"""The programs look at their clock before they look into the store: what is newer lies in their future."""
_CLOCK = SystemClock()


@contextmanager
def days_go_by(
    devices: Sequence[Device],
    *,
    every_s: float = _EVERY_S,
    attended: Sequence[str] = (),
    now_ms: Callable[[], int] = _CLOCK.now_ms,
) -> Iterator[None]:
    """While inside, what was flushed so far is forgotten again and again: each author finds a budget of his own.

    In the ``attended`` rooms the owner is active all the time.
    """
    rooms = [RoomId(room) for room in attended]
    over = threading.Event()
    stores = [Database.open(device.paths.database) for device in devices]

    def age() -> None:
        for store in stores:
            store.write_now(forget_flushes)
            store.write_now(attend, rooms, now_ms() - _AGO_MS)

    def age_on() -> None:
        while not over.wait(every_s):
            age()

    age()
    thread = threading.Thread(target=age_on, name="days go by")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for store in stores:
            store.close()


def forget_flushes(txn: Transaction) -> None:
    """Nobody was told anything so far, as far as the budgets count."""
    txn.execute("DELETE FROM receipt_flush")


def attend(txn: Transaction, rooms: Sequence[RoomId], now_ms: int) -> None:
    """The owner showed up in these rooms now: as when he writes or reads in public there."""
    for room in rooms:
        planning.attend(txn, room, now_ms, now_ms)
