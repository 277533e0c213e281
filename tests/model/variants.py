"""The design within its bounds, and the variants of it that must be found out, each with what it breaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tests.model import promises
from tests.model.explorer import Found, explore
from tests.model.promises import PROPERTIES
from tests.model.protocol import Bounds, Design, State, start
from tests.model.steps import stepper

BOUNDS = {
    "two events, one a page, late answers": Bounds(events=2, messages=0, page=1),
    "three events, two a page": Bounds(events=3, messages=0, page=2, late=False),
    "an event and a message, late answers": Bounds(events=1, messages=1),
    "two messages, late answers": Bounds(events=0, messages=2),
    "two messages and an event": Bounds(events=1, messages=2, late=False),
}
"""Together they have each kind of step and each pair of them that can get in each other's way."""

WIDE = {
    "three events, two a page, late answers": Bounds(events=3, messages=0, page=2),
    "two events and a message, late answers": Bounds(events=2, messages=1, page=1),
    "an event and two messages, late answers": Bounds(events=1, messages=2),
}
"""Minutes, and gigabytes: only on request."""

FENCED = Design(lock=False, fence=True)
"""Not ours, and sound as well: optimistic, where a step on an old ratchet is rolled back at its commit."""

_EVENTS = Bounds(events=2, messages=0)
_MIXED = Bounds(events=2, messages=1, late=False)
_MESSAGES = Bounds(events=1, messages=2)
_ONE = Bounds(events=1, messages=0)


@dataclass(frozen=True)
class Variant:
    """A design with one choice made otherwise, the bounds that suffice, and the promise it breaks."""

    name: str
    design: Design
    bounds: Bounds
    breaks: str


VARIANTS = (
    Variant(
        "private inboxes and ratchets",
        Design(shared_inbox=False, shared_crypto=False),
        _EVENTS,
        promises.LOST,
    ),
    Variant("private inboxes, one ratchet", Design(shared_inbox=False), _EVENTS, promises.ORDER),
    Variant("private inboxes, one ratchet", Design(shared_inbox=False), _EVENTS, promises.TWICE),
    Variant(
        "private inboxes, one ratchet",
        Design(shared_inbox=False),
        _ONE,
        promises.ALONE.format("the notifier"),
    ),
    Variant("token before events", Design(token_with_events=False), _EVENTS, promises.TOKEN),
    Variant("token before events", Design(token_with_events=False), _EVENTS, promises.LOST),
    Variant("no reload of the ratchet", Design(reload=False), _MESSAGES, promises.INDEX),
    Variant("no reload of the ratchet", Design(reload=False), _MIXED, promises.FORK),
    Variant("no order", Design(in_order=False), _EVENTS, promises.ORDER),
    Variant("no lock, or a lease that runs out", Design(lock=False), _EVENTS, promises.TWICE),
    Variant("no lock, or a lease that runs out", Design(lock=False), _MESSAGES, promises.INDEX),
    Variant("a lock that outlives its holder", Design(lock_dies=False), _ONE, promises.DRAINED),
    Variant("ciphertext sent before it is stored", Design(ciphertext_first=False), _MESSAGES, promises.INDEX),
    Variant("a new transaction id at each try", Design(fixed_txn_id=False), _MESSAGES, promises.SENT),
    Variant("sent counts without an answer", Design(noted_after_answer=False), _MESSAGES, promises.SEQUENCE),
    Variant("no digests", Design(digests=False), _EVENTS, promises.TWICE),
)


@cache
def explore_design(bounds: Bounds, design: Design | None = None) -> Found[State]:
    """All states of the design, with every promise; of another one, if given."""
    design = design or Design()
    return explore(start(design, bounds), stepper(design, bounds), PROPERTIES, promises.goals(bounds))


def explore_variant(variant: Variant) -> Found[State]:
    """The states of a variant up to the first that breaks the promise it is here for."""
    holds = PROPERTIES.get(variant.breaks)
    return explore(
        start(variant.design, variant.bounds),
        stepper(variant.design, variant.bounds),
        {} if holds is None else {variant.breaks: holds},
        [goal for goal in promises.goals(variant.bounds) if goal.name == variant.breaks],
    )
