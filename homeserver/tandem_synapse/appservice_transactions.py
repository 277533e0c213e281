"""Transactions to application services that carry more than Synapse's, and carry the same over retries and restarts.

Synapse keeps a transaction as a list of event ids, and everything else of it in memory. What is added here is bound
to the service and the transaction id in a table of ours before the transaction is sent for the first time; a retry
reads it there, what is newer goes into the next transaction, and the 200 deletes it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from synapse.module_api import LoggingTransaction

from tandem_synapse import appservice_store, registrations
from tandem_synapse.appservice_account_data import AccountDataSource, AccountNews
from tandem_synapse.appservice_store import ACCOUNT, PUSH_RULES, TO_DEVICE, TRANSACTION
from tandem_synapse.appservice_to_device import ToDevice, ToDeviceSource
from tandem_synapse.registrations import Wishes
from tandem_synapse.schema import Connection
from tandem_synapse.seams import AppServices, Inside, KeyState, Service, Stream

logger = logging.getLogger(__name__)

Json = dict[str, Any]

ACCOUNT_DATA_FIELD = "org.matrix.msc3682.account_data"
ROOM_ACCOUNT_DATA_FIELD = "im.tandem.room_account_data"
TO_DEVICE_FIELDS = ("de.sorunome.msc2409.to_device", "to_device")
"""MSC4203: the unstable name (of MSC2409, of which it was a part) and the stable one."""
MOST_DEVICE_LISTS = 500
"""Of one transaction."""
LOSSLESS_FIELD = "im.tandem.lossless_to_device"
_NOTHING = Wishes()


@dataclass(frozen=True, slots=True)
class Extras:
    """What one transaction is going to carry besides Synapse's own."""

    account: AccountNews | None = None
    to_device: Sequence[ToDevice] = ()
    changed: Sequence[str] = ()
    """Whose devices have changed (MSC3202)."""
    is_complete: bool = True
    """Whether nothing is left for another transaction."""
    has_moved: bool = False
    """Whether positions have, if only past what is not for this service."""

    def __bool__(self) -> bool:
        return bool(self.to_device or self.changed) or (self.account is not None and bool(self.account))


@dataclass(frozen=True, slots=True)
class Bound:
    """What a transaction carries, at its first try and at every other."""

    fields: Json = field(default_factory=dict)
    to_device: Sequence[Json] = ()
    keys: KeyState | None = None


