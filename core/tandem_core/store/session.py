"""Rows of the session, of each connection's place, of each program, and small single facts."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tandem_core import __version__
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Me, Role, Topic, UserId


class SessionState(StrEnum):
    """What the server last said of our access token."""

    SIGNED_IN = "signed_in"
    SOFT_LOGGED_OUT = "soft_logged_out"
    SIGNED_OUT = "signed_out"


class ProgramState(StrEnum):
    """What a program says of itself."""

    STARTING = "starting"
    SYNCING = "syncing"
    OFFLINE = "offline"
    SIGNED_OUT = "signed_out"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Session:
    """The account on this machine; one device for both programs."""

    me: Me
    homeserver: str
    access_token: str | None = field(repr=False)
    state: SessionState
    refresh_token: str | None = field(default=None, repr=False)
    token_made_at: int = 0
    token_expires_at: int | None = None
    """When the access token runs out (ms); None where the server did not say."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where one sliding-sync connection stands."""

    pos: str | None
    since: str | None
    synced_at: int | None
    covered: bool = False
    """Every to-device event up to ``pos`` is in the inbox: it came with an answer that was asked for them."""


@dataclass(frozen=True, slots=True)
class Program:
    """The last word of one program."""

    role: Role
    pid: int | None
    version: str | None
    started_at: int | None
    state: ProgramState
    detail: str
    seen_at: int


def session(conn: sqlite3.Connection) -> Session | None:
    """Who is signed in (or was), or None in a fresh store."""
    row = conn.execute(
        "SELECT homeserver, user_id, device_id, access_token, state, refresh_token, token_made_at,"
        " token_expires_at FROM session"
    ).fetchone()
    if row is None:
        return None
    return Session(
        Me(UserId(row["user_id"]), DeviceId(row["device_id"])),
        row["homeserver"],
        row["access_token"],
        SessionState(row["state"]),
        row["refresh_token"],
        row["token_made_at"],
        row["token_expires_at"],
    )


def set_session(
    txn: Transaction,
    me: Me,
    homeserver: str,
    access_token: str,
    now_ms: int,
    *,
    refresh_token: str | None = None,
    expires_in_ms: int | None = None,
) -> None:
    """Sign in: keep who, where and the tokens."""
    txn.execute(
        "INSERT OR REPLACE INTO session (id, homeserver, user_id, device_id, access_token, state, signed_in_at,"
        " refresh_token, token_made_at, token_expires_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            homeserver,
            me.user_id,
            me.device_id,
            access_token,
            SessionState.SIGNED_IN,
            now_ms,
            refresh_token,
            now_ms,
            None if expires_in_ms is None else now_ms + expires_in_ms,
        ),
    )
    txn.changed(Topic.SESSION)


def renew(
    txn: Transaction,
    used: str,
    access_token: str,
    refresh_token: str | None,
    expires_in_ms: int | None,
    asked_at: int,
) -> bool:
    """Keep the tokens that the refresh token ``used`` got us; without a new one it stays good for the next time.

    Returns False, with nothing changed, if somebody has signed in or out meanwhile.
    """
    done = txn.execute(
        "UPDATE session SET access_token = ?, refresh_token = ?, token_made_at = ?, token_expires_at = ?"
        " WHERE refresh_token = ? AND state = ?",
        (
            access_token,
            refresh_token or used,
            asked_at,
            None if expires_in_ms is None else asked_at + expires_in_ms,
            used,
            SessionState.SIGNED_IN,
        ),
    ).rowcount
    if done:
        txn.changed(Topic.SESSION)
    return bool(done)


def forget_refresh_token(txn: Transaction, used: str) -> None:
    """The server takes this refresh token no more; the access token lives as long as it lives."""
    txn.execute("UPDATE session SET refresh_token = NULL WHERE refresh_token = ?", (used,))


def mark_signed_out(txn: Transaction, soft: bool, access_token: str | None = None) -> bool:
    """Forget the tokens; a soft sign-out keeps device and keys for the next sign-in.

    With ``access_token``, only if that is still the current one (another program may have renewed it).
    Returns whether it did.
    """
    state = SessionState.SOFT_LOGGED_OUT if soft else SessionState.SIGNED_OUT
    done = txn.execute(
        "UPDATE session SET access_token = NULL, refresh_token = NULL, token_expires_at = NULL, state = ?"
        " WHERE state = ? AND (? IS NULL OR access_token = ?)",
        (state, SessionState.SIGNED_IN, access_token, access_token),
    ).rowcount
    if done:
        txn.changed(Topic.SESSION)
    return bool(done)


def leave(txn: Transaction) -> None:
    """Forget the tokens whatever the state: the account leaves this machine."""
    txn.execute(
        "UPDATE session SET access_token = NULL, refresh_token = NULL, token_expires_at = NULL, state = ?",
        (SessionState.SIGNED_OUT,),
    )
    txn.changed(Topic.SESSION)


