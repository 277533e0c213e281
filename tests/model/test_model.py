"""The design keeps every promise in every state; each variant of it breaks one, for the reason it is known for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.model import promises
from tests.model.explorer import Step
from tests.model.promises import PROPERTIES
from tests.model.protocol import Bounds, Design, State, start
from tests.model.steps import stepper
from tests.model.variants import BOUNDS, FENCED, VARIANTS, Variant, explore_design, explore_variant

PROGRAMS = ("app", "notifier")
STEPS = {
    "starts",
    "is killed",
    "asks",
    "stores events and token",
    "stores events and token, and a copy of the answer is late",
    "loads the ratchet to open",
    "commits effect, ratchet and done-mark",
    "loads the ratchet to encrypt",
    "commits ciphertext and ratchet",
    "sends",
    "notes that a message is sent",
    "accepts an event for the device",
    "takes a message",
    "loses a message",
    "keeps a message back",
    "loses the answer to a message",
    "drops what was late",
    "delivers a late request",
    "delivers a late message",
    *(f"deletes what is acknowledged and answers the {name}" for name in PROGRAMS),
    *(f"loses a request of the {name}" for name in PROGRAMS),
    *(f"loses an answer to the {name}" for name in PROGRAMS),
    *(f"keeps back a request of the {name}" for name in PROGRAMS),
    *(f"keeps back an answer to the {name}" for name in PROGRAMS),
    *(f"makes the {name} take a late answer" for name in PROGRAMS),
}

TELLS = {
    ("private inboxes and ratchets", promises.LOST): [
        "app stores events and token",
        "app asks: since 1",
        "server deletes what is acknowledged and answers the app",
    ],
    ("private inboxes, one ratchet", promises.ORDER): [
        "app stores events and token: events (1,)",
        "app asks: since 1",
        "notifier stores events and token: events (2,)",
        "notifier commits effect, ratchet and done-mark: events (2,)",
    ],
    ("private inboxes, one ratchet", promises.TWICE): [
        "app stores events and token: events (1,)",
        "notifier stores events and token: events (1,)",
    ],
    ("private inboxes, one ratchet", promises.ALONE.format("the notifier")): [
        "app stores events and token: events (1,)",
        "app asks: since 1",
        "server deletes what is acknowledged and answers the app",
        "app is killed",
    ],
    ("token before events", promises.TOKEN): ["app stores the token before the events"],
    ("token before events", promises.LOST): [
        "app stores the token before the events: events (1,)",
        "notifier asks: since 1",
        "server deletes what is acknowledged and answers the notifier: events ()",
    ],
    ("no reload of the ratchet", promises.INDEX): [
        "app commits effect, ratchet and done-mark: events (1,)",
        "notifier commits ciphertext and ratchet: message 1 at index 0",
        "app commits ciphertext and ratchet: message 0 at index 0",
    ],
    ("no reload of the ratchet", promises.FORK): [
        "app commits",
        "notifier commits",
        "app commits",
    ],
    ("no order", promises.ORDER): [
        "app stores events and token: events (1, 2)",
        "app commits effect, ratchet and done-mark: events (2,)",
    ],
    ("no lock, or a lease that runs out", promises.TWICE): [
        "app loads the ratchet to open",
        "notifier loads the ratchet to open",
        "app commits",
        "notifier commits",
    ],
    ("no lock, or a lease that runs out", promises.INDEX): [
        "app loads the ratchet to encrypt",
        "notifier loads the ratchet to encrypt",
        "app commits",
        "notifier commits",
    ],
    ("a lock that outlives its holder", promises.DRAINED): [
        "app loads the ratchet to open",
        "app is killed",
    ],
    ("ciphertext sent before it is stored", promises.INDEX): [
        "app encrypts and sends at once: message 0 at index 0",
        "notifier encrypts and sends at once: message 1 at index 0",
    ],
    ("a new transaction id at each try", promises.SENT): [
        "server takes a message: message 0 at index 0, transaction 0",
        "network loses the answer to a message",
        "server takes a message: message 0 at index 0, transaction 1",
    ],
    ("sent counts without an answer", promises.SEQUENCE): [
        "app sends: message 0 at index 0",
        "network keeps a message back: message 0",
        "server takes a message: message 1 at index 1",
        "network delivers a late message: message 0",
    ],
    ("no digests", promises.TWICE): [
        "app stores events and token",
        "network makes the app take a late answer: events (1,)",
        "app commits effect, ratchet and done-mark: events (1, 1)",
    ],
}
"""What the counter-example of each variant must tell, in this order, other steps between."""


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_the_design_keeps_every_promise_in_every_state(
    bounds: Bounds, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explore_design(bounds)
    assert found.broken is None, f"\n{found.broken}"
    with capsys.disabled():
        print(f"\n{bounds}: {found.states:,} states, {found.transitions:,} transitions, depth {found.depth}")
    assert found.states > 4_000


def test_every_kind_of_step_was_taken_in_the_design() -> None:
    taken: Counter[str] = Counter()
    for bounds in BOUNDS.values():
        taken += explore_design(bounds).taken
    assert set(taken) == STEPS


def test_a_fence_at_the_commit_would_do_instead_of_the_lock() -> None:
    found = explore_design(Bounds(events=1, messages=1, late=False), FENCED)
    assert found.broken is None, f"\n{found.broken}"
    assert found.taken["rolls back a step on an old ratchet"] > 0


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.name}: {variant.breaks}")
def test_a_variant_is_found_out_for_the_reason_it_is_known_for(variant: Variant) -> None:
    broken = explore_variant(variant).broken
    assert broken is not None, f"{variant.name} keeps the promise that {variant.breaks}"
    assert broken.promise == variant.breaks
    print(f"\n{variant.name}\n{broken}")
    _assert_is_a_run(variant, broken.trace)
    _assert_tells(TELLS[variant.name, variant.breaks], broken.trace)


def test_each_variant_differs_from_the_design_and_all_of_them_have_a_story() -> None:
    assert {(variant.name, variant.breaks) for variant in VARIANTS} == set(TELLS)
    assert all(variant.design != Design() for variant in VARIANTS)


def test_no_promise_is_kept_by_every_variant() -> None:
    """A promise that nothing breaks would say nothing; the app alone is the notifier alone, mirrored."""
    others = {promises.DRAINED, promises.ALONE.format("the notifier")}
    assert {variant.breaks for variant in VARIANTS} == set(PROPERTIES) | others


def test_the_server_returns_nothing_below_what_any_program_has_acknowledged() -> None:
    """Synapse's rule, and the measurement that the whole design answers to."""
    bounds = Bounds(events=3, messages=0, page=2)
    state = _after(
        bounds,
        [
            *["server accepts an event"] * 3,
            "app starts",
            "app asks: since 0",
            "server deletes what is acknowledged and answers the app: events (1, 2), next 2",
            "app stores events and token: events (1, 2), next 2",
            "app asks: since 2",
            "server deletes what is acknowledged and answers the app: events (3,), next 3",
            "notifier starts",
            "notifier asks: since 0",
            "server deletes what is acknowledged and answers the notifier: events (3,), next 3",
        ],
    )
    assert state.deleted == 2
    assert state.inboxes[0].waiting == (1, 2)


def _after(bounds: Bounds, story: Iterable[str]) -> State:
    state, steps = start(Design(), bounds), stepper(Design(), bounds)
    for word in story:
        state = next(step.then for step in steps(state) if str(step).startswith(word))
    return state


def _assert_is_a_run(variant: Variant, trace: tuple[Step[State], ...]) -> None:
    """Each step is one that the model allows, and a property holds until the last of them."""
    steps = stepper(variant.design, variant.bounds)
    holds = PROPERTIES.get(variant.breaks)
    state = start(variant.design, variant.bounds)
    for step in trace:
        assert holds is None or holds(state) is None
        assert step in list(steps(state))
        state = step.then
    assert holds is None or holds(state)


def _assert_tells(story: list[str], trace: tuple[Step[State], ...]) -> None:
    lines = iter([str(step) for step in trace])
    for part in story:
        assert any(line.startswith(part) for line in lines), f"nowhere, or too early: {part}"
