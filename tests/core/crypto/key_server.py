"""A homeserver's key and to-device half, with Synapse's rules, for any number of devices in one process.

The same paths are walked against a real Synapse in ``tests/interop``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tandem_core.errors import NeedsApproval, Offline, ServerRefused
from tandem_core.types import DeviceId, Json, Me, UserId
from tests.core.crypto.room_keys import RoomKeys
from tests.support.cross_signing import USAGES, CrossSigningKeys, Refusal

Trouble = Callable[[], Exception | None]


@dataclass
class Request:
    """What a device asked for."""

    by: Me
    method: str
    path: str
    body: Json


@dataclass
class KeyServer:
    """Devices, their keys, their inboxes, and rooms with members and events."""

    devices: dict[UserId, dict[DeviceId, Json]] = field(default_factory=dict)
    one_time: dict[tuple[UserId, DeviceId], dict[str, Json]] = field(default_factory=dict)
    fallback: dict[tuple[UserId, DeviceId], dict[str, Json]] = field(default_factory=dict)
    inboxes: dict[tuple[UserId, DeviceId], list[Json]] = field(default_factory=dict)
    members: dict[str, dict[UserId, str]] = field(default_factory=dict)
    encrypted: set[str] = field(default_factory=set)
    events: dict[str, list[Json]] = field(default_factory=dict)
    account_data: dict[UserId, dict[str, Json]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cross_signing: CrossSigningKeys = field(default_factory=CrossSigningKeys)
    serve_raw: dict[UserId, Any] = field(default_factory=dict)
    """A hostile server's own idea of somebody's cross-signing keys, by usage."""
    password: str = "correct horse"
    unreachable: set[str] = field(default_factory=set)
    """Server names whose people's keys cannot be had."""
    now_ms: int = 1_800_000_000_000
    lose_request: list[str] = field(default_factory=list)
    """Parts of paths: the next such request never arrives."""
    lose_answer: list[str] = field(default_factory=list)
    """Parts of paths: the next such request arrives, and its answer does not."""
    refuse: list[tuple[str, Exception]] = field(default_factory=list)
    """Parts of paths with the answer to the next such request."""
    before: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    """Parts of paths with what happens while the next such request is on its way."""
    backups: RoomKeys = field(default_factory=RoomKeys)
    _senders: dict[str, tuple[tuple[UserId, DeviceId], str]] = field(default_factory=dict)
    _seen: dict[tuple[UserId, DeviceId, str], Json] = field(default_factory=dict)

    def http(self, me: Me) -> Any:
        """The door of one device."""
        return _Door(self, me)

    @property
    def identities(self) -> dict[str, dict[str, Json]]:
        """People's cross-signing keys by usage."""
        return self.cross_signing.keys

    @property
    def signatures(self) -> list[Any]:
        """What was signed: by whom, on whose, under which id (a device, or a master key), and the signatures."""
        return self.cross_signing.signatures

    def asked(self, part: str) -> list[Request]:
        """The requests whose path has this part."""
        return [request for request in self.requests if part in request.path]

    def counts(self, user: UserId, device: DeviceId) -> tuple[dict[str, int], list[str]]:
        """One-time key counts and unused fallback types, as sync brings them."""
        left = len(self.one_time.get((user, device), {}))
        unused = [key for key in self.fallback.get((user, device), {}).values() if not key.get("_used")]
        return ({"signed_curve25519": left} if left else {}), (["signed_curve25519"] if unused else [])

    def answer(self, me: Me, method: str, path: str, body: Json, query: dict[str, str]) -> Json:
        parts = [unquote(part) for part in path.split("/")[4:]]
        match [method, *parts]:
            case ["POST", "keys", "upload"]:
                return self._upload(me, body)
            case ["POST", "keys", "query"]:
                return self._query(body, me)
            case ["POST", "keys", "device_signing", "upload"]:
                return self._upload_identity(me, body)
            case ["POST", "keys", "signatures", "upload"]:
                return self._upload_signatures(me, body)
            case ["POST", "keys", "claim"]:
                return self._claim(body)
            case ["PUT", "sendToDevice", kind, txn_id]:
                return self._once(me, f"td {txn_id}", lambda: self._send_to_device(me, kind, body))
            case ["GET", "rooms", room_id, "members"]:
                return self._members(room_id)
            case ["GET", "rooms", room_id, "state", "m.room.encryption", *_]:
                if room_id not in self.encrypted:
                    raise ServerRefused(404, "M_NOT_FOUND", "no such state")
                return {"algorithm": "m.megolm.v1.aes-sha2"}
            case ["GET", "rooms", room_id, "messages"]:
                return self._messages(me, room_id, int(query["limit"]), json.loads(query["filter"]))
            case ["PUT", "rooms", room_id, "send", kind, txn_id]:
                return self._once(me, f"ev {txn_id}", lambda: self._send(me, room_id, kind, txn_id, body))
            case [verb, "user", user, "account_data", kind]:
                return self._account_data(me, verb, user, kind, body)
            case [_, "room_keys", *rest]:
                return self.backups.answer(me.user_id, method, rest, body, query)
        raise AssertionError(f"nobody asks for {method} {path}")

    def _upload(self, me: Me, body: Json) -> Json:
        here = self.one_time.setdefault(me_key(me), {})
        for key_id, key in body.get("one_time_keys", {}).items():
            if key_id in here and here[key_id] != key:
                raise ServerRefused(400, "M_UNKNOWN", f"One time key {key_id} already exists. Old key: …")
        if "device_keys" in body:
            self.devices.setdefault(me.user_id, {})[me.device_id] = copy.deepcopy(body["device_keys"])
        here |= copy.deepcopy(body.get("one_time_keys", {}))
        if "fallback_keys" in body:
            self.fallback[me_key(me)] = copy.deepcopy(body["fallback_keys"])
        return {"one_time_key_counts": {"signed_curve25519": len(here)}}

    def _account_data(self, me: Me, verb: str, user: str, kind: str, body: Json) -> Json:
        if user != me.user_id:
            raise ServerRefused(403, "M_FORBIDDEN", "Cannot access account data for other users.")
        here = self.account_data.setdefault(me.user_id, {})
        if verb == "PUT":
            here[kind] = copy.deepcopy(body)
            return {}
        if kind not in here:
            raise ServerRefused(404, "M_NOT_FOUND", "Account data not found")
        return here[kind]

    def _query(self, body: Json, me: Me | None = None) -> Json:
        failures = {
            name: {} for user in body["device_keys"] if (name := _server_of(user)) in self.unreachable
        }
        found = {
            user: copy.deepcopy(self.devices.get(UserId(user), {}))
            for user in body["device_keys"]
            if _server_of(user) not in self.unreachable
        }
        answer: Json = {"device_keys": found, "failures": failures}
        answer |= self.cross_signing.show(None if me is None else me.user_id, found)
        for user, raw in self.serve_raw.items():
            for usage in USAGES:
                answer[f"{usage}_keys"][user] = copy.deepcopy(raw[usage])
        return answer

    def _upload_identity(self, me: Me, body: Json) -> Json:
        try:
            self.cross_signing.upload(me.user_id, body, self.password)
        except Refusal as refusal:
            if refusal.flows is not None:
                raise NeedsApproval(refusal.flows) from None
            raise ServerRefused(refusal.status, refusal.errcode, refusal.message) from None
        return {}

    def _upload_signatures(self, me: Me, body: Json) -> Json:
        devices = {UserId(user): self.devices.get(UserId(user), {}) for user in body}
        return {"failures": self.cross_signing.sign(me.user_id, body, devices)}

    def _claim(self, body: Json) -> Json:
        out: dict[str, dict[str, Json]] = {}
        for user, devices in body["one_time_keys"].items():
            for device in devices:
                key = (UserId(user), DeviceId(device))
                keys = self.one_time.get(key, {})
                if keys:
                    key_id = next(iter(keys))
                    out.setdefault(user, {})[device] = {key_id: keys.pop(key_id)}
                elif self.fallback.get(key):
                    key_id, value = next(iter(self.fallback[key].items()))
                    clean = {name: part for name, part in value.items() if name != "_used"}
                    value["_used"] = True
                    out.setdefault(user, {})[device] = {key_id: clean}
        return {"one_time_keys": out, "failures": {}}

    def _send_to_device(self, me: Me, kind: str, body: Json) -> Json:
        for user, messages in body["messages"].items():
            for device, content in messages.items():
                event = {"type": kind, "sender": me.user_id, "content": content}
                self.inboxes.setdefault((UserId(user), DeviceId(device)), []).append(event)
        return {}

    def _members(self, room_id: str) -> Json:
        return {
            "chunk": [
                {
                    "type": "m.room.member",
                    "state_key": user,
                    "sender": user,
                    "event_id": f"$member-{user}",
                    "origin_server_ts": self.now_ms,
                    "content": {"membership": membership},
                }
                for user, membership in self.members[room_id].items()
            ]
        }

    def _send(self, me: Me, room_id: str, kind: str, txn_id: str, body: Json) -> Json:
        timeline = self.events.setdefault(room_id, [])
        self.now_ms += 1
        event = {
            "event_id": f"${room_id[1:4]}{len(timeline)}",
            "sender": me.user_id,
            "type": kind,
            "origin_server_ts": self.now_ms,
            "content": copy.deepcopy(body),
            "unsigned": {},
        }
        timeline.append(event)
        self._senders[event["event_id"]] = (me_key(me), txn_id)
        return {"event_id": event["event_id"]}

    def _messages(self, me: Me, room_id: str, limit: int, wanted: Json) -> Json:
        """The newest first; only the device that sent an event is told its transaction id."""
        chunk = []
        for event in reversed(self.events.get(room_id, [])):
            sender, txn_id = self._senders[event["event_id"]]
            if event["sender"] in wanted["senders"] and event["type"] in wanted["types"]:
                told = {"transaction_id": txn_id} if sender == me_key(me) else {}
                chunk.append(copy.deepcopy(event) | {"unsigned": told})
        return {"start": "t1", "chunk": chunk[:limit]}

    def _once(self, me: Me, what: str, act: Callable[[], Json]) -> Json:
        key = (me.user_id, me.device_id, what)
        if key not in self._seen:
            self._seen[key] = act()
        return self._seen[key]


