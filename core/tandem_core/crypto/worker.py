"""The encryption of one program at work: first what needs no network, then keys, lists and sessions."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, ClassVar

from tandem_core.clock import Chance, Clock
from tandem_core.crypto import drain, outbox
from tandem_core.crypto.backup import Backup
from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.keys import Keys, StoreForked
from tandem_core.crypto.state import CryptoState
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import crypto as rows
from tandem_core.store import inbox
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, EventId, Me, Role, Topic, UserId
from tandem_core.vault import pickle_key
from tandem_core.worker import Worker

if TYPE_CHECKING:
    from tandem_core.crypto.recovery import Recovery

_LOOK_AGAIN_S = 60.0


class LocalOpener(Worker):
    """Drains the inbox and opens what can be opened; never waits for the network."""

    name: ClassVar[str] = "opener"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.INBOX, Topic.KEYS, Topic.TIMELINE})

    def __init__(
        self, paths: ProfilePaths, db: Database, me: Me, role: Role, *, clock: Clock, chance: Chance
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._me = me
        self._role = role
        self._clock = clock
        self._state: CryptoState | None = None

    async def step(self) -> float | None:
        state = await self.state()
        while await self._db.read(_has_inbox):
            await self._db.write(drain.drain, state, self._clock.now_ms())
        while await self._db.read(rows.to_try, 1):
            await self._db.write(drain.open_sealed, state, self._role, self._clock.now_ms(), self._chance)
        return _LOOK_AGAIN_S

    async def state(self) -> CryptoState:
        """The crypto state, once its key is out of the vault."""
        if self._state is None:
            key, _ = await asyncio.to_thread(pickle_key, self._paths)
            self._state = CryptoState(self._db, self._me, key)
        return self._state


class CryptoWorker(Worker):
    """Keeps our keys and identity on the server, others' device lists, and broken sessions mended."""

    name: ClassVar[str] = "crypto"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.DEVICES, Topic.OUTBOX, Topic.SESSION})

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        opener: LocalOpener,
        *,
        clock: Clock,
        chance: Chance,
        follows_sync: bool = False,
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._opener = opener
        self._clock = clock
        self._keys: Keys | None = None
        self._cross_signing: CrossSigning | None = None
        self._backup: Backup | None = None
        self._synced = asyncio.Event() if follows_sync else None

    def note_synced(self) -> None:
        """Sync has brought an answer (with ``follows_sync``, the first encryption waits for it)."""
        if self._synced is not None:
            self._synced.set()

    async def keys(self) -> Keys:
        """The network half, shared with the sender."""
        if self._keys is None:
            state = await self._opener.state()
            self._keys = Keys(
                self._paths, self._db, self._http, state, clock=self._clock, synced=self._synced
            )
        return self._keys

    async def cross_signing(self) -> CrossSigning:
        """Our own identity, shared with whoever confirms people and devices."""
        if self._cross_signing is None:
            state = await self._opener.state()
            self._cross_signing = CrossSigning(self._paths, self._db, self._http, state, clock=self._clock)
        return self._cross_signing

    async def backup(self) -> Backup:
        """The key backup, shared with whoever finds its key."""
        if self._backup is None:
            state = await self._opener.state()
            self._backup = Backup(self._paths, self._db, self._http, state, clock=self._clock)
        return self._backup

    async def recovery(self) -> Recovery:
        """Recovery for a person who asks for it; the key in its memory goes when it goes."""
        from tandem_core.crypto.recovery_steps import recovery_of  # no start needs it

        where = (self._paths, self._db, self._http, await self._opener.state())
        return recovery_of(*where, await self.cross_signing(), await self.backup())

    async def send_key_again(self, event_id: EventId, user_id: UserId, device_id: DeviceId) -> None:
        """A person wants the key of a message of ours to go to a device once more; raises as ``key_again.send``."""
        from tandem_core.crypto import key_again  # no start needs it

        keys, state = await self.keys(), await self._opener.state()
        await key_again.send(
            self._paths, self._db, self._http, keys, state, event_id, user_id, device_id, clock=self._clock
        )

    async def step(self) -> float | None:
        keys = await self.keys()
        await keys.rollback.before_encrypting()
        forked: StoreForked | None = None
        try:
            await keys.upload()
        except StoreForked as error:
            forked = error  # told again and again; what needs no new keys of ours goes on
        await keys.query()
        await keys.mend()
        await outbox.flush(self._paths, self._db, self._http)
        if forked is not None:
            raise forked
        await (await self.cross_signing()).keep_up()  # last, since nothing else waits for it
        return _LOOK_AGAIN_S


def _has_inbox(conn: sqlite3.Connection) -> bool:
    return bool(inbox.waiting(conn, 1))
