"""Prove that a message was decrypted: a code over its id that only its readers can make. Pure.

The token comes inside the encrypted message (``marker``), so whoever knows it has opened that message.
"""

from __future__ import annotations

import base64

_CODE_BYTES = 16


def prove(token: bytes, event_id: str, user_id: str, device_id: str) -> str:
    """The proof for one event; ``device_id`` is empty where the device is not told."""
    import hmac  # loads OpenSSL, which the window's first frame need not wait for

    said = f"dlv1|{event_id}|{user_id}|{device_id}".encode()
    return encode(hmac.digest(token, said, "sha256")[:_CODE_BYTES])


def holds(said: object, token: bytes, event_id: str, user_id: str, device_id: str) -> bool:
    """Whether ``said`` is that proof."""
    import hmac

    if not isinstance(said, str) or not said.isascii():
        return False
    return hmac.compare_digest(said, prove(token, event_id, user_id, device_id))


def encode(raw: bytes) -> str:
    """Base64 with the letters of URLs, without ``=``."""
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def decode(text: str) -> bytes:
    """Bytes from what ``encode`` made, and from nothing else; raises ValueError."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(raw) != text:
        raise ValueError("not in its one form")
    return raw
