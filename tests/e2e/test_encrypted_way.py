"""Two Tandems show each other delivered marks, without the module by the encrypted way, and with it by batches.

Real programs on a real Synapse, killed in between. Every request that the server gets is written down.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tandem_demo.device import Device, wait_for
from tandem_demo.synapse import SynapseServer
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tests.e2e.scene import direct_chat, event_of, heard, listen, requests, signed_in

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]


@dataclass
class Pair:
    """Two people in a direct chat; both confirm as quickly as a setting lets them."""

    server: SynapseServer
    alice: Device
    bob: Device
    room: str
    pens: dict[str, Pen]

    def write(self, author: Device, text: str) -> str:
        """An author writes; returns the event once the other one's device has it in clear."""
        body = f"{text} {secrets.token_hex(4)}"
        self.pens[author.name].write(self.room, body)
        return event_of(self.bob if author is self.alice else self.alice, body)


def delivered(author: Device, event_id: str) -> list[tuple[Any, ...]]:
    return author.ask(
        "SELECT user_id, device_id, via FROM delivery WHERE event_id = ? AND user_id NOT IN"
        " (SELECT user_id FROM session)",
        (event_id,),
    )


def wait_delivered(author: Device, *event_ids: str) -> None:
    for event_id in event_ids:
        wait_for(f"{author.name}'s mark", lambda event_id=event_id: delivered(author, event_id))


@contextmanager
def pair(folder: Path, *, with_module: bool) -> Iterator[Pair]:
    server = SynapseServer.create(folder / "synapse", with_module=with_module)
    listen(server)
    with server.running(), ExitStack() as stack:
        people = [signed_in(server, folder, name) for name in ("alice", "bob")]
        for device in people:
            stack.callback(device.stop_all)
            device.ctl("identity", "set-up")
            device.ctl("settings", "set", "receipts.timing", "quick")
            device.start_notifier()
        alice, bob = people
        room = direct_chat(alice, bob)
        pens = {device.name: Pen(device, stack) for device in people}
        yield Pair(server, alice, bob, room, pens)


def test_without_the_module_two_tandems_show_each_other_delivered_marks_through_kills(tmp_path: Path) -> None:
    with pair(tmp_path, with_module=False) as two:
        alice, bob = two.alice, two.bob
        window = WindowDriver(alice)
        window.open()
        window.open_room(two.room)
        first = two.write(alice, "Does it work without a module")
        wait_delivered(alice, first)
        assert [row[1:] for row in delivered(alice, first)] == [("", "olm")]
        told = alice.ctl("receipts", first)
        assert (told["state"], told["people_delivered"]) == ("delivered_all", 1)
        assert told["people"][0]["transport"] == "olm"
        wait_for("the mark in the window", lambda: heard(window, "Delivered to"))

        back = two.write(bob, "And the other way round")
        wait_delivered(bob, back)
        assert bob.ctl("receipts", back)["people_delivered"] == 1  # the window has read it, too

        # Whoever confirms or is told dies in between; each message is confirmed all the same.
        marked = []
        for number, victim in enumerate((bob, alice)):
            marked.append(two.write(alice, f"line {number}"))
            victim.stop("notifier", signal.SIGKILL)
            victim.start_notifier()
        wait_delivered(alice, *marked)
        alice.stop("window", signal.SIGKILL)
        wait_delivered(bob, two.write(bob, "The window is dead"))

        # The author is away; the server keeps what comes.
        last = two.write(alice, "I am off")
        alice.stop_all()
        wait_for(
            "Bob's word",
            lambda: bob.ask("SELECT 1 FROM receipt_owed WHERE event_id = ? AND state = 'sent'", (last,)),
        )
        alice.start_notifier()
        wait_delivered(alice, last)
        for device in (alice, bob):
            assert device.ask("SELECT type, error FROM inbox WHERE state = 2") == []
            assert device.ask("SELECT 1 FROM receipt_owed WHERE state = 'sent' AND transport <> 'olm'") == []
        two.server.stop()
        asked = requests(two.server)
        assert any(f"/rooms/{two.room}/send/" in line for line in asked), "requests are written down"
        asked = [line for line in asked if "/account_data/" not in line]
        assert [line for line in asked if "delivery" in line or "im.tandem.receipt" in line] == []


def test_with_the_module_they_do_so_by_batches_and_nothing_is_lost_while_the_author_is_away(
    tmp_path: Path,
) -> None:
    with pair(tmp_path, with_module=True) as two:
        alice, bob = two.alice, two.bob
        # Bob's word on many is one request, and comes while nobody of Alice's is there.
        wait_for(
            "Alice's wish to have receipts kept",
            lambda: alice.ask(
                "SELECT 1 FROM account_data WHERE type = 'im.tandem.delivery_settings' AND content LIKE '%durable%'"
            ),
        )
        bob.stop_all()
        written = []
        for number in range(5):
            body = f"line {number} {secrets.token_hex(4)}"
            two.pens["alice"].write(two.room, body)
            written.append(body)
        wait_for(
            "the sending",
            lambda: len(alice.ask("SELECT 1 FROM send_queue WHERE state = 'sent'")) == len(written),
        )
        alice.stop_all()
        bob.start_notifier()
        events = [event_of(bob, body) for body in written]
        bob.stop("notifier", signal.SIGKILL)
        bob.start_notifier()
        for event_id in events:
            wait_for(
                "Bob's word",
                lambda event_id=event_id: bob.ask(
                    "SELECT 1 FROM receipt_owed WHERE event_id = ? AND state = 'sent' AND transport = 'server'",
                    (event_id,),
                ),
            )
        alice.start_notifier()
        wait_delivered(alice, *events)
        assert {row[2] for event_id in events for row in delivered(alice, event_id)} == {"server"}
        wait_for(
            "what the server kept",
            lambda: alice.ask("SELECT 1 FROM inbox WHERE type = 'im.tandem.delivery' AND state = 1"),
        )
        assert alice.ctl("receipts", events[0])["state"] == "delivered_all"
        two.server.stop()
        asked = requests(two.server)
        assert any("sendToDevice/im.tandem.delivery.batch" in line for line in asked)
