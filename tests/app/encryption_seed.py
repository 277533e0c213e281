"""How an account's encryption may stand, as the programs would have written it: for tests and pictures."""

from __future__ import annotations

from tandem_core.crypto import recovery_state
from tandem_core.store import account_data, backup, devices, identities
from tandem_core.store.backup import Standing
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.store.identities import Published
from tandem_core.types import DeviceId, UserId
from tests.app.seed import ME, NOON_MS, Seed

KEY_ID = "abc"
_KEY = {"algorithm": "m.secret_storage.v1.aes-hmac-sha2"}
_SEALED = {"encrypted": {KEY_ID: {"iv": "a", "ciphertext": "b", "mac": "c"}}}
THIS = DeviceId("ALICEDEV")
OTHER = DeviceId("PHONE")


def stands(seed: Seed, *, device: str = "verified", recovery: str = "complete", kept: str = "open") -> None:
    """Device: starting, unverified, verified. Recovery: none, locked, incomplete, complete.

    Kept (the backup): unknown, none, untrusted, closed, open, restoring.
    """

    def write(txn: Transaction) -> None:
        if device != "starting":
            _identity(txn, is_confirmed=device == "verified")
        _recovery(txn, recovery)
        _backup(txn, kept)

    seed.db.write_now(write)


def _identity(txn: Transaction, *, is_confirmed: bool) -> None:
    identities.put(txn, ME, Published("M", "S", "U", {}), NOON_MS)
    devices.track(txn, [ME])
    listed = [Device(ME, id_, f"c{id_}", f"e{id_}", id_.title()) for id_ in (THIS, OTHER)]
    devices.put_list(txn, ME, [(one, []) for one in listed], 1, NOON_MS)
    identities.note_signed(txn, ME, "S", {OTHER: (f"c{OTHER}", f"e{OTHER}")})
    if is_confirmed:
        identities.confirm_own(txn, ME, "M")
        identities.note_signed(txn, ME, "S", {THIS: (f"c{THIS}", f"e{THIS}")})


def _recovery(txn: Transaction, recovery: str) -> None:
    if recovery in ("complete", "incomplete"):
        txn.executemany(
            "INSERT INTO secret (name, sealed, kept_at) VALUES (?, x'00', ?)",
            [(name, NOON_MS) for name in recovery_state.NAMES],
        )
    if recovery == "none":
        return
    account_data.put(txn, recovery_state.DEFAULT_KEY, {"key": KEY_ID})
    account_data.put(txn, recovery_state.KEY_PREFIX + KEY_ID, _KEY)
    there = recovery_state.CROSS_SIGNING if recovery == "incomplete" else recovery_state.NAMES
    for name in there:
        account_data.put(txn, name, _SEALED)


def _backup(txn: Transaction, kept: str) -> None:
    if kept == "unknown":
        return
    standing = {"none": Standing.NONE, "untrusted": Standing.UNTRUSTED}.get(kept, Standing.TRUSTED)
    version = None if kept == "none" else "3"
    backup.put_found(txn, version, "m.megolm_backup.v1.curve25519-aes-sha2", {}, standing, 1204, NOON_MS)
    if kept in ("open", "restoring"):
        txn.execute(
            "INSERT OR IGNORE INTO secret (name, sealed, kept_at) VALUES ('m.megolm_backup.v1', x'00', 1)"
        )
    if kept == "restoring":
        backup.begin_restore(txn, "3", 1204, NOON_MS)
        txn.execute("UPDATE backup_restore SET seen = 310")


def person(seed: Seed, user_id: str, *, is_verified: bool = False, is_new: bool = False) -> None:
    """Somebody with an identity, which we have verified, and which is another one since (our own is confirmed)."""

    def write(txn: Transaction) -> None:
        if identities.identity(txn.conn, ME) is None:
            _identity(txn, is_confirmed=True)
        who = UserId(user_id)
        identities.put(txn, who, Published("M1", "S1", None, {}), NOON_MS)
        if is_verified:
            identities.note_signed_by_us(txn, who, "M1", "U")
            identities.latch_verified(txn, ME)
        if is_new:
            identities.put(txn, who, Published("M2", "S2", None, {}), NOON_MS + 1)

    seed.db.write_now(write)
