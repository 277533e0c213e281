"""Load what is known of our own messages and let ``words`` say it: for the mark, the panel and the command line."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial

from tandem_core import capabilities, trust
from tandem_core.errors import BadInput
from tandem_core.receipts import bridge, failed_heard, gate, marker
from tandem_core.receipts.bridge import BridgeStatus
from tandem_core.receipts.failed_heard import FailedDevice
from tandem_core.receipts.states import SILENT_MS, BridgeState
from tandem_core.receipts.words import DeviceDelivery, Message, PersonDelivery, State, Summary, summarise
from tandem_core.store import audience, bridges, members, room_facts
from tandem_core.store import deliveries as store
from tandem_core.store import session as sessions
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, EventId, Me, Role, RoomId, UserId

__all__ = [
    "DeviceDelivery",
    "PersonDelivery",
    "State",
    "Summary",
    "details",
    "own_devices",
    "summaries",
    "summary",
]


def summary(conn: sqlite3.Connection, link: Role, key: str, now_ms: int) -> Summary:
    """How far one message of ours got; ``key`` is its event id or transaction id.

    Raises BadInput when it is no message of this account.
    """
    return summaries(conn, link, [key], now_ms).get(key) or _not_ours(key)


def summaries(conn: sqlite3.Connection, link: Role, keys: Sequence[str], now_ms: int) -> dict[str, Summary]:
    """How far each of these messages got; keys that are no message of ours are left out."""
    sent = list(audience.sent_messages(conn, keys).values())
    look = _Look(conn, link, sent, now_ms)
    return {message.key: summarise(*look.at(message)) for message in sent}


def details(conn: sqlite3.Connection, link: Role, key: str, now_ms: int) -> list[PersonDelivery]:
    """The people one message of ours was for and their devices, in the order of their names.

    Raises BadInput when it is no message of this account.
    """
    sent = audience.sent_messages(conn, [key])
    if key not in sent:
        _not_ours(key)
    people = _Look(conn, link, [sent[key]], now_ms).at(sent[key])[1]
    me = sessions.session(conn)
    return people if me is None else _with_trust(conn, me.me, people)


def own_devices(conn: sqlite3.Connection, key: str) -> list[DeviceDelivery]:
    """Our own other devices, and since when each has one message of ours, in the order of their names."""
    account = sessions.session(conn)
    sent = audience.sent_messages(conn, [key]).get(key)
    if account is None or sent is None:
        return []
    me = account.me
    heard = {
        row.device_id: row.ts
        for row in store.deliveries(conn, [sent.event_id or ""]).get(sent.event_id or "", ())
        if row.user_id == me.user_id
    }
    known = trust.devices(conn, me, [me.user_id])
    found = [
        DeviceDelivery(
            device_id=device,
            name=audience.device_name(conn, me.user_id, device) or device,
            delivered_at=heard.get(device),
            verified=verdict is DeviceTrust.VERIFIED,
        )
        for (_, device), verdict in known.items()
        if device != me.device_id
    ]
    return sorted(found, key=lambda device: (device.name.casefold(), device.device_id))


class _Look:
    """One look at the store for several messages; what many of them ask for is asked once."""

    def __init__(
        self, conn: sqlite3.Connection, link: Role, sent: Sequence[audience.SentMessage], now_ms: int
    ) -> None:
        self._conn = conn
        self._now_ms = now_ms
        account = sessions.session(conn)
        self._me = None if account is None else account.me.user_id
        ids = [message.event_id for message in sent if message.event_id]
        self._heard = store.deliveries(conn, ids)
        self._failed = failed_heard.heard(conn, ids)
        self._bridged = bridge.statuses(conn, ids)
        self._meant = audience.audiences(conn, link, sent)
        self._read = audience.reads(conn, link, sent)
        self._name = cache(partial(members.display_name, conn))
        self._device_name = cache(partial(audience.device_name, conn))
        self._own_content = cache(partial(store.own_content, conn))
        self._last_heard = cache(partial(store.last_heard, conn))
        self._writing_since = cache(partial(audience.writing_since, conn))
        self._standing = cache(partial(audience.standing, conn, link))
        self._rooms: dict[RoomId, str | None] = {}
        self._bots: dict[RoomId, frozenset[UserId]] = {}
        self._named: dict[RoomId, list[bridges.Bridge]] = {}

    def at(self, message: audience.SentMessage) -> tuple[Message, list[PersonDelivery]]:
        """What is known of a message, and the people it was for."""
        people = self._people(message)
        why = self._why_untracked(message, people)
        if why is not None:
            people = [replace(person, tracked=False) for person in people]
        said = self._bridged.get(EventId(message.event_id or ""))
        return (
            Message(
                message.send_state,
                why is None,
                why or "",
                None if said is None else BridgeState(said.status),
                "" if said is None else said.message or "",
            ),
            people,
        )

    def _people(self, message: audience.SentMessage) -> list[PersonDelivery]:
        room = message.room_id
        said: dict[UserId, dict[str, int]] = {}
        proven: set[UserId] = set()
        for row in self._heard.get(message.event_id or "", ()):
            if row.user_id == self._me:
                continue
            said.setdefault(row.user_id, {})[row.device_id] = row.ts
            if row.via != store.VIA_SERVER:
                proven.add(row.user_id)
        bridged = self._bridged.get(EventId(message.event_id or ""))
        passed_on = () if bridged is None or bridged.delivered_to is None else bridged.delivered_to
        cannot: dict[UserId, dict[str, FailedDevice]] = {}
        for device in self._failed.get(EventId(message.event_id or ""), ()):
            if device.settles_at <= self._now_ms:
                cannot.setdefault(device.user_id, {})[device.device_id] = device
        readers = self._read.get(message.key, {})
        meant = self._meant.get(message.key, {})
        aside = self._aside(room, meant.keys(), bridged)

        def delivered_at(user: UserId) -> int | None:
            if user in said:
                return min(said[user].values())
            return None if bridged is None or user not in passed_on else max(bridged.said_at, message.sent_at)

        def reported(user: UserId) -> str:
            if user in said:
                return "server" if message.is_encrypted and user not in proven else ""
            return "bridge" if user in passed_on else ""

        people = [
            PersonDelivery(
                user_id=user,
                name=self._name(room, user),
                devices=self._devices(user, meant.get(user, {}), said.get(user, {}), cannot.get(user, {})),
                delivered_at=delivered_at(user),
                read_at=readers.get(user),
                tracked=not self._is_silent(room, user),
                counted=user in meant and user not in aside,
                why_not=aside.get(user, "" if user in meant else "joined later"),
                reported=reported(user),
                last_heard_at=self._last_heard(user),
                has_left=self._has_left(room, user),
            )
            for user in {*meant, *said, *readers, *passed_on}
        ]
        return sorted(people, key=lambda person: (person.name.casefold(), person.user_id))

    def _devices(
        self,
        user: UserId,
        meant: dict[str, str | None],
        said: dict[str, int],
        cannot: dict[str, FailedDevice],
    ) -> tuple[DeviceDelivery, ...]:
        return tuple(
            DeviceDelivery(
                device_id=device,
                name=meant.get(device) or self._device_name(user, device) or device,
                delivered_at=said.get(device),
                counted=device in meant,
                failed_at=cannot[device].heard_at if device in cannot else None,
                code=str(cannot[device].code) if device in cannot else "",
                key_sent_at=cannot[device].key_sent_at if device in cannot else None,
            )
            for device in sorted({*meant, *said, *cannot} - {""})
        )

    def _why_untracked(self, message: audience.SentMessage, people: Sequence[PersonDelivery]) -> str | None:
        """Why no confirmation can be expected of a message; None where some can."""
        bridged = self._bridged.get(EventId(message.event_id or ""))
        if bridged is not None and bridged.delivered_to is not None:
            return None
        why = self._room_why(message.room_id) or self._way_why(message)
        if why is not None:
            return why
        counted = [person for person in people if person.counted]
        if len(counted) > gate.MOST_PEOPLE:
            return f"more than {gate.MOST_PEOPLE} people"
        if len(counted) > gate.MOST_UNASKED and message.event_id is not None and not self._is_asked(message):
            return f"more than {gate.MOST_UNASKED} people, and you did not ask for it"
        if counted and not any(person.tracked for person in counted):
            whom = counted[0].name if len(counted) == 1 else "anybody here"
            return f"no confirmations from {whom} for a month"
        return None

    def _room_why(self, room_id: RoomId) -> str | None:
        if room_id not in self._rooms:
            is_public = room_facts.kind(self._conn, room_id) is room_facts.RoomKind.PUBLIC
            self._rooms[room_id] = "public room" if is_public else None
        return self._rooms[room_id]

    def _way_why(self, message: audience.SentMessage) -> str | None:
        """Why no confirmation finds a way here; the encrypted one is open to those who were asked."""
        if not self._is_without_server or message.event_id is None:
            return None
        if not message.is_encrypted:
            return "your server does not offer it"
        if self._is_asked(message):
            return None
        return "you do not ask for it here, and your server does not offer it"

    def _is_asked(self, message: audience.SentMessage) -> bool:
        content = self._own_content(EventId(message.event_id or ""))
        return content is not None and marker.KEY in content

    @cached_property
    def _is_without_server(self) -> bool:
        # 0 is the time of an answer that was not given to this account: it says nothing.
        server = capabilities.kept(self._conn) if capabilities.age_ms(self._conn, 0) else None
        return server is not None and not server.delivery

    def _is_silent(self, room_id: RoomId, user: UserId) -> bool:
        """Whether a person has been asked for a month and has confirmed nothing meanwhile."""
        since = self._now_ms - SILENT_MS
        last = self._last_heard(user)
        if last is not None and last >= since:
            return False
        first, standing = self._writing_since(room_id), self._standing(room_id, user)
        return first is not None and first < since and standing is not None and standing[1] < since

    def _has_left(self, room_id: RoomId, user: UserId) -> bool:
        standing = self._standing(room_id, user)
        return standing is not None and standing[0] in ("leave", "ban")

    def _aside(
        self, room_id: RoomId, meant: Collection[UserId], bridged: BridgeStatus | None
    ) -> dict[UserId, str]:
        """Who is not counted though it was for them, and why: bots, and a bridge's people where it reports nothing."""
        if room_id not in self._named:
            self._named[room_id] = list(bridges.bridges(self._conn, room_id))
            own = {known.bot for known in self._named[room_id]}
            self._bots[room_id] = room_facts.service_members(self._conn, room_id) | own
        bots = self._bots[room_id]
        is_reporting = bridged is not None and bridged.delivered_to is not None
        beyond = {
            user
            for user in meant
            if not is_reporting and any(bridge.is_account(known, user) for known in self._named[room_id])
        }
        # Somebody it is for: a room of nothing but those is a chat with them.
        for aside in (bots | beyond, bots):
            if not set(meant) <= aside:
                return {user: "bot" if user in bots else "bridged" for user in meant if user in aside}
        return {}


def _with_trust(conn: sqlite3.Connection, me: Me, people: list[PersonDelivery]) -> list[PersonDelivery]:
    known = trust.devices(conn, me, [person.user_id for person in people])

    def told(user: UserId, device: DeviceDelivery) -> DeviceDelivery:
        verdict = known.get((user, DeviceId(device.device_id)))
        return device if verdict is None else replace(device, verified=verdict is DeviceTrust.VERIFIED)

    return [
        replace(person, devices=tuple(told(person.user_id, device) for device in person.devices))
        for person in people
    ]


def _not_ours(key: str) -> Summary:
    raise BadInput(f"{key} is no message that this account sent", advice="See tandemctl messages ROOM.")
