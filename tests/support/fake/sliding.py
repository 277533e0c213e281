"""Simplified sliding sync as Synapse does it: places, lists, rooms and extensions."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

from tests.support.fake.state import DELIVERY, STRIPPED, Device, Json, Refused, Room, State

_PAGE = 100


@dataclass(frozen=True)
class Sent:
    """What a connection was told of a room: up to ``upto`` (None: it is followed live), how deep."""

    upto: int | None
    depth: int


@dataclass
class Place:
    """A request's point of departure."""

    key: tuple[str, str, str]
    number: int
    since: int | None
    rooms: dict[str, Sent]


async def sliding_sync(state: State, device: Device, body: Json, query: Json) -> Json:
    """Answer one request; waits up to its timeout when there is nothing new."""
    place = _place(state, device, body, query.get("pos"))
    extensions = body.get("extensions", {})
    wanted = extensions.get("to_device", {})
    if wanted.get("enabled"):
        # Before the answer is built, and without a second confirmation.
        _acknowledge(state, device, wanted)
    end = time.monotonic() + int(query.get("timeout", "0")) / 1000
    while True:
        bell = state.bell
        answer, rooms, is_news = _answer(state, device, body, extensions, place)
        left = end - time.monotonic()
        if is_news or place.since is None or left <= 0:
            return _placed(state, place, answer, rooms)
        try:
            await asyncio.wait_for(bell.wait(), left)
        except TimeoutError:
            continue


def _place(state: State, device: Device, body: Json, pos: str | None) -> Place:
    conn_id = body.get("conn_id", "")
    key = (device.user_id, device.device_id, conn_id)
    if pos is None:
        state.connections[key] = {}
        return Place(key, 0, None, {})
    found = re.fullmatch(r"(\d+)/s(\d+)", pos)
    if found is None:
        raise Refused(400, "M_UNKNOWN", "Invalid stream token")
    number, since = int(found[1]), int(found[2])
    known = state.connections.get(key, {})
    if number == 0:
        return Place(key, 0, since, {})
    if number not in known:
        raise Refused(400, "M_UNKNOWN_POS", "Unknown position")
    # Whoever uses a place has received it: the others of this connection go.
    state.connections[key] = {number: known[number]}
    return Place(key, number, since, dict(known[number]))


def _placed(state: State, place: Place, answer: Json, rooms: dict[str, Sent]) -> Json:
    number = place.number
    if rooms != place.rooms:
        number = next(state.positions)
        state.connections.setdefault(place.key, {})[number] = rooms
    answer["pos"] = f"{number}/s{state.at}"
    return answer


def _answer(
    state: State, device: Device, body: Json, extensions: Json, place: Place
) -> tuple[Json, dict[str, Sent], bool]:
    user_id = device.user_id
    mine = _visible_rooms(state, user_id, place)
    lists, wanted = _lists(mine, body)
    rooms: Json = {}
    sent = dict(place.rooms)
    for room in mine:
        config = wanted.get(room.room_id)
        old = place.rooms.get(room.room_id)
        if config is None:
            if old is not None and old.upto is None and room.events[-1].at > (place.since or 0):
                sent[room.room_id] = Sent(place.since or 0, old.depth)
            continue
        told = _room(room, user_id, config, old, place.since)
        if told is not None:
            rooms[room.room_id] = told
        depth = max(int(config.get("timeline_limit", 0)), old.depth if old else 0)
        sent[room.room_id] = Sent(None, depth)
    told_extensions, is_news = _extensions(state, device, extensions, place, rooms, wanted)
    answer = {"rooms": rooms, "extensions": told_extensions} | ({"lists": lists} if lists else {})
    return answer, sent, bool(rooms) or is_news


def _visible_rooms(state: State, user_id: str, place: Place) -> list[Room]:
    def is_there(room: Room) -> bool:
        if room.membership(user_id) in ("join", "invite"):
            return True
        return room.room_id in place.rooms and room.membership_at(user_id) > (place.since or 0)

    return sorted(filter(is_there, state.rooms.values()), key=Room.bump, reverse=True)


