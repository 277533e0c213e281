"""Seals the exceptions from delivery confirmations, so that only the user's own verified devices read them.

The key is made from the account's self-signing key: every verified device has that one from secret storage or from
another device, so no further secret has to be made, kept in step and passed on. With a new identity it is another key.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from tandem_core import unpadded
from tandem_core.crypto import secret_storage, secrets
from tandem_core.errors import StoreCorrupt
from tandem_core.store.database import Database
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS
from tandem_core.types import Json

if TYPE_CHECKING:
    from tandem_core.crypto.worker import LocalOpener

ALGORITHM = "im.tandem.exceptions.v1.aes-hmac-sha2"
"""AES-CTR and HMAC as in secret storage (``secret_storage.encrypt``), with the key that ``key_of`` makes."""
_PURPOSE = b"im.tandem.delivery_key"


class ExceptionsBox:
    """Seals and opens with what this device holds of the account's identity."""

    def __init__(self, db: Database, opener: LocalOpener) -> None:
        self._db = db
        self._opener = opener

    async def has_key(self) -> bool:
        """Whether this device can seal and open at all: it is verified."""
        return await self._db.read(secrets.has, secrets.SELF_SIGNING)

    async def seal(self, text: str) -> Json | None:
        """The account data to be written; None where this device has no key."""
        key = await self._key()
        if key is None:
            return None
        return {"algorithm": ALGORITHM, **secret_storage.encrypt(key, DELIVERY_EXCEPTIONS, text)}

    async def open(self, content: Json) -> str | None:
        """What was sealed; None without the key it was sealed with, and for all that is malformed."""
        key = await self._key() if content.get("algorithm") == ALGORITHM else None
        if key is None:
            return None
        try:
            return secret_storage.decrypt(key, DELIVERY_EXCEPTIONS, content)
        except secret_storage.CannotOpen:
            return None

    async def _key(self) -> bytes | None:
        if not await self.has_key():
            return None
        state = await self._opener.state()
        try:
            seed = await self._db.read(secrets.read, state, secrets.SELF_SIGNING)
            return None if seed is None else key_of(seed)
        except (StoreCorrupt, ValueError):
            return None


def key_of(seed: str) -> bytes:
    """The 32 bytes that belong to a self-signing key's seed (unpadded base64): HMAC-SHA-256 with a name of ours."""
    return hmac.digest(unpadded.decode(seed.rstrip("=")), _PURPOSE, "sha256")
