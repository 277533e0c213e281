"""The fake homeserver's endpoints other than sync: a table of methods and paths."""

from __future__ import annotations

import copy
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from tests.support.cross_signing import Refusal
from tests.support.fake.state import DELIVERY, SERVER_NAME, Device, Json, Refused, Room, State

CLIENT = r"/_matrix/client/(?:v3|r0)"
Handler = Callable[..., Json]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
OPEN: list[tuple[str, re.Pattern[str], Handler]] = []
_FEATURES = {"org.matrix.simplified_msc3575": True}


def route(method: str, path: str, *, auth: bool = True) -> Callable[[Handler], Handler]:
    """Put a function into the table; path parts in braces become its keyword arguments."""
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]*)", path) + "$")

    def keep(handler: Handler) -> Handler:
        (ROUTES if auth else OPEN).append((method, pattern, handler))
        return handler

    return keep


@route("GET", "/_matrix/client/versions", auth=False)
def versions(state: State, body: Json, query: Json) -> Json:
    delivery = {"org.matrix.msc4089": True} if state.with_module else {}
    return {"versions": ["v1.11", "v1.15"], "unstable_features": {**_FEATURES, **delivery}}


@route("POST", f"{CLIENT}/login", auth=False)
def login(state: State, body: Json, query: Json) -> Json:
    user = str(body.get("identifier", {}).get("user", ""))
    user_id = user if user.startswith("@") else f"@{user}:{SERVER_NAME}"
    account = state.accounts.get(user_id)
    if account is None or account.password != body.get("password"):
        raise Refused(403, "M_FORBIDDEN", "Invalid username or password")
    return state.sign_in(user_id, body.get("device_id"), body.get("initial_device_display_name", ""))


@route("POST", f"{CLIENT}/logout")
def logout(state: State, me: Device, body: Json, query: Json) -> Json:
    state.sign_out(me)
    return {}


@route("POST", f"{CLIENT}/logout/all")
def logout_all(state: State, me: Device, body: Json, query: Json) -> Json:
    for device in state.devices_of(me.user_id):
        state.sign_out(device)
    return {}


@route("GET", f"{CLIENT}/account/whoami")
def whoami(state: State, me: Device, body: Json, query: Json) -> Json:
    return {"user_id": me.user_id, "device_id": me.device_id, "is_guest": False}


@route("GET", f"{CLIENT}/devices")
def devices(state: State, me: Device, body: Json, query: Json) -> Json:
    found = state.devices_of(me.user_id)
    return {"devices": [{"device_id": one.device_id, "display_name": one.name} for one in found]}


@route("PUT", f"{CLIENT}/devices/{{device_id}}")
def rename_device(state: State, me: Device, body: Json, query: Json, device_id: str) -> Json:
    device = state.devices.get((me.user_id, device_id))
    if device is None:
        raise Refused(404, "M_NOT_FOUND", "Not found")
    device.name = body["display_name"]
    return {}


@route("POST", f"{CLIENT}/delete_devices")
def delete_devices(state: State, me: Device, body: Json, query: Json) -> Json:
    auth = body.get("auth")
    if not isinstance(auth, dict) or auth.get("password") != state.accounts[me.user_id].password:
        flows = [{"stages": ["m.login.password"]}]
        said = {"flows": flows, "params": {}, "session": "uia", "completed": []}
        raise Refused(401, "M_FORBIDDEN", "Invalid username or password", **said)
    for device_id in body["devices"]:
        device = state.devices.get((me.user_id, device_id))
        if device is not None:
            state.sign_out(device)
    return {}


