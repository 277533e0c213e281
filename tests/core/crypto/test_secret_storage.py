"""Secret storage: what other clients wrote opens, what we write is what the specification says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.crypto import recovery_key, secret_storage
from tandem_core.crypto.secret_storage import ALGORITHM, CannotOpen, Passphrase

KEY = bytes(range(32))
MASTER, BACKUP = "m.cross_signing.master", "m.megolm_backup.v1"

# Accounts that matrix-rust-sdk's tests are run against: written by other clients on a real server.
BY_PASSPHRASE = {
    "algorithm": ALGORITHM,
    "iv": "1Sl4os6UhNRkVQcT6ArQ0g",
    "mac": "UCZlTzqVT7mNvLkwlcCJmuq9nA27oxqpXGdLr9SxD/Y",
    "name": None,
    "passphrase": {
        "algorithm": "m.pbkdf2",
        "iterations": 1,
        "salt": "ooLiz7Kz0TeWH2eYcyjP2fCegEB7PH5B",
    },
}
STORED = {
    "ciphertext": "c39B25f6GSvW7gCUZI1OC0V821Ht2WUfxPWB43rvFSsubouHf16ImqLrwQ",
    "iv": "hpyoGAElX8YRuigbqa7tfA",
    "mac": "nE/RCVmFQxu+KuqxmYDDzIxf2JUlxz2oTpoJTj5pUxM",
}
BY_KEY = {
    "algorithm": ALGORITHM,
    "iv": "xv5b6/p3ExEw++wTyfSHEg==",
    "mac": "ujBBbXahnTAMkmPUX2/0+VTfUh63pGyVRuBcDMgmJC8=",
}
WRITTEN_DOWN = "EsTj 3yST y93F SLpB jJsz eAXc 2XzA ygD3 w69H fGaN TKBj jXEd"


def test_a_secret_that_another_client_stored_opens_with_its_passphrase() -> None:
    description = secret_storage.read_description("id", BY_PASSPHRASE)
    assert description.passphrase is not None
    key = secret_storage.stretch("mypassphrase", description.passphrase)
    assert secret_storage.is_key(description, key)
    assert secret_storage.decrypt(key, BACKUP, STORED) == "IeJv45zHC4AamrFtCi3MedkLMBZYXjPbKUnv53Iqzho"
    wrong = secret_storage.stretch("mypassphrase ", description.passphrase)
    assert not secret_storage.is_key(description, wrong)


def test_a_recovery_key_of_another_client_is_known_by_its_description() -> None:
    description = secret_storage.read_description("id", BY_KEY)
    assert secret_storage.is_key(description, recovery_key.decode(WRITTEN_DOWN))
    assert not secret_storage.is_key(description, KEY)


def test_what_we_write_opens_by_the_words_of_the_specification_alone() -> None:
    """HKDF (RFC 5869) by hand, AES by pycryptodome: nothing of the module's own."""
    from Crypto.Cipher import AES
    from Crypto.Util import Counter

    sealed = secret_storage.encrypt(KEY, MASTER, "the secret")
    extracted = hmac.digest(bytes(32), KEY, "sha256")
    first = hmac.digest(extracted, MASTER.encode() + b"\x01", "sha256")
    second = hmac.digest(extracted, first + MASTER.encode() + b"\x02", "sha256")
    iv, ciphertext, mac = (_decoded(sealed[part]) for part in ("iv", "ciphertext", "mac"))
    assert hmac.new(second, ciphertext, hashlib.sha256).digest() == mac
    counter = Counter.new(128, initial_value=int.from_bytes(iv, "big"))
    assert AES.new(first, AES.MODE_CTR, counter=counter).decrypt(ciphertext) == b"the secret"


def test_a_description_of_ours_is_the_mac_of_32_zeros_under_an_empty_name() -> None:
    from Crypto.Cipher import AES
    from Crypto.Util import Counter

    content = secret_storage.describe(KEY, name="Tandem")
    extracted = hmac.digest(bytes(32), KEY, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    second = hmac.digest(extracted, first + b"\x02", "sha256")
    counter = Counter.new(128, initial_value=int.from_bytes(_decoded(content["iv"]), "big"))
    zeros = AES.new(first, AES.MODE_CTR, counter=counter).encrypt(bytes(32))
    assert _decoded(content["mac"]) == hmac.digest(second, zeros, "sha256")
    assert content["algorithm"] == ALGORITHM
    assert content["name"] == "Tandem"
    assert "passphrase" not in content


def test_bit_63_of_every_iv_is_zero() -> None:
    ivs = [_decoded(secret_storage.encrypt(KEY, MASTER, "x")["iv"]) for _ in range(64)]
    assert {iv[8] & 0x80 for iv in ivs} == {0}
    assert {len(iv) for iv in ivs} == {16}
    assert len(set(ivs)) == 64


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40), st.text(max_size=200))
def test_a_secret_comes_back_under_its_name_and_key_only(key: bytes, name: str, secret: str) -> None:
    sealed = secret_storage.encrypt(key, name, secret)
    assert secret_storage.decrypt(key, name, sealed) == secret
    for other_key, other_name in ((key, name + "x"), (bytes(32) if any(key) else b"1" * 32, name)):
        with pytest.raises(CannotOpen):
            secret_storage.decrypt(other_key, other_name, sealed)


