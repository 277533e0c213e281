"""Sign in, restore, sign out: one device for both programs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from tandem_core import capabilities
from tandem_core.clock import Clock, SystemClock, system_chance
from tandem_core.errors import (
    BadInput,
    Expected,
    NoSlidingSync,
    NotMatrix,
    NotSignedIn,
    Offline,
    ServerRefused,
    SignedOut,
    WrongPassword,
)
from tandem_core.http import Http, NotJson, path
from tandem_core.paths import ProfilePaths
from tandem_core.sign_out import finish_logout, logout
from tandem_core.store import session as store
from tandem_core.store.database import Database, Transaction
from tandem_core.store.session import Session, SessionState, mark_signed_out
from tandem_core.tokens import read_expiry
from tandem_core.types import DeviceId, Json, Me, UserId

__all__ = [
    "Session",
    "SessionState",
    "current",
    "finish_logout",
    "load",
    "login",
    "login_as_service",
    "logout",
    "mark_signed_out",
]

log = logging.getLogger("tandem.session")

_WELL_KNOWN = "/.well-known/matrix/client"
_DISCOVERY_S = 15.0
_LOGIN_DEADLINE_S = 60.0
_LOGOUT_DEADLINE_S = 10.0


def load(db: Database) -> Session | None:
    """The account of this store, or None in a fresh one."""
    return db.read_now(store.session)


def current(db: Database) -> Session:
    """The account of this store, signed in; raises NotSignedIn, or SignedOut with what to do."""
    session = load(db)
    if session is None:
        raise NotSignedIn()
    if session.state is not SessionState.SIGNED_IN or session.access_token is None:
        raise SignedOut(soft=session.state is SessionState.SOFT_LOGGED_OUT)
    return session


async def login(
    homeserver_url: str,
    user: str,
    password: str,
    *,
    device_name: str,
    paths: ProfilePaths,
    clock: Clock | None = None,
) -> Me:
    """Sign in with a password and keep the session in the profile's store.

    After a soft sign-out the device stays the same, with its keys; after a hard one a new device takes
    over the store's messages. Raises NotMatrix, NoSlidingSync, WrongPassword, Offline, BadInput (the
    store belongs to somebody else, or somebody is signed in).
    """
    clock = clock or SystemClock()

    async def find() -> str:
        return (await discover(homeserver_url, clock))[0]

    body: Json = {"type": "m.login.password", "password": password, "refresh_token": True}
    return await _sign_in(find, user, body, None, device_name=device_name, paths=paths, clock=clock)


async def login_as_service(
    base_url: str,
    user: str,
    service_token: str,
    *,
    device_name: str,
    paths: ProfilePaths,
    clock: Clock | None = None,
) -> Me:
    """Sign in somebody of an appservice's namespace with the service's own token (spec: m.login.application_service).

    All else is as with ``login``; sliding sync is not asked for. Raises ServerRefused for anybody else.
    """

    async def find() -> str:
        return base_url

    body: Json = {"type": "m.login.application_service"}
    return await _sign_in(
        find, user, body, service_token, device_name=device_name, paths=paths, clock=clock or SystemClock()
    )


async def _sign_in(
    find: Callable[[], Awaitable[str]],
    user: str,
    body: Json,
    token: str | None,
    *,
    device_name: str,
    paths: ProfilePaths,
    clock: Clock,
) -> Me:
    paths.make()
    await finish_logout(paths, clock=clock)
    db = await asyncio.to_thread(Database.open, paths.database)
    try:
        old = await db.read(store.session)
        _refuse_second_login(old, user)
        base_url = await find()
        http = Http(base_url, token=token, chance=system_chance(), clock=clock)
        try:
            keep_device = old.me.device_id if old and old.state is SessionState.SOFT_LOGGED_OUT else None
            asked_at = clock.now_ms()
            answer = await _ask_login(http, user, body, device_name, keep_device)
            me, access_token = _me_and_token(answer)
            http.token = access_token
            if old is not None and old.me.user_id != me.user_id:
                await _forget_login(http)
                raise _other_account(old)
            await db.write(_keep_login, me, base_url, answer, asked_at)
        finally:
            await http.close()
    finally:
        await asyncio.to_thread(db.close)
    log.info("signed in as %s, device %s", me.user_id, me.device_id)
    return me


async def discover(address: str, clock: Clock | None = None) -> tuple[str, capabilities.Capabilities]:
    """Find the homeserver behind an address or a server name; returns its base URL and what it can do.

    Raises Offline, NotMatrix, NoSlidingSync, BadInput.
    """
    url = _base_url(address)
    candidates = [url]
    announced = await _well_known(url, clock)
    if announced is not None and announced != url:
        candidates.insert(0, announced)
    trouble: Expected = NotMatrix()
    for candidate in candidates:
        try:
            can = await _can(candidate, clock)
        except (NotMatrix, Offline) as error:
            trouble = error
            continue
        if not can.sliding_sync:
            raise NoSlidingSync()
        return candidate, can
    raise trouble


async def _can(base_url: str, clock: Clock | None) -> capabilities.Capabilities:
    http = Http(base_url, clock=clock)
    try:
        answer = await http.request("GET", capabilities.VERSIONS_PATH, auth=False, timeout_s=_DISCOVERY_S)
    except (NotJson, ServerRefused) as error:
        raise NotMatrix() from error
    finally:
        await http.close()
    return capabilities.parse(answer)


async def _well_known(url: str, clock: Clock | None) -> str | None:
    """The base URL that the server's name announces (spec: "Well-known URI"); no answer is no error."""
    http = Http(url, clock=clock)
    try:
        answer = await http.request("GET", _WELL_KNOWN, auth=False, timeout_s=_DISCOVERY_S)
    except Expected:
        return None
    finally:
        await http.close()
    server = answer.get("m.homeserver")
    base_url = server.get("base_url") if isinstance(server, dict) else None
    try:
        return _base_url(base_url) if isinstance(base_url, str) else None
    except BadInput:
        return None


