"""Keys that we hold ourselves, and the secrets of the account in the store."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.crypto import secrets
from tandem_core.crypto.signed import is_signed_by
from tandem_core.crypto.signing import SigningKey
from tandem_core.errors import StoreCorrupt
from tandem_core.store import session
from tests.core.crypto.world import NOW, Device

SEED = bytes(range(32))


def test_a_seed_makes_the_key_that_the_rfc_says() -> None:
    """RFC 8032, section 7.1, test 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert SigningKey(seed).public == "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"


@given(st.dictionaries(st.text(), st.integers(0, 10) | st.text(), max_size=5))
def test_vodozemac_believes_what_we_signed(value: dict[str, object]) -> None:
    key = SigningKey(SEED)
    signed = key.sign({**value, "unsigned": {"x": 1}}, "@a:b")
    assert is_signed_by(signed, "@a:b", key.public, key.public)
    assert not is_signed_by(signed, "@a:b", key.public, SigningKey.generate().public)
    assert not is_signed_by({**signed, "more": 1}, "@a:b", key.public, key.public)


def test_a_second_signature_leaves_the_first_one_there() -> None:
    one, two = SigningKey(SEED), SigningKey.generate()
    signed = two.sign(one.sign({"a": 1}, "@a:b"), "@a:b")
    assert all(is_signed_by(signed, "@a:b", key.public, key.public) for key in (one, two))


def test_a_key_survives_its_secret_form() -> None:
    key = SigningKey.generate()
    assert SigningKey.from_secret(key.secret).public == key.public
    assert SigningKey.from_secret(key.secret + "=").public == key.public


@pytest.mark.parametrize("text", ["", "AAAA", "no key!", "ä" * 43, "A" * 44])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a seed"):
        SigningKey.from_secret(text)


def test_a_secret_is_sealed_in_the_store_and_bound_to_its_name(alice: Device) -> None:
    alice.write(secrets.keep, alice.state, secrets.MASTER, "very secret", NOW)
    assert alice.read(secrets.read, alice.state, secrets.MASTER) == "very secret"
    assert b"very secret" not in alice.paths.database.read_bytes()
    alice.write(lambda txn: txn.execute("UPDATE secret SET name = ?", (secrets.BACKUP,)))
    assert not alice.read(secrets.has, secrets.MASTER)
    with pytest.raises(StoreCorrupt):
        alice.read(secrets.read, alice.state, secrets.BACKUP)


def test_another_vaults_key_opens_no_secret(alice: Device) -> None:
    alice.write(secrets.keep, alice.state, secrets.BACKUP, "very secret", NOW)
    alice.state.pickle_key = bytes(32)
    with pytest.raises(StoreCorrupt):
        alice.read(secrets.read, alice.state, secrets.BACKUP)


def test_secrets_are_forgotten_by_name_and_with_the_device(
    alice: Device, make_device: Callable[..., Device]
) -> None:
    for name in (secrets.MASTER, secrets.BACKUP):
        alice.write(secrets.keep, alice.state, name, json.dumps(name), NOW)
    alice.write(secrets.forget, secrets.MASTER)
    assert [alice.read(secrets.has, name) for name in (secrets.MASTER, secrets.BACKUP)] == [False, True]
    alice.write(session.become_new_device)
    assert not alice.read(secrets.has, secrets.BACKUP)
