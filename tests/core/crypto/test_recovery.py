"""Recovery: what one device stores, another one gets with the key or the passphrase, whatever dies on the way."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable

import pytest

from tandem_core.crypto import recovery_key, secret_storage, secrets
from tandem_core.crypto.recovery import (
    AlreadySetUp,
    LacksSecrets,
    NeedsRecoveryKey,
    NotSetUp,
    NotStored,
    WrongPassphrase,
    WrongRecoveryKey,
)
from tandem_core.crypto.recovery_key import BadRecoveryKey
from tandem_core.crypto.recovery_state import CROSS_SIGNING, DEFAULT_KEY, KEY_PREFIX, NAMES, Standing
from tandem_core.crypto.secret_storage import CannotOpen
from tandem_core.errors import BadInput
from tandem_core.store import account_data
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.recovery_kit import ALICE, SECRETS, held, recovery, set_up
from tests.core.crypto.world import Device

BACKUP = NAMES[-1]
PASSPHRASE = "correct horse battery staple"
OTHER_APPS = "org.example.notes"


@pytest.fixture(autouse=True)
def _stretch_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_storage, "_ITERATIONS", secret_storage.LEAST_ITERATIONS)


@pytest.fixture
def phone(make_device: Callable[..., Device]) -> Device:
    """A new login of Alice's that has no secrets yet."""
    return make_device("alice", "PHONE")


@pytest.fixture
def laptop(alice: Device) -> Device:
    """Alice's first device, which has all secrets."""
    for name, secret in SECRETS.items():
        alice.write(secrets.keep, alice.state, name, secret, alice.clock.now_ms())
    return alice


def test_another_device_gets_all_secrets_with_the_recovery_key(laptop: Device, phone: Device) -> None:
    text = set_up(laptop)
    done = asyncio.run(recovery(phone).unlock(text))
    assert (done.found, done.refused, done.stored) == (NAMES, {}, ())
    assert held(phone) == SECRETS
    assert asyncio.run(recovery(phone).state()).standing is Standing.COMPLETE


def test_another_device_gets_them_with_the_passphrase_or_the_key_of_it(laptop: Device, phone: Device) -> None:
    text = set_up(laptop, PASSPHRASE)
    for either in (PASSPHRASE, text):
        assert asyncio.run(recovery(phone).unlock(either)).found == NAMES
    assert asyncio.run(recovery(phone).state()).has_passphrase


