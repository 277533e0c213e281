"""Begin to host an account, and end it: one device, one profile, as any program of Tandem has them."""

from __future__ import annotations

import hashlib
import re

from tandem_appservice.handover import catch_up, hand_over
from tandem_appservice.queue import Account, Queue
from tandem_appservice.registration import Registration
from tandem_appservice.sight import LINK
from tandem_core import session, settings
from tandem_core.clock import Clock, SystemClock, system_chance
from tandem_core.errors import BadInput, ServerRefused
from tandem_core.http import Http, path
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import take_role
from tandem_core.session import Session, SessionState
from tandem_core.store.database import Database

DEVICE_NAME = "Tandem service"
_DEADLINE_S = 60.0
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


async def add(
    registration: Registration,
    queue: Queue,
    user: str,
    *,
    profile: str | None = None,
    clock: Clock | None = None,
) -> Account:
    """Host this user, making the account on the homeserver if it is not there; returns what is hosted.

    A profile that is signed in as this user already (it was kept in sync before) goes on with its device, and is
    brought up to date first. Raises BadInput (not in the namespace, profile of somebody else), AlreadyRuns
    (another program keeps it in sync), Offline, ServerRefused.
    """
    clock = clock or SystemClock()
    user_id = full_id(registration, user)
    paths = profile_paths(profile or profile_name(user_id))
    known = _session(paths)
    if known is not None and known.me.user_id != user_id:
        raise BadInput(
            f"{paths.profile} is the profile of {known.me.user_id}",
            advice="Choose another one with --profile.",
        )
    now = known
    if now is None or now.state is not SessionState.SIGNED_IN:
        await _register(registration, user_id, clock)
        await session.login_as_service(
            registration.homeserver,
            user_id,
            registration.as_token,
            device_name=DEVICE_NAME,
            paths=paths,
            clock=clock,
        )
        now = _session(paths)
        assert now is not None
    account = Account(user_id, now.me.device_id, paths.profile)
    is_hosted = any(
        (each.user_id, each.device_id, each.is_hosted) == (user_id, account.device_id, True)
        for each in queue.accounts()
    )
    if is_hosted:
        return account
    _answer(paths, clock.now_ms())
    if known is None:
        queue.add(account, clock.now_ms())
        return account
    with take_role(paths, LINK):
        # From here on transactions are kept; what came before them is asked for. What comes both ways counts once.
        queue.add(account, clock.now_ms())
        await catch_up(registration.homeserver, paths, now, clock=clock)
    return account


def release(
    registration: Registration, queue: Queue, user: str, *, forget: bool = False, clock: Clock | None = None
) -> Account:
    """Host this user no more; the profile stays, with all that has come, and may be kept in sync from now on.

    The running service goes on handing it the to-device events that come in transactions, since a server deletes
    what was answered with 200; with ``forget`` it does not. Raises BadInput when it is not hosted.
    """
    clock = clock or SystemClock()
    user_id = full_id(registration, user)
    account = next((known for known in queue.accounts() if known.user_id == user_id), None)
    if account is None or not (account.is_hosted or forget):
        raise BadInput(f"{user_id} is not hosted here", advice="See tandem-appservice status.")
    db = Database.open(profile_paths(account.profile).database)
    try:
        hand_over(queue, db, account, now_ms=clock.now_ms())
        while not queue.release(user_id):
            hand_over(queue, db, account, now_ms=clock.now_ms())
    finally:
        db.close()
    if forget:
        queue.forget(user_id)
    return account


def full_id(registration: Registration, user: str) -> str:
    """``bob`` or ``@bob:example.org`` as a user id of the namespace; raises BadInput for any other."""
    user_id = user if user.startswith("@") else f"@{user}:{registration.server_name}"
    if user_id.partition(":")[2] != registration.server_name:
        raise BadInput(f"{user_id} belongs to another homeserver than {registration.server_name}")
    if not registration.has_user(user_id):
        wanted = " or ".join(registration.namespaces.users)
        raise BadInput(
            f"{user_id} is not in the namespace ({wanted})", advice="Change the registration first."
        )
    return user_id


def profile_name(user_id: str) -> str:
    """The profile of a user: the localpart where that can name a folder."""
    localpart = user_id[1:].partition(":")[0]
    if _PLAIN_NAME.match(localpart):
        return localpart
    plain = localpart.lstrip("_")
    if _PLAIN_NAME.match(f"as.{plain}"):
        return f"as.{plain}"
    return f"as.{hashlib.sha256(user_id.encode('utf-8')).hexdigest()[:24]}"


def _session(paths: ProfilePaths) -> Session | None:
    if not paths.database.exists():
        return None
    db = Database.open(paths.database)
    try:
        return session.load(db)
    finally:
        db.close()


def _answer(paths: ProfilePaths, now_ms: int) -> None:
    """Nobody sits in front of a hosted account who could be asked about confirmations: its operator has answered.

    The account's own ``im.tandem.delivery_settings`` beats that, as everywhere.
    """
    db = Database.open(paths.database)
    try:
        if db.read_now(settings.effective, "receipts.answered").source == "default":
            db.write_now(settings.set_value, "receipts.answered", True, now_ms=now_ms)
    finally:
        db.close()


async def _register(registration: Registration, user_id: str, clock: Clock) -> None:
    """Make the account on the homeserver, unless it is there."""
    http = Http(registration.homeserver, token=registration.as_token, chance=system_chance(), clock=clock)
    body = {
        "type": "m.login.application_service",
        "username": user_id[1:].partition(":")[0],
        "inhibit_login": True,
    }
    try:
        await http.retry("POST", path("register"), body, deadline_s=_DEADLINE_S)
    except ServerRefused as refused:
        if refused.errcode != "M_USER_IN_USE":
            raise
    finally:
        await http.close()
