"""Our own keys for the server: device keys, one-time keys, a fallback key.

What is uploaded is made and stored in one transaction, uploaded byte for byte, then marked: a crash between
any two steps repeats the same keys, never other ones under the same id.
"""

from __future__ import annotations

from tandem_core.crypto.state import MEGOLM, OLM, CryptoState
from tandem_core.store import crypto as rows
from tandem_core.store import devices
from tandem_core.store.database import Transaction
from tandem_core.types import Json

FALLBACK_AGE_MS = 7 * 86_400_000
FORKED_FACT = "crypto.forked"
"""Set when the server has other keys under our ids: this store is a copy that went its own way."""


def prepare_upload(txn: Transaction, state: CryptoState, now_ms: int) -> bool:
    """Make the keys that the server lacks and store the upload; returns whether one is waiting.

    One-time keys are kept at the account's maximum; a count of 0, or none at all, means none.
    """
    if rows.waiting_upload(txn.conn) is not None:
        return True
    body: Json = {}
    account = state.account(txn)
    row = rows.account(txn.conn)
    if row is None or not row.device_keys_uploaded:
        body["device_keys"] = device_keys(txn, state)
    count = devices.key_count(txn.conn)
    lacking = account.max_number_of_one_time_keys - (count.one_time if count else 0)
    if (
        row is None
        or not row.device_keys_uploaded
        or (count and lacking > account.max_number_of_one_time_keys // 2)
    ):
        account.generate_one_time_keys(min(lacking, account.max_number_of_one_time_keys))
        body["one_time_keys"] = {
            f"signed_curve25519:{key_id}": state.sign(txn, {"key": key.to_base64()})
            for key_id, key in account.one_time_keys.items()
        }
    made_at = row.fallback_made_at if row else None
    is_used = count is not None and not count.fallback_unused
    if made_at is None or is_used or now_ms - made_at > FALLBACK_AGE_MS:
        body["fallback_keys"] = _new_fallback_key(txn, state)
    if not body:
        return False
    # Everything unpublished is in this body, so this is the moment to mark: later it would mark newer keys, too.
    account.mark_keys_as_published()
    state.changed_account(txn)
    rows.put_upload(txn, body, now_ms)
    return True


def note_uploaded(txn: Transaction, upload_id: int, body: Json, counts: Json, now_ms: int) -> None:
    """The server has this upload."""
    rows.upload_done(txn, upload_id)
    if "device_keys" in body:
        rows.note_device_keys_uploaded(txn)
    if "fallback_keys" in body:
        rows.note_fallback(txn, now_ms)
    known = {key: value for key, value in counts.items() if isinstance(value, int)}
    unused = ["signed_curve25519"] if "fallback_keys" in body else None
    previous = devices.key_count(txn.conn)
    if unused is None and previous is not None and not previous.fallback_unused:
        unused = []
    devices.note_key_counts(txn, known, unused, now_ms)


def device_keys(txn: Transaction, state: CryptoState) -> Json:
    """Our device keys, signed (spec, "Device keys")."""
    account, me = state.account(txn), state.me
    return state.sign(
        txn,
        {
            "user_id": me.user_id,
            "device_id": me.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": {
                f"curve25519:{me.device_id}": account.curve25519_key.to_base64(),
                f"ed25519:{me.device_id}": account.ed25519_key.to_base64(),
            },
        },
    )


def _new_fallback_key(txn: Transaction, state: CryptoState) -> Json:
    account = state.account(txn)
    account.generate_fallback_key()  # type: ignore[attr-defined]  # missing from the stub, present in 0.10
    return {
        f"signed_curve25519:{key_id}": state.sign(txn, {"key": key.to_base64(), "fallback": True})
        for key_id, key in account.fallback_key.items()  # type: ignore[attr-defined]
    }
