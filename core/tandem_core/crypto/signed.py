"""Check signed JSON from others (spec, appendices, "Checking for a signature"); nothing is believed before."""

from __future__ import annotations

from typing import Any

from vodozemac import Ed25519PublicKey, Ed25519Signature

from tandem_core.store.codec import canonical
from tandem_core.store.devices import Device
from tandem_core.types import DeviceId, UserId

_KEY_LETTERS = 43


def is_signed_by(value: Any, user_id: str, device_id: str, ed25519: str) -> bool:
    """Whether this device signed the object with this key; False for anything malformed."""
    if not isinstance(value, dict) or not is_ed25519(ed25519):
        return False
    try:
        signature = value["signatures"][user_id][f"ed25519:{device_id}"]
        bare = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
        Ed25519PublicKey.from_base64(ed25519).verify_signature(
            canonical(bare), Ed25519Signature.from_base64(signature)
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    return True


def is_ed25519(key: Any) -> bool:
    """Whether this is a public key in unpadded base64, in the one spelling that there is for it."""
    # vodozemac 0.10 panics at 33 bytes, with no exception that anybody catches.
    if not isinstance(key, str) or len(key) != _KEY_LETTERS:
        return False
    try:
        return Ed25519PublicKey.from_base64(key).to_base64() == key
    except ValueError:
        return False


def device_from_keys(user_id: UserId, device_id: str, keys: Any) -> tuple[Device, list[str]] | None:
    """A device from a ``/keys/query`` answer with its algorithms; None unless it says and signs who it is."""
    if not isinstance(keys, dict) or keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        return None
    by_name = keys.get("keys")
    algorithms = keys.get("algorithms")
    if not isinstance(by_name, dict) or not isinstance(algorithms, list):
        return None
    curve25519, ed25519 = by_name.get(f"curve25519:{device_id}"), by_name.get(f"ed25519:{device_id}")
    if not isinstance(curve25519, str) or not isinstance(ed25519, str):
        return None
    if not is_signed_by(keys, user_id, device_id, ed25519):
        return None
    unsigned = keys.get("unsigned")
    name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    device = Device(
        user_id, DeviceId(device_id), curve25519, ed25519, name if isinstance(name, str) else None
    )
    return device, [algorithm for algorithm in algorithms if isinstance(algorithm, str)]
