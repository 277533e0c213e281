"""Secrets encrypted for the account data on the server (spec, "Secret storage", m.secret_storage.v1.aes-hmac-sha2).

Pure: bytes and JSON in, bytes and JSON out. The name of a secret is part of its keys, so that a server cannot put
one in another's place. pycryptodome is imported on first use.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from tandem_core import unpadded
from tandem_core.errors import Expected
from tandem_core.types import Json

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
PBKDF2 = "m.pbkdf2"
KEY_BYTES = 32
LEAST_ITERATIONS = 10_000
"""Fewer would let whoever sees what was encrypted guess the passphrase: a server may ask for few on purpose."""
MOST_ITERATIONS = 10_000_000
"""About ten seconds; more would let a server keep us busy."""
_ITERATIONS = 500_000
_SALT_LETTERS = 32
_IV_BYTES = 16
_MAC_BYTES = 32
_MOST_SECRET = 64 * 1024


class CannotOpen(Expected):
    """An encrypted secret or a key's description that cannot be used; the detail is a word of ours, no content."""

    title = "A secret in the account's secret storage cannot be opened"
    advice = "Set up recovery again from a device that has the secrets."


@dataclass(frozen=True, slots=True)
class Passphrase:
    """How a key is made from a passphrase."""

    salt: str
    iterations: int


@dataclass(frozen=True, slots=True)
class Description:
    """What the account data says of a key (``m.secret_storage.key.ID``)."""

    key_id: str
    name: str
    iv: bytes | None
    mac: bytes | None
    passphrase: Passphrase | None

    @property
    def can_tell(self) -> bool:
        """Whether a key can be checked against it; without, only an opened secret shows that the key is right."""
        return self.iv is not None and self.mac is not None


def new_passphrase() -> Passphrase:
    """Parameters for a new key from a passphrase."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return Passphrase("".join(secrets.choice(letters) for _ in range(_SALT_LETTERS)), _ITERATIONS)


def describe(key: bytes, *, name: str = "", passphrase: Passphrase | None = None) -> Json:
    """The content of ``m.secret_storage.key.ID`` for a key: how to know it again."""
    iv = _new_iv()
    content: Json = {
        "algorithm": ALGORITHM,
        "iv": unpadded.encode(iv),
        "mac": unpadded.encode(_proof(key, iv)),
    }
    if name:
        content["name"] = name
    if passphrase is not None:
        content["passphrase"] = {
            "algorithm": PBKDF2,
            "salt": passphrase.salt,
            "iterations": passphrase.iterations,
            "bits": KEY_BYTES * 8,
        }
    return content


def read_description(key_id: str, content: Any) -> Description:
    """What a key's description says; raises CannotOpen for one that is malformed or of another algorithm."""
    if not isinstance(content, dict) or not content:
        raise CannotOpen("the key has no description")
    if content.get("algorithm") != ALGORITHM:
        raise CannotOpen("the key is for an algorithm that Tandem does not know")
    name = content.get("name")
    iv, mac = _optional(content, "iv", _IV_BYTES), _optional(content, "mac", _MAC_BYTES)
    if (iv is None) != (mac is None):
        raise CannotOpen("the key's description is damaged")
    said = content.get("passphrase")
    passphrase = None if said is None else _read_passphrase(said)
    return Description(key_id, name if isinstance(name, str) else "", iv, mac, passphrase)


def is_key(description: Description, key: bytes) -> bool:
    """Whether this is the described key; True where the description cannot tell (as the specification asks)."""
    if description.iv is None or description.mac is None:
        return True
    return hmac.compare_digest(_proof(key, description.iv), description.mac)


async def key_from_passphrase(words: str, how: Passphrase) -> bytes:
    """The key that a passphrase makes (PBKDF2 with SHA-512), computed in a thread; raises CannotOpen out of bounds."""
    if not LEAST_ITERATIONS <= how.iterations <= MOST_ITERATIONS:
        raise CannotOpen("the passphrase would be stretched too little or too long")
    return await asyncio.to_thread(stretch, words, how)


def stretch(words: str, how: Passphrase) -> bytes:
    """The same in the calling thread, whatever the number of iterations."""
    # Half a surrogate pair, which only a terminal can bring, is a wrong passphrase like another.
    secret = words.encode("utf-8", "surrogatepass")
    return hashlib.pbkdf2_hmac("sha512", secret, how.salt.encode(), how.iterations, KEY_BYTES)


