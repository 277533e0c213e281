"""What confirmations over the encrypted way look like, inside Olm: made, padded, and read with suspicion. Pure.

``im.tandem.receipt``, from a reader's device to the device that asked::

    {"v": 1, "batch": "<16 bytes>", "scope": "user" | "device", "ts": <ms, a whole minute>,
     "rooms": {room: {"ok": [[event, proof], ...], "again": [[event, proof], ...]}},
     "failed": [...], "pad": "000..."}

``again`` are ids that were sent before: cheap redundancy in place of acknowledgements, which would let anybody
probe the author. ``im.tandem.receipt_sync`` passes on to the author's own devices what was heard, with its proofs::

    {"v": 1, "batch": "...", "heard": [[room, event, user, device, ts, proof], ...], "pad": "..."}

``im.tandem.receipt_lease`` tells the reader's own devices what one of them has confirmed::

    {"v": 1, "batch": "...", "ids": [event, ...], "pad": "..."}

Each is as long as one of ``SIZES`` says, so that its length tells a class, not a count.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tandem_core.codec import dumps
from tandem_core.receipts import proof
from tandem_core.receipts.checks import MOST_ID, is_id, is_ts
from tandem_core.types import EventId, Json, RoomId, UserId

RECEIPT = "im.tandem.receipt"
SYNC = "im.tandem.receipt_sync"
LEASE = "im.tandem.receipt_lease"

SIZES = (1024, 2048, 4096, 8192)
"""Bytes of the content's canonical JSON."""
MOST_OK = 64
MOST_AGAIN = 32
MOST_FAILED = 8
MINUTE_MS = 60_000
_MOST_ROOMS = MOST_OK + MOST_AGAIN
_PROOF_LENGTH = 22
_FRAME = 160
"""More than the bytes of everything but rooms, failures and padding."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One event, and the proof that it was decrypted."""

    room_id: RoomId
    event_id: EventId
    proof: str


@dataclass(frozen=True, slots=True)
class Body:
    """One batch of confirmations, as it was said. ``shares_device``: its proofs name the device."""

    batch: str
    shares_device: bool
    ts: int
    ok: tuple[Confirmed, ...]
    again: tuple[Confirmed, ...] = ()
    failed: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """One confirmation that another device of the author's heard; ``device_id`` is empty for the person."""

    room_id: RoomId
    event_id: EventId
    user_id: UserId
    device_id: str
    ts: int
    proof: str


def minute(now_ms: int) -> int:
    """The time that is told of a confirmation: that of its sending, rounded down."""
    return now_ms - now_ms % MINUTE_MS


def build(
    ok: Sequence[Confirmed],
    *,
    shares_device: bool,
    now_ms: int,
    again: Sequence[Confirmed] = (),
    failed: Sequence[Json] = (),
) -> list[Json]:
    """Contents that say all of ``ok``, padded; ``failed`` and ``again`` fill what room is left in the last one."""
    portions = _portions(ok, _cost, MOST_OK) or [[]]
    bodies = []
    for number, portion in enumerate(portions):
        body: Json = {
            "v": 1,
            "batch": _batch(),
            "scope": "device" if shares_device else "user",
            "ts": minute(now_ms),
            "rooms": {},
        }
        _list(body, "ok", portion)
        if number == len(portions) - 1:
            if failed:
                body["failed"] = _that_fit(failed, lambda entry: _length(entry) + 1, body, MOST_FAILED)
            _list(body, "again", _that_fit(again, partial(_cost_in, body["rooms"]), body, MOST_AGAIN))
        bodies.append(_padded(body))
    return bodies


def build_sync(passed: Sequence[Passed]) -> list[Json]:
    """Contents that pass on all of these, padded."""
    rows = [[p.room_id, p.event_id, p.user_id, p.device_id, p.ts, p.proof] for p in passed]
    portions = _portions(rows, lambda row: _length(row) + 1, MOST_OK)
    return [_padded({"v": 1, "batch": _batch(), "heard": portion}) for portion in portions]


def build_lease(event_ids: Sequence[EventId]) -> list[Json]:
    """Contents that name all of these, padded."""
    portions = _portions(event_ids, lambda event_id: _length(event_id) + 1, MOST_OK)
    return [_padded({"v": 1, "batch": _batch(), "ids": portion}) for portion in portions]


