"""One homeserver over HTTP: requests, accounts, devices. Nothing is assumed about who wrote the server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from .points import NotTried

Json = dict[str, Any]

CLIENT = "/_matrix/client/v3"
UNSTABLE_SLIDING_SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
STABLE_SLIDING_SYNC = "/_matrix/client/v4/sync"
_TURNS = 5
_LONGEST_REST_S = 30.0


class Unexpected(Exception):
    """A request that only prepares something got another status than 200."""


class Homeserver:
    """One homeserver. ``request`` never raises for a status; 429 is waited out a few times."""

    def __init__(
        self,
        base_url: str,
        session: aiohttp.ClientSession,
        *,
        shared_secret: str = "",
        accounts: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.shared_secret = shared_secret
        self._accounts = list(accounts)
        self._http = session
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(3)
        self._versions: Json | None = None
        self._devices: list[Device] = []
        self._rooms: list[tuple[Device, str]] = []

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        query: dict[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> tuple[int, Json]:
        """Returns (status, parsed body or {}). Raises NotTried when there is no answer at all."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for turn in range(_TURNS):
            try:
                async with self._http.request(
                    method,
                    _url(self.base_url, path),
                    json=body,
                    params=query,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                ) as answer:
                    status, raw = answer.status, await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise NotTried(f"no answer to {method} {path.split('?', maxsplit=1)[0]}: {error}") from error
            parsed = _parsed(raw)
            if status != 429 or turn == _TURNS - 1:
                return status, parsed
            await asyncio.sleep(min(parsed.get("retry_after_ms", 1000) / 1000, _LONGEST_REST_S))
        raise AssertionError("unreachable")

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Json:
        """The same, raising Unexpected unless the status is 200."""
        status, answer = await self.request(method, path, body, **more)
        if status != 200:
            raise Unexpected(f"{method} {path.split('?', maxsplit=1)[0]}: {said(status, answer)}")
        return answer

    async def features(self) -> Json:
        """``unstable_features`` of /versions, asked once."""
        if self._versions is None:
            self._versions = await self.ok("GET", "/_matrix/client/versions")
        features = self._versions.get("unstable_features", {})
        return features if isinstance(features, dict) else {}

    async def software(self) -> str:
        """Name and version where the server tells them, otherwise an empty text."""
        status, answer = await self.request("GET", "/_matrix/federation/v1/version")
        server = answer.get("server", {}) if status == 200 else {}
        return f"{server.get('name', '')} {server.get('version', '')}".strip()

    async def people(self, number: int, *, prefix: str = "conformance") -> list[Device]:
        """Sign in that many different accounts, a new device each: new accounts, or the given ones in their order."""
        if self.shared_secret:
            return [await self.new_account(prefix) for _ in range(number)]
        chosen = [pair for pair in self._accounts if prefix == "conformance" or pair[0].startswith(prefix)]
        if len(chosen) < number:
            raise NotTried(f"this needs {number} accounts on {self.base_url}, and {len(chosen)} are given")
        return [await self.sign_in(name, password) for name, password in chosen[:number]]

    async def new_account(self, prefix: str = "conformance") -> Device:
        """Register an account with the shared secret and sign it in once."""
        name, password = f"{prefix}-{self._run}-{next(self._numbers)}", secrets.token_urlsafe(15)
        status, answer = await self.register(name, password)
        if status != 200:
            raise NotTried(f"registering an account: {said(status, answer)}")
        return await self.sign_in(name, password)

    async def register(self, name: str, password: str) -> tuple[int, Json]:
        """Register with the shared secret (the admin API that Synapse, Dendrite and others have)."""
        path = "/_synapse/admin/v1/register"
        nonce = str((await self.ok("GET", path))["nonce"])
        words = "\x00".join((nonce, name, password, "notadmin"))
        mac = hmac.new(self.shared_secret.encode(), words.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac}
        # Without a device: the number of a person's devices matters to some points.
        return await self.request("POST", path, body | {"inhibit_login": True})

    async def sign_in(self, name: str, password: str, device_id: str | None = None) -> Device:
        """A new device of an account."""
        body: Json = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
            "initial_device_display_name": "conformance suite",
        }
        answer = await self.ok(
            "POST", f"{CLIENT}/login", body | ({} if device_id is None else {"device_id": device_id})
        )
        device = Device(
            self, answer["access_token"], answer["user_id"], answer["device_id"], (name, password)
        )
        self._devices.append(device)
        return device

    async def tidy(self) -> None:
        """Leave the rooms and sign out the devices of the people so far; accounts stay."""
        for device, room in self._rooms if not self.shared_secret else ():
            await device.leave(room)
        self._rooms.clear()
        for device in self._devices:
            await device.sign_out()
        self._devices.clear()

    def remember(self, device: Device, room: str) -> None:
        """Have ``tidy`` take that device's user out of the room."""
        self._rooms.append((device, room))

    async def sign_in_for_service(self, localpart: str, as_token: str) -> Device:
        """Register (if needed) and sign in a user of an application service's namespace."""
        kind = "m.login.application_service"
        status, answer = await self.request(
            "POST",
            f"{CLIENT}/register",
            {"type": kind, "username": localpart, "inhibit_login": True},
            token=as_token,
        )
        if status != 200 and answer.get("errcode") != "M_USER_IN_USE":
            raise NotTried(f"registering @{localpart} for the service: {said(status, answer)}")
        body = {"type": kind, "identifier": {"type": "m.id.user", "user": localpart}}
        status, answer = await self.request("POST", f"{CLIENT}/login", body, token=as_token)
        if status != 200:
            raise NotTried(f"signing in @{localpart} for the service: {said(status, answer)}")
        return Device(self, answer["access_token"], answer["user_id"], answer["device_id"], None)


