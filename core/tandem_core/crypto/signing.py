"""Ed25519 keys that we hold ourselves: cross-signing keys.

vodozemac's binding has no secret half; pycryptodome has.
"""

from __future__ import annotations

import secrets

from tandem_core import unpadded
from tandem_core.store.codec import canonical
from tandem_core.types import Json

_SEED_BYTES = 32


class SigningKey:
    """One key pair, told by its 32-byte seed. pycryptodome is imported with the first one (40 ms)."""

    def __init__(self, seed: bytes) -> None:
        """Raises ValueError for a seed of another length."""
        if len(seed) != _SEED_BYTES:
            raise ValueError("a seed has 32 bytes")
        from Crypto.PublicKey import ECC

        self._seed = seed
        self._key = ECC.construct(curve="ed25519", seed=seed)

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def from_secret(cls, text: str) -> SigningKey:
        """From the form in which secret storage and gossip carry it (base64); raises ValueError."""
        try:
            seed = unpadded.decode(text)
        except ValueError as error:
            raise ValueError("a seed is base64") from error
        return cls(seed)

    @property
    def secret(self) -> str:
        """The seed in unpadded base64: for secret storage and sealed rows only."""
        return unpadded.encode(self._seed)

    @property
    def public(self) -> str:
        """The public half in unpadded base64, which is also its key id in signatures."""
        return unpadded.encode(self._key.public_key().export_key(format="raw"))

    def sign(self, value: Json, user_id: str) -> Json:
        """The object with this key's signature beside those it has (spec, appendices, "Signing JSON")."""
        from Crypto.Signature import eddsa

        bare = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
        made = eddsa.new(self._key, "rfc8032").sign(canonical(bare))
        signature = unpadded.encode(made)
        present = value.get("signatures")
        signatures = {**present} if isinstance(present, dict) else {}
        mine = signatures.get(user_id)
        signatures[user_id] = {
            **(mine if isinstance(mine, dict) else {}),
            f"ed25519:{self.public}": signature,
        }
        return {**value, "signatures": signatures}
