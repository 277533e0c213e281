"""The window and the notifier share one device: two connections, two tokens, one truth."""

from __future__ import annotations

import secrets

import pytest

from tandem_demo.device import wait_for
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tandem_demo.world import World
from tests.e2e.scene import (
    event_of,
    heard,
    in_view,
    position_of_server,
    times_shown,
    tokens,
    unread,
    wait_in_view,
)

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_LINKS = ("app", "notifier")


def _words(start: str) -> str:
    return f"{start} {secrets.token_hex(4)}"


def _open_chat(world: World, window: WindowDriver, room_id: str) -> None:
    window.open_room(room_id)
    wait_for("the composer", lambda: window.do("has_focus", name="composer"))


def test_a_message_typed_in_the_window_is_told_delivered_to_both_devices(
    world: World, window: WindowDriver
) -> None:
    text = _words("Typed by Alice")
    _open_chat(world, window, world.direct)
    window.do("type", text=text)
    window.do("key", name="Return")
    event_id = event_of(world.phone, text)
    assert event_of(world.laptop, text) == event_id
    wait_for(
        "both receipts",
        lambda: (
            len(world.alice.ask("SELECT 1 FROM delivery WHERE event_id = ? AND device_id != ''", (event_id,)))
            == 2
        ),
    )
    wait_for("the words", lambda: heard(window, "Delivered to Bob (2 of 2 devices)"))
    people = world.alice.ask("SELECT DISTINCT user_id FROM delivery WHERE event_id = ?", (event_id,))
    assert people == [(f"@bob:{world.server.server_name}",)]


def test_both_programs_keep_a_token_and_a_view_of_their_own(
    world: World, window: WindowDriver, pens: dict[str, Pen]
) -> None:
    for number in range(6):
        pen = pens["bob-phone" if number % 2 else "bob-laptop"]
        text = _words(f"Line {number}")
        pen.write(world.direct if number < 4 else world.group, text)
        event_id = event_of(world.alice, text)
        for link in _LINKS:
            wait_in_view(world.alice, link, event_id)
    wait_for("both tokens", lambda: set(tokens(world.alice)) == set(_LINKS))
    held = tokens(world.alice)
    newest = position_of_server(world)
    assert all(0 < int(since) <= newest for since in held.values())
    # One shared inbox: nothing that both programs were given is in it twice, and nothing waits.
    digests = world.alice.ask("SELECT count(*), count(DISTINCT digest) FROM inbox WHERE digest IS NOT NULL")
    assert digests[0][0] == digests[0][1] > 0
    wait_for("an empty inbox", lambda: not world.alice.ask("SELECT 1 FROM inbox WHERE state = 0"))


def test_what_came_while_the_window_was_closed_is_there_when_it_opens_and_was_notified_once(
    awake: World, pens: dict[str, Pen]
) -> None:
    world, text = awake, _words("While you were out")
    assert not world.alice.runs("window")
    pens["bob-phone"].write(world.direct, text)
    event_id = event_of(world.alice, text)
    wait_for("the notification", lambda: times_shown(world.alice, event_id))
    assert not in_view(world.alice, "app", event_id)
    window = WindowDriver(world.alice)
    window.open()
    try:
        wait_in_view(world.alice, "app", event_id)
        window.open_room(world.direct)
        wait_for("the message in the window", lambda: heard(window, text))
    finally:
        world.alice.stop("window")
    shown = world.alice.ask("SELECT state FROM notification WHERE event_id = ?", (event_id,))
    assert shown == [("shown",)]
    assert times_shown(world.alice, event_id) == 1


def test_no_notification_for_the_room_that_the_focused_window_shows(
    world: World, window: WindowDriver, pens: dict[str, Pen]
) -> None:
    _open_chat(world, window, world.direct)
    # A first message shows that the window is read, so that the notifier knows of its focus.
    first, seen = _words("Are you there"), _words("I see you are")
    pens["bob-phone"].write(world.direct, first)
    wait_for("the first message in the window", lambda: heard(window, first))
    wait_for("it to be read", lambda: unread(world.alice, "notifier", world.direct) == 0)
    pens["bob-phone"].write(world.direct, seen)
    event_id = event_of(world.alice, seen)
    elsewhere = _words("In the other room")
    pens["bob-phone"].write(world.group, elsewhere)
    other_id = event_of(world.alice, elsewhere)
    wait_for("the other room's notification", lambda: times_shown(world.alice, other_id))
    state = "SELECT state FROM notification WHERE event_id = ?"
    wait_for("the decision", lambda: world.alice.ask(state, (event_id,)) != [("due",)])
    # What was read before it was judged is due to nobody.
    assert world.alice.ask(state, (event_id,)) in ([], [("skipped",)])
    assert times_shown(world.alice, event_id) == 0


def test_reading_in_the_window_clears_unread_in_both_programs(awake: World, pens: dict[str, Pen]) -> None:
    world, text = awake, _words("Please read me")
    pens["bob-laptop"].write(world.group, text)
    event_of(world.alice, text)
    wait_for("unread in the notifier's view", lambda: unread(world.alice, "notifier", world.group))
    window = WindowDriver(world.alice)
    window.open()
    try:
        wait_for("unread in the window's view", lambda: unread(world.alice, "app", world.group))
        window.open_room(world.group)
        wait_for("the message in the window", lambda: heard(window, text))
        for link in _LINKS:
            wait_for(
                f"nothing unread for {link}", lambda link=link: unread(world.alice, link, world.group) == 0
            )
    finally:
        world.alice.stop("window")