def _base_url(address: str) -> str:
    text = address.strip()
    if text.startswith("@"):
        text = text.partition(":")[2]
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError as error:
        raise BadInput(f"{address!r} is no server address", advice="Write it like example.org.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound or " " in text:
        raise BadInput(f"{address!r} is no server address", advice="Write it like example.org.")
    return text.rstrip("/")


def _refuse_second_login(old: Session | None, user: str) -> None:
    if old is None:
        return
    if old.state is SessionState.SIGNED_IN:
        raise BadInput(
            f"{old.me.user_id}",
            title="Somebody is signed in already",
            advice="Sign out first, or choose another --profile.",
        )
    if user.startswith("@") and ":" in user and user != old.me.user_id:
        raise _other_account(old)


def _other_account(old: Session) -> BadInput:
    return BadInput(
        f"{old.me.user_id}",
        title="This profile holds the messages of another account",
        advice="Sign in as that account, or choose another --profile.",
    )


async def _ask_login(http: Http, user: str, body: Json, device_name: str, device_id: DeviceId | None) -> Json:
    body = body | {
        "identifier": {"type": "m.id.user", "user": user},
        "initial_device_display_name": device_name,
    }
    if device_id is not None:
        body["device_id"] = device_id
    try:
        return await http.retry("POST", path("login"), body, deadline_s=_LOGIN_DEADLINE_S)
    except ServerRefused as refused:
        if refused.errcode == "M_FORBIDDEN" and http.token is None:
            raise WrongPassword() from refused
        raise


def _me_and_token(answer: Json) -> tuple[Me, str]:
    user_id, device_id, access_token = (answer.get(key) for key in ("user_id", "device_id", "access_token"))
    if not (isinstance(user_id, str) and isinstance(device_id, str) and isinstance(access_token, str)):
        raise NotMatrix("the answer to the sign-in is not complete")
    return Me(UserId(user_id), DeviceId(device_id)), access_token


def _keep_login(
    txn: Transaction,
    me: Me,
    base_url: str,
    answer: Json,
    asked_at: int,
) -> None:
    old = store.session(txn.conn)
    if old is not None and old.me.device_id != me.device_id:
        store.become_new_device(txn)
    refresh_token, life_ms = read_expiry(answer)
    store.set_session(
        txn,
        me,
        base_url,
        answer["access_token"],
        asked_at,
        refresh_token=refresh_token,
        expires_in_ms=life_ms,
    )


async def _forget_login(http: Http) -> None:
    try:
        await http.retry("POST", path("logout"), {}, deadline_s=_LOGOUT_DEADLINE_S)
    except Expected as error:
        log.warning("the sign-in of another account could not be taken back: %s", error.title)