def become_new_device(txn: Transaction) -> None:
    """Forget all that belonged to the old device; messages and the keys that open them stay."""
    for table in (
        "connection",
        "crypto_account",
        "key_count",
        "key_upload",
        "olm_session",
        "megolm_outbound",
        "megolm_first",
        "key_share",
        "key_again",
        "device_list",
        "unwedge",
        "secret",
        "identity_new",
        "signature_upload",
        "verification",
        "verification_event",
        "secret_stored",
        "secret_request",
        "secret_offer",
        "secret_asked",
        "backup",
        "backup_missing",
        "backup_restore",
        "backup_restored",
        "key_request",
        "key_asked",
        "to_device_out",
        "read_owed",
        "receipt_owed",
        "receipt_plan",
        "failed_owed",
        "receipt_peer",
        "receipt_lease",
        "receipt_by_other",
        "receipt_wait",
        "own_confirm",
        "receipt_forward",
    ):
        txn.execute(f"DELETE FROM {table}")
    txn.execute("UPDATE inbox SET state = 2, content = NULL, error = 'for an older device' WHERE state = 0")
    # Whom we know stays known; but this device has not yet confirmed whose it is.
    txn.execute("UPDATE identity SET verified_master = NULL WHERE user_id IN (SELECT user_id FROM session)")
    txn.execute("UPDATE room SET members_complete = 0")
    txn.execute(
        "UPDATE send_queue SET state = 'failed', error = 'signed out' WHERE state IN ('queued', 'sending')"
    )


def connection(conn: sqlite3.Connection, link: Role) -> Connection:
    """Where this connection stands; all None before its first answer."""
    row = conn.execute(
        "SELECT pos, since, synced_at, covered FROM connection WHERE conn = ?", (link,)
    ).fetchone()
    if row is None:
        return Connection(None, None, None)
    return Connection(row["pos"], row["since"], row["synced_at"], bool(row["covered"]))


def token(conn: sqlite3.Connection, link: Role) -> str | None:
    """This connection's own to-device token: what it has committed, so what it may acknowledge."""
    return connection(conn, link).since


def set_pos(
    txn: Transaction, link: Role, pos: str | None, synced_at: int | None, *, covered: bool = False
) -> None:
    """Move (or, with None, forget) this connection's place; its to-device token stays."""
    if synced_at is not None and connection(txn.conn, link).synced_at is None:
        # The first answer: even one without any room is news to who waits for rooms.
        txn.changed(Topic.ROOMS)
    txn.execute(
        "INSERT INTO connection (conn, pos, synced_at, covered) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (conn) DO UPDATE SET pos = excluded.pos, covered = excluded.covered,"
        " fed = 0, synced_at = COALESCE(excluded.synced_at, connection.synced_at)",
        (link, pos, synced_at, covered),
    )


def note_synced(txn: Transaction, link: Role, now_ms: int) -> None:
    """The server's news came another way than by sync: the connection is up to date, and its place stays."""
    place = connection(txn.conn, link)
    set_pos(txn, link, place.pos, now_ms, covered=place.covered)
    txn.execute("UPDATE connection SET fed = 1 WHERE conn = ?", (link,))


def set_token(txn: Transaction, link: Role, token: str) -> None:
    """Move this connection's to-device token; its events are in the inbox, or come with this transaction."""
    txn.execute(
        "INSERT INTO connection (conn, since) VALUES (?, ?)"
        " ON CONFLICT (conn) DO UPDATE SET since = excluded.since",
        (link, token),
    )


def forget_tokens(txn: Transaction) -> None:
    """Drop to-device tokens that the server cannot use; what it still has comes again.

    Both, because each connection may go on with the other's.
    """
    txn.execute("UPDATE connection SET since = NULL")


def fact(conn: sqlite3.Connection, key: str) -> Any:
    """A small single fact, or None."""
    row = conn.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
    return loads(row["value"]) if row else None


def set_fact(txn: Transaction, key: str, value: Any) -> None:
    """Keep a small single fact."""
    txn.execute("INSERT OR REPLACE INTO fact (key, value) VALUES (?, ?)", (key, dumps(value)))


def note_program(txn: Transaction, role: Role, state: ProgramState | str, detail: str, now_ms: int) -> None:
    """Say what this program does now, for ``tandemctl status`` and the other program."""
    state = ProgramState(state)
    started_at = now_ms if state is ProgramState.STARTING else None
    txn.execute(
        "INSERT INTO program (role, pid, version, started_at, state, detail, seen_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (role) DO UPDATE SET"
        " pid = excluded.pid, version = excluded.version, state = excluded.state, detail = excluded.detail,"
        " seen_at = excluded.seen_at, started_at = COALESCE(excluded.started_at, program.started_at)",
        (role, os.getpid(), __version__, started_at, state, detail, now_ms),
    )
    txn.changed(Topic.STATUS)


def program(conn: sqlite3.Connection, role: Role) -> Program | None:
    """The last word of one program, or None if it never ran."""
    row = conn.execute(
        "SELECT role, pid, version, started_at, state, detail, seen_at FROM program WHERE role = ?", (role,)
    ).fetchone()
    if row is None:
        return None
    return Program(
        Role(row["role"]),
        row["pid"],
        row["version"],
        row["started_at"],
        ProgramState(row["state"]),
        row["detail"],
        row["seen_at"],
    )
