"""What our own devices ask each other for: the frame that secrets and room keys share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, ClassVar, TypeGuard

from tandem_core.clock import Chance, Clock
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import devices
from tandem_core.store.database import Database, Transaction
from tandem_core.store.outbox import put_to_device
from tandem_core.types import DeviceId, Json, Me, Topic
from tandem_core.worker import Worker

if TYPE_CHECKING:
    from tandem_core.crypto.worker import CryptoWorker, LocalOpener

_MOST_ID = 255


class AskingWorker(Worker):
    """Asks our other devices and answers them; either program may."""

    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.KEYS, Topic.DEVICES})

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        me: Me,
        opener: LocalOpener,
        crypto: CryptoWorker,
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._me = me
        self._opener = opener
        self._crypto = crypto
        self._clock = clock

    async def _open_sessions(self, asking: Collection[DeviceId]) -> None:
        """Have an Olm session with these devices of ours, and none towards one that gets nothing."""
        keys = await self._crypto.keys()
        known = await self._db.read(devices.devices_of, [self._me.user_id])
        await keys.claim([device for device in known if device.device_id in asking])


def ask(
    txn: Transaction, me: Me, kind: str, request_id: str, to: Iterable[DeviceId], wanted: Json, now_ms: int
) -> None:
    """Put a request into the outbox; ``wanted`` says what for, in the words of its kind."""
    _put(txn, me, kind, to, {"action": "request", "request_id": request_id, **wanted}, now_ms)


def call_off(
    txn: Transaction, me: Me, kind: str, request_id: str, to: Iterable[DeviceId], now_ms: int
) -> None:
    """Tell these devices that they need not answer any more."""
    _put(txn, me, kind, to, {"action": "request_cancellation", "request_id": request_id}, now_ms)


def is_id(value: object) -> TypeGuard[str]:
    """Whether this can be the id of a request, a device, a room or a session."""
    return isinstance(value, str) and 0 < len(value) <= _MOST_ID


def _put(txn: Transaction, me: Me, kind: str, to: Iterable[DeviceId], content: Json, now_ms: int) -> None:
    content = {**content, "requesting_device_id": me.device_id}
    put_to_device(txn, kind, {me.user_id: dict.fromkeys(to, content)}, now_ms)
