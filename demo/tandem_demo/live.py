"""The story with a display: Alice's window is yours, Bob answers, Ctrl-C ends it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tandem_demo.device import wait_for
from tandem_demo.tell import Teller
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tandem_demo.world import World

_ANSWERS = (
    "Got it. Look at the tick beside your message: it counts my devices.",
    "Press I on a message of yours to see which device has it, and since when.",
    "Close the window now and I'll write again: the notifier tells you.",
    "Still here. Open Settings, Delivery confirmations, to choose what others see.",
)


def live(world: World, tell: Teller) -> None:
    """Run until Ctrl-C; the window may be closed and is opened again."""
    tandem = [str(Path(sys.executable).parent / "tandem")]
    with ExitStack() as stack:
        alice, bob = Pen(world.alice, stack), Pen(world.phone, stack)
        tell.step("Opening Alice's window. Write to Bob: he answers. Ctrl-C here ends everything")
        world.alice.start("window", tandem)
        wait_for("the window", lambda: world.alice.is_syncing("app"))
        WindowDriver(world.alice).open_room(world.direct)
        alice.write(world.direct, "Hello Bob!")
        tell.line("Alice's first message is on its way; Bob's Laptop wakes up in 15 seconds")
        _until_interrupted(world, bob, tandem, tell)


def _until_interrupted(world: World, bob: Pen, tandem: list[str], tell: Teller) -> None:
    started, laptop_up, answered, was_open = time.monotonic(), False, 0, True
    reopen_at: float | None = None
    while True:
        time.sleep(0.5)
        if not laptop_up and time.monotonic() - started > 15:
            laptop_up = True
            world.laptop.start_notifier()
            tell.line("Bob's Laptop is up: the mark goes to 2 of 2")
        heard = _heard(world)
        if heard > answered:
            answered = heard
            bob.write(world.direct, _ANSWERS[(answered - 1) % len(_ANSWERS)])
        is_open = world.alice.runs("window")
        if was_open and not is_open:
            tell.line("The window is closed; the notifier goes on. Bob writes; the window comes back in 20 s")
            bob.write(world.direct, "You closed the window, and yet you can read this.")
            reopen_at = time.monotonic() + 20
        if not is_open and reopen_at is not None and time.monotonic() > reopen_at:
            world.alice.stop("window")
            world.alice.start("window", tandem)
            is_open, reopen_at = True, None
        was_open = is_open


def _heard(world: World) -> int:
    """How many messages of Alice's Bob's phone could read."""
    rows = world.phone.ask(
        "SELECT count(*) FROM event WHERE seal = 'opened' AND kind = 'text' AND sender LIKE '@alice:%'"
    )
    return int(rows[0][0])
