"""Identities made by hand, for tests: the three keys, put on the server as a person's client would."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tandem_core.crypto.signing import SigningKey
from tandem_core.types import DeviceId, Json, UserId
from tests.core.crypto.key_server import KeyServer


@dataclass
class Identity:
    """Somebody's cross-signing keys, with their secret halves."""

    user_id: UserId
    master: SigningKey
    self_signing: SigningKey
    user_signing: SigningKey

    @classmethod
    def make(cls, user_id: UserId, seed: int) -> Identity:
        """Three keys from a small number."""
        keys = [SigningKey(bytes([seed, part]) * 16) for part in range(3)]
        return cls(user_id, *keys)

    def objects(self) -> dict[str, Json]:
        """The key objects by usage, the lesser ones signed by the master key."""
        found = {
            usage: key_object(self.user_id, usage, key)
            for usage, key in (
                ("master", self.master),
                ("self_signing", self.self_signing),
                ("user_signing", self.user_signing),
            )
        }
        for usage in ("self_signing", "user_signing"):
            found[usage] = self.master.sign(found[usage], self.user_id)
        return found

    def publish(self, server: KeyServer) -> None:
        """The server shows this identity from now on, whatever it had."""
        server.identities[self.user_id] = self.objects()

    def sign_device(self, server: KeyServer, device_id: DeviceId) -> None:
        """The self-signing key vouches for the device, as the server has it."""
        keys = self.self_signing.sign(server.devices[self.user_id][device_id], self.user_id)
        made = keys["signatures"][self.user_id]
        mine = {f"ed25519:{self.self_signing.public}": made[f"ed25519:{self.self_signing.public}"]}
        server.signatures.append((self.user_id, self.user_id, device_id, mine))

    def sign_person(self, server: KeyServer, other: Identity) -> None:
        """The user-signing key vouches for somebody's master key."""
        value = self.user_signing.sign(copy.deepcopy(other.objects()["master"]), self.user_id)
        server.signatures.append(
            (self.user_id, other.user_id, other.master.public, value["signatures"][self.user_id])
        )


def key_object(user_id: UserId, usage: str, key: SigningKey) -> dict[str, Any]:
    """A cross-signing key as it is published, without signatures."""
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}
