"""Ratchet indices, read off encrypted messages as they pass on the wire: no library, no key."""

from __future__ import annotations

import base64
from collections.abc import Iterator


def megolm_index(ciphertext: str) -> int:
    """The message index of a Megolm message (libolm's megolm.md: version, then field 0x08 as a varint)."""
    return _fields(_unpadded(ciphertext)[1:])[0x08]


def olm_index(kind: int, body: str) -> tuple[str, int]:
    """Ratchet key and chain index of an Olm message (olm.md); a pre-key message (type 0) holds one inside."""
    data = _unpadded(body)
    if kind == 0:
        data = _strings(data[1:])[0x22]
    return _strings(data[1:])[0x0A].hex(), _fields(data[1:])[0x10]


def _walk(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol-buffer message, until what follows (a MAC, a signature) is none."""
    place = 0
    while place < len(data):
        tag, place = data[place], place + 1
        if tag & 7 not in (0, 2):
            return
        value, shift = 0, 0
        while place < len(data):
            byte, place = data[place], place + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if not byte & 0x80:
                break
        if tag & 7 == 0:
            yield tag, value
        else:
            if place + value > len(data):
                return
            yield tag, data[place : place + value]
            place += value


def _fields(data: bytes) -> dict[int, int]:
    return {tag: value for tag, value in reversed(list(_walk(data))) if isinstance(value, int)}


def _strings(data: bytes) -> dict[int, bytes]:
    return {tag: value for tag, value in reversed(list(_walk(data))) if isinstance(value, bytes)}


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
