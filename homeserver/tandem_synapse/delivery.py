"""MSC4089 on Synapse: take a receipt, and give it to the author of the event and to nobody else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from synapse.module_api import Requester
from synapse.module_api.errors import Codes, SynapseError

from tandem_synapse import content, rules, seams, tidy
from tandem_synapse.config import ModuleConfig
from tandem_synapse.federation_out import Outgoing
from tandem_synapse.federation_wire import SentReceipt
from tandem_synapse.relay import Relay
from tandem_synapse.release import Hold
from tandem_synapse.releaser import Due, Listener, Releaser
from tandem_synapse.seams import Inside, Token
from tandem_synapse.store import DeliveryRow, DeliveryStore, Receipt

logger = logging.getLogger(__name__)

Json = dict[str, Any]
_AT_ONCE = 8
"""How many events of a batch are looked at at the same time."""


class Delivery:
    """One per homeserver process. Without ``outgoing``, only authors of this server are given receipts."""

    def __init__(
        self, inside: Inside, relay: Relay, settings: ModuleConfig, outgoing: Outgoing | None
    ) -> None:
        self._inside = inside
        self._settings = settings
        self._outgoing = outgoing
        self._store = DeliveryStore(inside)
        low, high = (round(seconds * 1000) for seconds in settings.hold_seconds)
        self._hold = Hold(low, high, inside.secret("im.tandem.hold"))
        self.releaser = Releaser(
            inside, self._store, hold_ms=high, coalesce_ms=round(settings.coalesce_seconds * 1000)
        )
        self._limit = inside.limiter("tandem_delivery", settings.per_second, settings.burst_count)
        self._take = relay.at_writer("receipts", self._take_here)

    def on_released(self, listener: Listener) -> None:
        """Call ``listener(author, rows)`` whenever an author has been given receipts, after the commit.

        On the process that writes receipts only. It must not raise and not wait; what takes time belongs into the
        background.
        """
        self.releaser.listeners.append(listener)

    async def accept(
        self, requester: Requester, room_id: str, event_id: str, body: Mapping[str, Any]
    ) -> None:
        """Keep a receipt from a client; returns after the commit. Raises SynapseError for each of ``rules.Refusal``.

        A duplicate changes nothing and wakes nobody. Presence is not touched.
        """
        if not room_id.startswith("!") or not event_id.startswith("$"):
            raise _invalid("A valid room ID and event ID must be specified")
        share = rules.share_of(body)
        if share is None:
            raise _invalid('im.tandem.share must be "user" or "device"')
        if not rules.is_sensible_thread(body):
            raise _invalid("thread_id must be a string")
        await self._limit(requester)
        # The device comes from the access token, never from the body.
        device_id = requester.device_id if share == "device" else None
        (refused,) = await self._taken(requester.user.to_string(), device_id, [(room_id, event_id)])
        if refused is not None:
            refusal = rules.Refusal[refused]
            raise SynapseError(refusal.status, refusal.words, refusal.errcode)

    async def accept_batch(
        self, requester: Requester, share: str, events: Collection[tuple[str, str]]
    ) -> None:
        """Keep a receipt for each (room id, event id) that may be confirmed; the others are skipped, all alike.

        Each counts for the rate limit as one that comes alone. Returns after the commit of all.
        """
        if events:
            await self._limit(requester, n_actions=min(len(events), self._settings.burst_count))
            device_id = requester.device_id if share == "device" else None
            await self._taken(requester.user.to_string(), device_id, events)

    async def _taken(
        self, user_id: str, device_id: str | None, events: Collection[tuple[str, str]]
    ) -> list[str | None]:
        """The name of each event's refusal, or None; asked of the process that writes receipts."""
        answer = await self._take({"user_id": user_id, "device_id": device_id, "events": list(events)})
        refusals: list[str | None] = answer["refusals"]
        return refusals

    async def _take_here(self, asked: Json) -> Json:
        user_id, device_id, events = asked["user_id"], asked["device_id"], asked["events"]
        # With one device, or a device that the author may know, there is nothing to hide.
        is_held = device_id is None and await self._inside.device_count(user_id) > 1
        refusals: list[str | None] = [None] * len(events)
        good: list[Due] = []

        async def look(number: int) -> None:
            room_id, event_id = events[number]
            asked = await self._facts(user_id, room_id, event_id)
            refusal = rules.judge(asked)
            if refusal is not None:
                refusals[number] = refusal.name
                return
            receipt = Receipt(room_id, event_id, user_id, asked.author, device_id)
            good.append((receipt, await self._due(receipt) if is_held else self._inside.now_ms()))

        if len(events) == 1:
            await look(0)
        else:
            # One author's server that does not answer holds up few of the others.
            await seams.some_at_once(look, range(len(events)), _AT_ONCE)
        await self._keep(good)
        return {"refusals": refusals}

    async def _keep(self, good: Sequence[Due]) -> None:
        await self.releaser.keep_all([each for each in good if self._inside.is_local(each[0].author)])
        for receipt, due_ms in good:
            if self._outgoing is not None and not self._inside.is_local(receipt.author):
                await self._outgoing.keep(
                    receipt.room_id,
                    receipt.event_id,
                    receipt.user_id,
                    receipt.author,
                    receipt.device_id,
                    due_ms,
                )

    async def take_from_elsewhere(self, sent: SentReceipt, author: str) -> None:
        """Keep a receipt that another homeserver sent and that was found good; returns after the commit.

        Its own server has held it, where it was to be held.
        """
        now_ms = self._inside.now_ms()
        arrived_ms = await self._inside.arrived_at(sent.event_id) or 0
        devices: list[tuple[str | None, int]] = [*sent.devices.items()] or [(None, sent.ts)]
        for device_id, sent_ms in devices:
            ts = min(max(sent_ms, arrived_ms), now_ms)
            receipt = Receipt(sent.room_id, sent.event_id, sent.user_id, author, device_id, ts)
            await self.releaser.keep(receipt, now_ms)

    async def _due(self, receipt: Receipt) -> int:
        """When a receipt that is held may be shown."""
        arrived_ms = await self._inside.arrived_at(receipt.event_id)
        return self._hold.until(receipt.event_id, receipt.user_id, arrived_ms or 0, self._inside.now_ms())

    async def _facts(self, user_id: str, room_id: str, event_id: str) -> rules.Confirmation:
        is_joined = await self._inside.is_joined(user_id, room_id)
        found = await self._inside.room_and_sender(event_id) if is_joined else None
        event_room_id, author = found or (None, "")
        was_joined = event_room_id == room_id and await self._inside.was_joined(user_id, event_id)
        return rules.Confirmation(
            requester=user_id,
            is_joined=is_joined,
            room_id=room_id,
            event_room_id=event_room_id,
            author=author,
            # Another server is asked only for the sake of a receipt that is good otherwise.
            is_routable=was_joined and await self._reaches(author, room_id),
            was_joined_at_event=was_joined,
        )

    async def _reaches(self, author: str, room_id: str) -> bool:
        if self._inside.is_local(author):
            return True
        return self._outgoing is not None and await self._outgoing.reaches(author, room_id)

    async def since(
        self, user_id: str, lows: Mapping[str, Token], high: Token, *, elsewhere: Token | None = None
    ) -> tuple[dict[str, Json], set[str]]:
        """What this user has not seen of the receipts for own events: of each room behind its own token.

        The second value names the other rooms that have some behind ``elsewhere``. Nothing is cut off: behind
        the token that the client gets, it would be lost.
        """
        tokens = [*lows.values(), *([] if elsewhere is None else [elsewhere])]
        if not tokens:
            return {}, set()
        rows = await self._store.since(user_id, min(token.stream for token in tokens), high)
        fresh = [row for row in rows if row.room_id in lows and self._is_behind(row, lows[row.room_id])]
        others = {
            row.room_id
            for row in rows
            if elsewhere is not None and row.room_id not in lows and self._is_behind(row, elsewhere)
        }
        return content.by_room(fresh, self._settings.emit_type), others

    async def first(
        self, user_id: str, room_ids: Collection[str], high: Token, shown: Sequence[str] = ()
    ) -> dict[str, Json]:
        """For a device that starts: those of the events it is shown, and the newest of the rooms."""
        if not room_ids:
            return {}
        newest = await self._store.newest(user_id, frozenset(room_ids), high)
        of_shown = await self._store.of_events(user_id, shown, high)
        rows = [row for row in (*newest, *of_shown) if row.room_id in room_ids]
        return content.by_room(rows, self._settings.emit_type)

    async def for_service(
        self, is_of_service: Callable[[str], bool], low: Token, high: Token
    ) -> dict[str, Json]:
        """What an application service has not seen of the receipts for events of its own users."""
        rows = await self._store.between(low.stream, high)
        mine = [row for row in rows if is_of_service(row.author) and self._is_behind(row, low)]
        return content.by_room(mine, self._settings.emit_type)

    async def released(self, instance: str, low: int, high: int) -> list[tuple[int, str]]:
        """The positions in ``low < position <= high`` that this process gave out, each with its author."""
        return await self._store.released(instance, low, high)

    def wake(self, authors: Iterable[str]) -> None:
        """Let the waiting syncs of these authors' devices look again, in this process."""
        self._inside.wake(*authors)

    async def start(self) -> None:
        """Tidy up after the time the server was down."""
        await self.expire()
        await self._catch_up()
        await self.releaser.look()

    async def expire(self) -> None:
        """Forget what is older than ``keep_days``."""
        before_ms = self._inside.now_ms() - self._settings.keep_days * 86_400_000
        gone = await self._inside.run(
            "tandem_expire_deliveries", lambda txn: tidy.forget_older(txn, before_ms)
        )
        if gone:
            logger.info("Expired %d delivery receipts", gone)

    async def account_changed(self, user_id: str, is_deactivated: bool, _by_admin: bool) -> None:
        """Forget a closed account's receipts: those it sent, and those for what it wrote."""
        if is_deactivated:
            await self._inside.run("tandem_forget_user", lambda txn: tidy.forget_user(txn, user_id))

    async def _catch_up(self) -> None:
        """Let the stream of receipts pass every row that is kept.

        A process may die when a row is committed and before its position is; a restored or ported database
        may know of no position at all. Without this such rows would wait for somebody else's receipt.
        """
        self.wake(await self._store.pass_every_row())

    def _is_behind(self, row: DeliveryRow, low: Token) -> bool:
        return self._inside.is_between(low, None, row.instance_name, row.stream_id)


def _invalid(words: str) -> SynapseError:
    return SynapseError(HTTPStatus.BAD_REQUEST, words, Codes.INVALID_PARAM)
