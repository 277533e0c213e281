"""Our own keys for the server: device keys, one-time keys, a fallback key.

What is uploaded is made and stored in one transaction, uploaded byte for byte, then marked: a crash between
any two steps repeats the same keys, never other ones under the same id.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core.clock import elapsed_ms
from tandem_core.crypto.state import CryptoState
from tandem_core.store import crypto as rows
from tandem_core.store import devices
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.types import Json

ONE_TIME_KEYS = 50
"""So many lie on the server when all is well; vodozemac makes no more at a time."""
FALLBACK_AGE_MS = 7 * 86_400_000
FALLBACK_REST_MS = 3_600_000
"""A used fallback key is replaced at most this often: vodozemac keeps one older key, so that faster
replacing (for news from before an upload, say) would shut out who claimed one a moment ago."""
UPLOADS_AN_HOUR = 20
"""One-time keys are given to the server no more often: one that always says "none" would get new ones for ever."""
_GIVEN_FACT = "crypto.one_time_keys_given"
FORKED_FACT = "crypto.forked"
"""The device for which the server has other keys under our ids, however far those are moved on."""
MOST_SKIPPED = 3_200
"""Ids are moved on by no more than so many keys in all: vodozemac keeps 5,000 private halves, the newest."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What the server has too little of."""

    device_keys: bool
    one_time: int
    fallback: bool

    def __bool__(self) -> bool:
        return self.device_keys or self.one_time > 0 or self.fallback


def lack(conn: sqlite3.Connection, now_ms: int) -> Lack:
    """What an upload would be made of. A count of 0, or none at all, means no keys; half is still enough."""
    row = rows.account(conn)
    count = devices.key_count(conn)
    missing = ONE_TIME_KEYS - (count.one_time if count else 0)
    if row is None or not row.device_keys_uploaded:
        return Lack(True, max(missing, 0), True)
    age_ms = None if row.fallback_made_at is None else elapsed_ms(row.fallback_made_at, now_ms)
    is_used = count is not None and not count.fallback_unused
    is_due = count is not None and missing > ONE_TIME_KEYS // 2 and not _has_given_many(conn, now_ms)
    return Lack(
        False,
        missing if is_due else 0,
        age_ms is None or age_ms > FALLBACK_AGE_MS or (is_used and age_ms > FALLBACK_REST_MS),
    )


def _has_given_many(conn: sqlite3.Connection, now_ms: int) -> bool:
    """Whether so many keys went out within the hour that the server must be wrong, or somebody collects them.

    The fallback key serves meanwhile: vodozemac forgets the oldest of 5,000 keys, which somebody may have claimed.
    """
    return sum(elapsed_ms(at, now_ms) < 3_600_000 for at in _given_at(conn)) >= UPLOADS_AN_HOUR


def _given_at(conn: sqlite3.Connection) -> list[int]:
    """When one-time keys were given last, the newest times only."""
    return list(sessions.fact(conn, _GIVEN_FACT) or [])


def prepare_upload(txn: Transaction, state: CryptoState, now_ms: int) -> bool:
    """Make the keys that the server lacks and store the upload; returns whether one is waiting."""
    if rows.waiting_upload(txn.conn) is not None:
        return True
    missing = lack(txn.conn, now_ms)
    if not missing:
        return False
    body: Json = {}
    account = state.account(txn)
    if missing.device_keys:
        body["device_keys"] = state.device_keys(txn)
    if missing.one_time:
        account.generate_one_time_keys(missing.one_time)
        body["one_time_keys"] = {
            f"signed_curve25519:{key_id}": state.sign(txn, {"key": key.to_base64()})
            for key_id, key in account.one_time_keys.items()
        }
    if missing.fallback:
        body["fallback_keys"] = _new_fallback_key(txn, state)
    # Everything unpublished is in this body, so this is the moment to mark: later it would mark newer keys, too.
    account.mark_keys_as_published()
    state.changed_account(txn)
    rows.put_upload(txn, body, now_ms)
    return True


def skip_ids(txn: Transaction, state: CryptoState, count: int) -> None:
    """Make so many one-time keys and publish none: the server may have others under their ids.

    What waits to be uploaded goes, too. For a store that is an older copy of itself (ADR 0007).
    """
    rows.forget_uploads(txn)
    account = state.account(txn)
    account.generate_one_time_keys(count)
    account.mark_keys_as_published()
    state.changed_account(txn)


def note_uploaded(txn: Transaction, upload_id: int, body: Json, counts: Json, now_ms: int) -> None:
    """The server has this upload."""
    rows.upload_done(txn, upload_id)
    if "device_keys" in body:
        rows.note_device_keys_uploaded(txn)
    if "fallback_keys" in body:
        rows.note_fallback(txn, now_ms)
    if "one_time_keys" in body:
        sessions.set_fact(txn, _GIVEN_FACT, [*_given_at(txn.conn), now_ms][-UPLOADS_AN_HOUR:])
    known = {key: value for key, value in counts.items() if isinstance(value, int)}
    unused = ["signed_curve25519"] if "fallback_keys" in body else None
    previous = devices.key_count(txn.conn)
    if unused is None and previous is not None and not previous.fallback_unused:
        unused = []
    devices.note_key_counts(txn, known, unused, now_ms)


def _new_fallback_key(txn: Transaction, state: CryptoState) -> Json:
    account = state.account(txn)
    account.generate_fallback_key()  # type: ignore[attr-defined]  # missing from the stub, present in 0.10
    return {
        f"signed_curve25519:{key_id}": state.sign(txn, {"key": key.to_base64(), "fallback": True})
        for key_id, key in account.fallback_key.items()  # type: ignore[attr-defined]
    }