class _Door:
    """What ``Http.request`` is to one device."""

    def __init__(self, server: KeyServer, me: Me) -> None:
        self._server = server
        self._me = me
        self.token: str | None = "token"

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: dict[str, str] | None = None,
        **_: Any,
    ) -> Json:
        server = self._server
        server.requests.append(Request(self._me, method, path, copy.deepcopy(body or {})))
        act = _take(server.before, path)
        if act is not None:
            act()
        if _take_part(server.lose_request, path):
            raise Offline("lost on its way there")
        refusal = _take(server.refuse, path)
        if refusal is not None:
            raise refusal
        answer = server.answer(self._me, method, path, body or {}, query or {})
        if _take_part(server.lose_answer, path):
            raise Offline("lost on its way back")
        return copy.deepcopy(answer)

    retry = request


def me_key(me: Me) -> tuple[UserId, DeviceId]:
    return me.user_id, me.device_id


def _server_of(user: str) -> str:
    return user.partition(":")[2]


def _take_part(waiting: list[str], path: str) -> bool:
    for part in waiting:
        if part in path:
            waiting.remove(part)
            return True
    return False


def _take(waiting: list[tuple[str, Any]], path: str) -> Any:
    for entry in waiting:
        if entry[0] in path:
            waiting.remove(entry)
            return entry[1]
    return None
