"""Delivery receipts between homeservers: the EDU and the answer that announces it. Pure.

An EDU of a type of its own, never ``m.receipt``: a stock Synapse drops an unknown EDU type, and shows an unknown
receipt type to the whole room (DESIGN law 10). Its content, of version 1::

    {"version": 1,
     "rooms": {room_id: {event_id: {user_id: {"ts": ms, "devices": {device_id: ms}}}}}}

The users are all of the sending server, the events all by users of the receiving one; ``devices`` holds those that
their owner shares. At most ``MOST_RECEIPTS`` and ``MOST_BYTES``; unknown keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

EDU_TYPE = "im.tandem.delivery"
QUERY_TYPE = "im.tandem.delivery"
VERSION = 1
ANNOUNCEMENT: Json = {"versions": [VERSION]}
"""The answer to ``GET /_matrix/federation/v1/query/im.tandem.delivery``; a stock Synapse answers 404."""

MOST_RECEIPTS = 100
MOST_BYTES = 65_536
MOST_DEVICES = 32
"""In one receipt."""
_LONGEST_ID = 255
_LATEST_MS = 2**53


@dataclass(frozen=True, slots=True)
class SentReceipt:
    """One person's receipt on its way to the author's server; times are milliseconds."""

    room_id: str
    event_id: str
    user_id: str
    ts: int
    devices: Mapping[str, int] = field(default_factory=dict)


def server_of(user_id: str) -> str:
    """The server name in a user id."""
    return user_id.partition(":")[2]


def is_announced(answer: Mapping[str, Any]) -> bool:
    """Whether a server's answer says that it takes what we send."""
    versions = answer.get("versions")
    return isinstance(versions, list) and any(
        type(each) is int and each == VERSION for each in versions[:_LONGEST_ID]
    )


def contents(receipts: Iterable[SentReceipt]) -> Iterator[Json]:
    """The receipts as contents of EDUs, each within the limits."""
    rooms: Json = {}
    count, size = 0, 0
    for receipt in receipts:
        told: Json = {"ts": receipt.ts}
        if receipt.devices:
            told["devices"] = dict(list(receipt.devices.items())[:MOST_DEVICES])
        more = _size({receipt.room_id: {receipt.event_id: {receipt.user_id: told}}})
        if rooms and (count == MOST_RECEIPTS or size + more > MOST_BYTES - 100):
            yield {"version": VERSION, "rooms": rooms}
            rooms, count, size = {}, 0, 0
        users = rooms.setdefault(receipt.room_id, {}).setdefault(receipt.event_id, {})
        users[receipt.user_id] = told
        count, size = count + 1, size + more
    if rooms:
        yield {"version": VERSION, "rooms": rooms}


def receipts(content: Any, origin: str) -> list[SentReceipt]:
    """What an EDU of that server says, without what it may not say; nothing of one that breaks the limits.

    Never raises: in Synapse a handler that raises makes the other server repeat its whole transaction.
    """
    if not isinstance(content, dict) or type(content.get("version")) is not int:
        return []
    if content["version"] != VERSION or _size(content) > MOST_BYTES:
        return []
    found = [
        SentReceipt(room_id, event_id, user_id, told["ts"], _devices(told))
        for room_id, events in _items(content.get("rooms"))
        for event_id, users in _items(events)
        for user_id, told in _items(users)
        if _is_id(room_id, "!")
        and _is_id(event_id, "$")
        and _is_id(user_id, "@")
        and server_of(user_id) == origin
        and isinstance(told, dict)
        and _is_time(told.get("ts"))
    ]
    return found if len(found) <= MOST_RECEIPTS else []


def _devices(told: Json) -> dict[str, int]:
    devices = {name: ts for name, ts in _items(told.get("devices")) if _is_id(name, "") and _is_time(ts)}
    return dict(list(devices.items())[:MOST_DEVICES])


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _is_id(value: Any, sigil: str) -> bool:
    # What cannot be printed (NUL, half a surrogate pair) cannot be kept by every database either.
    if not isinstance(value, str) or not value.isprintable() or not value.startswith(sigil):
        return False
    return 0 < len(value.encode()) <= _LONGEST_ID


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LATEST_MS


def _size(content: Any) -> int:
    """Bytes as JSON; characters that are not ASCII count for more than they take."""
    return len(json.dumps(content, separators=(",", ":")))
