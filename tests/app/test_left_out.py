"""Which devices cannot read a message of ours, in its info panel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tandem_core.store import crypto, devices
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, UserId
from tests.app.glass import Glass
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui

BOB = UserId("@bob:example.org")


def sent_to(seed: Seed, outcomes: dict[str, str]) -> str:
    """A message of ours in a room with Bob, whose devices (by name) were dealt with like this."""
    room = seed.room("Bob", direct=True)
    event = seed.sent(room, "Hello", people={BOB: ["Phone"]}, at=9)
    known = [Device(BOB, DeviceId(name.upper()), f"c{name}", f"e{name}", name) for name in outcomes]

    def write(txn: Transaction) -> None:
        devices.track(txn, [BOB])
        devices.put_list(txn, BOB, [(device, []) for device in known], 1, NOON_MS)
        txn.execute(
            "UPDATE event SET type = 'm.room.encrypted', opened_type = type, seal = 'opened', session_id = 'S'"
            " WHERE event_id = ?",
            (event,),
        )
        for device in known:
            outcome = outcomes[str(device.display_name)]
            crypto.put_share(txn, "S", BOB, device.device_id, device.curve25519, 0, outcome)

    seed.db.write_now(write)
    return event


def facts(show: Callable[..., Glass], event: str) -> list[str]:
    glass = show()
    glass.main.shell.showInfo(event)
    return [
        line
        for line in glass.main.panels.make("messageInfo").property("facts")
        if "eft out" in line or "more" in line
    ]


def test_a_device_that_was_left_out_is_named_with_the_reason(seed: Seed, show: Callable[..., Glass]) -> None:
    event = sent_to(
        seed, {"Phone": "shared", "Tablet": "withheld:m.unverified", "Watch": "no_olm", "Old": "again"}
    )
    assert facts(show, event) == [
        "Left out: Bob's Tablet (not confirmed by its owner, or not verified)",
        "Left out: Bob's Watch (it gave no keys to reach it with)",
    ]


def test_of_many_only_the_first_are_named(seed: Seed, show: Callable[..., Glass]) -> None:
    event = sent_to(seed, {f"Device {number}": "withheld:m.unverified" for number in range(7)})
    found = facts(show, event)
    assert (len(found), found[-1]) == (6, "and 2 more devices")


def test_where_everybody_got_the_key_nothing_is_said(seed: Seed, show: Callable[..., Glass]) -> None:
    assert facts(show, sent_to(seed, {"Phone": "shared"})) == []
