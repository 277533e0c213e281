"""Builders for tests of recovery: secrets that are only words, and what would take over those that fit."""

from __future__ import annotations

import asyncio
from typing import Any

from tandem_core.crypto import secrets
from tandem_core.crypto.recovery import Recovery
from tandem_core.crypto.recovery_state import NAMES
from tests.core.crypto.world import Device, user

ALICE = user("alice")
SECRETS = {name: f"the secret of {name}" for name in NAMES}


def recovery(device: Device, http: Any = None, true: dict[str, str] | None = None) -> Recovery:
    """Recovery on a device, in an account whose published keys belong to the secrets of ``true``."""

    async def adopt(found: dict[str, str]) -> set[str]:
        fitting = {name for name, value in found.items() if value == (true or SECRETS).get(name)}
        for name in fitting - held(device).keys():
            device.write(secrets.keep, device.state, name, found[name], device.clock.now_ms())
        return fitting

    return Recovery(device.paths, device.db, http or device.http, device.state, adopt)


def held(device: Device) -> dict[str, str]:
    found = {name: device.read(secrets.read, device.state, name) for name in NAMES}
    return {name: value for name, value in found.items() if value is not None}


def set_up(device: Device, passphrase: str | None = None) -> str:
    return asyncio.run(recovery(device).set_up(passphrase))
