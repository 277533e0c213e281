"""Recovery with the real identity and the real backup: set up on one device, had on the next, begun anew at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tandem_core.crypto import recovery_question, recovery_steps, trust
from tandem_core.crypto.recovery import AlreadySetUp, LacksSecrets, Recovery, WrongRecoveryKey
from tandem_core.crypto.recovery_question import Question
from tandem_core.crypto.recovery_state import CROSS_SIGNING, NAMES, Standing
from tandem_core.crypto.trust import PersonTrust
from tandem_core.errors import Cancelled, Offline
from tandem_core.store import session
from tandem_core.types import Role
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.own_devices import held
from tests.core.crypto.world import Device


class Person:
    """Somebody who knows the password, or would rather not say it."""

    def __init__(self, password: str | None) -> None:
        self._password = password

    async def password(self, *, was_wrong: bool) -> str | None:
        return self._password

    async def in_browser(self, url: str) -> bool:
        raise AssertionError(url)


@pytest.fixture
def laptop(alice: Device) -> Device:
    """Alice's first device, which has given her account its identity."""
    asyncio.run(alice.cross_signing.keep_up())
    return alice


@pytest.fixture
def phone(laptop: Device, make_device: Callable[..., Device]) -> Device:
    """A new login of hers."""
    made = make_device("alice", "PHONE")
    made.knows()
    made.write(session.set_pos, Role.APP, "1", made.clock.now_ms())
    return made


def recovery(device: Device) -> Recovery:
    return recovery_steps.recovery_of(
        device.paths, device.db, device.http, device.state, device.cross_signing, device.backup
    )


def set_up(device: Device) -> str:
    return asyncio.run(recovery_steps.set_up(recovery(device), device.backup))


def reset(device: Device, person: Person) -> str:
    work = recovery_steps.reset(device.cross_signing, device.backup, recovery(device), person)
    return asyncio.run(work)


def standing(device: Device) -> Standing:
    return asyncio.run(recovery(device).refresh()).standing


def test_one_step_makes_identity_backup_and_recovery_whole(laptop: Device, phone: Device) -> None:
    text = set_up(laptop)
    assert set(held(laptop)) == set(NAMES)
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES
    assert held(phone) == held(laptop)
    assert phone.read(trust.person, phone.me, phone.me.user_id) is PersonTrust.VERIFIED
    assert standing(phone) is standing(laptop) is Standing.COMPLETE


def test_a_device_that_may_not_set_up_makes_no_backup_either(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    with pytest.raises(LacksSecrets):
        set_up(phone)
    assert not server.asked("room_keys/version")
    set_up(laptop)
    made = len(server.asked("room_keys/version"))
    with pytest.raises(AlreadySetUp):
        set_up(laptop)
    assert len(server.asked("room_keys/version")) == made


def test_a_reset_begins_anew_where_nothing_is_left(
    laptop: Device, phone: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    old = set_up(laptop)
    before = held(laptop)
    asyncio.run(phone.backup.look())
    text = reset(phone, Person(server.password))
    assert set(held(phone)) == set(NAMES)
    assert not set(held(phone).values()) & set(before.values())
    assert standing(phone) is Standing.COMPLETE
    tablet = make_device("alice", "TABLET")
    tablet.knows()
    with pytest.raises(WrongRecoveryKey):
        asyncio.run(recovery(tablet).unlock(old))
    assert asyncio.run(recovery(tablet).unlock(text)).found == NAMES


def test_a_reset_that_is_called_off_changes_nothing(laptop: Device, phone: Device, server: KeyServer) -> None:
    text = set_up(laptop)
    before = held(laptop)
    with pytest.raises(Cancelled):
        reset(phone, Person(None))
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES
    assert held(phone) == before


@pytest.mark.parametrize(
    "where", ["room_keys/version", "m.secret_storage.key.", "m.secret_storage.default_key"]
)
def test_a_reset_that_is_cut_off_leaves_recovery_incomplete_and_may_be_repeated(
    laptop: Device, phone: Device, server: KeyServer, where: str
) -> None:
    set_up(laptop)
    asyncio.run(recovery(phone).refresh())
    server.lose_request.append(where)
    with pytest.raises(Offline):
        reset(phone, Person(server.password))
    assert standing(phone) in (Standing.INCOMPLETE, Standing.LOCKED)
    text = reset(phone, Person(server.password))
    assert standing(phone) is Standing.COMPLETE
    # The laptop's identity is replaced: it needs the new key, and gets along with it.
    laptop.knows()
    laptop.write(session.set_pos, Role.APP, "1", laptop.clock.now_ms())
    assert laptop.read(recovery_question.question) is Question.VERIFY_OR_RECOVER
    assert set(asyncio.run(recovery(laptop).unlock(text)).found) >= set(CROSS_SIGNING)
    assert {name: held(laptop)[name] for name in CROSS_SIGNING} == {
        name: held(phone)[name] for name in CROSS_SIGNING
    }
