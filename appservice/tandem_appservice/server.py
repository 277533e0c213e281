"""The service's HTTP side, as the application service API asks for it: the homeserver knocks here."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from tandem_appservice.registration import Registration
from tandem_appservice.transaction import NotATransaction, Transaction, read
from tandem_core.codec import parse
from tandem_core.errors import StoreError

log = logging.getLogger("tandem.appservice.server")

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a transaction: 100 events, 100 to-device events and what is ephemeral stay far below."""
_V1 = "/_matrix/app/v1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    registration: Registration,
    accept: Callable[[Transaction], Awaitable[None]],
    is_hosted: Callable[[str], Awaitable[bool]],
    *,
    most_body: int = MOST_BODY,
) -> web.Application:
    """The web application. ``accept`` returns once a transaction is kept for good, or raises StoreError."""
    doors = _Doors(accept, is_hosted)
    app = web.Application(client_max_size=most_body, middlewares=[_errors, _only_with(registration.hs_token)])
    for prefix in (_V1, ""):
        app.router.add_put(f"{prefix}/transactions/{{txn_id}}", doors.transaction)
        app.router.add_get(f"{prefix}/users/{{user_id}}", doors.user)
        app.router.add_get(f"{prefix}/rooms/{{alias}}", doors.room)
    app.router.add_post(f"{_V1}/ping", doors.ping)
    return app


class _Doors:
    def __init__(
        self, accept: Callable[[Transaction], Awaitable[None]], is_hosted: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._accept = accept
        self._is_hosted = is_hosted

    async def transaction(self, request: web.Request) -> web.StreamResponse:
        """Answered with 200 when it is committed, and not before."""
        raw = await request.read()
        txn_id = request.match_info["txn_id"]
        try:
            body = await asyncio.to_thread(parse, raw)
        except ValueError:
            return _refuse(400, "M_NOT_JSON", "The transaction is no JSON")
        try:
            said = await asyncio.to_thread(read, txn_id, body)
        except NotATransaction as error:
            return _refuse(400, "M_BAD_JSON", f"The transaction cannot be used: {error}")
        if said.malformed:
            log.warning("transaction %s: %d pieces make no sense and are left out", txn_id, said.malformed)
        try:
            await self._accept(said)
        except StoreError as trouble:
            # The homeserver keeps it and comes again.
            log.error("transaction %s could not be kept: %s", txn_id, trouble.title)
            return _refuse(503, "M_UNKNOWN", trouble.title)
        return web.json_response({})

    async def user(self, request: web.Request) -> web.StreamResponse:
        if await self._is_hosted(request.match_info["user_id"]):
            return web.json_response({})
        return _refuse(404, "M_NOT_FOUND", "This user is not hosted here")

    async def room(self, request: web.Request) -> web.StreamResponse:
        return _refuse(404, "M_NOT_FOUND", "This service makes no rooms")

    async def ping(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({})


def _only_with(token: str) -> Middleware:
    wanted = token.encode("utf-8")

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        """The homeserver's token, in the header or, from old ones, in the query; where both are, both are right."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = [bearer.strip()] if scheme.lower() == "bearer" else []
        given += request.query.getall("access_token", [])
        if not given:
            return _refuse(401, "M_MISSING_TOKEN", "The homeserver's token is missing")
        sound = [hmac.compare_digest(word.encode("utf-8", "replace"), wanted) for word in given]
        if not all(sound):
            log.warning("a request with a wrong token was refused")
            return _refuse(403, "M_FORBIDDEN", "This is not the homeserver's token")
        return await handler(request)

    return check


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Matrix's words for what aiohttp refuses, and for faults of our own."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        log.error("a transaction of %s bytes is too big", request.headers.get("Content-Length", "unknown"))
        return _refuse(413, "M_TOO_LARGE", "The transaction is too big")
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as unknown:
        return _refuse(unknown.status, "M_UNRECOGNIZED", "Unrecognized request")
    except web.HTTPException:
        raise
    except Exception:
        log.exception("a request could not be answered")
        return _refuse(500, "M_UNKNOWN", "Internal error; nothing was taken")


def _refuse(status: int, errcode: str, words: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": words}, status=status)
