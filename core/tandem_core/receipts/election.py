"""Which of a person's own devices confirms, where each would be seen: one at a time. Pure.

Over the encrypted way the author sees which device writes. So one device answers, and tells the others what it has
confirmed, in the same transaction; it says so only when there is something to confirm, so that nothing tells who
is online. The others leave each event to it for a while that is drawn, and answer only if nothing was heard by then;
whoever does goes on answering. In an account with a single device there is nothing to agree on.
"""

from __future__ import annotations

from enum import Enum

from tandem_core.clock import Chance
from tandem_core.store.confirmations import Lease
from tandem_core.types import DeviceId

FIRST_S = (2.0, 30.0)
"""How long a device waits where none has answered yet."""
SILENT_S = (20.0, 90.0)
"""How long it waits for the one that answers."""


class Turn(Enum):
    """What a device does about a confirmation that is due."""

    ANSWER = "answer"
    WAIT = "wait"


def turn(
    lease: Lease | None, me: DeviceId, others: frozenset[DeviceId], until_ms: int | None, now_ms: int
) -> Turn:
    """Whether this device answers now; ``until_ms`` is the end of its wait for this event, None before it was drawn.

    ``others`` are our other devices. One that is gone holds nothing.
    """
    if not others or (lease is not None and lease.device_id == me):
        return Turn.ANSWER
    longest_ms = round(SILENT_S[1] * 1000)
    if until_ms is not None and not now_ms < until_ms <= now_ms + longest_ms:
        return Turn.ANSWER
    return Turn.WAIT


def draw_wait_ms(lease: Lease | None, others: frozenset[DeviceId], draw: Chance) -> int:
    """How long to leave an event to the others, in ms."""
    span = SILENT_S if lease is not None and lease.device_id in others else FIRST_S
    return round(draw.uniform(*span) * 1000)
