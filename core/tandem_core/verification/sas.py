"""The mathematics of a short authentication string (spec, "Short Authentication String (SAS) verification")."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tandem_core import unpadded
from tandem_core.codec import canonical
from tandem_core.types import DeviceId, Json, UserId

if TYPE_CHECKING:
    from vodozemac import EstablishedSas


class Shared(Protocol):
    """A secret that two sides share."""

    def string(self, info: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Seven numbers of emoji and three decimals."""
        ...

    def mac(self, text: str, info: str) -> str:
        """The MAC of the text, in unpadded base64."""
        ...

    def is_mac(self, text: str, info: str, mac: str) -> bool: ...


class Half(Protocol):
    """One side's key pair, for one verification."""

    @property
    def public(self) -> str:
        """The public half in unpadded base64."""
        ...

    def with_key(self, key: str) -> Shared:
        """The secret shared with whoever has this key's other half; raises ValueError for a bad key."""
        ...


class OwnHalf:
    """vodozemac's key pair. It can be used once; the secret it gave is given again for the same key,
    since a transaction may be repeated."""

    def __init__(self) -> None:
        from vodozemac import Sas

        self._sas = Sas()
        self._made: tuple[str, Shared] | None = None

    @property
    def public(self) -> str:
        return self._sas.public_key.to_base64()

    def with_key(self, key: str) -> Shared:
        if self._made is not None and self._made[0] == key:
            return self._made[1]
        from vodozemac import Curve25519PublicKey

        shared = _Established(self._sas.diffie_hellman(Curve25519PublicKey.from_base64(key)))
        self._made = key, shared
        return shared


class _Established:
    def __init__(self, sas: EstablishedSas) -> None:
        self._sas = sas

    def string(self, info: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        made = self._sas.bytes(info)
        return tuple(made.emoji_indices), tuple(made.decimals)

    def mac(self, text: str, info: str) -> str:
        return self._sas.calculate_mac(text, info)

    def is_mac(self, text: str, info: str, mac: str) -> bool:
        try:
            self._sas.verify_mac(text, info, mac)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Party:
    """One side as the infos name it."""

    user: UserId
    device: DeviceId

    def __str__(self) -> str:
        return f"{self.user}{self.device}"


def string_info(starter: Party, starter_key: str, other: Party, other_key: str, flow: str) -> str:
    """What the string is derived with; ``starter`` sent the ``start``."""
    return (
        f"MATRIX_KEY_VERIFICATION_SAS|{starter.user}|{starter.device}|{starter_key}"
        f"|{other.user}|{other.device}|{other_key}|{flow}"
    )


def mac_info(owner: Party, other: Party, flow: str, key_id: str) -> str:
    """What a MAC is derived with; ``owner`` is whose key it is."""
    return f"MATRIX_KEY_VERIFICATION_MAC{owner}{other}{flow}{key_id}"


def commitment(public: str, start: Json) -> str:
    """The promise of who accepts: hash of its key and of the ``start`` it answers."""
    made = hashlib.sha256(public.encode() + canonical(start)).digest()
    return unpadded.encode(made)


def macs(shared: Shared, owner: Party, other: Party, flow: str, keys: dict[str, str]) -> Json:
    """The content of ``m.key.verification.mac`` for these keys by their ids."""
    return {
        "mac": {
            key_id: shared.mac(key, mac_info(owner, other, flow, key_id)) for key_id, key in keys.items()
        },
        "keys": shared.mac(",".join(sorted(keys)), mac_info(owner, other, flow, "KEY_IDS")),
    }