def test_a_server_that_swaps_secrets_between_names_is_found_out() -> None:
    sealed = secret_storage.encrypt(KEY, BACKUP, "the backup's key")
    with pytest.raises(CannotOpen, match="does not fit this key and this name"):
        secret_storage.decrypt(KEY, MASTER, sealed)


@given(st.sampled_from(["iv", "ciphertext", "mac"]), st.data())
def test_one_changed_bit_is_found_out_or_changes_nothing_that_is_believed(part: str, data: Any) -> None:
    sealed = secret_storage.encrypt(KEY, MASTER, "the secret")
    raw = bytearray(_decoded(sealed[part]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = {**sealed, part: base64.b64encode(raw).decode()}
    try:
        found = secret_storage.decrypt(KEY, MASTER, changed)
    except CannotOpen:
        found = None
    # The specification's MAC does not cover the iv: what is adopted is checked by its public half, too.
    assert found is None if part != "iv" else found != "the secret"


@pytest.mark.parametrize(
    "sealed",
    [
        None,
        [],
        "text",
        {},
        {**STORED, "iv": 7},
        {**STORED, "iv": STORED["iv"][:-1]},
        {**STORED, "iv": STORED["iv"][:8]},
        {**STORED, "mac": ""},
        {**STORED, "mac": "n"},
        {**STORED, "ciphertext": STORED["ciphertext"][:-3]},
        {**STORED, "ciphertext": "no base64!"},
        {**STORED, "ciphertext": "ä" * 8},
        {**STORED, "ciphertext": "A" * 1_000_000},
    ],
)
def test_what_is_truncated_or_malformed_is_refused_in_words(sealed: Any) -> None:
    with pytest.raises(CannotOpen) as caught:
        secret_storage.decrypt(KEY, BACKUP, sealed)
    assert caught.value.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(ALGORITHM),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(
    json_values
    | st.fixed_dictionaries(
        {"algorithm": st.just(ALGORITHM)},
        optional={"iv": json_values, "mac": json_values, "name": json_values, "passphrase": json_values},
    )
)
def test_any_description_is_read_or_refused(content: Any) -> None:
    try:
        found = secret_storage.read_description("id", content)
    except CannotOpen:
        return
    assert found.key_id == "id"


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "m.other"},
        {"iv": None},
        {"mac": "AAAA"},
        {"iv": "!"},
        {"passphrase": {"algorithm": "m.argon2", "salt": "x", "iterations": 500_000}},
        {"passphrase": {"algorithm": "m.pbkdf2", "salt": 5, "iterations": 500_000}},
        {"passphrase": {"algorithm": "m.pbkdf2", "salt": "x", "iterations": "many"}},
        {"passphrase": {"algorithm": "m.pbkdf2", "salt": "x", "iterations": True}},
        {"passphrase": {"algorithm": "m.pbkdf2", "salt": "x", "iterations": 500_000, "bits": 64}},
        {"passphrase": []},
    ],
)
def test_a_malformed_description_is_refused_and_never_taken_for_one_that_cannot_tell(change: Any) -> None:
    with pytest.raises(CannotOpen):
        secret_storage.read_description("id", {**BY_PASSPHRASE, **change})


@pytest.mark.parametrize("content", [{}, None, []])
def test_an_emptied_description_is_no_description(content: Any) -> None:
    with pytest.raises(CannotOpen, match="no description"):
        secret_storage.read_description("id", content)


def test_a_description_without_a_proof_cannot_tell() -> None:
    description = secret_storage.read_description("id", {"algorithm": ALGORITHM})
    assert not description.can_tell
    assert secret_storage.is_key(description, KEY)


@pytest.mark.parametrize("iterations", [-1, 0, 1, 9_999, 10_000_001, 2**70])
def test_a_server_makes_no_passphrase_easy_to_guess_and_keeps_nobody_busy(iterations: int) -> None:
    with pytest.raises(CannotOpen, match="too little or too long"):
        asyncio.run(secret_storage.key_from_passphrase("words", Passphrase("salt", iterations)))


def test_a_passphrase_makes_the_key_that_pycryptodome_makes() -> None:
    from Crypto.Hash import SHA512
    from Crypto.Protocol.KDF import PBKDF2

    how = Passphrase("sältchen", 10_000)
    made = asyncio.run(secret_storage.key_from_passphrase("pässword", how))
    salt = how.salt.encode()
    assert made == PBKDF2("pässword".encode(), salt, 32, 10_000, hmac_hash_module=SHA512)  # type: ignore[arg-type]


def test_new_parameters_are_described_as_the_specification_names_them() -> None:
    how = secret_storage.new_passphrase()
    said = secret_storage.describe(KEY, passphrase=how)["passphrase"]
    assert said == {"algorithm": "m.pbkdf2", "salt": how.salt, "iterations": 500_000, "bits": 256}
    assert len(how.salt) == 32
    assert how.salt != secret_storage.new_passphrase().salt
    read = secret_storage.read_description("id", secret_storage.describe(KEY, passphrase=how))
    assert read.passphrase == how


def test_a_secret_may_be_encrypted_for_several_keys() -> None:
    content = {"encrypted": {"one": STORED, "two": "nonsense"}}
    assert secret_storage.key_ids(content) == ["one", "two"]
    assert secret_storage.sealed_for(content, "one") == STORED
    assert secret_storage.sealed_for(content, "three") is None
    for nonsense in (None, {}, {"encrypted": []}, [], {"encrypted": None}):
        assert secret_storage.key_ids(nonsense) == []
        assert secret_storage.sealed_for(nonsense, "one") is None


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