@route("POST", f"{CLIENT}/createRoom")
def create_room(state: State, me: Device, body: Json, query: Json) -> Json:
    room = Room(f"!{secrets.token_urlsafe(13)}:{SERVER_NAME}")
    state.rooms[room.room_id] = room
    preset = body.get("preset", "private_chat")
    users = {me.user_id: 100}
    if preset == "trusted_private_chat":
        users |= dict.fromkeys(body.get("invite", []), 100)
    first = [
        ("m.room.power_levels", {"users": users, "users_default": 0}),
        ("m.room.join_rules", {"join_rule": "public" if preset == "public_chat" else "invite"}),
        ("m.room.history_visibility", {"history_visibility": "shared"}),
    ]
    state.add_event(room, me.user_id, "m.room.create", {"room_version": "11"}, "")
    state.set_membership(room, me.user_id, me.user_id, "join")
    for kind, content in first:
        state.add_event(room, me.user_id, kind, content, "")
    for event in body.get("initial_state", []):
        state.add_event(room, me.user_id, event["type"], event["content"], event.get("state_key", ""))
    for key in ("name", "topic"):
        if body.get(key):
            state.add_event(room, me.user_id, f"m.room.{key}", {key: body[key]}, "")
    for user_id in body.get("invite", []):
        more = {"is_direct": True} if body.get("is_direct") else {}
        state.set_membership(room, me.user_id, user_id, "invite", **more)
    return {"room_id": room.room_id}


