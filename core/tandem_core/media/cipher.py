"""Encryption of attachments (spec, "Sending encrypted attachments"), piece by piece: AES-256-CTR and SHA-256.

Encrypting is matrix-nio's (ADR 0010); decrypting is done here, since nio's function needs the whole file in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from tandem_core.attachments.content import Cipher
from tandem_core.errors import Expected
from tandem_core.types import Json


class HashMismatch(Expected):
    """What came is not what was sent: a server changed it, or it was cut short."""

    title = "This file is not what its sender sent"
    advice = "It was not kept. Ask the sender to send it again."


def encrypted(chunks: Iterable[bytes]) -> Iterator[bytes | Json]:
    """The encrypted pieces, and last the ``EncryptedFile`` object, still without its ``url``.

    Imports nio (half a second, 19 MB): only where a file is sent, and not on a thread that must not wait.
    """
    from nio.crypto.attachments import encrypted_attachment_generator

    made: Iterator[Any] = encrypted_attachment_generator(chunks)
    return made


class Decryption:
    """Opens one attachment from its pieces in order. Nothing may be used before ``finish`` has returned."""

    def __init__(self, cipher: Cipher) -> None:
        from Crypto.Cipher import AES
        from Crypto.Hash import SHA256
        from Crypto.Util import Counter

        iv = _bytes(cipher.iv)
        counter = Counter.new(
            64, prefix=iv[:8], initial_value=int.from_bytes(iv[8:], "big"), allow_wraparound=True
        )
        self._aes = AES.new(_bytes(cipher.key), AES.MODE_CTR, counter=counter)
        self._hash = SHA256.new()
        self._wanted = _bytes(cipher.sha256)

    def open(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        return self._aes.decrypt(chunk)

    def finish(self) -> None:
        """All pieces are there; raises HashMismatch if they are not what was sent."""
        if self._hash.digest() != self._wanted:
            raise HashMismatch


def _bytes(text: str) -> bytes:
    """Either alphabet, padded or not: senders differ, and ``content.read`` has looked at the form."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
