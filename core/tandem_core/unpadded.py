"""Unpadded base64, as Matrix writes bytes (spec, appendices, "Unpadded Base64")."""

from __future__ import annotations

import base64


def encode(raw: bytes) -> str:
    """Standard letters, no ``=`` at the end."""
    return base64.b64encode(raw).decode("ascii").rstrip("=")


def decode(text: str) -> bytes:
    """Bytes from base64 with its padding or without; raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