class Device:
    """One device of one account."""

    def __init__(
        self, server: Homeserver, token: str, user_id: str, device_id: str, account: tuple[str, str] | None
    ) -> None:
        self.server = server
        self.token = token
        self.user_id = user_id
        self.device_id = device_id
        self._account = account
        self._looks = 0

    @property
    def server_name(self) -> str:
        return self.user_id.partition(":")[2]

    async def request(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Json]:
        return await self.server.request(method, path, body, token=self.token, **more)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Json:
        return await self.server.ok(method, path, body, token=self.token, **more)

    async def another(self) -> Device:
        """A further device of the same account."""
        if self._account is None:
            raise NotTried("a user of a service has no password to sign in a second device with")
        return await self.server.sign_in(*self._account)

    async def sign_out(self) -> None:
        await self.request("POST", f"{CLIENT}/logout", {})

    async def create_room(self, *invited: Device, encrypted: bool = False, public: bool = False) -> str:
        """A room that the invited people have joined."""
        state = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        body: Json = {
            "preset": "public_chat" if public else "private_chat",
            "initial_state": [state] if encrypted else [],
            "invite": [person.user_id for person in invited],
        }
        room = str((await self.ok("POST", f"{CLIENT}/createRoom", body))["room_id"])
        self.server.remember(self, room)
        for person in invited:
            await person.join(room, via=self.server_name)
        return room

    async def invite(self, room: str, user_id: str) -> None:
        await self.ok("POST", f"{CLIENT}/rooms/{_q(room)}/invite", {"user_id": user_id})

    async def join(self, room: str, *, via: str) -> None:
        await self.ok("POST", f"{CLIENT}/join/{_q(room)}", {}, query={"server_name": via, "via": via})
        self.server.remember(self, room)

    async def send(self, room: str, type_: str, content: Json) -> str:
        path = f"{CLIENT}/rooms/{_q(room)}/send/{_q(type_)}/{secrets.token_hex(8)}"
        return str((await self.ok("PUT", path, content))["event_id"])

    async def say(self, room: str, text: str = "conformance") -> str:
        return await self.send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    async def receipt(self, room: str, kind: str, event: str, body: Json | None = None) -> tuple[int, Json]:
        path = f"{CLIENT}/rooms/{_q(room)}/receipt/{_q(kind)}/{_q(event)}"
        return await self.request("POST", path, body or {})

    async def send_to_device(self, type_: str, messages: Json) -> tuple[int, Json]:
        path = f"{CLIENT}/sendToDevice/{_q(type_)}/{secrets.token_hex(8)}"
        return await self.request("PUT", path, {"messages": messages})

    async def tell(self, other: Device, type_: str, content: Json) -> None:
        """A to-device message to exactly that device."""
        status, answer = await self.send_to_device(type_, {other.user_id: {other.device_id: content}})
        if status != 200:
            raise Unexpected(f"sendToDevice: {said(status, answer)}")

    async def set_account_data(self, type_: str, content: Json, room: str | None = None) -> None:
        middle = "" if room is None else f"/rooms/{_q(room)}"
        await self.ok("PUT", f"{CLIENT}/user/{_q(self.user_id)}{middle}/account_data/{_q(type_)}", content)

    async def sync(self, since: str | None = None, timeout_ms: int = 0) -> Json:
        """One old-style sync."""
        query = {"timeout": str(timeout_ms), "set_presence": "offline"}
        if since is not None:
            query["since"] = since
        return await self.ok("GET", f"{CLIENT}/sync", query=query, timeout_s=60 + timeout_ms / 1000)

    async def queued(self) -> list[Json]:
        """The to-device messages that wait; looks without acknowledging any."""
        self._looks += 1
        # A first sync with the same parameters may be answered from a cache.
        answer = await self.sync(timeout_ms=self._looks)
        return list(answer.get("to_device", {}).get("events", []))

    async def leave(self, room: str) -> None:
        await self.request("POST", f"{CLIENT}/rooms/{_q(room)}/leave", {})


def said(status: int, answer: Json) -> str:
    """A refusal in a few words."""
    return f"{status} {answer.get('errcode', '')}".strip()


def is_unknown_endpoint(status: int, answer: Json) -> bool:
    return status in (404, 405) and answer.get("errcode", "M_UNRECOGNIZED") == "M_UNRECOGNIZED"


def _q(word: str) -> str:
    return quote(word, safe="")


def _url(base_url: str, path: str) -> Any:
    from yarl import URL  # comes with aiohttp

    return URL(base_url + path, encoded=True)


def _parsed(raw: bytes) -> Json:
    try:
        parsed = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
