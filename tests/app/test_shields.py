"""Messages whose sender may not be who it says: a sign beside the time, and words for screen readers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tandem_core.store import crypto, devices
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, RoomId, UserId
from tests.app.by_keyboard import reads
from tests.app.encryption_seed import person
from tests.app.glass import Glass
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

BOB = UserId("@bob:example.org")
UNSIGNED = "Sent from a device that its owner has not confirmed."


def sealed_once(seed: Seed, room: RoomId, words: str, *, key: str, source: str = "olm") -> None:
    """A message of Bob's that came with a key from the device with this identity key."""
    seed.say(room, seed.message(words, BOB))
    row = crypto.InboundRow("pickle", BOB, key, f"ed {key}", 0, source)

    def write(txn: Transaction) -> None:
        session = f"session of {words}"
        crypto.put_inbound(txn, room, session, row, NOON_MS)
        txn.execute(
            "UPDATE event SET seal = 'opened', session_id = ?, type = 'm.room.encrypted', opened_type = type,"
            " opened_content = content WHERE body = ?",
            (session, words),
        )

    seed.db.write_now(write)


def bobs_devices(seed: Seed, *, signed: bool) -> None:
    person(seed, BOB)
    phone = Device(BOB, DeviceId("PHONE"), "phone", "ed phone", "Phone")

    def write(txn: Transaction) -> None:
        devices.track(txn, [BOB])
        devices.put_list(txn, BOB, [(phone, [])], 1, NOON_MS)
        txn.execute("UPDATE device SET signed_by = ? WHERE user_id = ?", ("S1" if signed else None, BOB))

    seed.db.write_now(write)


def test_a_device_that_its_owner_has_not_confirmed_is_said_until_it_is(seed: Seed, show: Show) -> None:
    room = seed.room("Bob", direct=True)
    bobs_devices(seed, signed=False)
    sealed_once(seed, room, "Hello", key="phone")
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    reads(glass, UNSIGNED)
    assert len(glass.items("shield")) == 1
    assert glass.items("shield")[0].property("grave") is True
    seed.db.write_now(lambda txn: (txn.execute("UPDATE device SET signed_by = 'S1'"), None)[1])
    glass.main.shields.look()
    glass.wait(lambda: glass.items("shield") == [], "the sign to go")
    assert not any(UNSIGNED in words for words in glass.sayings())


def test_a_message_from_a_confirmed_device_has_no_sign(seed: Seed, show: Show) -> None:
    room = seed.room("Bob", direct=True)
    bobs_devices(seed, signed=True)
    sealed_once(seed, room, "Hello", key="phone")
    sealed_once(seed, room, "From nowhere", key="another key")
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    reads(glass, "Sent from a device that nobody knows.")
    assert [words for words in glass.messages() if "Sent from" in words] == [
        words for words in glass.messages() if "From nowhere" in words
    ]


def test_a_key_from_a_backup_is_a_quiet_remark(seed: Seed, show: Show) -> None:
    room = seed.room("Bob", direct=True)
    bobs_devices(seed, signed=True)
    sealed_once(seed, room, "Long ago", key="phone", source="backup")
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    glass.wait(lambda: glass.items("shield"), "the remark")
    assert glass.items("shield")[0].property("grave") is False
