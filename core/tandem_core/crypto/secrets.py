"""Secrets of the account that this device holds, sealed with the vault's key: cross-signing seeds, the backup's key."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from typing import TYPE_CHECKING

from tandem_core.crypto.state import CryptoState
from tandem_core.errors import StoreCorrupt
from tandem_core.store.database import Transaction
from tandem_core.types import Topic

if TYPE_CHECKING:
    from Crypto.Cipher._mode_gcm import GcmMode

    from tandem_core.crypto.state import CryptoState

MASTER = "m.cross_signing.master"
SELF_SIGNING = "m.cross_signing.self_signing"
USER_SIGNING = "m.cross_signing.user_signing"
BACKUP = "m.megolm_backup.v1"
_NONCE_BYTES = 16
_TAG_BYTES = 16


def keep(txn: Transaction, state: CryptoState, name: str, secret: str, now_ms: int) -> None:
    """Keep a secret under its name in the specification; one that was there before is replaced."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    cipher = _cipher(state.pickle_key, name, nonce)
    ciphertext, tag = cipher.encrypt_and_digest(secret.encode())
    txn.execute(
        "INSERT OR REPLACE INTO secret (name, sealed, kept_at) VALUES (?, ?, ?)",
        (name, nonce + tag + ciphertext, now_ms),
    )
    txn.changed(Topic.KEYS)


def read(conn: sqlite3.Connection, state: CryptoState, name: str) -> str | None:
    """The secret, or None where this device does not have it. Raises StoreCorrupt for one that was tampered with."""
    row = conn.execute("SELECT sealed FROM secret WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    sealed = bytes(row["sealed"])
    nonce, tag = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
    try:
        cipher = _cipher(state.pickle_key, name, nonce)
        return cipher.decrypt_and_verify(sealed[_NONCE_BYTES + _TAG_BYTES :], tag).decode()
    except ValueError as error:
        raise StoreCorrupt("a secret of the account cannot be opened") from error


def has(conn: sqlite3.Connection, name: str) -> bool:
    return conn.execute("SELECT 1 FROM secret WHERE name = ?", (name,)).fetchone() is not None


def forget(txn: Transaction, *names: str) -> None:
    """Remove secrets: they were replaced elsewhere, or are not true."""
    txn.executemany("DELETE FROM secret WHERE name = ?", [(name,) for name in names])
    txn.changed(Topic.KEYS)


def _cipher(pickle_key: bytes, name: str, nonce: bytes) -> GcmMode:
    """AES-256-GCM bound to the name, so that one secret cannot be put in another's place."""
    from Crypto.Cipher import AES

    key = hashlib.blake2b(pickle_key, digest_size=32, person=b"tandem secrets").digest()
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
    cipher.update(name.encode())
    return cipher
