"""The file format of key exports (spec, "Key exports"): PBKDF2 with SHA-512, AES-256-CTR, HMAC-SHA-256.

matrix-nio has it, too, but derives its key in Python, at 30 microseconds a round: a file of other clients, with 500,000
rounds, takes a quarter of a minute there, and a hostile one, with four billion, the rest of the day (ADR 0011).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from tandem_core import unpadded

HEADER = "-----BEGIN MEGOLM SESSION DATA-----"
FOOTER = "-----END MEGOLM SESSION DATA-----"
ROUNDS = 500_000
"""As other clients make them."""
MOST_ROUNDS = 10_000_000
_VERSION = 1
_SALT_BYTES = 16
_IV_BYTES = 16
_TAG_BYTES = 32
_HEAD_BYTES = 1 + _SALT_BYTES + _IV_BYTES + 4
_LINE = 76


class BadKeyFile(ValueError):
    """It is no key file, or the passphrase is not the one it was made with; the words hold no content."""


def seal(content: bytes, passphrase: str, *, rounds: int = ROUNDS) -> str:
    """The text of a key file with this content. Takes some tenths of a second: call it in a thread."""
    salt = secrets.token_bytes(_SALT_BYTES)
    iv = bytearray(secrets.token_bytes(_IV_BYTES))
    iv[8] &= 0x7F  # bit 63: some counters have no more than 63 bits
    aes_key, mac_key = _keys(passphrase, salt, rounds)
    head = bytes([_VERSION]) + salt + bytes(iv) + rounds.to_bytes(4, "big")
    body = head + _crypt(aes_key, bytes(iv), content)
    text = base64.b64encode(body + _tag(mac_key, body)).decode("ascii")
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join([HEADER, *lines, FOOTER, ""])


def open_sealed(text: str, passphrase: str) -> bytes:
    """The content of a key file; raises BadKeyFile. Takes as long as the file's rounds, which are bounded."""
    stripped = text.strip()
    if not stripped.startswith(HEADER) or not stripped.endswith(FOOTER):
        raise BadKeyFile("not a key file")
    packed = "".join(stripped.removeprefix(HEADER).removesuffix(FOOTER).split()).rstrip("=")
    try:
        raw = unpadded.decode(packed)
    except ValueError as error:
        raise BadKeyFile("not a key file") from error
    if len(raw) < _HEAD_BYTES + _TAG_BYTES or raw[0] != _VERSION:
        raise BadKeyFile("not a key file of a version that is known")
    body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
    salt, iv = body[1 : 1 + _SALT_BYTES], body[1 + _SALT_BYTES : 1 + _SALT_BYTES + _IV_BYTES]
    rounds = int.from_bytes(body[_HEAD_BYTES - 4 : _HEAD_BYTES], "big")
    if not 1 <= rounds <= MOST_ROUNDS:
        raise BadKeyFile("its passphrase would be stretched for too long")
    aes_key, mac_key = _keys(passphrase, salt, rounds)
    if not hmac.compare_digest(_tag(mac_key, body), tag):
        raise BadKeyFile("the passphrase is wrong, or the file is damaged")
    return _crypt(aes_key, iv, body[_HEAD_BYTES:])


def _keys(passphrase: str, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    derived = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, rounds, 64)
    return derived[:32], derived[32:]


def _tag(mac_key: bytes, body: bytes) -> bytes:
    return hmac.digest(mac_key, body, "sha256")


def _crypt(aes_key: bytes, iv: bytes, content: bytes) -> bytes:
    from Crypto.Cipher import AES

    cipher = AES.new(aes_key, AES.MODE_CTR, nonce=b"", initial_value=int.from_bytes(iv, "big"))
    return bytes(cipher.encrypt(content))
