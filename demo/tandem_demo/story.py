"""The story without a display: told in lines, seen in pictures, judged by the outside observer."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tandem_demo import observer, traffic
from tandem_demo.device import DemoFailed, Device, wait_for
from tandem_demo.tell import Teller
from tandem_demo.window import WindowDriver
from tandem_demo.world import World

_QUESTION = "Are we still on for Saturday?"
_ANSWER = "Yes! Ten o'clock at the station. I bring the map."


def tell_headless(world: World, tell: Teller, shots: Path, *, messages: int, seed: int) -> dict[str, Any]:
    """Tell it from the first message to the count; returns the observer's JSON."""
    window = WindowDriver(world.alice)
    tell.step("Opening Alice's window (offscreen; the same window as with a display)")
    window.open()
    window.shot(shots / "01-window.png")
    _delivered_tick(world, window, tell, shots)
    notified = _closed_window(world, window, tell, shots)
    tell.step(
        f"Both sides write {messages} messages while programs are closed, killed and started (1-2 minutes)"
    )
    ledger = traffic.write_messages(world, messages, seed, tell, window.open)
    traffic.settle(world, ledger, window.open, tell)
    window.open_room(world.direct)
    wait_for("the room", lambda: window.do("has_focus", name="composer"))
    window.shot(shots / "08-after-the-storm.png")
    tell.step("An outside observer compares the server with every store")
    findings = observer.compare(world, ledger)
    for kind, found in (
        ("lost", findings.lost),
        ("doubled", findings.doubled),
        ("in clear", findings.in_clear),
    ):
        for entry in found[:20]:
            tell.line(f"{kind}: {entry}")
    line = observer.result(world, findings, notified_while_closed=notified)
    tell.line(f"{findings.messages} messages: {line['lost']} lost, {line['doubled']} doubled")
    window.close()
    return line


def _delivered_tick(world: World, window: WindowDriver, tell: Teller, shots: Path) -> None:
    tell.step("Alice writes to Bob; watch the mark beside her message")
    window.open_room(world.direct)
    wait_for("the composer", lambda: window.do("has_focus", name="composer"))
    window.do("type", text=_QUESTION)
    window.shot(shots / "02-typing.png")
    window.do("key", name="Return")
    _mark(window, tell, "sending", ("Sending", "Waiting for connection", "Sent to your server", "Delivered"))
    window.shot(shots / "03-sending.png")
    _mark(window, tell, "sent", ("Sent to your server", "Delivered"))
    window.shot(shots / "04-sent.png")
    _mark(window, tell, "on one device", ("1 of 2 devices",))
    window.shot(shots / "05-delivered-1-of-2.png")
    tell.line("Bob's Laptop wakes up")
    world.laptop.start_notifier()
    _mark(window, tell, "on both devices", ("2 of 2 devices",))
    window.do("key", name="Up")
    window.do("key", name="I")
    wait_for("both devices in the info panel", lambda: _panel_names_both(window))
    window.shot(shots / "06-info.png")
    tell.line("The info panel names both: Phone and Laptop")
    window.do("key", name="Escape")


def _mark(window: WindowDriver, tell: Teller, what: str, words: tuple[str, ...]) -> None:
    """Wait until a screen reader would hear one of ``words`` for the newest mark, and say what it heard."""

    def heard() -> str | None:
        names = [str(name) for name in window.do("names")]
        return next((name for name in names if any(word in name for word in words)), None)

    tell.line(f"The mark says: {wait_for(f'the mark {what}', heard, within_s=60)}")


def _panel_names_both(window: WindowDriver) -> bool:
    names = " | ".join(str(name) for name in window.do("names"))
    return "Phone" in names and "Laptop" in names


def _closed_window(world: World, window: WindowDriver, tell: Teller, shots: Path) -> bool:
    """Close it, have Bob write, see the notifier at work, open it again. True if the observer saw it all."""
    tell.step("Alice closes her window; the notifier goes on")
    window.close()
    with ExitStack() as stack:
        traffic.Pen(world.phone, stack).write(world.direct, _ANSWER)
    popup = wait_for("the notification", lambda: _popup(world.alice, _ANSWER))
    closed = not world.alice.runs("window")
    tell.line(f"Notification: {popup['title']}: {popup['body']}")
    event_id = str(popup["event_id"])
    confirmed = wait_for(
        "the delivery receipt at Bob's phone",
        lambda: world.phone.ask("SELECT user_id FROM delivery WHERE event_id = ?", (event_id,)),
    )
    tell.line(f"Confirmed by {confirmed[0][0]} to Bob, sent by the notifier alone")
    if world.alice.runs("window"):
        raise DemoFailed("the window was open while the notifier was watched")
    tell.step("Alice opens her window again")
    window.open()
    window.open_room(world.direct)
    wait_for("Bob's answer in the window", lambda: any(_ANSWER in str(name) for name in window.do("names")))
    window.shot(shots / "07-open-again.png")
    tell.line("The message is there, decrypted")
    return closed and bool(confirmed)


def _popup(device: Device, text: str) -> dict[str, Any] | None:
    return next((popup for popup in device.popups() if popup.get("body") == text), None)
