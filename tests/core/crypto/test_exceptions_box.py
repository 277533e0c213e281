"""Exceptions are sealed for the verified devices of one account, and for nobody and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import unpadded
from tandem_core.crypto import secrets
from tandem_core.crypto.exceptions_box import ALGORITHM, ExceptionsBox, key_of
from tandem_core.types import DeviceId, Json, Me, UserId
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import NOW, Device, StillClock

SEED, OTHER_SEED = (unpadded.encode(bytes([number]) * 32) for number in (1, 2))
TEXT = '{"people":{"@bob:example.org":{"at":1,"value":"never"}}}'


def device(folder: Path, name: str, seed: str | None) -> Device:
    me = Me(UserId("@alice:example.org"), DeviceId(name))
    made = Device(folder / name, me, KeyServer(), StillClock())
    if seed is not None:
        made.write(secrets.keep, made.state, secrets.SELF_SIGNING, seed, NOW)
    return made


def sealed(by: Device) -> Json:
    content = asyncio.run(ExceptionsBox(by.db, by.opener).seal(TEXT))
    assert content is not None
    return content


def opened(by: Device, content: Json) -> str | None:
    return asyncio.run(ExceptionsBox(by.db, by.opener).open(content))


def test_another_verified_device_opens_what_one_sealed_and_the_server_sees_nothing_of_it(
    tmp_path: Path,
) -> None:
    laptop, phone = device(tmp_path, "LAPTOP", SEED), device(tmp_path, "PHONE", SEED)
    content = sealed(laptop)
    assert opened(phone, content) == TEXT
    assert "bob" not in str(content)
    assert set(content) == {"algorithm", "iv", "ciphertext", "mac"}
    assert sealed(laptop)["ciphertext"] != content["ciphertext"]
    for each in (laptop, phone):
        each.close()


def test_without_the_key_or_with_another_one_it_stays_closed(tmp_path: Path) -> None:
    laptop, other, new = (
        device(tmp_path, name, seed) for name, seed in (("A", SEED), ("B", OTHER_SEED), ("C", None))
    )
    content = sealed(laptop)
    assert opened(other, content) is None
    assert opened(new, content) is None
    assert asyncio.run(ExceptionsBox(new.db, new.opener).seal(TEXT)) is None
    assert not asyncio.run(ExceptionsBox(new.db, new.opener).has_key())
    for each in (laptop, other, new):
        each.close()


@pytest.mark.parametrize("what", ["iv", "ciphertext", "mac", "algorithm"])
@pytest.mark.parametrize("value", [None, "", "AAAA", 7, ["x"], {}])
def test_what_was_tampered_with_stays_closed(tmp_path: Path, what: str, value: object) -> None:
    laptop = device(tmp_path, "LAPTOP", SEED)
    assert opened(laptop, sealed(laptop) | {what: value}) is None
    assert opened(laptop, {"algorithm": ALGORITHM}) is None
    laptop.close()


def test_a_seed_that_is_no_base64_is_no_key(tmp_path: Path) -> None:
    laptop = device(tmp_path, "LAPTOP", "*no base64*")
    assert asyncio.run(ExceptionsBox(laptop.db, laptop.opener).seal(TEXT)) is None
    laptop.close()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_each_identity_has_a_key_of_its_own_that_is_not_its_seed(one: bytes, other: bytes) -> None:
    key = key_of(unpadded.encode(one))
    assert len(key) == 32
    assert key != one
    assert (key == key_of(unpadded.encode(other))) is (one == other)
