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

from tandem_core.crypto.signed import is_signed_by
from tandem_core.errors import NeedsApproval, Offline, ServerRefused
from tandem_core.types import DeviceId, Json, Me, UserId

_USAGES = ("master", "self_signing", "user_signing")

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
    identities: dict[UserId, dict[str, Json]] = field(default_factory=dict)
    """Cross-signing keys by usage, without what others signed later."""
    signatures: list[tuple[UserId, UserId, str, dict[str, str]]] = field(default_factory=list)
    """By whom, on whose, under which id (a device, or a master key), and the signatures."""
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
    _senders: dict[str, tuple[tuple[UserId, DeviceId], str]] = field(default_factory=dict)
    _seen: dict[tuple[UserId, DeviceId, str], Json] = field(default_factory=dict)

    def http(self, me: Me) -> Any:
        """The door of one device."""
        return _Door(self, me)

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
        for usage in ("master", "self_signing", "user_signing"):
            answer[f"{usage}_keys"] = {
                user: copy.deepcopy(self.identities[UserId(user)][usage])
                for user in found
                if usage in self.identities.get(UserId(user), {})
                and (usage != "user_signing" or me is None or user == me.user_id)
            }
            for user, raw in self.serve_raw.items():
                answer[f"{usage}_keys"][user] = copy.deepcopy(raw[usage])
        for by, whose, target, made in self.signatures:
            if whose not in found or (by != whose and me is not None and by != me.user_id):
                continue  # what people say of each other is told to them alone
            master = answer["master_keys"].get(whose)
            signed = master if _key_of(master) == target else found[whose].get(DeviceId(target))
            if signed is not None:
                signed.setdefault("signatures", {}).setdefault(by, {}).update(made)
        return answer

    def _upload_identity(self, me: Me, body: Json) -> Json:
        """As Synapse: the first identity is taken as it comes, the same one again, too; another needs the password."""
        known = self.identities.get(me.user_id, {})
        given = {usage: body[f"{usage}_key"] for usage in _USAGES if f"{usage}_key" in body}
        if known and any(_key_of(known.get(usage)) != _key_of(key) for usage, key in given.items()):
            auth = body.get("auth")
            if not isinstance(auth, dict) or auth.get("password") != self.password:
                raise NeedsApproval(
                    {
                        "flows": [{"stages": ["m.login.password"]}],
                        "params": {},
                        "session": "s",
                        "completed": [],
                    }
                )
        elif known:
            return {}
        master = _key_of(given.get("master", known.get("master")))
        if master is None:
            raise ServerRefused(400, "M_MISSING_PARAM", "No master key available")
        for usage, key in given.items():
            if key["user_id"] != me.user_id or key["usage"] != [usage]:
                raise ServerRefused(400, "M_INVALID_PARAM", f"Invalid {usage} key")
            if usage != "master" and not is_signed_by(key, me.user_id, master, master):
                raise ServerRefused(400, "M_INVALID_SIGNATURE", f"{usage} key is not signed")
        self.identities[me.user_id] = known | copy.deepcopy(given)
        return {}

    def _upload_signatures(self, me: Me, body: Json) -> Json:
        """As Synapse: each signed object must be what the server has, and bear a signature of the right key."""
        failures: dict[str, dict[str, Json]] = {}
        for whose, objects in body.items():
            for target, value in objects.items():
                error = self._signature_error(me, UserId(whose), target, value)
                if error is None:
                    made = value["signatures"][me.user_id]
                    self.signatures.append((me.user_id, UserId(whose), target, copy.deepcopy(made)))
                else:
                    failures.setdefault(whose, {})[target] = {"errcode": error, "error": "refused"}
        return {"failures": failures}

    def _signature_error(self, me: Me, whose: UserId, target: str, value: Json) -> str | None:
        theirs, own = self.identities.get(whose, {}), self.identities.get(me.user_id, {})
        is_master = _key_of(theirs.get("master")) == target
        known = theirs["master"] if is_master else self.devices.get(whose, {}).get(DeviceId(target))
        if known is None or (whose != me.user_id and not is_master):
            return "M_NOT_FOUND"
        if _bare(known) != _bare(value):
            return "M_MISSING_PARAM"
        if whose != me.user_id:
            key = _key_of(own.get("user_signing"))
        elif not is_master:
            key = _key_of(own.get("self_signing"))
        else:
            return None if self._is_signed_by_a_device(me.user_id, value) else "M_INVALID_SIGNATURE"
        is_signed = key is not None and is_signed_by(value, me.user_id, key, key)
        return None if is_signed else "M_INVALID_SIGNATURE"

    def _is_signed_by_a_device(self, user: UserId, value: Json) -> bool:
        return any(
            is_signed_by(value, user, device_id, keys["keys"][f"ed25519:{device_id}"])
            for device_id, keys in self.devices[user].items()
        )

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


def _key_of(value: Json | None) -> str | None:
    """The one public key of a cross-signing key object."""
    return None if value is None else next(iter(value["keys"].values()))


def _bare(value: Json) -> Json:
    return {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}


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
