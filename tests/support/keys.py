"""What tests do to the keys in a device's store, as one of its programs would."""

from __future__ import annotations

from tandem_core.store.database import Transaction


def retire_keys(txn: Transaction) -> None:
    """Have no room key used any more, so that a new one travels before what is written next."""
    txn.execute("UPDATE megolm_outbound SET retired = 1")
