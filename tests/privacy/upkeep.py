"""What the harness does to the victim's store between measurements: a day goes by, and the owner looks in.

The budgets are counted per day and stop when nobody attends; a run of minutes would measure nothing else. Neither
changes how long anything is held.
"""

from __future__ import annotations

from tandem_core.store.database import Database, Transaction
from tandem_demo.device import Device

DAY_MS = 86_400_000


def age_bookkeeping(device: Device) -> None:
    """Have all flushes so far be of yesterday and before."""
    db = Database.open(device.paths.database)
    try:
        db.write_now(_age)
    finally:
        db.close()


def _age(txn: Transaction) -> None:
    txn.execute("DELETE FROM receipt_flush")
