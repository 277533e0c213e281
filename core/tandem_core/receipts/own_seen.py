"""A message of ours is seen on this device: our other devices are to learn of it (``receipts.own`` tells them).

Apart from the worker that tells, since the window's first frame judges messages and need not wait for asyncio.
"""

from __future__ import annotations

from tandem_core.clock import Chance, elapsed_ms
from tandem_core.receipts import inbound, marker
from tandem_core.store import confirmations
from tandem_core.store.database import Transaction
from tandem_core.store.events import StoredEvent
from tandem_core.types import Me, Origin

HOLD_S = (2.0, 8.0)
"""From a message's opening to its confirmation, so that several go together."""
MOST_AGE_MS = 7 * 86_400_000


def saw(txn: Transaction, me: Me, event: StoredEvent, now_ms: int, chance: Chance) -> None:
    """A message of ours is here and readable: what was heard of it early counts now, and its sender is told.

    Called when it is judged. Judging it again changes nothing.
    """
    inbound.claim_early(txn, event.event_id, now_ms)
    asked = marker.read(event.opened_content)
    if asked is None or me.device_id in asked.devices or event.redacted_by is not None:
        return
    if event.origin not in (Origin.LIVE, Origin.GAP) or elapsed_ms(event.sent_at, now_ms) > MOST_AGE_MS:
        return
    due_at = now_ms + round(chance.uniform(*HOLD_S) * 1000)
    confirmations.owe_own(
        txn, event.event_id, event.room_id, asked.devices[0], due_at, now_ms - 2 * MOST_AGE_MS
    )