def parse(content: Any) -> Body | None:
    """Read a batch; None if anything in it is not as it must be."""
    if not _is_ours(content):
        return None
    scope, ts, rooms = content.get("scope"), content.get("ts"), content.get("rooms")
    failed = content.get("failed", [])
    if scope not in ("user", "device") or not is_ts(ts):
        return None
    if not isinstance(rooms, dict) or len(rooms) > _MOST_ROOMS:
        return None
    if not isinstance(failed, list) or len(failed) > MOST_FAILED:
        return None
    if not all(isinstance(entry, dict) for entry in failed):
        return None
    ok = _confirmed(rooms, "ok", MOST_OK)
    again = _confirmed(rooms, "again", MOST_AGAIN)
    if ok is None or again is None:
        return None
    return Body(content["batch"], scope == "device", ts, ok, again, tuple(failed))


def parse_sync(content: Any) -> list[Passed] | None:
    """Read what another own device passes on; None if anything in it is not as it must be."""
    heard = content.get("heard") if _is_ours(content) else None
    if not isinstance(heard, list) or len(heard) > MOST_OK:
        return None
    passed = []
    for row in heard:
        if not isinstance(row, list) or len(row) != 6:
            return None
        room_id, event_id, user_id, device_id, ts, said = row
        if not (is_id(room_id, "!") and is_id(event_id, "$") and is_id(user_id, "@")):
            return None
        if not (isinstance(device_id, str) and len(device_id) <= MOST_ID) or not is_ts(ts):
            return None
        if not _is_proof(said):
            return None
        passed.append(Passed(RoomId(room_id), EventId(event_id), UserId(user_id), device_id, ts, said))
    return passed


def parse_lease(content: Any) -> list[EventId] | None:
    """Read what another own device has confirmed; None if anything in it is not as it must be."""
    ids = content.get("ids") if _is_ours(content) else None
    if not isinstance(ids, list) or len(ids) > MOST_OK or not all(is_id(value, "$") for value in ids):
        return None
    return [EventId(value) for value in ids]


def _confirmed(rooms: Json, part: str, most: int) -> tuple[Confirmed, ...] | None:
    found: list[Confirmed] = []
    for room_id, said in rooms.items():
        entries = said.get(part, []) if isinstance(said, dict) else None
        if not is_id(room_id, "!") or not isinstance(entries, list) or len(found) + len(entries) > most:
            return None
        for entry in entries:
            if not isinstance(entry, list) or len(entry) != 2:
                return None
            if not is_id(entry[0], "$") or not _is_proof(entry[1]):
                return None
            found.append(Confirmed(RoomId(room_id), EventId(entry[0]), entry[1]))
    return tuple(found)


def _list(body: Json, part: str, entries: Iterable[Confirmed]) -> None:
    for entry in entries:
        room = body["rooms"].setdefault(entry.room_id, {})
        room.setdefault(part, []).append([entry.event_id, entry.proof])


def _portions(entries: Sequence[T], cost: Callable[[T], int], most: int) -> list[list[T]]:
    """The entries in order, as many together as one content may carry."""
    portions: list[list[T]] = []
    room = 0
    for entry in entries:
        needed = cost(entry)
        if not portions or len(portions[-1]) == most or needed > room:
            portions.append([])
            room = SIZES[-1] - _FRAME
        portions[-1].append(entry)
        room -= needed
    return portions


def _that_fit(entries: Sequence[T], cost: Callable[[T], int], body: Json, most: int) -> list[T]:
    room = SIZES[-1] - _FRAME - _length(body)
    fit: list[T] = []
    for entry in entries[:most]:
        room -= cost(entry)
        if room < 0:
            break
        fit.append(entry)
    return fit


def _cost(entry: Confirmed) -> int:
    """Bytes that an entry takes at most: as if it were alone in its room."""
    return _length([entry.event_id, entry.proof]) + _length(entry.room_id) + len(':{"again":[],"ok":[]},,')


def _cost_in(rooms: Json, entry: Confirmed) -> int:
    """The same in a body that may speak of its room already."""
    if entry.room_id not in rooms:
        return _cost(entry)
    return _length([entry.event_id, entry.proof]) + len('"again":[],,')


def _padded(body: Json) -> Json:
    bare = _length({**body, "pad": ""})
    size = next(size for size in SIZES if bare <= size)
    return {**body, "pad": "0" * (size - bare)}


def _length(value: Any) -> int:
    return len(dumps(value).encode())


def _batch() -> str:
    return proof.encode(secrets.token_bytes(16))


def _is_ours(content: Any) -> bool:
    """Whether it is of our version, named, and no longer than ours are."""
    if not isinstance(content, dict) or type(content.get("v")) is not int or content["v"] != 1:
        return False
    batch = content.get("batch")
    if not isinstance(batch, str) or not 0 < len(batch) <= 64:
        return False
    try:
        return _length(content) <= SIZES[-1]
    except (UnicodeEncodeError, RecursionError):
        return False


def _is_proof(value: Any) -> bool:
    return isinstance(value, str) and len(value) == _PROOF_LENGTH
