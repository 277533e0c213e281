"""``tandemctl login`` and ``logout``: one device for both programs."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import note, show, show_json
from tandem_core.errors import BadInput, Offline
from tandem_core.paths import ProfilePaths
from tandem_core.store import identities, inspect
from tandem_core.types import Me

_FIRST_WORK_S = 60.0
_IDENTITY_S = 5.0


def login(paths: ProfilePaths, options: argparse.Namespace) -> int:
    """Sign in, and stay until the server has this device's keys and signature, so that others can write to it."""
    from tandem_core import session
    from tandem_core.vault import pickle_key

    password = read_secret(options.password_file, "password")
    me = asyncio.run(
        session.login(
            options.homeserver,
            options.user,
            password,
            device_name=options.device_name,
            paths=paths,
            clock=SystemClock(),
        )
    )
    _, kept_in = pickle_key(paths)
    with world.opened(paths) as here:
        try:
            ready = asyncio.run(world.until(here, _ready(me), _FIRST_WORK_S))
        except Offline:
            ready = None
    if not ready:
        note("Signed in, but the keys are not on the server yet; that happens when Tandem next runs.")
    if options.json:
        show_json({"user_id": me.user_id, "device_id": me.device_id, "pickle_key": kept_in})
    else:
        where = "your desktop's keyring" if kept_in == "keyring" else f"the file {paths.vault_file}"
        show(
            [
                f"Signed in as {me.user_id}, device {me.device_id}.",
                f"The key that protects this device's encryption keys is in {where}.",
            ]
        )
    return DONE


def logout(paths: ProfilePaths, options: argparse.Namespace) -> int:
    """Sign out on the server and remove what is stored here."""
    from tandem_core import session

    with world.store_of(paths) as db:
        signed_in = session.load(db)
    asyncio.run(session.logout(paths))
    user_id = signed_in.me.user_id if signed_in else None
    if options.json:
        show_json({"user_id": user_id})
    else:
        show([f"Signed out {user_id or 'nobody'}; messages and keys were removed from this machine."])
    return DONE


def read_secret(source: str, what: str) -> str:
    """The first line of a file, or of standard input for ``-``."""
    try:
        text = sys.stdin.readline() if source == "-" else Path(source).read_text("utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadInput(f"the {what} file cannot be read: {reason}") from error
    secret = text.rstrip("\r\n")
    if not secret:
        raise BadInput(f"the {what} is empty")
    return secret


def _ready(me: Me) -> Callable[[sqlite3.Connection], bool | None]:
    """A look that finds when the server has this device's keys; its owner's identity is waited for a little longer."""
    seen_at: list[float] = []

    def look(conn: sqlite3.Connection) -> bool | None:
        if not inspect.keys_are_uploaded(conn):
            return None
        seen_at.append(time.monotonic())
        has_identity = identities.identity(conn, me.user_id) is not None
        is_signed = has_identity and identities.waiting_signatures(conn) is None
        return is_signed or time.monotonic() - seen_at[0] > _IDENTITY_S or None

    return look
