"""MSC4203 without losses: to-device events for an application service's users, in the order of the device inbox.

Synapse gives each service one position and moves it past events that were never handed out (two writes at once), and
forgets what a failed transaction held. Here a position moves only together with copies of all the rows that it
passes; a copy goes when it is bound to a transaction, the inbox's own row when that transaction got its 200.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from synapse.module_api import LoggingTransaction

from tandem_synapse import appservice_json, appservice_store
from tandem_synapse.registrations import Wishes
from tandem_synapse.seams import AppServices, Inside, Service

logger = logging.getLogger(__name__)

Json = dict[str, Any]

MOST_EVENTS = 100
MOST_BYTES = 1_000_000
"""Of one transaction."""
EVENT_ID = "im.tandem.id"
_STEP = 2000


@dataclass(frozen=True, slots=True)
class ToDevice:
    """One event for one device; ``text`` is its JSON as Synapse keeps it: type, sender, content."""

    stream_id: int
    user_id: str
    device_id: str
    text: str

    def event(self) -> Json | None:
        """As it stands in a transaction; None for what cannot be sent.

        ``im.tandem.id`` stays the same whenever and in whatever transaction it is sent again.
        """
        message = appservice_json.parsed(self.text)
        if message is None:
            logger.warning("To-device event %d for %s is nested too deeply", self.stream_id, self.user_id)
            return None
        words = "\n".join((self.user_id, self.device_id, self.text))
        digest = base64.urlsafe_b64encode(hashlib.sha256(words.encode("utf-8", "replace")).digest()[:9])
        return {
            **message,
            "to_user_id": self.user_id,
            "to_device_id": self.device_id,
            EVENT_ID: f"{self.stream_id}.{digest.decode()}",
        }


class ToDeviceSource:
    """Copies what the services are owed out of Synapse's inbox, and takes it out there when it has arrived."""

    def __init__(self, inside: Inside, services: AppServices, wishes: Mapping[str, Wishes]) -> None:
        self._inside = inside
        self._services = services
        self._wishes = {key: wish for key, wish in wishes.items() if wish.lossless_to_device}
        self._reached: dict[str, int] = {}  # at least so far; positions only grow

    async def next(self, service: Service) -> tuple[list[ToDevice], bool]:
        """The oldest events that are in no transaction yet, and whether these are all."""
        while True:
            now = self._services.to_device_position()
            step = partial(self._step, service=service, now=now)
            rows, reached = await self._inside.run("tandem_next_to_device", step)
            self._passed(service, reached)
            if rows or reached >= now:
                taken = _bounded(rows)
                return taken, len(taken) == len(rows) and reached >= now

    async def keep(self, user_id: str, up_to: int, besides: str = "") -> None:
        """Copy what services are owed of this user's events, which are about to be deleted."""
        for service in self._services.all():
            if service.id not in self._wishes or service.id == besides:
                continue
            while self._reached.get(service.id, 0) < up_to and service.is_interested_in_user(user_id):
                now = self._services.to_device_position()
                capture = partial(self._capture, service=service, now=now)
                reached = await self._inside.run("tandem_keep_to_device", capture)
                self._passed(service, reached)
                if reached >= now:
                    break

    async def arrived(self, service: Service, rows: Iterable[Sequence[Any]]) -> None:
        """Delete from the inbox what nobody but the service reads: [user, device, stream id].

        Those are the devices of exclusive users, and those that the service made; the others acknowledge by sync.
        """
        ours = [(str(user), str(device), int(position)) for user, device, position in rows]
        devices = {(user, device) for user, device, _ in ours}
        inclusive = [pair for pair in devices if not service.is_exclusive_user(pair[0])]

        def made(txn: LoggingTransaction) -> set[tuple[str, str]]:
            return {pair for pair in inclusive if appservice_store.was_made_by(txn, service.id, *pair)}

        kept = set(inclusive)
        if inclusive:
            kept -= await self._inside.run("tandem_made_devices", made)
        gone = [row for row in ours if row[:2] not in kept]
        if not gone:
            return
        for user in {user for user, _, _ in gone}:
            last = max(position for name, _, position in gone if name == user)
            await self.keep(user, last, besides=service.id)

        def delete(txn: LoggingTransaction) -> None:
            for row in gone:
                txn.execute(
                    "DELETE FROM device_inbox WHERE user_id = ? AND device_id = ? AND stream_id = ?", row
                )

        await self._inside.run("tandem_delete_to_device", delete)

    async def made(self, as_id: str, user_id: str, device_id: str) -> None:
        """A service has created this device; nobody else reads its to-device events."""
        await self._inside.run(
            "tandem_made_device", lambda txn: appservice_store.made(txn, as_id, user_id, device_id)
        )

    async def owners_of(self, device_id: str) -> set[str]:
        """Who has a device of this name."""
        return await self._inside.run(
            "tandem_owners_of_device", lambda txn: appservice_store.owners_of(txn, device_id)
        )

    def _passed(self, service: Service, reached: int) -> None:
        """Remember a position, after its commit."""
        self._reached[service.id] = max(reached, self._reached.get(service.id, 0))

    def _step(self, txn: LoggingTransaction, service: Service, now: int) -> tuple[list[ToDevice], int]:
        rows = appservice_store.waiting(txn, service.id, MOST_EVENTS + 1)
        reached = self._reached.get(service.id, 0)
        if len(rows) <= MOST_EVENTS and reached < now:
            reached = self._capture(txn, service, now)
            rows = appservice_store.waiting(txn, service.id, MOST_EVENTS + 1)
        return [ToDevice(*row) for row in rows], reached

    def _capture(self, txn: LoggingTransaction, service: Service, now: int) -> int:
        """Copy the rows of the next stretch of the inbox and move the position behind it; returns the position."""
        scope = self._wishes[service.id].users
        low = appservice_store.positions(txn, service.id, scope).get(appservice_store.TO_DEVICE, 0)
        if low >= now:
            return low
        high = _end_of_step(txn, low, now)
        txn.execute(
            "SELECT DISTINCT user_id FROM device_inbox WHERE stream_id > ? AND stream_id <= ?", (low, high)
        )
        users = [str(user) for (user,) in txn.fetchall() if service.is_interested_in_user(user)]
        for user in users:
            appservice_store.copy_inbox(txn, service.id, user, low, high)
        # A short stretch of other people's events is looked at again rather than written down.
        if users or high - low > _STEP or high < now:
            appservice_store.move(txn, service.id, scope, {appservice_store.TO_DEVICE: high})
        return high


def _end_of_step(txn: LoggingTransaction, low: int, now: int) -> int:
    """How far the next rows of the inbox reach that are not too many."""
    txn.execute(
        "SELECT max(stream_id), count(*) FROM (SELECT stream_id FROM device_inbox"
        " WHERE stream_id > ? AND stream_id <= ? ORDER BY stream_id LIMIT ?) AS step",
        (low, now, _STEP),
    )
    row = txn.fetchone()
    return int(row[0]) if row is not None and row[1] == _STEP else now


def _bounded(rows: Sequence[ToDevice]) -> list[ToDevice]:
    taken: list[ToDevice] = []
    size = 0
    for row in rows[:MOST_EVENTS]:
        size += len(row.text)
        if taken and size > MOST_BYTES:
            break
        taken.append(row)
    return taken