def _lists(mine: list[Room], body: Json) -> tuple[Json, dict[str, Json]]:
    lists: Json = {}
    wanted: dict[str, Json] = {}
    for name, config in body.get("lists", {}).items():
        ops = []
        for first, last in config.get("ranges", []):
            ids = [room.room_id for room in mine[first : last + 1]]
            ops.append({"op": "SYNC", "range": [first, last], "room_ids": ids})
            for room_id in ids:
                wanted[room_id] = _deeper(wanted.get(room_id), config)
        lists[name] = {"count": len(mine), "ops": ops}
    for room_id, config in body.get("room_subscriptions", {}).items():
        wanted[room_id] = _deeper(wanted.get(room_id), config)
    return lists, wanted


def _deeper(old: Json | None, new: Json) -> Json:
    if old is None:
        return new
    return {
        "timeline_limit": max(old.get("timeline_limit", 0), new.get("timeline_limit", 0)),
        "required_state": [*old.get("required_state", []), *new.get("required_state", [])],
    }


def _room(room: Room, user_id: str, config: Json, old: Sent | None, since: int | None) -> Json | None:
    membership = room.membership(user_id)
    start = None if old is None or since is None else (since if old.upto is None else old.upto)
    if membership == "invite":
        if start is not None and room.membership_at(user_id) <= start:
            return None
        return {
            "initial": True,
            "invite_state": [
                {key: event.raw[key] for key in ("type", "state_key", "sender", "content")}
                for (kind, _), event in room.state.items()
                if kind in STRIPPED
            ],
        }
    if (
        start is not None
        and room.membership_at(user_id) > start
        and membership == "join"
        and _was_out(room, user_id)
    ):
        start = None
    limit = int(config.get("timeline_limit", 0))
    is_deeper = start is not None and old is not None and limit > old.depth
    last = room.membership_at(user_id) if membership != "join" else room.events[-1].at
    seen = [(n, event) for n, event in enumerate(room.events) if event.at <= last]
    fresh = [(n, event) for n, event in seen if start is None or event.at > start]
    if not fresh and not is_deeper:
        return None
    shown = seen if is_deeper else fresh
    page = shown[-limit:] if limit else []
    told: Json = {
        "name": room.state["m.room.name", ""].raw["content"].get("name")
        if ("m.room.name", "") in room.state
        else None,
        "joined_count": len(room.people("join")),
        "invited_count": len(room.people("invite")),
        "bump_stamp": room.bump(),
        "notification_count": 0,
        "highlight_count": 0,
        "is_dm": False,
        "timeline": [_client_event(event.raw) for _, event in page],
        "limited": len(page) < len(shown),
        "num_live": 0 if start is None else len([1 for _, event in page if event.at > start]),
        "required_state": _required(room, user_id, config, [event.raw["sender"] for _, event in page], start),
        "prev_batch": f"t{page[0][0] if page else len(seen)}",
    }
    if start is None:
        told["initial"] = True
    if is_deeper:
        told["unstable_expanded_timeline"] = True
    return {key: value for key, value in told.items() if value is not None}


def _was_out(room: Room, user_id: str) -> bool:
    own = [event.raw["content"].get("membership") for event in room.events if event.member == user_id]
    return len(own) < 2 or own[-2] != "join"


def _client_event(raw: Json) -> Json:
    return {key: value for key, value in raw.items() if key != "room_id"}


def _required(room: Room, user_id: str, config: Json, senders: list[str], start: int | None) -> list[Json]:
    found = []
    for (kind, state_key), event in room.state.items():
        for wanted_kind, wanted_key in config.get("required_state", []):
            if wanted_kind not in ("*", kind):
                continue
            is_lazy = wanted_key == "$LAZY" and state_key in senders
            is_key = wanted_key in ("*", state_key) or (wanted_key == "$ME" and state_key == user_id)
            if is_lazy or (is_key and (start is None or event.at > start)):
                found.append(_client_event(event.raw))
                break
    return found


def _acknowledge(state: State, device: Device, wanted: Json) -> None:
    since = _since(wanted)
    # A token from the future acknowledges nothing yet.
    if since is not None and since <= state.to_device_at:
        device.queue = [item for item in device.queue if item[0] > since]


def _since(wanted: Json) -> int | None:
    since = wanted.get("since")
    if since is None:
        return None
    if not isinstance(since, str):
        raise Refused(400, "M_BAD_JSON", "since: Input should be a valid string")
    try:
        return int(since)
    except ValueError:
        raise Refused(400, "M_INVALID_PARAM", "Invalid to-device token") from None


