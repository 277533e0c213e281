"""What application services ask of us in their registration files; Synapse leaves keys that it does not know alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from synapse.module_api.errors import ConfigError

ACCOUNT_DATA = "im.tandem.account_data"
ROOM_ACCOUNT_DATA = "im.tandem.room_account_data"
LOSSLESS_TO_DEVICE = "im.tandem.lossless_to_device"


@dataclass(frozen=True, slots=True)
class Wishes:
    """One service's opt-ins; ``users`` and ``data`` change with whatever decides which users and data it gets.

    MSC3682 leaves the opt-in open, MSC4203 has none; so the keys are ours.
    """

    account_data: bool = False
    room_account_data: bool = False
    lossless_to_device: bool = False
    users: str = ""
    data: str = ""

    def __bool__(self) -> bool:
        return self.account_data or self.room_account_data or self.lossless_to_device


def read(files: Iterable[str]) -> dict[str, Wishes]:
    """The services that ask for something, by id. Raises ConfigError for a flag that is neither true nor false."""
    found = {}
    for file in files:
        registration = yaml.safe_load(Path(file).read_text("utf-8"))
        account, room, lossless = (
            _flag(registration, key, file) for key in (ACCOUNT_DATA, ROOM_ACCOUNT_DATA, LOSSLESS_TO_DEVICE)
        )
        users = _users(registration)
        wishes = Wishes(account, room, lossless, users, f"{users} {account:d}{room:d}")
        if wishes:
            found[str(registration["id"])] = wishes
    return found


def _flag(registration: dict[str, Any], key: str, file: str) -> bool:
    value = registration.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"tandem_synapse: {key} in {file} must be true or false")
    return value


def _users(registration: dict[str, Any]) -> str:
    namespace = sorted(str(entry["regex"]) for entry in registration["namespaces"].get("users", []))
    words = "\n".join([str(registration["sender_localpart"]), *namespace])
    return hashlib.sha256(words.encode()).hexdigest()[:16]
