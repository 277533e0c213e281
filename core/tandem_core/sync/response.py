"""Read a sliding-sync response (MSC4186, today's unstable dialect) into records: pure, and total over any JSON.

What has a wrong shape is left out and counted; nothing here raises for what a server sends, except that a
response without ``pos`` is none at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tandem_core.sync.request import LIST
from tandem_core.types import Json, RoomId, UserId

_MOST_COUNT = 2**53


class NotAResponse(ValueError):
    """The answer is no sliding-sync response."""


@dataclass(frozen=True, slots=True)
class ToDevice:
    """The to-device block. Present even when empty; absent means that the token stays as it is."""

    events: tuple[Json, ...]
    next_batch: str


@dataclass(frozen=True, slots=True)
class E2ee:
    """Changes of devices, and what is left of our own keys (``one_time`` is None where the server did not say)."""

    changed: tuple[UserId, ...] = ()
    left: tuple[UserId, ...] = ()
    one_time: dict[str, int] | None = None
    fallback_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hero:
    """Somebody a room without a name is named after."""

    user_id: UserId
    name: str | None
    avatar_url: str | None


@dataclass(frozen=True, slots=True)
class Room:
    """One room's news. None means: not said, so nothing changes (law 13: never clear on absence)."""

    room_id: RoomId
    initial: bool = False
    name: str | None = None
    avatar_url: str | None = None
    heroes: tuple[Hero, ...] | None = None
    is_dm: bool | None = None
    joined_count: int | None = None
    invited_count: int | None = None
    bump_stamp: int | None = None
    required_state: tuple[Json, ...] = ()
    timeline: tuple[Json, ...] = ()
    limited: bool = False
    prev_batch: str | None = None
    num_live: int | None = None
    expanded: bool = False
    stripped_state: tuple[Json, ...] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Everything one answer says. ``skipped`` counts the pieces that made no sense.

    ``pos`` None: it is no answer of sync but an appservice's transaction, and the connection's place stays.
    """

    pos: str | None
    count: int | None = None
    to_device: ToDevice | None = None
    e2ee: E2ee | None = None
    rooms: tuple[Room, ...] = ()
    account_data: tuple[Json, ...] = ()
    room_account_data: tuple[tuple[RoomId, Json], ...] = ()
    receipts: tuple[tuple[RoomId, Json], ...] = ()
    typing: tuple[tuple[RoomId, tuple[UserId, ...]], ...] = ()
    skipped: int = 0


def read(answer: Json) -> Response:
    """Read the answer; raises NotAResponse if it has no ``pos``."""
    pos = answer.get("pos")
    if not isinstance(pos, str) or not pos:
        raise NotAResponse("no pos")
    reader = Reader()
    extensions = reader.object(answer.get("extensions"))
    account = reader.object(extensions.get("account_data"))
    wanted_list = reader.object(reader.object(answer.get("lists")).get(LIST))
    return Response(
        pos=pos,
        count=_count(wanted_list.get("count")),
        to_device=reader.to_device(extensions.get("to_device")),
        e2ee=reader.e2ee(extensions.get("e2ee")),
        rooms=tuple(reader.rooms(answer.get("rooms"))),
        account_data=reader.events(account.get("global"), "type", "content"),
        room_account_data=tuple(
            (RoomId(room_id), event)
            for room_id, events in reader.object(account.get("rooms")).items()
            for event in reader.events(events, "type", "content")
        ),
        receipts=tuple(reader.ephemeral(extensions.get("receipts"))),
        typing=tuple(reader.typing(extensions.get("typing"))),
        skipped=reader.skipped,
    )


class Reader:
    """Takes what has the right shape and counts the rest, in ``skipped``."""

    def __init__(self) -> None:
        self.skipped = 0

    def object(self, value: Any) -> Json:
        if isinstance(value, dict):
            return value
        self.skipped += value is not None
        return {}

    def events(self, value: Any, *keys: str) -> tuple[Json, ...]:
        """The objects of a list that have text in ``type`` and an object in ``content`` where asked for."""
        found = []
        for item in self._list(value):
            if not isinstance(item, dict) or any(not _fits(key, item.get(key)) for key in keys):
                self.skipped += 1
            else:
                found.append(item)
        return tuple(found)

    def to_device(self, value: Any) -> ToDevice | None:
        block = self.object(value)
        next_batch = block.get("next_batch")
        if not isinstance(next_batch, str) or not next_batch:
            self.skipped += bool(block)
            return None
        events = block.get("events", [])
        if not isinstance(events, list):
            # Events we cannot read must not be acknowledged by taking the token.
            self.skipped += 1
            return None
        return ToDevice(self.events(events, "type", "sender"), next_batch)

    def e2ee(self, value: Any) -> E2ee | None:
        if not isinstance(value, dict):
            self.skipped += value is not None
            return None
        lists = self.object(value.get("device_lists"))
        counts = value.get("device_one_time_keys_count")
        return E2ee(
            tuple(UserId(user) for user in self._texts(lists.get("changed"))),
            tuple(UserId(user) for user in self._texts(lists.get("left"))),
            {kind: count for kind, said in counts.items() if (count := _count(said)) is not None}
            if isinstance(counts, dict)
            else None,
            tuple(self._texts(value.get("device_unused_fallback_key_types"))),
        )

    def rooms(self, value: Any) -> Iterator[Room]:
        for room_id, said in self.object(value).items():
            if not isinstance(said, dict) or not room_id.startswith("!"):
                self.skipped += 1
                continue
            stripped = said.get("invite_state", said.get("stripped_state"))
            yield Room(
                room_id=RoomId(room_id),
                initial=said.get("initial") is True,
                name=_text(said.get("name")),
                avatar_url=_text(said.get("avatar")),
                heroes=self._heroes(said.get("heroes")),
                is_dm=said["is_dm"] if isinstance(said.get("is_dm"), bool) else None,
                joined_count=_count(said.get("joined_count")),
                invited_count=_count(said.get("invited_count")),
                bump_stamp=_count(said.get("bump_stamp")),
                required_state=self.state(said.get("required_state")),
                timeline=self.events(said.get("timeline"), "event_id", "type", "sender", "content"),
                limited=said.get("limited") is True,
                prev_batch=_text(said.get("prev_batch")),
                num_live=_count(said.get("num_live")),
                expanded=said.get("unstable_expanded_timeline") is True,
                stripped_state=None if stripped is None else self.state(stripped),
            )

    def ephemeral(self, value: Any) -> Iterator[tuple[RoomId, Json]]:
        for room_id, event in self.object(self.object(value).get("rooms")).items():
            content = event.get("content") if isinstance(event, dict) else None
            if isinstance(content, dict):
                yield RoomId(room_id), content
            else:
                self.skipped += 1

    def typing(self, value: Any) -> Iterator[tuple[RoomId, tuple[UserId, ...]]]:
        for room_id, content in self.ephemeral(value):
            yield room_id, tuple(UserId(user) for user in self._texts(content.get("user_ids")))

    def state(self, value: Any) -> tuple[Json, ...]:
        events = self.events(value, "type", "content")
        sound = tuple(event for event in events if isinstance(event.get("state_key"), str))
        self.skipped += len(events) - len(sound)
        return sound

    def _heroes(self, value: Any) -> tuple[Hero, ...] | None:
        if value is None:
            return None
        heroes = []
        for hero in self._list(value):
            user_id = hero.get("user_id") if isinstance(hero, dict) else None
            if isinstance(user_id, str) and user_id:
                name = _text(hero.get("displayname")) or _text(hero.get("name"))
                avatar = _text(hero.get("avatar_url")) or _text(hero.get("avatar"))
                heroes.append(Hero(UserId(user_id), name, avatar))
            else:
                self.skipped += 1
        return tuple(heroes)

    def _list(self, value: Any) -> list[Any]:
        if isinstance(value, list):
            return value
        self.skipped += value is not None
        return []

    def _texts(self, value: Any) -> list[str]:
        return [item for item in self._list(value) if isinstance(item, str)]


def _fits(key: str, value: Any) -> bool:
    return isinstance(value, dict) if key == "content" else isinstance(value, str)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_COUNT else None
