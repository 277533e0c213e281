"""How recovery stands: from the account data and the secrets that this device holds, without asking the network."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from tandem_core.crypto import secret_storage
from tandem_core.store import account_data, shared_settings
from tandem_core.store.database import Transaction
from tandem_core.types import Json, Topic

DEFAULT_KEY = "m.secret_storage.default_key"
KEY_PREFIX = "m.secret_storage.key."
CROSS_SIGNING = (
    "m.cross_signing.master",
    "m.cross_signing.self_signing",
    "m.cross_signing.user_signing",
)
NAMES = (*CROSS_SIGNING, "m.megolm_backup.v1")
"""The secrets that Tandem keeps there, by their names in the specification."""
_REFUSED = -1
"""In place of a time."""


class Standing(Enum):
    """What there is to do about recovery, if anything."""

    NOT_SET_UP = "not_set_up"
    LOCKED = "locked"
    """The storage has secrets that this device lacks: the recovery key or another device opens them."""
    INCOMPLETE = "incomplete"
    """Secrets of the account are missing in the storage, or there they are older than here."""
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class RecoveryState:
    """Where the account's secrets are."""

    standing: Standing
    key_id: str | None = None
    has_passphrase: bool = False
    missing_here: tuple[str, ...] = ()
    missing_there: tuple[str, ...] = ()
    problem: str = ""
    """Why the storage's key cannot be used, in words; empty if it can."""


def state(conn: sqlite3.Connection) -> RecoveryState:
    """How recovery stands, as of the account data that this device has heard of."""
    key_id = default_key(account_data.get(conn, DEFAULT_KEY))
    if key_id is None:
        return RecoveryState(Standing.NOT_SET_UP)
    try:
        description = secret_storage.read_description(key_id, account_data.get(conn, KEY_PREFIX + key_id))
    except secret_storage.CannotOpen as error:
        return RecoveryState(Standing.NOT_SET_UP, key_id, problem=error.detail)
    here = _kept(conn)
    there: set[str] = set()
    outdated: set[str] = set()
    for name in NAMES:
        sealed = secret_storage.sealed_for(account_data.get(conn, name), key_id)
        match _compare(conn, name, key_id, sealed, here.get(name)) if isinstance(sealed, dict) else None:
            case "refused" | None:
                continue
            case "outdated":
                outdated.add(name)
        there.add(name)
    expected = [name for name in NAMES if name in CROSS_SIGNING or name in here or name in there]
    missing_here = tuple(name for name in expected if name not in here)
    missing_there = tuple(name for name in expected if name not in there or name in outdated)
    if any(name in there for name in missing_here):
        standing = Standing.LOCKED
    else:
        standing = Standing.INCOMPLETE if missing_there else Standing.COMPLETE
    has_passphrase = description.passphrase is not None
    return RecoveryState(standing, key_id, has_passphrase, missing_here, missing_there)


def default_key(content: Any) -> str | None:
    """The id of the key that ``m.secret_storage.default_key`` names; None where there is none."""
    key_id = content.get("key") if isinstance(content, dict) else None
    return key_id if isinstance(key_id, str) and key_id else None


def encrypted_for(conn: sqlite3.Connection, key_id: str) -> list[str]:
    """The types of account data that hold something encrypted for this key, other applications' too."""
    kinds = [row["type"] for row in conn.execute("SELECT type FROM account_data ORDER BY type")]
    return [kind for kind in kinds if key_id in secret_storage.key_ids(account_data.get(conn, kind))]


def note_stored(txn: Transaction, key_id: str, sealed: dict[str, Json]) -> None:
    """What is stored under these names is what this device holds: remember it, to notice when that changes here."""
    here = _kept(txn.conn)
    _note(txn, key_id, {name: (value, here[name]) for name, value in sealed.items() if name in here})


def note_refused(txn: Transaction, key_id: str, sealed: dict[str, Json]) -> None:
    """What is stored under these names is of no use: it counts as missing until something else is there."""
    _note(txn, key_id, {name: (value, _REFUSED) for name, value in sealed.items()})


def useless_names(conn: sqlite3.Connection, key_id: str) -> list[str]:
    """The names under which something of no use is stored for this key (``note_refused``)."""
    found = {name: secret_storage.sealed_for(account_data.get(conn, name), key_id) for name in NAMES}
    return [
        name
        for name, sealed in found.items()
        if isinstance(sealed, dict) and _compare(conn, name, key_id, sealed, None) == "refused"
    ]


def note_new_identity(txn: Transaction) -> None:
    """The account has a new identity, made here: what is stored of the old one is of no use any more."""
    shared_settings.begin_exceptions_anew(txn)
    key_id = default_key(account_data.get(txn.conn, DEFAULT_KEY))
    if key_id is not None:
        stored = {
            name: secret_storage.sealed_for(account_data.get(txn.conn, name), key_id)
            for name in CROSS_SIGNING
        }
        note_refused(txn, key_id, {name: value for name, value in stored.items() if isinstance(value, dict)})


def names_of(kinds: Iterable[str]) -> str:
    """The secrets in words, for people."""
    words = {
        "m.cross_signing.master": "master key",
        "m.cross_signing.self_signing": "key that signs your devices",
        "m.cross_signing.user_signing": "key that signs other people",
        "m.megolm_backup.v1": "key of the message backup",
    }
    return ", ".join(words.get(kind, kind) for kind in kinds)


def _kept(conn: sqlite3.Connection) -> dict[str, int]:
    """The secrets of these names that this device holds, with the time (ms) they were kept."""
    rows = conn.execute("SELECT name, kept_at FROM secret").fetchall()
    return {row["name"]: row["kept_at"] for row in rows if row["name"] in NAMES}


def _note(txn: Transaction, key_id: str, found: dict[str, tuple[Json, int]]) -> None:
    txn.executemany(
        "INSERT OR REPLACE INTO secret_stored (name, key_id, mac, kept_at) VALUES (?, ?, ?, ?)",
        [(name, key_id, str(sealed.get("mac")), kept_at) for name, (sealed, kept_at) in found.items()],
    )
    txn.changed(Topic.KEYS)


def _compare(
    conn: sqlite3.Connection, name: str, key_id: str, sealed: Json, kept_at: int | None
) -> Literal["unknown", "same", "outdated", "refused"]:
    """What we know of a stored secret, compared with the one that this device holds since ``kept_at``."""
    row = conn.execute("SELECT key_id, mac, kept_at FROM secret_stored WHERE name = ?", (name,)).fetchone()
    if row is None or (row["key_id"], row["mac"]) != (key_id, str(sealed.get("mac"))):
        return "unknown"
    if row["kept_at"] == _REFUSED:
        return "refused"
    if kept_at is None:
        return "unknown"
    return "same" if row["kept_at"] == kept_at else "outdated"
