"""Pairs of windows that know each other, and how far they get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tandem_core.crypto import trust
from tandem_core.crypto.trust import DeviceTrust
from tests.core.crypto.world import ROOM, Device
from tests.core.verification.windows import Window, carry

Make = Callable[..., Device]


def own_devices(make_device: Make) -> tuple[Window, Window]:
    """Alice's device with the account's identity, and a new one."""
    old = make_device("alice", "OLD")
    asyncio.run(old.cross_signing.keep_up())
    new = make_device("alice", "NEW")
    old.knows(new)
    new.knows(old)
    return Window(old), Window(new)


def people(make_device: Make, *, has_identities: bool = True) -> tuple[Window, Window]:
    """Alice and Bob, each with an identity, in an encrypted direct chat."""
    alice, bob = make_device("alice"), make_device("bob")
    for device in (alice, bob) if has_identities else ():
        asyncio.run(device.cross_signing.keep_up())
    for device, other in ((alice, bob), (bob, alice)):
        device.is_in(ROOM, other.me.user_id)
        device.write(lambda txn: txn.execute("UPDATE room SET is_dm = 1"))
        device.knows(other)
    return Window(alice), Window(bob)


def agree(asker: Window, asked: Window) -> None:
    carry(asker, asked)
    asked.do("accept")
    carry(asker, asked)


def compare(asker: Window, asked: Window) -> None:
    agree(asker, asked)
    asker.do("start_sas")
    carry(asker, asked)
    assert asker.view.emoji == asked.view.emoji
    assert len(asker.view.emoji) == 7
    for window in (asker, asked):
        window.do("confirm")
    carry(asker, asked)


def device_trust(by: Window, of: Window) -> DeviceTrust:
    me, them = by.device.me, of.device.me
    return by.device.read(trust.device, me, them.user_id, them.device_id)  # type: ignore[no-any-return]