class Transactions:
    """One per process that pushes to services. Synapse sends one transaction at a time to each."""

    def __init__(
        self, inside: Inside, services: AppServices, wishes: Mapping[str, Wishes], to_device: ToDeviceSource
    ) -> None:
        self._inside = inside
        self._services = services
        self._wishes = wishes
        self._account_data = AccountDataSource(inside, services)
        self._to_device = to_device
        self._gathered: dict[str, Extras] = {}
        self._with_bound: set[str] = set()

    def prepare(self, conn: Connection) -> None:
        """Before Synapse sends anything: look at what an earlier process left."""
        streams = {
            as_id: ((ACCOUNT, PUSH_RULES) if wish.account_data or wish.room_account_data else ())
            + ((TO_DEVICE,) if wish.lossless_to_device else ())
            for as_id, wish in self._wishes.items()
        }
        cursor = conn.cursor()
        appservice_store.forget_others(cursor, streams)
        self._with_bound = appservice_store.with_bound(cursor)
        if self._wishes:
            # What a service was given before it asked for anything is not written down anywhere. Milliseconds since
            # 1970 are behind all of that, and behind what an earlier start gave: nobody sends a thousand in a second.
            last = max(appservice_store.last_transaction(cursor), self._inside.now_ms())
            self._services.pass_transaction_ids(cursor, last)
        cursor.close()
        conn.commit()

    def serves(self, service: Service) -> bool:
        """Whether this service's transactions can carry something of ours."""
        return service.url is not None and (service.id in self._wishes or service.id in self._with_bound)

    def is_lossless(self, service: Service) -> bool:
        return service.url is not None and self._wishes.get(service.id, _NOTHING).lossless_to_device

    def notice(self, stream: Stream, users: Collection[Any]) -> None:
        """Something of these people has changed: start a transaction for the services that are to know."""
        for service in self._services.all():
            wishes = self._wishes.get(service.id)
            if wishes is None:
                continue
            is_wanted = (
                wishes.lossless_to_device
                if stream == Stream.TO_DEVICE
                else (stream == Stream.ACCOUNT_DATA and (wishes.account_data or wishes.room_account_data))
                or (stream == Stream.PUSH_RULES and wishes.account_data)
            )
            if is_wanted and any(service.is_interested_in_user(str(user)) for user in users):
                self._start(service)

    async def look(self) -> None:
        """Take up what was left: by a process that died, or where a failure of the database stopped us."""
        for service in self._services.all():
            if not self.serves(service) or self._services.is_sending(service):
                continue
            if self._services.is_recovering(service):
                continue
            if await self._has_unsent(service) or await self._services.is_down(service):
                await self._services.recover(service)
            else:
                self._start(service)

    async def has_older(self, service: Service) -> bool:
        """Whether an older transaction waits for its 200; it is tried again, and nothing may overtake it."""
        waits = await self._has_unsent(service)
        if waits:
            await self._services.recover(service)
        return waits

    async def gather(self, service: Service) -> Extras:
        """Read what the next transaction is to carry; it is bound when Synapse has made that transaction."""
        wishes = self._wishes.get(service.id, _NOTHING)
        account, has_moved = None, False
        if wishes.account_data or wishes.room_account_data:
            reached = await self._positions(service, wishes)
            lows = reached.get(ACCOUNT, 0), reached.get(PUSH_RULES, 0)
            account = await self._account_data.news(service, wishes, *lows)
            has_moved = lows != (account.account_data, account.push_rules)
        to_device: list[ToDevice] = []
        changed: list[str] = []
        is_complete = account is None or account.is_complete
        if wishes.lossless_to_device:
            to_device, is_all = await self._to_device.next(service)
            changed = await self._inside.run(
                "tandem_noted_devices",
                lambda txn: appservice_store.noted_devices(txn, service.id, MOST_DEVICE_LISTS),
            )
            is_complete = is_complete and is_all and len(changed) < MOST_DEVICE_LISTS
        extras = Extras(account, to_device, changed, is_complete, has_moved)
        self._gathered[service.id] = extras
        return extras

    async def note_devices(self, service: Service, users: Collection[str]) -> None:
        """Tell the service of these people's devices, whatever becomes of a transaction; committed on return."""
        await self._inside.run(
            "tandem_note_devices", lambda txn: appservice_store.note_devices(txn, service.id, users)
        )
        self._start(service)

    async def pass_by(self, service: Service) -> None:
        """No transaction comes of what was gathered: it holds nothing for this service."""
        extras = self._gathered.pop(service.id, None)
        if extras is not None and extras.account is not None and extras.has_moved:
            scope, reached = self._wishes[service.id].data, _reached(extras.account)
            await self._inside.run(
                "tandem_pass_by", lambda txn: appservice_store.move(txn, service.id, scope, reached)
            )

    async def bind(self, service: Service, txn_id: int, keys: KeyState) -> None:
        """Make what was gathered part of this new transaction; committed when this returns."""
        extras = self._gathered.get(service.id, Extras())
        wishes = self._wishes.get(service.id, _NOTHING)
        content: Json = {}
        if extras.account is not None and extras.account.of_users:
            users = extras.account.of_users
            content["account_data"] = {user: {"events": events} for user, events in users.items()}
        if extras.account is not None and extras.account.of_rooms:
            content["room_account_data"] = {
                user: {room: {"events": events} for room, events in rooms.items()}
                for user, rooms in extras.account.of_rooms.items()
            }
        if extras.to_device:
            events = (each.event() for each in extras.to_device)
            content["to_device"] = [event for event in events if event is not None]
        if wishes.lossless_to_device and keys:
            content["keys"] = asdict(keys)
        inbox = [(each.user_id, each.device_id, each.stream_id) for each in extras.to_device]
        reached = {TRANSACTION: txn_id} | (_reached(extras.account) if extras.account is not None else {})

        def write(txn: LoggingTransaction) -> None:
            if content:
                appservice_store.bind(txn, service.id, txn_id, content, inbox, extras.changed)
            appservice_store.move(txn, service.id, wishes.data, reached)

        await self._inside.run("tandem_bind_transaction", write)

    async def bound(self, service: Service, txn_id: int) -> Bound:
        """What this transaction carries."""
        found = await self._inside.run(
            "tandem_bound", lambda txn: appservice_store.bound(txn, service.id, txn_id)
        )
        content: Json = found[0] if found is not None else {}
        to_device: list[Json] = content.get("to_device", [])
        fields: Json = {}
        if "account_data" in content:
            fields[ACCOUNT_DATA_FIELD] = content["account_data"]
        if "room_account_data" in content:
            fields[ROOM_ACCOUNT_DATA_FIELD] = content["room_account_data"]
        if self.is_lossless(service):
            fields[LOSSLESS_FIELD] = True
        if self.is_lossless(service) or to_device:
            fields |= dict.fromkeys(TO_DEVICE_FIELDS, to_device)
        keys = KeyState(**content["keys"]) if "keys" in content else None
        return Bound(fields, to_device, keys)

    async def arrived(self, service: Service, txn_id: int) -> None:
        """The service has answered 200: nothing of this transaction is sent again."""
        found = await self._inside.run(
            "tandem_arrived", lambda txn: appservice_store.bound(txn, service.id, txn_id)
        )
        if found is None:
            return
        # First the inbox: a crash in between repeats the transaction, and the service knows its id.
        await self._to_device.arrived(service, found[1])
        await self._inside.run("tandem_unbind", lambda txn: appservice_store.unbind(txn, service.id, txn_id))

    async def after(self, service: Service) -> None:
        """A transaction was tried: start another one if this one could not hold everything."""
        extras = self._gathered.pop(service.id, None)
        if await self._has_unsent(service):
            await self._services.recover(service)
        elif extras is not None and not extras.is_complete:
            self._start(service)

    async def recovered(self, service: Service) -> None:
        """The service was away and has all of its old transactions: go on with what has come meanwhile."""
        if not self._services.is_sending(service) and await self._has_unsent(service):
            await self._services.recover(service)
        else:
            self._start(service)

    async def key_counts(
        self, service: Service, events: Sequence[Any], ephemeral: Sequence[Json], extras: Extras
    ) -> tuple[Json, Json]:
        """MSC3202's counts, for the recipients of these to-device events, too."""
        to_device = [{"to_user_id": each.user_id} for each in extras.to_device]
        return await self._services.key_counts(service, events, ephemeral, to_device)

    def _start(self, service: Service) -> None:
        # One that is away is not asked for each event: when it has recovered, ``after`` starts a transaction.
        if self.serves(service) and not self._services.is_recovering(service):
            self._services.start_transaction(service)

    async def _has_unsent(self, service: Service) -> bool:
        return await self._inside.run(
            "tandem_has_unsent", lambda txn: appservice_store.has_unsent(txn, service.id)
        )

    async def _positions(self, service: Service, wishes: Wishes) -> dict[str, int]:
        return await self._inside.run(
            "tandem_positions", lambda txn: appservice_store.positions(txn, service.id, wishes.data)
        )


def read_wishes(services: AppServices) -> dict[str, Wishes]:
    """What the registrations ask for; says in the log which services get it, and which cannot."""
    wishes = registrations.read(services.registration_files())
    for service in services.all():
        wish = wishes.get(service.id)
        if wish is None:
            continue
        if service.url is None:
            logger.warning(
                "Service %s asks for more in its transactions, and has no url for them", service.id
            )
            continue
        asked = {
            registrations.ACCOUNT_DATA: wish.account_data,
            registrations.ROOM_ACCOUNT_DATA: wish.room_account_data,
            registrations.LOSSLESS_TO_DEVICE: wish.lossless_to_device,
        }
        logger.info("Service %s gets %s", service.id, ", ".join(key for key, yes in asked.items() if yes))
    return wishes


def _reached(news: AccountNews) -> dict[str, int]:
    return {ACCOUNT: news.account_data, PUSH_RULES: news.push_rules}