def test_the_recovery_key_is_nowhere_but_in_the_answer(
    laptop: Device, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []

    async def show(text: str) -> None:
        assert DEFAULT_KEY not in server.account_data[ALICE], "it comes into force once it is shown"
        shown.append(text)

    text = asyncio.run(recovery(laptop).set_up(PASSPHRASE, show=show))
    assert shown == [text]
    key = recovery_key.decode(text)
    kept = laptop.paths.database.read_bytes() + str(server.account_data).encode() + caplog.text.encode()
    for trace in (text, text.replace(" ", ""), PASSPHRASE, SECRETS[BACKUP]):
        assert trace.encode() not in kept
    assert key not in kept


def test_how_recovery_stands_is_told_on_both_sides(laptop: Device, phone: Device) -> None:
    for device in (laptop, phone):
        assert asyncio.run(recovery(device).refresh()).standing is Standing.NOT_SET_UP
    text = set_up(laptop)
    assert asyncio.run(recovery(laptop).state()).standing is Standing.COMPLETE
    locked = asyncio.run(recovery(phone).refresh())
    assert (locked.standing, locked.missing_here) == (Standing.LOCKED, NAMES)
    asyncio.run(recovery(phone).unlock(text))
    assert asyncio.run(recovery(phone).state()).standing is Standing.COMPLETE


def test_a_secret_made_later_is_missing_there_until_it_is_stored(laptop: Device, phone: Device) -> None:
    laptop.write(secrets.forget, BACKUP)
    here = recovery(laptop)
    text = asyncio.run(here.set_up())
    assert asyncio.run(here.state()).standing is Standing.COMPLETE
    laptop.write(secrets.keep, laptop.state, BACKUP, SECRETS[BACKUP], laptop.clock.now_ms())
    incomplete = asyncio.run(here.state())
    assert (incomplete.standing, incomplete.missing_there) == (Standing.INCOMPLETE, (BACKUP,))
    with pytest.raises(NeedsRecoveryKey):
        asyncio.run(recovery(laptop).store([BACKUP]))
    assert asyncio.run(here.store([BACKUP, "org.example.unknown"])) == (BACKUP,)
    assert asyncio.run(here.state()).standing is Standing.COMPLETE
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES


def test_unlocking_adds_what_the_storage_lacks(laptop: Device, server: KeyServer) -> None:
    text = set_up(laptop)
    server.account_data[ALICE][BACKUP] = {}
    assert asyncio.run(recovery(laptop).unlock(text)).stored == (BACKUP,)
    assert asyncio.run(recovery(laptop).unlock(text)).stored == ()


def test_a_secret_that_was_replaced_here_since_is_missing_there(laptop: Device) -> None:
    here = recovery(laptop)
    asyncio.run(here.set_up())
    laptop.clock.time_ms += 1
    laptop.write(secrets.keep, laptop.state, BACKUP, "a newer one", laptop.clock.now_ms())
    assert asyncio.run(here.state()).missing_there == (BACKUP,)
    asyncio.run(here.store([BACKUP]))
    assert asyncio.run(here.state()).standing is Standing.COMPLETE


def test_a_secret_of_an_older_identity_is_refused_and_not_overwritten(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    text = set_up(laptop)
    newer = {**SECRETS, CROSS_SIGNING[0]: "another master"}
    before = copy.deepcopy(server.account_data)
    done = asyncio.run(recovery(phone, true=newer).unlock(text))
    assert CROSS_SIGNING[0] in done.refused
    assert CROSS_SIGNING[0] not in held(phone)
    assert server.account_data == before
    told = asyncio.run(recovery(phone).state())
    assert (told.standing, told.missing_there) == (Standing.INCOMPLETE, CROSS_SIGNING[:1])


def test_the_key_of_a_backup_that_is_gone_keeps_nobody_locked_out(laptop: Device, phone: Device) -> None:
    text = set_up(laptop)
    without = {name: SECRETS[name] for name in CROSS_SIGNING}
    with pytest.raises(LacksSecrets):
        asyncio.run(recovery(phone).change())
    assert set(asyncio.run(recovery(phone, true=without).unlock(text)).refused) == {BACKUP}
    assert asyncio.run(recovery(phone).state()).standing is Standing.COMPLETE
    asyncio.run(recovery(phone).change())
    asyncio.run(recovery(phone).delete())


def test_a_recovery_key_of_something_else_is_told_from_a_slip(laptop: Device, phone: Device) -> None:
    text = set_up(laptop)
    with pytest.raises(WrongRecoveryKey):
        asyncio.run(recovery(phone).unlock(recovery_key.encode(bytes(32))))
    slip = text[:-1] + ("a" if text[-1] != "a" else "b")
    with pytest.raises(BadRecoveryKey, match="characters are wrong"):
        asyncio.run(recovery(phone).unlock(slip))
    with pytest.raises(BadRecoveryKey):
        asyncio.run(recovery(phone).unlock(PASSPHRASE))  # this account has none
    assert held(phone) == {}


def test_a_wrong_passphrase_is_told_from_a_wrong_key(laptop: Device, phone: Device) -> None:
    text = set_up(laptop, PASSPHRASE)
    with pytest.raises(WrongPassphrase):
        asyncio.run(recovery(phone).unlock(PASSPHRASE + " "))
    with pytest.raises(WrongRecoveryKey):
        asyncio.run(recovery(phone).unlock(recovery_key.encode(bytes(32))))
    with pytest.raises(BadRecoveryKey, match="characters are wrong"):
        asyncio.run(recovery(phone).unlock(text[:10] + ("z" if text[10] != "z" else "y") + text[11:]))
    assert held(phone) == {}


def test_a_passphrase_that_looks_like_a_recovery_key_is_tried_as_one(laptop: Device, phone: Device) -> None:
    words = "Es war einmal ein Mann der hatte einen langen weissen Bart"
    assert recovery_key.looks_like_one(words)
    set_up(laptop, words)
    assert asyncio.run(recovery(phone).unlock(words)).found == NAMES


def test_swapped_and_spoilt_secrets_are_refused_and_the_others_are_taken(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    text = set_up(laptop)
    data = server.account_data[ALICE]
    data[CROSS_SIGNING[0]], data[CROSS_SIGNING[1]] = data[CROSS_SIGNING[1]], data[CROSS_SIGNING[0]]
    (key_id,) = data[BACKUP]["encrypted"]
    data[CROSS_SIGNING[1]]["encrypted"][key_id] = "nonsense"
    data[BACKUP]["encrypted"][key_id]["ciphertext"] = data[BACKUP]["encrypted"][key_id]["ciphertext"][:-5]
    done = asyncio.run(recovery(phone).unlock(text))
    assert done.found == (CROSS_SIGNING[2],)
    assert set(done.refused) == {*CROSS_SIGNING[:2], BACKUP}
    assert held(phone) == {CROSS_SIGNING[2]: SECRETS[CROSS_SIGNING[2]]}
    told = asyncio.run(recovery(phone).state())
    assert (told.standing, told.missing_there) == (Standing.INCOMPLETE, CROSS_SIGNING[:2])
    # A device that has them mends the storage.
    mended = asyncio.run(recovery(laptop).unlock(text))
    assert (set(mended.stored), mended.refused) == ({*CROSS_SIGNING[:2], BACKUP}, {})
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES


@pytest.mark.parametrize(
    "content",
    [{}, {"algorithm": "m.other"}, {"algorithm": secret_storage.ALGORITHM, "iv": "AA", "mac": "AA"}],
)
def test_a_description_that_is_gone_or_spoilt_is_named_and_never_built_upon(
    laptop: Device, phone: Device, server: KeyServer, content: Json
) -> None:
    text = set_up(laptop)
    data = server.account_data[ALICE]
    data[KEY_PREFIX + data[DEFAULT_KEY]["key"]] = content
    before = copy.deepcopy(data)
    with pytest.raises(CannotOpen):
        asyncio.run(recovery(phone).unlock(text))
    state = asyncio.run(recovery(phone).refresh())
    assert state.standing is Standing.NOT_SET_UP
    assert state.problem
    assert data == before
    if content:  # something is there: it is for the person to say that it may be replaced
        with pytest.raises(AlreadySetUp):
            set_up(laptop)
        text = asyncio.run(recovery(laptop).change())
    else:
        text = set_up(laptop)
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES


def test_a_description_without_a_proof_is_believed_only_if_a_secret_opens(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    text = set_up(laptop)
    data = server.account_data[ALICE]
    data[KEY_PREFIX + data[DEFAULT_KEY]["key"]] = {"algorithm": secret_storage.ALGORITHM}
    with pytest.raises(WrongRecoveryKey):
        asyncio.run(recovery(phone).unlock(recovery_key.encode(bytes(32))))
    assert asyncio.run(recovery(phone).unlock(text)).found == NAMES


def test_a_server_that_asks_for_few_iterations_learns_nothing(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    set_up(laptop, PASSPHRASE)
    data = server.account_data[ALICE]
    data[KEY_PREFIX + data[DEFAULT_KEY]["key"]]["passphrase"]["iterations"] = 1
    asked = len(server.asked("account_data"))
    with pytest.raises(CannotOpen, match="too little"):
        asyncio.run(recovery(phone).unlock(PASSPHRASE))
    assert {request.method for request in server.asked("account_data")[asked:]} == {"GET"}


def test_a_secret_for_another_key_of_the_account_opens_with_that_key(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    text = set_up(laptop)
    data = server.account_data[ALICE]
    data[KEY_PREFIX + "foreign"] = secret_storage.describe(bytes(32))
    data[DEFAULT_KEY] = {"key": "foreign"}
    done = asyncio.run(recovery(phone).unlock(text))
    assert (done.found, done.stored) == (NAMES, ())
    with pytest.raises(NeedsRecoveryKey):
        asyncio.run(recovery(phone).store(NAMES))


def test_nothing_is_set_up_twice_or_without_the_secrets(laptop: Device, phone: Device) -> None:
    with pytest.raises(LacksSecrets, match="master key"):
        set_up(phone)
    set_up(laptop)
    with pytest.raises(AlreadySetUp):
        set_up(laptop)
    for act in (recovery(phone).change(), recovery(phone).delete()):
        with pytest.raises(LacksSecrets):
            asyncio.run(act)


def test_what_is_not_set_up_cannot_be_used(laptop: Device) -> None:
    here = recovery(laptop)
    for act in (here.unlock("x"), here.change(), here.delete()):
        with pytest.raises(NotSetUp):
            asyncio.run(act)
    with pytest.raises(NeedsRecoveryKey):
        asyncio.run(here.store(NAMES))


def test_an_empty_passphrase_is_refused(laptop: Device, server: KeyServer) -> None:
    with pytest.raises(BadInput, match="empty"):
        set_up(laptop, "  ")
    assert not server.account_data


def test_after_a_change_the_old_key_opens_nothing(laptop: Device, phone: Device, server: KeyServer) -> None:
    old = set_up(laptop)
    new = asyncio.run(recovery(laptop).change(PASSPHRASE))
    with pytest.raises(WrongRecoveryKey):
        asyncio.run(recovery(phone).unlock(old))
    assert asyncio.run(recovery(phone).unlock(new)).found == NAMES
    data = server.account_data[ALICE]
    current = data[DEFAULT_KEY]["key"]
    assert {key_id for name in NAMES for key_id in data[name]["encrypted"]} == {current}
    assert [kind for kind in data if kind.startswith(KEY_PREFIX) and data[kind]] == [KEY_PREFIX + current]


@pytest.mark.parametrize("is_unlocked", [True, False])
def test_a_change_leaves_nothing_of_other_applications_behind_a_lost_key(
    laptop: Device, server: KeyServer, is_unlocked: bool
) -> None:
    old = set_up(laptop)
    data = server.account_data[ALICE]
    old_id = data[DEFAULT_KEY]["key"]
    note = {
        "encrypted": {old_id: secret_storage.encrypt(recovery_key.decode(old), OTHER_APPS, "a note")},
        "x": 1,
    }
    data[OTHER_APPS] = copy.deepcopy(note)
    here = recovery(laptop)
    if is_unlocked:
        asyncio.run(here.unlock(old))
    laptop.write(account_data.put, OTHER_APPS, note)  # sync has told of it
    new = asyncio.run(here.change())
    if is_unlocked:
        (sealed,) = data[OTHER_APPS]["encrypted"].values()
        assert secret_storage.decrypt(recovery_key.decode(new), OTHER_APPS, sealed) == "a note"
        assert data[KEY_PREFIX + old_id] == {}
    else:
        assert data[OTHER_APPS] == note
        assert data[KEY_PREFIX + old_id]
    assert all(old_id not in data[name]["encrypted"] for name in NAMES)


def test_deleting_leaves_nothing_that_opens(laptop: Device, phone: Device, server: KeyServer) -> None:
    text = set_up(laptop)
    asyncio.run(recovery(laptop).delete())
    assert not any(server.account_data[ALICE].values())
    with pytest.raises(NotSetUp):
        asyncio.run(recovery(phone).unlock(text))
    assert held(laptop) == SECRETS
    assert asyncio.run(recovery(laptop).state()).standing is Standing.NOT_SET_UP
    assert asyncio.run(recovery(phone).unlock(set_up(laptop))).found == NAMES


def test_a_device_without_the_secrets_deletes_only_what_it_is_told_to_lose(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    set_up(laptop)
    asyncio.run(recovery(phone).delete(even_if_lost=True))
    assert not any(server.account_data[ALICE].values())


def test_a_key_that_nobody_saw_never_comes_into_force(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    old = set_up(laptop)

    async def close_the_window(text: str) -> None:
        raise BadInput("not now")

    with pytest.raises(BadInput):
        asyncio.run(recovery(laptop).change(show=close_the_window))
    assert asyncio.run(recovery(phone).unlock(old)).found == NAMES
    asyncio.run(recovery(laptop).change())
    assert (
        len([kind for kind, value in server.account_data[ALICE].items() if KEY_PREFIX in kind and value]) == 1
    )


def test_a_server_that_drops_what_is_written_is_found_out_before_the_old_key_goes(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    old = set_up(laptop)
    kept = copy.deepcopy(server.account_data[ALICE][BACKUP])

    def restore() -> None:
        server.account_data[ALICE][BACKUP] = copy.deepcopy(kept)

    # The new key's description is written, and then read back after the secrets were written.
    server.before += [(KEY_PREFIX, lambda: None), (KEY_PREFIX, restore)]
    with pytest.raises(NotStored):
        asyncio.run(recovery(laptop).change())
    assert asyncio.run(recovery(phone).unlock(old)).found == NAMES
