"""The short authentication string, against the specification computed by other means."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from Crypto.Protocol.DH import import_x25519_public_key, key_agreement
from Crypto.PublicKey import ECC

from tandem_core.types import DeviceId, UserId
from tandem_core.verification.emoji import EMOJI
from tandem_core.verification.sas import OwnHalf, Party, commitment, mac_info, macs, string_info

ALICE = Party(UserId("@alice:example.org"), DeviceId("AAAA"))
BOB = Party(UserId("@bob:example.org"), DeviceId("BBBB"))


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256 and no salt, as the specification uses it."""
    key = hmac.digest(bytes(32), secret, "sha256")
    made, block, number = b"", b"", 1
    while len(made) < length:
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        made, number = made + block, number + 1
    return made[:length]


def unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


class Foreign:
    """Somebody else's side, made of pycryptodome and the specification's words."""

    def __init__(self, half: OwnHalf) -> None:
        own = ECC.generate(curve="Curve25519")
        self.public = unpadded(own.public_key().export_key(format="raw"))
        theirs = import_x25519_public_key(base64.b64decode(half.public + "="))
        self.secret = key_agreement(static_priv=own, static_pub=theirs, kdf=lambda shared: shared)

    def decimals(self, info: str) -> tuple[int, ...]:
        bits = int.from_bytes(hkdf(self.secret, info.encode(), 5), "big") >> 1
        return tuple(((bits >> shift) & 0x1FFF) + 1000 for shift in (26, 13, 0))

    def emoji(self, info: str) -> tuple[int, ...]:
        bits = int.from_bytes(hkdf(self.secret, info.encode(), 6), "big")
        return tuple((bits >> shift) & 0x3F for shift in range(42, 5, -6))

    def mac(self, text: str, info: str) -> str:
        return unpadded(hmac.digest(hkdf(self.secret, info.encode(), 32), text.encode(), "sha256"))


@pytest.mark.parametrize("number", range(5))
def test_emoji_and_numbers_are_those_of_the_specification(number: int) -> None:
    half = OwnHalf()
    foreign = Foreign(half)
    info = string_info(ALICE, half.public, BOB, foreign.public, f"txn{number}")
    assert info == (
        f"MATRIX_KEY_VERIFICATION_SAS|@alice:example.org|AAAA|{half.public}|@bob:example.org|BBBB|{foreign.public}|"
        f"txn{number}"
    )
    emoji, decimals = half.with_key(foreign.public).string(info)
    assert emoji == foreign.emoji(info)
    assert decimals == foreign.decimals(info)


def test_macs_are_those_of_the_specification() -> None:
    half = OwnHalf()
    foreign = Foreign(half)
    shared = half.with_key(foreign.public)
    keys = {"ed25519:ZZZZ": "second", "ed25519:AAAA": "first"}
    content = macs(shared, ALICE, BOB, "txn", keys)
    base = "MATRIX_KEY_VERIFICATION_MAC@alice:example.orgAAAA@bob:example.orgBBBBtxn"
    assert content == {
        "mac": {
            "ed25519:AAAA": foreign.mac("first", base + "ed25519:AAAA"),
            "ed25519:ZZZZ": foreign.mac("second", base + "ed25519:ZZZZ"),
        },
        "keys": foreign.mac("ed25519:AAAA,ed25519:ZZZZ", base + "KEY_IDS"),
    }
    info = mac_info(BOB, ALICE, "txn", "ed25519:BBBB")
    assert shared.is_mac("key", info, foreign.mac("key", info))
    for wrong in (foreign.mac("other", info), "", "no base64 at all!", foreign.mac("key", base)):
        assert not shared.is_mac("key", info, wrong)


def test_the_commitment_is_of_the_key_and_the_canonical_start() -> None:
    start = {"b": 1, "a": ["ü"]}
    expected = hashlib.sha256(b'public{"a":["\xc3\xbc"],"b":1}').digest()
    assert commitment("public", start) == unpadded(expected)


def test_a_half_gives_its_secret_again_for_the_same_key_only() -> None:
    half, one, two = OwnHalf(), OwnHalf(), OwnHalf()
    first = half.with_key(one.public)
    assert half.with_key(one.public) is first
    with pytest.raises(ValueError, match="once"):
        half.with_key(two.public)


@pytest.mark.parametrize("bad", ["", "AAAA", unpadded(bytes(32)), "!" * 43])
def test_a_bad_key_gives_no_secret(bad: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever of vodozemac's
        OwnHalf().with_key(bad)


def test_the_table_has_64_emoji_with_the_names_of_the_specification() -> None:
    assert len(EMOJI) == len({entry.symbol for entry in EMOJI}) == len({entry.name for entry in EMOJI}) == 64
    spot = {
        0: "Dog",
        15: "Flower",
        19: "Globe",
        29: "Heart",
        34: "Spanner",
        36: "Thumbs Up",
        41: "Light Bulb",
        53: "Aeroplane",
        63: "Pin",
    }
    assert {number: EMOJI[number].name for number in spot} == spot
    assert EMOJI[21].symbol == "\u2601\ufe0f"