@route("POST", f"{CLIENT}/rooms/{{room_id}}/invite")
def invite(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    state.set_membership(state.joined_room(room_id, me.user_id), me.user_id, body["user_id"], "invite")
    return {}


def join(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    room = state.rooms.get(room_id)
    if room is None:
        raise Refused(404, "M_NOT_FOUND", "No known servers")
    rule = room.state["m.room.join_rules", ""].raw["content"].get("join_rule")
    membership = room.membership(me.user_id)
    if membership not in ("invite", "join") and rule != "public":
        raise Refused(403, "M_FORBIDDEN", "You are not invited to this room.")
    if membership != "join":
        state.set_membership(room, me.user_id, me.user_id, "join")
    return {"room_id": room_id}


route("POST", f"{CLIENT}/join/{{room_id}}")(join)
route("POST", f"{CLIENT}/rooms/{{room_id}}/join")(join)


@route("POST", f"{CLIENT}/rooms/{{room_id}}/leave")
def leave(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    room = state.rooms.get(room_id)
    if room is not None and room.membership(me.user_id) in ("join", "invite"):
        state.set_membership(room, me.user_id, me.user_id, "leave")
    return {}


@route("GET", f"{CLIENT}/joined_rooms")
def joined_rooms(state: State, me: Device, body: Json, query: Json) -> Json:
    return {"joined_rooms": [k for k, room in state.rooms.items() if room.membership(me.user_id) == "join"]}


@route("PUT", f"{CLIENT}/rooms/{{room_id}}/send/{{kind}}/{{txn}}")
def send(state: State, me: Device, body: Json, query: Json, room_id: str, kind: str, txn: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    more = {"unsigned": {"transaction_id": txn}}
    return {"event_id": state.add_event(room, me.user_id, kind, body, **more)["event_id"]}


@route("PUT", f"{CLIENT}/rooms/{{room_id}}/redact/{{event_id}}/{{txn}}")
def redact(state: State, me: Device, body: Json, query: Json, room_id: str, event_id: str, txn: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    target = room.find(event_id)
    if target is None:
        raise Refused(404, "M_NOT_FOUND", "Could not find event")
    target.raw["content"] = {}
    content = {**body, "redacts": event_id}
    made = state.add_event(room, me.user_id, "m.room.redaction", content, redacts=event_id)
    target.raw["unsigned"] = {"redacted_by": made["event_id"], "redacted_because": dict(made)}
    return {"event_id": made["event_id"]}


@route("PUT", f"{CLIENT}/rooms/{{room_id}}/state/{{kind}}/{{state_key}}")
def set_state(
    state: State, me: Device, body: Json, query: Json, room_id: str, kind: str, state_key: str
) -> Json:
    room = state.joined_room(room_id, me.user_id)
    return {"event_id": state.add_event(room, me.user_id, kind, body, state_key)["event_id"]}


@route("GET", f"{CLIENT}/rooms/{{room_id}}/state/{{kind}}/{{state_key}}")
def get_state(
    state: State, me: Device, body: Json, query: Json, room_id: str, kind: str, state_key: str
) -> Json:
    event = state.joined_room(room_id, me.user_id).state.get((kind, state_key))
    if event is None:
        raise Refused(404, "M_NOT_FOUND", "Event not found.")
    return dict(event.raw["content"])


@route("GET", f"{CLIENT}/rooms/{{room_id}}/members")
def members(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    people = [event.raw for (kind, _), event in room.state.items() if kind == "m.room.member"]
    return {"chunk": [raw for raw in people if raw["content"]["membership"] != query.get("not_membership")]}


@route("GET", f"{CLIENT}/rooms/{{room_id}}/joined_members")
def joined_members(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    found = {}
    for user_id in room.people("join"):
        content = room.state["m.room.member", user_id].raw["content"]
        found[user_id] = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
    return {"joined": found}


@route("GET", f"{CLIENT}/rooms/{{room_id}}/messages")
def messages(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    limit = int(query.get("limit", "10"))
    if query.get("dir") == "f":
        start = int(query.get("from", "t0")[1:])
        page, end = room.events[start : start + limit], min(start + limit, len(room.events))
        is_over = end == len(room.events)
    else:
        start = int(query.get("from", f"t{len(room.events)}")[1:])
        end = max(0, start - limit)
        page, is_over = room.events[end:start][::-1], end == 0
    answer: Json = {"start": f"t{start}", "chunk": [{**event.raw, "room_id": room_id} for event in page]}
    return answer if is_over else {**answer, "end": f"t{end}"}


@route("POST", f"{CLIENT}/rooms/{{room_id}}/receipt/{{kind}}/{{event_id}}")
def receipt(
    state: State, me: Device, body: Json, query: Json, room_id: str, kind: str, event_id: str
) -> Json:
    kinds = ("m.read", "m.read.private", *([DELIVERY] if state.with_module else []))
    if kind not in kinds:
        raise Refused(400, "M_INVALID_PARAM", f"Receipt type must be one of {kinds}")
    room = state.joined_room(room_id, me.user_id)
    if room.find(event_id) is not None:
        place = (kind, me.user_id, event_id if kind == DELIVERY else "")
        room.receipts[place] = (state.step(), event_id, {"ts": int(time.time() * 1000)})
    return {}


@route("POST", f"{CLIENT}/rooms/{{room_id}}/read_markers")
def read_markers(state: State, me: Device, body: Json, query: Json, room_id: str) -> Json:
    for kind in ("m.read", "m.read.private"):
        if kind in body:
            receipt(state, me, {}, {}, room_id, kind, body[kind])
    if "m.fully_read" in body:
        content = {"event_id": body["m.fully_read"]}
        state.accounts[me.user_id].room_data[room_id, "m.fully_read"] = (state.step(), content)
    return {}


@route("PUT", f"{CLIENT}/rooms/{{room_id}}/typing/{{user_id}}")
def typing(state: State, me: Device, body: Json, query: Json, room_id: str, user_id: str) -> Json:
    room = state.joined_room(room_id, me.user_id)
    if body.get("typing"):
        room.typing[user_id] = time.monotonic() + body.get("timeout", 30_000) / 1000
    else:
        room.typing.pop(user_id, None)
    room.typing_at = state.step()
    return {}


@route("PUT", f"{CLIENT}/user/{{user_id}}/account_data/{{kind}}")
def put_account_data(state: State, me: Device, body: Json, query: Json, user_id: str, kind: str) -> Json:
    state.accounts[me.user_id].data[kind] = (state.step(), body)
    return {}


@route("GET", f"{CLIENT}/user/{{user_id}}/account_data/{{kind}}")
def get_account_data(state: State, me: Device, body: Json, query: Json, user_id: str, kind: str) -> Json:
    if kind not in state.accounts[me.user_id].data:
        raise Refused(404, "M_NOT_FOUND", "Account data not found")
    return dict(state.accounts[me.user_id].data[kind][1])


@route("PUT", f"{CLIENT}/sendToDevice/{{kind}}/{{txn}}")
def send_to_device(state: State, me: Device, body: Json, query: Json, kind: str, txn: str) -> Json:
    state.queue_to_device(me.user_id, kind, body["messages"])
    return {}


@route("POST", f"{CLIENT}/keys/upload")
def upload_keys(state: State, me: Device, body: Json, query: Json) -> Json:
    for key_id, key in body.get("one_time_keys", {}).items():
        old = me.one_time.get(key_id)
        if old is not None and _bare(old) != _bare(key):
            raise Refused(400, "M_INVALID_PARAM", f"One time key {key_id} already exists.")
    if body.get("device_keys"):
        if me.keys != body["device_keys"]:
            state.device_changes.append((state.step(), me.user_id))
        me.keys = body["device_keys"]
    me.one_time |= body.get("one_time_keys", {})
    for key_id, key in body.get("fallback_keys", {}).items():
        me.fallback = {old: value for old, value in me.fallback.items() if _kind(old) != _kind(key_id)}
        me.fallback[key_id] = key
        me.used_fallback.discard(key_id)
    return {"one_time_key_counts": me.counts()}


@route("POST", f"{CLIENT}/keys/query")
def query_keys(state: State, me: Device, body: Json, query: Json) -> Json:
    found: Json = {}
    for user_id, wanted in body.get("device_keys", {}).items():
        if not user_id.endswith(f":{SERVER_NAME}"):
            continue
        found[user_id] = {
            one.device_id: copy.deepcopy({**one.keys, "unsigned": {"device_display_name": one.name}})
            for one in state.devices_of(user_id)
            if one.keys is not None and (not wanted or one.device_id in wanted)
        }
    shown = state.cross_signing.show(me.user_id, found)
    return {"device_keys": found, "failures": {}, **shown}


@route("POST", f"{CLIENT}/keys/device_signing/upload")
def upload_identity(state: State, me: Device, body: Json, query: Json) -> Json:
    try:
        state.cross_signing.upload(me.user_id, body, state.accounts[me.user_id].password)
    except Refusal as refusal:
        raise Refused(refusal.status, refusal.errcode, refusal.message, **(refusal.flows or {})) from None
    state.device_changes.append((state.step(), me.user_id))
    return {}


@route("POST", f"{CLIENT}/keys/signatures/upload")
def upload_signatures(state: State, me: Device, body: Json, query: Json) -> Json:
    devices = {
        user: {one.device_id: one.keys for one in state.devices_of(user) if one.keys is not None}
        for user in body
    }
    failures = state.cross_signing.sign(me.user_id, body, devices)
    state.device_changes += [(state.step(), user) for user in body]
    return {"failures": failures}


@route("POST", f"{CLIENT}/keys/claim")
def claim_keys(state: State, me: Device, body: Json, query: Json) -> Json:
    found: Json = {}
    for user_id, by_device in body.get("one_time_keys", {}).items():
        for device_id, algorithm in by_device.items():
            device = state.devices.get((user_id, device_id))
            key = _claim(device, algorithm) if device else None
            if key is not None:
                found.setdefault(user_id, {})[device_id] = key
    return {"one_time_keys": found, "failures": {}}


def _claim(device: Device, algorithm: str) -> Json | None:
    """The oldest one-time key, once; when none is left the fallback key, again and again."""
    for key_id in device.one_time:
        if _kind(key_id) == algorithm:
            return {key_id: device.one_time.pop(key_id)}
    for key_id, key in device.fallback.items():
        if _kind(key_id) == algorithm:
            device.used_fallback.add(key_id)
            return {key_id: key}
    return None


def _kind(key_id: str) -> str:
    return key_id.partition(":")[0]


def _bare(key: Any) -> str:
    return json.dumps(key["key"] if isinstance(key, dict) else key, sort_keys=True)
