"""Take over secrets that came from secret storage or another device: each is kept only if it fits what is published."""

from __future__ import annotations

from collections.abc import Mapping

from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.recovery_state import CROSS_SIGNING


async def adopt(cross_signing: CrossSigning, found: Mapping[str, str]) -> set[str]:
    """Keep those secrets (by name) that belong to the account's published keys; returns their names.

    Raises what ``Http.request`` raises; what was kept until then stays kept.
    """
    signing = {name: secret for name, secret in found.items() if name in CROSS_SIGNING}
    return await cross_signing.adopt(signing) if signing else set()
