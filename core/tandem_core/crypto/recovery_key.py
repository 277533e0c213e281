"""The recovery key as people write it down: Base58 with prefix and parity (spec, "Key representation")."""

from __future__ import annotations

from functools import reduce
from operator import xor

from tandem_core.errors import BadInput

KEY_BYTES = 32
_PREFIX = b"\x8b\x01"
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_GROUP = 4
_BYTES = len(_PREFIX) + KEY_BYTES + 1
_START = "Es"
"""What the prefix makes of the first two characters, whatever the key."""
_LETTERS = 48
_MOST_LETTERS = 200


class BadRecoveryKey(BadInput):
    """The text is no recovery key; the detail says what is wrong and holds nothing of the text."""

    title = "This is no recovery key"
    advice = "Compare it with what you wrote down: capitals matter, spaces do not."


def encode(key: bytes) -> str:
    """The text of a 32-byte key, in groups of four characters."""
    if len(key) != KEY_BYTES:
        raise ValueError("a recovery key has 32 bytes")
    raw = _PREFIX + key
    number = int.from_bytes(raw + bytes([reduce(xor, raw)]), "big")
    letters = ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        letters = _ALPHABET[digit] + letters
    return " ".join(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))


def decode(text: str) -> bytes:
    """The 32 bytes that the text stands for; raises BadRecoveryKey."""
    letters = "".join(text.split())
    if not letters:
        raise BadRecoveryKey("nothing was entered")
    if len(letters) > _MOST_LETTERS:
        raise BadRecoveryKey("it is too long")
    number = 0
    for place, letter in enumerate(letters):
        digit = _ALPHABET.find(letter)
        if digit < 0:
            raise BadRecoveryKey(f"character {place + 1} never occurs in one{_instead(letter)}")
        number = number * len(_ALPHABET) + digit
    if not letters.startswith(_START) and len(letters) >= _LETTERS:
        raise BadRecoveryKey(f"one begins with {_START}")
    if len(letters) != _LETTERS:
        raise BadRecoveryKey(f"it has {len(letters)} characters without spaces, one has {_LETTERS}")
    try:
        raw = number.to_bytes(_BYTES, "big")
    except OverflowError:
        raise BadRecoveryKey("one or more characters are wrong") from None
    if not raw.startswith(_PREFIX) or reduce(xor, raw):
        raise BadRecoveryKey("one or more characters are wrong")
    return raw[len(_PREFIX) : -1]


def looks_like_one(text: str) -> bool:
    """Whether somebody who typed this meant a recovery key, slips included, rather than a passphrase."""
    letters = "".join(text.split())
    return letters.startswith(_START) and abs(len(letters) - _LETTERS) <= _GROUP


def _instead(letter: str) -> str:
    """Which look-alike may have been meant; the alphabet leaves these out for that reason."""
    meant = {"0": "o", "O": "o", "I": "1, i", "l": "1, i"}.get(letter)
    return f" (perhaps {' or '.join(meant.split(', '))}?)" if meant else ""
