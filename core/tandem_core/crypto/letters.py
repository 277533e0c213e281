"""Olm for receipts: what ``receipts.encrypted.Letters`` asks of encryption, which receipts know nothing of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tandem_core.crypto import olm, outbox
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import devices
from tandem_core.store.database import Database, Transaction
from tandem_core.store.devices import Device
from tandem_core.types import Json, UserId

if TYPE_CHECKING:
    from tandem_core.crypto.state import CryptoState
    from tandem_core.crypto.worker import CryptoWorker, LocalOpener


class OlmLetters:
    """Encrypts for one program."""

    def __init__(
        self, paths: ProfilePaths, db: Database, http: Http, opener: LocalOpener, crypto: CryptoWorker
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._opener = opener
        self._crypto = crypto
        self._state: CryptoState | None = None

    async def ready(self) -> None:
        """Open the vault, and see that this store is no older copy of itself; raises Offline, VaultError."""
        self._state = await self._opener.state()
        await (await self._crypto.keys()).rollback.before_encrypting()

    async def know(self, user_id: UserId) -> None:
        """Ask for this person's device list where it is out of date or was never asked for; raises Offline."""
        if await self._db.read(devices.wanted, user_id) == 0:
            await self._db.write(devices.track, [user_id])
        await (await self._crypto.keys()).query([user_id])

    async def meet(self, others: Iterable[Device]) -> None:
        """Have sessions with these devices of our own; those that give no key are let be for a while."""
        await (await self._crypto.keys()).claim(others)

    def put(self, txn: Transaction, device: Device, kind: str, content: Json, now_ms: int) -> bool:
        """Put it into the outbox for a device, encrypted; False where there is no session with it."""
        assert self._state is not None, "ready() comes first"
        return olm.put(txn, self._state, device, kind, content, now_ms)

    async def flush(self) -> None:
        """Send all to-device messages that wait; raises as ``Http.request``."""
        await outbox.flush(self._paths, self._db, self._http)
