"""What a person can do about the account's encryption: identity, recovery, key backup, key files.

Each deed may be repeated after whatever broke it. Public methods raise ``errors.Expected``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tandem_core.approval import Approver
from tandem_core.errors import Cancelled
from tandem_core.paths import ProfilePaths
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, EventId, UserId

if TYPE_CHECKING:
    from tandem_core.crypto.backup import Backup
    from tandem_core.crypto.cross_signing import CrossSigning
    from tandem_core.crypto.recovery import Recovery
    from tandem_core.crypto.worker import CryptoWorker


class Asker(Approver, Protocol):
    """Whoever can also show a new recovery key."""

    async def kept(self, recovery_key: str) -> bool:
        """Show the key; True once the person has it in a safe place, False if they would rather not."""
        ...


class Encryption:
    """The account's encryption in one program; made with the engine, loaded when it is first wanted."""

    def __init__(self, paths: ProfilePaths, db: Database, crypto: CryptoWorker) -> None:
        self._paths = paths
        self._db = db
        self._crypto = crypto
        self._recovery: Recovery | None = None

    async def refresh(self) -> None:
        """Ask the server how recovery and the backup stand."""
        await (await self.recovery()).refresh()
        await (await self.backup()).look()

    async def set_up_identity(self, approver: Approver) -> None:
        """Give the account its first identity; raises IdentityExists, Cancelled."""
        await (await self.cross_signing()).set_up(approver)

    async def reset_identity(self, asker: Asker) -> None:
        """Begin anew: identity, recovery key, and a backup that this device can use.

        Raises Cancelled, and then the old identity stays.
        """
        from tandem_core.crypto.recovery_steps import reset

        own, backup, recovery = await self.cross_signing(), await self.backup(), await self.recovery()
        await reset(own, backup, recovery, asker, show=_shower(asker))

    async def set_up_recovery(self, passphrase: str | None, asker: Asker) -> None:
        """Make an identity and a backup where there is none, then a recovery key for them.

        It comes into force once the person says that they keep it; raises Cancelled otherwise.
        """
        from tandem_core.crypto.recovery_steps import set_up

        await (await self.cross_signing()).set_up(asker)
        await set_up(await self.recovery(), await self.backup(), passphrase, show=_shower(asker))

    async def change_recovery(self, passphrase: str | None, asker: Asker) -> None:
        """Make another recovery key; raises Cancelled, and then the old one stays in force."""
        await (await self.recovery()).change(passphrase, show=_shower(asker))

    async def unlock(self, text: str) -> str:
        """Bring the account's secrets here; returns what came of it, in a sentence."""
        from tandem_core.crypto.recovery_state import names_of

        found = await (await self.recovery()).unlock(text)
        if found.refused:
            return f"Not everything could be used: {names_of(found.refused)}."
        return "Your keys are here." if found.found else "There was nothing that this device lacked."

    async def create_backup(self, *, replace: bool) -> None:
        """Make a backup of message keys, and have recovery know its key if it can; raises BackupExists."""
        from tandem_core.crypto import secrets
        from tandem_core.crypto.recovery import NeedsRecoveryKey

        await (await self.backup()).create(replace=replace)
        try:
            await (await self.recovery()).store([secrets.BACKUP])
        except NeedsRecoveryKey:
            return  # the recovery card says that it is out of date

    async def restore(self) -> None:
        """Have every key of the backup restored, in the background; raises NoBackup, NoBackupKey."""
        await (await self.backup()).restore()

    async def cancel_restore(self) -> None:
        """Stop restoring; what is restored stays."""
        await (await self.backup()).cancel_restore()

    async def export_keys(self, file: Path, passphrase: str) -> int:
        """Write all message keys to a new file; returns how many. Raises BadInput, OSError."""
        from tandem_core.key_files import export_keys

        return await export_keys(self._paths, self._db, file, passphrase)

    async def import_keys(self, file: Path, passphrase: str) -> int:
        """Read message keys from a file; returns how many were new. Raises BadInput, OSError."""
        from tandem_core.key_files import import_keys

        return await import_keys(self._paths, self._db, file, passphrase)

    async def send_key_again(self, event_id: EventId, user_id: UserId, device_id: DeviceId) -> None:
        """Send the key of a message of ours to a device of somebody once more, because a person says so.

        Raises BadInput, CannotSendKey (``crypto.key_again``), Offline and its like.
        """
        await self._crypto.send_key_again(event_id, user_id, device_id)

    async def cross_signing(self) -> CrossSigning:
        """The account's identity."""
        return await self._crypto.cross_signing()

    async def recovery(self) -> Recovery:
        """Secret storage; it remembers the recovery key that it was unlocked with."""
        if self._recovery is None:
            self._recovery = await self._crypto.recovery()
        return self._recovery

    async def backup(self) -> Backup:
        """The key backup."""
        return await self._crypto.backup()


def _shower(asker: Asker) -> Callable[[str], Awaitable[None]]:
    async def show(recovery_key: str) -> None:
        if not await asker.kept(recovery_key):
            raise Cancelled

    return show