def _to_device(state: State, device: Device, wanted: Json) -> Json:
    since = _since(wanted) or 0
    limit = wanted.get("limit", _PAGE)
    if type(limit) is not int:
        raise Refused(400, "M_BAD_JSON", "limit: Input should be a valid integer")
    limit = min(limit, _PAGE)
    newer = [item for item in device.queue if item[0] > since]
    page = newer if limit < 0 else newer[:limit]
    is_full = 0 < limit == len(page)
    end = page[-1][0] if is_full else max(state.to_device_at, since)
    return {"next_batch": str(end), "events": [event for _, event in page]}


def _extensions(
    state: State, device: Device, wanted: Json, place: Place, rooms: Json, configs: Json
) -> tuple[Json, bool]:
    told: Json = {}
    news: list[Any] = []
    user_id, since = device.user_id, place.since
    account = state.accounts[user_id]
    joined = [state.rooms[room_id] for room_id in configs if room_id in state.rooms]
    joined = [room for room in joined if room.membership(user_id) == "join"]
    if wanted.get("to_device", {}).get("enabled"):
        told["to_device"] = _to_device(state, device, wanted["to_device"])
        news.append(told["to_device"]["events"])
    if wanted.get("e2ee", {}).get("enabled"):
        told["e2ee"] = {
            "device_one_time_keys_count": device.counts(),
            "device_unused_fallback_key_types": device.unused_fallbacks(),
        }
        if since is not None:
            lists = _device_lists(state, user_id, since)
            told["e2ee"]["device_lists"] = lists
            news.append(lists["changed"] or lists["left"])
    if wanted.get("account_data", {}).get("enabled"):
        floor = since or 0
        common = [{"type": k, "content": c} for k, (at, c) in account.data.items() if at > floor]
        by_room: Json = {}
        for (room_id, kind), (at, content) in account.room_data.items():
            if at > floor and room_id in configs:
                by_room.setdefault(room_id, []).append({"type": kind, "content": content})
        told["account_data"] = {"global": common, "rooms": by_room}
        news.append(common or by_room)
    if wanted.get("receipts", {}).get("enabled"):
        found = {
            room.room_id: receipts for room in joined if (receipts := _receipts(room, user_id, since, rooms))
        }
        told["receipts"] = {"rooms": found}
        news.append(found)
    if wanted.get("typing", {}).get("enabled"):
        found = {
            room.room_id: {"type": "m.typing", "content": {"user_ids": sorted(room.typing)}}
            for room in joined
            if room.typing_at > (since or 0) and (since is not None or room.typing)
        }
        told["typing"] = {"rooms": found}
        news.append(found)
    return told, any(news)


def _device_lists(state: State, user_id: str, since: int) -> Json:
    sharers = state.sharers(user_id)
    changed = {who for at, who in state.device_changes if at > since and who in sharers}
    left: set[str] = set()
    for room in state.rooms.values():
        if room.membership(user_id) == "join":
            is_mine_new = room.membership_at(user_id) > since
            changed |= {who for who in room.people("join") if is_mine_new or room.membership_at(who) > since}
        gone = [who for who in room.people("leave", "ban") if room.membership_at(who) > since]
        if user_id in gone:
            left |= set(room.people("join")) - sharers
        elif room.membership(user_id) == "join":
            left |= set(gone) - sharers
    return {"changed": sorted(changed), "left": sorted(left)}


def _receipts(room: Room, user_id: str, since: int | None, rooms: Json) -> Json | None:
    shown = rooms.get(room.room_id, {})
    is_initial = since is None or shown.get("initial")
    ids = {event["event_id"] for event in shown.get("timeline", [])}
    content: Json = {}
    for (kind, who, _), (at, event_id, data) in room.receipts.items():
        if kind == "m.read.private" and who != user_id:
            continue
        if kind == DELIVERY and not _is_own(room, event_id, user_id):
            continue
        if (event_id in ids or who == user_id) if is_initial else at > (since or 0):
            content.setdefault(event_id, {}).setdefault(kind, {})[who] = data
    return {"type": "m.receipt", "content": content} if content else None


def _is_own(room: Room, event_id: str, user_id: str) -> bool:
    event = room.find(event_id)
    return event is not None and event.raw["sender"] == user_id
