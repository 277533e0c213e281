"""The application service that the suite plays: its registration, its listener, what the homeserver sent."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from .matrix import Device, Homeserver, Json, said
from .points import NotTried

PREFIX = "_conformance_"
SHARED_PREFIX = "conformance-shared"
TO_DEVICE_KEYS = ("de.sorunome.msc2409.to_device", "to_device")
EPHEMERAL_KEYS = ("de.sorunome.msc2409.ephemeral", "ephemeral")
ACCOUNT_DATA_KEYS = ("org.matrix.msc3682.account_data", "account_data")
_BIGGEST = 64 * 1024 * 1024


def registration(url: str, flags: Iterable[str] = ()) -> Json:
    """A registration to install in the homeserver; JSON, which is YAML. ``flags`` are set to true."""
    return {
        "id": "conformance",
        "url": url,
        "as_token": secrets.token_urlsafe(32),
        "hs_token": secrets.token_urlsafe(32),
        "sender_localpart": f"{PREFIX}bot",
        "rate_limited": False,
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
        "org.matrix.msc3202": True,
        "namespaces": {
            "users": [
                {"exclusive": True, "regex": f"@{PREFIX}.*"},
                {"exclusive": False, "regex": f"@{SHARED_PREFIX}.*"},
            ],
            "aliases": [],
            "rooms": [],
        },
        **dict.fromkeys(flags, True),
    }


def read_registration(path: Path) -> Json:
    """Raises ValueError with words for the operator."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: not JSON ({error}); use the file that the command 'registration' writes, as it is"
        ) from error
    missing = [key for key in ("id", "url", "as_token", "hs_token") if key not in found]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is missing")
    return dict(found)


@dataclass(frozen=True)
class Transaction:
    """One request of the homeserver, and the status that it was answered with."""

    id: str
    body: Json
    status: int

    def to_device(self) -> list[Json]:
        return _first_list(self.body, TO_DEVICE_KEYS)

    def ephemeral(self) -> list[Json]:
        return _first_list(self.body, EPHEMERAL_KEYS)

    def account_data(self, user_id: str) -> list[Json]:
        """The account data events of that user."""
        for key in ACCOUNT_DATA_KEYS:
            users = self.body.get(key)
            if isinstance(users, dict):
                return list(users.get(user_id, {}).get("events", []))
        return []


class Service:
    """Listens where the registration's ``url`` says. ``refuse`` makes it fail; everything is written down."""

    def __init__(self, registered: Json) -> None:
        self.registered = registered
        self.transactions: list[Transaction] = []
        self._refuse: Callable[[Transaction], bool] = lambda _: False
        self._news = asyncio.Condition()
        self._runner: web.AppRunner
        self._checked: str | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_BIGGEST)
        app.router.add_put("/_matrix/app/v1/transactions/{txn}", self._put)
        app.router.add_put("/transactions/{txn}", self._put)
        app.router.add_post("/_matrix/app/v1/ping", self._ping)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        parts = urlsplit(self.registered["url"])
        await web.TCPSite(self._runner, parts.hostname or "127.0.0.1", parts.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def refuse(self, is_refused: Callable[[Transaction], bool]) -> None:
        """Answer 500 to the transactions for which this is so, from now on."""
        self._refuse = is_refused

    def heal(self) -> None:
        """Answer 200 again."""
        self._refuse = lambda _: False

    async def return_to(self, server: Homeserver) -> None:
        """Answer 200 again, and tell the homeserver: a ping lets it try again at once."""
        self.heal()
        await self._look(server)

    async def until(self, is_enough: Callable[[], bool], patience_s: float) -> bool:
        """Whether it came to that, looking after each transaction."""
        try:
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(is_enough)
        except TimeoutError:
            return False
        return True

    async def check_linked(self, server: Homeserver) -> None:
        """Raises NotTried unless the homeserver knows the registration and reaches the listener."""
        if self._checked is None:
            self._checked = await self._look(server)
        if self._checked:
            raise NotTried(self._checked)

    async def _look(self, server: Homeserver) -> str:
        path = f"/_matrix/client/v1/appservice/{self.registered['id']}/ping"
        status, answer = await server.request("POST", path, {}, token=self.registered["as_token"])
        if status == 200 or answer.get("errcode") == "M_UNRECOGNIZED":
            return ""
        return f"the homeserver does not reach the service: {said(status, answer)}"

    async def user(self, server: Homeserver) -> Device:
        """A new user of the exclusive namespace, with a device."""
        localpart = PREFIX + secrets.token_hex(4)
        return await server.sign_in_for_service(localpart, self.registered["as_token"])

    def to_device_for(self, user_id: str, type_: str, *, answered: bool = False) -> list[Json]:
        """The to-device events of that type for that user, over all transactions (or only those taken)."""
        return [
            event
            for transaction in self.transactions
            if transaction.status == 200 or not answered
            for event in transaction.to_device()
            if event.get("to_user_id") == user_id and event.get("type") == type_
        ]

    async def _put(self, request: web.Request) -> web.Response:
        if not self._is_homeserver(request):
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        body = await request.json()
        transaction = Transaction(request.match_info["txn"], body, 200)
        if self._refuse(transaction):
            transaction = Transaction(transaction.id, body, 500)
        self.transactions.append(transaction)
        async with self._news:
            self._news.notify_all()
        return web.json_response({}, status=transaction.status)

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=200 if self._is_homeserver(request) else 403)

    def _is_homeserver(self, request: web.Request) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return (bearer or request.query.get("access_token", "")) == self.registered["hs_token"]


def _first_list(body: Json, keys: Iterable[str]) -> list[Any]:
    return next((list(body[key]) for key in keys if isinstance(body.get(key), list)), [])
