"""A homeserver of two hundred lines that keeps every clause about services and servers; its subclasses break one each.

For the suite's own tests: that a point holds on a good server says little, unless it fails on a bad one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web

Json = dict[str, Any]
NAME = "toy"
ECHO = "org.example.echo"
Device = tuple[str, str]


class ToyServer:
    """Use as an async context manager. Every hook that a subclass overrides is named after what it decides."""

    def __init__(self, registration: Json) -> None:
        self.registration = registration
        self.base_url = ""
        self.tokens: dict[str, Device] = {}
        self.inbox: dict[Device, list[tuple[int, Json]]] = {}
        self.made_by_service: set[Device] = set()
        self.data: dict[str, dict[str, Json]] = {}
        self.at = 1
        self.queue: list[Json] = []
        self._bell = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        client = "/_matrix/client/v3"
        app.add_routes(
            [
                web.get("/_matrix/client/versions", self._versions),
                web.get("/_synapse/admin/v1/register", self._nonce),
                web.post("/_synapse/admin/v1/register", self._register),
                web.post(f"{client}/register", self._register),
                web.post(f"{client}/login", self._login),
                web.post(f"{client}/logout", self._nothing),
                web.post(f"{client}/createRoom", self._create_room),
                web.get(f"{client}/sync", self._sync),
                web.put(f"{client}/sendToDevice/{{type}}/{{txn}}", self._send_to_device),
                web.put(f"{client}/user/{{user}}/account_data/{{type}}", self._account_data),
                web.put(
                    f"{client}/user/{{user}}/rooms/{{room}}/account_data/{{type}}", self._room_account_data
                ),
                web.put(f"{client}/pushrules/global/content/{{rule}}", self._push_rule),
                web.post("/_matrix/client/v1/appservice/{id}/ping", self._nothing),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._tasks.add(asyncio.create_task(self._push()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    # What a subclass may break.

    def repeated(self, body: Json) -> Json:
        """A transaction that failed, as it is sent again."""
        return body

    def transactions(self, queue: list[Json]) -> list[Json]:
        """What is sent of what waits, in transactions."""
        return queue

    def to_service(self, event: Json) -> Json:
        """A to-device event, as a transaction has it."""
        return event

    def is_for_service(self, user_id: str) -> bool:
        return self.namespace(user_id) is not None

    def is_deleted(self, device: Device) -> bool:
        """Whether a to-device message is deleted when the service took it."""
        return self.namespace(device[0]) is True or device in self.made_by_service

    def echoes(self, sender: str, device: str, content: Json) -> list[tuple[str, Json]]:
        """Sender and content of what the server answers."""
        return [(f"@:{NAME}", content)] if device in ("", "*") else []

    def may_register(self, localpart: str) -> bool:
        return localpart != ""

    def unknown_to_server(self, sender: str) -> None:
        """A message of an unknown type to the server has come."""

    def set_room_account_data(self, user_id: str, type_: str, content: Json) -> None:
        """Account data of a room is not sent to services."""

    def set_account_data(self, user_id: str, type_: str, content: Json) -> None:
        self.data.setdefault(user_id, {})[type_] = content
        if self.is_for_service(user_id):
            events = [{"type": type_, "content": content}]
            self.enqueue({"org.matrix.msc3682.account_data": {user_id: {"events": events}}})

    def set_push_rule(self, user_id: str, rule: str) -> None:
        self.set_account_data(user_id, "m.push_rules", {"global": {"content": [{"rule_id": rule}]}})

    def acknowledge(self, device: Device, since: int) -> None:
        self.inbox[device] = [item for item in self.inbox[device] if item[0] > since]

    # What all share.

    def namespace(self, user_id: str) -> bool | None:
        """Whether it is exclusive; None outside the namespaces."""
        for each in self.registration["namespaces"]["users"]:
            if re.match(each["regex"], user_id):
                return bool(each["exclusive"])
        return None

    def enqueue(self, body: Json) -> None:
        self.queue.append(body)
        self._bell.set()

    def deliver(self, sender: str, type_: str, user_id: str, device_id: str, content: Json) -> None:
        for device in [one for one in self.inbox if one[0] == user_id and device_id in ("*", one[1])]:
            self.at += 1
            event = {"type": type_, "sender": sender, "content": content}
            self.inbox[device].append((self.at, event))
            if self.is_for_service(user_id):
                extra = {"to_user_id": user_id, "to_device_id": device[1]}
                self.enqueue(
                    {"de.sorunome.msc2409.to_device": [self.to_service({**event, **extra})], "": self.at}
                )

    async def _push(self) -> None:
        number = 0
        async with aiohttp.ClientSession() as session:
            while True:
                await self._bell.wait()
                self._bell.clear()
                waiting, self.queue = self.queue, []
                for body in self.transactions(waiting):
                    number += 1
                    await self._send(
                        session, f"{self.registration['url']}/_matrix/app/v1/transactions/{number}", body
                    )

    async def _send(self, session: aiohttp.ClientSession, url: str, body: Json) -> None:
        at = body.pop("", 0)
        headers = {"Authorization": f"Bearer {self.registration['hs_token']}"}
        while True:
            async with session.put(url, json={"events": [], **body}, headers=headers) as answer:
                if answer.status == 200:
                    break
            body = self.repeated(body)
            await asyncio.sleep(0.02)
        for device, items in self.inbox.items():
            if self.is_deleted(device):
                self.inbox[device] = [item for item in items if item[0] != at]

    async def _versions(self, request: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1.11"]})

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _nonce(self, request: web.Request) -> web.Response:
        return web.json_response({"nonce": "n"})

    async def _register(self, request: web.Request) -> web.Response:
        localpart = (await request.json())["username"]
        if not self.may_register(localpart):
            return web.json_response({"errcode": "M_INVALID_USERNAME"}, status=400)
        return web.json_response({"user_id": f"@{localpart}:{NAME}"})

    async def _login(self, request: web.Request) -> web.Response:
        body = await request.json()
        device = (f"@{body['identifier']['user']}:{NAME}", secrets.token_hex(4))
        if body["type"] == "m.login.application_service":
            self.made_by_service.add(device)
        token = secrets.token_hex(8)
        self.tokens[token] = device
        self.inbox[device] = []
        return web.json_response({"access_token": token, "user_id": device[0], "device_id": device[1]})

    async def _create_room(self, request: web.Request) -> web.Response:
        return web.json_response({"room_id": f"!{secrets.token_hex(4)}:{NAME}"})

    async def _sync(self, request: web.Request) -> web.Response:
        device = self._who(request)
        since = int(request.query.get("since", "0"))
        if since:
            self.acknowledge(device, since)
        await asyncio.sleep(0.02)
        data = [
            {"type": type_, "content": content} for type_, content in self.data.get(device[0], {}).items()
        ]
        events = [event for at, event in self.inbox[device] if at > since]
        return web.json_response(
            {
                "next_batch": str(self.at),
                "to_device": {"events": events},
                "account_data": {"events": data},
            }
        )

    async def _send_to_device(self, request: web.Request) -> web.Response:
        sender, type_ = self._who(request)[0], request.match_info["type"]
        for user_id, messages in (await request.json())["messages"].items():
            for device_id, content in messages.items():
                if user_id != f"@:{NAME}":
                    self.deliver(sender, type_, user_id, device_id, content)
                elif type_ != ECHO:
                    self.unknown_to_server(sender)
                else:
                    for from_, answer in self.echoes(sender, device_id, content):
                        self.deliver(from_, type_, sender, "*", answer)
        return web.json_response({})

    async def _account_data(self, request: web.Request) -> web.Response:
        self.set_account_data(self._who(request)[0], request.match_info["type"], await request.json())
        return web.json_response({})

    async def _room_account_data(self, request: web.Request) -> web.Response:
        self.set_room_account_data(self._who(request)[0], request.match_info["type"], await request.json())
        return web.json_response({})

    async def _push_rule(self, request: web.Request) -> web.Response:
        self.set_push_rule(self._who(request)[0], unquote(request.match_info["rule"]))
        return web.json_response({})

    def _who(self, request: web.Request) -> Device:
        return self.tokens[request.headers["Authorization"].removeprefix("Bearer ")]
