"""Take over secrets that came from secret storage or another device: each is kept only if it fits what is published."""

from __future__ import annotations

from collections.abc import Mapping

from tandem_core.crypto.backup import Backup
from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.recovery_state import CROSS_SIGNING
from tandem_core.crypto.secrets import BACKUP


async def adopt(cross_signing: CrossSigning, backup: Backup, found: Mapping[str, str]) -> set[str]:
    """Keep those secrets (by name) that belong to the account's published keys or its backup; returns their names.

    With the backup's key everything in it is restored, in the background.

    Raises what ``Http.request`` raises; what was kept until then stays kept.
    """
    signing = {name: secret for name, secret in found.items() if name in CROSS_SIGNING}
    kept = await cross_signing.adopt(signing) if signing else set()
    if BACKUP in found and await backup.adopt(found[BACKUP]):
        kept |= {BACKUP}
    return kept
