"""Rows of the session, of each connection's place, of each program, and small single facts."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
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
    access_token: str | None
    state: SessionState


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
    row = conn.execute("SELECT homeserver, user_id, device_id, access_token, state FROM session").fetchone()
    if row is None:
        return None
    me = Me(UserId(row["user_id"]), DeviceId(row["device_id"]))
    return Session(me, row["homeserver"], row["access_token"], SessionState(row["state"]))


def set_session(txn: Transaction, me: Me, homeserver: str, access_token: str, now_ms: int) -> None:
    """Sign in: keep who, where and the token."""
    txn.execute(
        "INSERT OR REPLACE INTO session"
        " (id, homeserver, user_id, device_id, access_token, state, signed_in_at) VALUES (1, ?, ?, ?, ?, ?, ?)",
        (homeserver, me.user_id, me.device_id, access_token, SessionState.SIGNED_IN, now_ms),
    )
    txn.changed(Topic.SESSION)


def mark_signed_out(txn: Transaction, soft: bool, access_token: str | None = None) -> bool:
    """Forget the access token; a soft sign-out keeps device and keys for the next sign-in.

    With ``access_token``, only if that is still the current one (another program may have renewed it).
    Returns whether it did.
    """
    state = SessionState.SOFT_LOGGED_OUT if soft else SessionState.SIGNED_OUT
    done = txn.execute(
        "UPDATE session SET access_token = NULL, state = ? WHERE state = ? AND (? IS NULL OR access_token = ?)",
        (state, SessionState.SIGNED_IN, access_token, access_token),
    ).rowcount
    if done:
        txn.changed(Topic.SESSION)
    return bool(done)


def become_new_device(txn: Transaction) -> None:
    """Forget all that belonged to the old device; messages and the keys that open them stay."""
    for table in (
        "connection",
        "crypto_account",
        "key_count",
        "key_upload",
        "olm_session",
        "megolm_outbound",
        "key_share",
        "device_list",
        "unwedge",
        "secret",
        "identity_new",
        "signature_upload",
        "to_device_out",
        "read_owed",
        "receipt_owed",
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
        " synced_at = COALESCE(excluded.synced_at, connection.synced_at)",
        (link, pos, synced_at, covered),
    )


def note_synced(txn: Transaction, link: Role, now_ms: int) -> None:
    """The server's news came another way than by sync: the connection is up to date, and its place stays."""
    place = connection(txn.conn, link)
    set_pos(txn, link, place.pos, now_ms, covered=place.covered)


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
