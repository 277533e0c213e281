"""What a person does about recovery, from beginning to end: identity, backup and secret storage together."""

from __future__ import annotations

import logging
from functools import partial

from tandem_core.approval import Approver
from tandem_core.crypto.adoption import adopt
from tandem_core.crypto.backup import Backup, BackupExists
from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.recovery import Recovery, Show
from tandem_core.crypto.state import CryptoState
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store.database import Database

log = logging.getLogger("tandem.crypto.recovery")


def recovery_of(
    paths: ProfilePaths,
    db: Database,
    http: Http,
    state: CryptoState,
    cross_signing: CrossSigning,
    backup: Backup,
) -> Recovery:
    """Recovery that hands what it finds to the identity and the backup."""
    return Recovery(paths, db, http, state, partial(adopt, cross_signing, backup))


async def set_up(
    recovery: Recovery, backup: Backup, passphrase: str | None = None, *, show: Show | None = None
) -> str:
    """Make a backup where there is none, and a recovery key for it and the identity; returns the key.

    Raises as ``Recovery.set_up``; a backup that somebody else made, and whose key is not here, stays as it is.
    """
    await recovery.may_set_up()
    try:
        await backup.create()
    except BackupExists:
        log.warning("there is a backup whose key is not here; it is left as it is")
    return await recovery.set_up(passphrase, show=show)


async def reset(
    cross_signing: CrossSigning,
    backup: Backup,
    recovery: Recovery,
    approver: Approver,
    passphrase: str | None = None,
    *,
    show: Show | None = None,
) -> str:
    """Start anew where nothing else is left: a new identity, a new recovery key, and a backup that we have the key of.

    Everybody who verified us is warned, and what only the old backup could open stays closed. May be repeated: the
    storage counts as incomplete until the end is reached. Raises Cancelled, and then nothing was changed.
    """
    await cross_signing.reset(approver)
    try:
        await backup.create()
    except BackupExists:
        await backup.create(replace=True)
    return await recovery.replace(passphrase, show=show)
