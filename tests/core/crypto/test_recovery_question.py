"""A new login is asked once, and only what has an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tandem_core.crypto import gossip, recovery_question, secrets
from tandem_core.crypto.adoption import adopt
from tandem_core.crypto.recovery import Recovery
from tandem_core.crypto.recovery_question import Question
from tandem_core.crypto.recovery_state import NAMES, Standing
from tandem_core.store import identities, session
from tandem_core.types import Role
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import Device


@pytest.fixture
def laptop(alice: Device) -> Device:
    """Alice's first device, which has given her account its identity and has synced."""
    asyncio.run(alice.cross_signing.keep_up())
    asyncio.run(alice.backup.create())
    _sync(alice)
    return alice


@pytest.fixture
def phone(laptop: Device, make_device: Callable[..., Device]) -> Device:
    """A new login of hers that has synced."""
    made = make_device("alice", "PHONE")
    made.knows()
    _sync(made)
    return made


def recovery(device: Device) -> Recovery:
    take_over = partial(adopt, device.cross_signing, device.backup)
    return Recovery(device.paths, device.db, device.http, device.state, take_over)


def asked(device: Device) -> Question:
    found: Question = device.read(recovery_question.question)
    return found


def _sync(device: Device) -> None:
    device.write(session.set_pos, Role.APP, "1", device.clock.now_ms())


def test_the_first_device_is_asked_to_set_recovery_up(laptop: Device) -> None:
    assert asked(laptop) is Question.SET_UP_RECOVERY
    asyncio.run(recovery(laptop).set_up())
    assert asked(laptop) is Question.NOTHING


def test_a_new_login_may_verify_or_recover(laptop: Device, phone: Device) -> None:
    assert asked(phone) is Question.VERIFY_OR_RECOVER
    assert phone.read(recovery_question.ways, phone.me) == recovery_question.Ways(True, False)
    text = asyncio.run(recovery(laptop).set_up())
    asyncio.run(recovery(phone).refresh())
    assert phone.read(recovery_question.ways, phone.me) == recovery_question.Ways(True, True)
    done = asyncio.run(recovery(phone).unlock(text))
    assert done.found == NAMES
    assert asked(phone) is Question.NOTHING
    laptop.knows()
    assert phone.read(recovery_question.due) is Question.NOTHING


def test_what_recovery_gives_is_what_the_account_publishes(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    text = asyncio.run(recovery(laptop).set_up())
    asyncio.run(recovery(phone).unlock(text))
    for name in NAMES:
        assert phone.read(secrets.read, phone.state, name) == laptop.read(secrets.read, laptop.state, name)
    assert asyncio.run(recovery(phone).state()).standing is Standing.COMPLETE
    by_phone = [signature for signature in server.signatures if "PHONE" in str(signature)]
    assert by_phone, "the phone is signed, and signs the master key"


def test_where_nothing_is_left_only_a_reset_goes_on(laptop: Device, phone: Device, server: KeyServer) -> None:
    del server.devices[laptop.me.user_id][laptop.me.device_id]
    phone.knows()
    assert asked(phone) is Question.RESET
    assert phone.read(recovery_question.ways, phone.me) == recovery_question.Ways(False, False)


def test_where_no_device_is_left_the_recovery_key_still_is(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    asyncio.run(recovery(laptop).set_up())
    del server.devices[laptop.me.user_id][laptop.me.device_id]
    phone.knows()
    asyncio.run(recovery(phone).refresh())
    assert asked(phone) is Question.VERIFY_OR_RECOVER
    assert phone.read(recovery_question.ways, phone.me) == recovery_question.Ways(False, True)


def test_a_device_that_was_verified_and_lacks_the_keys_may_unlock_them(laptop: Device, phone: Device) -> None:
    own = phone.read(identities.identity, phone.me.user_id)
    asyncio.run(phone.cross_signing.confirm_own_identity(own.master))
    found: list[Question] = []
    assert asked(phone) is Question.NOTHING
    asyncio.run(recovery(laptop).set_up())
    asyncio.run(recovery(phone).refresh())
    assert asked(phone) is Question.VERIFY_OR_RECOVER
    # Its other device may give them any moment; only when that took long it is worth a question.
    for _ in range(2):
        assert phone.write(gossip.ask_for_missing, phone.me, phone.clock.now_ms())
        phone.clock.time_ms += 30_000
        found.append(asked(phone))
    assert found == [Question.NOTHING, Question.VERIFY_OR_RECOVER]


def test_nothing_is_asked_before_we_know_who_we_are(
    alice: Device, make_device: Callable[..., Device]
) -> None:
    assert asked(alice) is Question.NOTHING
    alice.knows()
    assert asked(alice) is Question.NOTHING
    _sync(alice)
    assert asked(alice) is Question.NOTHING  # no identity yet
    alice.write(session.mark_signed_out, False)
    assert asked(alice) is Question.NOTHING


def test_what_was_put_off_is_not_asked_again_by_this_device(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    phone.write(recovery_question.later, Question.VERIFY_OR_RECOVER, phone.me)
    phone.write(recovery_question.later, Question.VERIFY_OR_RECOVER, phone.me)
    assert asked(phone) is Question.NOTHING
    assert phone.read(recovery_question.due) is Question.VERIFY_OR_RECOVER
    restarted = phone.restarted()
    assert asked(restarted) is Question.NOTHING
    restarted.close()
    # Another question is news.
    del server.devices[laptop.me.user_id][laptop.me.device_id]
    again = phone.other_program()
    again.knows()
    assert asked(again) is Question.RESET
    again.close()


def test_a_new_device_asks_anew(laptop: Device) -> None:
    laptop.write(recovery_question.later, Question.SET_UP_RECOVERY, laptop.me)
    assert asked(laptop) is Question.NOTHING
    laptop.write(lambda txn: txn.execute("UPDATE session SET device_id = 'NEXT'"))
    assert laptop.read(recovery_question.due) is Question.SET_UP_RECOVERY
    assert asked(laptop) is Question.SET_UP_RECOVERY