def encrypt(key: bytes, name: str, secret: str) -> Json:
    """The encrypted form of a secret under its name: ``iv``, ``ciphertext``, ``mac`` in unpadded base64."""
    iv = _new_iv()
    ciphertext, mac = _sealed(key, name, iv, secret.encode())
    return {"iv": unpadded.encode(iv), "ciphertext": unpadded.encode(ciphertext), "mac": unpadded.encode(mac)}


def decrypt(key: bytes, name: str, sealed: Any) -> str:
    """The secret; raises CannotOpen for another key, another name, and for anything malformed."""
    if not isinstance(sealed, dict):
        raise CannotOpen("it is malformed")
    iv, mac = _from_base64(sealed.get("iv")), _from_base64(sealed.get("mac"))
    ciphertext = _from_base64(sealed.get("ciphertext"))
    if iv is None or mac is None or ciphertext is None or len(iv) != _IV_BYTES:
        raise CannotOpen("it is malformed")
    aes_key, mac_key = _keys(key, name)
    if not hmac.compare_digest(hmac.digest(mac_key, ciphertext, "sha256"), mac):
        raise CannotOpen("its signature does not fit this key and this name")
    try:
        return _ctr(aes_key, iv, ciphertext).decode()
    except UnicodeDecodeError as error:
        raise CannotOpen("it holds no text") from error


def sealed_for(content: Any, key_id: str) -> Any:
    """What the account data of a secret holds for this key, unread; None if nothing."""
    by_key = content.get("encrypted") if isinstance(content, dict) else None
    return by_key.get(key_id) if isinstance(by_key, dict) else None


def key_ids(content: Any) -> list[str]:
    """The keys that the account data of a secret is encrypted for."""
    by_key = content.get("encrypted") if isinstance(content, dict) else None
    return list(by_key) if isinstance(by_key, dict) else []


def _read_passphrase(said: Any) -> Passphrase:
    if not isinstance(said, dict) or said.get("algorithm") != PBKDF2:
        raise CannotOpen("the passphrase is for an algorithm that Tandem does not know")
    salt, iterations, bits = said.get("salt"), said.get("iterations"), said.get("bits", KEY_BYTES * 8)
    if not isinstance(salt, str) or not isinstance(iterations, int) or isinstance(iterations, bool):
        raise CannotOpen("the key's description is damaged")
    if bits != KEY_BYTES * 8:
        raise CannotOpen("the passphrase makes a key of another length")
    return Passphrase(salt, iterations)


def _optional(content: Json, what: str, length: int) -> bytes | None:
    if content.get(what) is None:
        return None
    value = _from_base64(content[what])
    if value is None or len(value) != length:
        raise CannotOpen("the key's description is damaged")
    return value


def _proof(key: bytes, iv: bytes) -> bytes:
    """The MAC over 32 encrypted zero bytes, by which a key is known again."""
    return _sealed(key, "", iv, bytes(32))[1]


def _sealed(key: bytes, name: str, iv: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    aes_key, mac_key = _keys(key, name)
    ciphertext = _ctr(aes_key, iv, plaintext)
    return ciphertext, hmac.digest(mac_key, ciphertext, "sha256")


def _keys(key: bytes, name: str) -> tuple[bytes, bytes]:
    """The keys for AES and for the MAC: HKDF with SHA-256, a salt of 32 zero bytes, the name as info."""
    from Crypto.Hash import SHA256
    from Crypto.Protocol.KDF import HKDF

    made = HKDF(key, 2 * KEY_BYTES, bytes(32), SHA256, 1, name.encode())
    assert isinstance(made, bytes)
    return made[:KEY_BYTES], made[KEY_BYTES:]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    from Crypto.Cipher import AES

    return AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=iv).encrypt(data)


def _new_iv() -> bytes:
    """Random, with bit 63 zero: implementations differ in how the counter goes over it."""
    iv = bytearray(secrets.token_bytes(_IV_BYTES))
    iv[8] &= 0x7F
    return bytes(iv)


def _from_base64(text: Any) -> bytes | None:
    """Padded or not, as clients write it both ways; None for anything else, or more than a secret can be."""
    if not isinstance(text, str) or len(text) > _MOST_SECRET:
        return None
    try:
        return unpadded.decode(text.rstrip("="))
    except ValueError:
        return None
