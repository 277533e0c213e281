"""The content of a QR code (spec, "QR code format"), and the text form of it for who has no camera."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import IntEnum

from tandem_core import unpadded
from tandem_core.errors import BadInput

_MAGIC = b"MATRIX"
_VERSION = 2
_KEY_BYTES = 32
_LEAST_SECRET = 8
_MOST_SECRET = 256
SECRET_BYTES = 16


class Mode(IntEnum):
    """Who shows the code, and what the two keys in it are."""

    PERSON = 0
    """To another user: own master key, their master key."""
    TRUSTED = 1
    """To an own device, from one that trusts the account's master key: master key, the other device's key."""
    UNTRUSTED = 2
    """To an own device, from one that does not yet trust the master key: own device key, master key."""


class BadCode(BadInput):
    title = "This is no verification code"
    advice = "Copy the whole code that the other side shows for this verification."


@dataclass(frozen=True, slots=True)
class Code:
    """What a code says. ``first`` and ``second`` are keys in unpadded base64, by the mode."""

    mode: Mode
    flow: str
    first: str
    second: str
    secret: bytes

    def to_bytes(self) -> bytes:
        """What the picture holds, in byte mode."""
        flow = self.flow.encode()
        head = _MAGIC + bytes([_VERSION, self.mode]) + len(flow).to_bytes(2, "big") + flow
        return head + unpadded.decode(self.first) + unpadded.decode(self.second) + self.secret

    def to_text(self) -> str:
        """The same in URL-safe base64, to copy and paste."""
        return base64.urlsafe_b64encode(self.to_bytes()).decode("ascii").rstrip("=")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Code:
        """Read what was scanned; raises BadCode."""
        head = len(_MAGIC)
        if raw[:head] != _MAGIC or len(raw) < head + 4:
            raise BadCode
        version, mode = raw[head], raw[head + 1]
        if version != _VERSION or mode not in set(Mode):
            raise BadCode("of a kind that this version does not know")
        start = head + 4
        keys_at = start + int.from_bytes(raw[head + 2 : start], "big")
        secret_at = keys_at + 2 * _KEY_BYTES
        secret = raw[secret_at:]
        if not _LEAST_SECRET <= len(secret) <= _MOST_SECRET:
            raise BadCode("not complete")
        try:
            flow = raw[start:keys_at].decode()
        except UnicodeDecodeError as error:
            raise BadCode from error
        first, second = raw[keys_at : keys_at + _KEY_BYTES], raw[keys_at + _KEY_BYTES : secret_at]
        return cls(Mode(mode), flow, unpadded.encode(first), unpadded.encode(second), secret)

    @classmethod
    def from_text(cls, text: str) -> Code:
        """Read the text form; white space, as mail and terminals put in, does not matter. Raises BadCode."""
        packed = "".join(text[:8192].split()).rstrip("=")
        try:
            standard = packed.replace("-", "+").replace("_", "/")
            raw = unpadded.decode(standard)
        except ValueError as error:
            raise BadCode from error
        return cls.from_bytes(raw)


def is_key(text: str) -> bool:
    """Whether this is 32 bytes in base64."""
    try:
        return len(unpadded.decode(text)) == _KEY_BYTES
    except ValueError:
        return False
