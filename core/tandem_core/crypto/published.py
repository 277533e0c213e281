"""Identities in a ``/keys/query`` answer: read, checked, and kept (spec, "Cross-signing"; MSC1756).

A server may leave out, swap or spoil what it shows. What is not sound counts as left out; what was left out takes
nothing away from what we knew; another master key replaces no pin.
"""

from __future__ import annotations

import logging
from typing import Any

from tandem_core.crypto.signed import device_from_keys, is_ed25519, is_signed_by
from tandem_core.crypto.state import OWN_SIGNATURE
from tandem_core.store import crypto as rows
from tandem_core.store import devices, identities
from tandem_core.store import session as sessions
from tandem_core.store.codec import canonical
from tandem_core.store.database import Transaction
from tandem_core.store.devices import Device
from tandem_core.store.identities import Identity, Published
from tandem_core.types import DeviceId, Json, Me, UserId

log = logging.getLogger("tandem.crypto.published")

_MOST_BYTES = 65_536
"""Of one key's object in canonical JSON; a key with a signature of each of a person's devices is far smaller."""


def put_identity(txn: Transaction, me: Me, user_id: UserId, answer: Json, now_ms: int) -> Identity | None:
    """Keep the person's identity as a ``/keys/query`` answer shows it; returns what is known now."""
    found = from_answer(me, user_id, answer)
    if found is None:
        if identities.note_hidden(txn, user_id):
            log.warning("%s: the identity is missing from the server's answer; what was known stays", user_id)
        return identities.identity(txn.conn, user_id)
    known = identities.identity(txn.conn, user_id)
    if known is not None and known.master != found.master:
        log.warning("%s: shows another identity than before", user_id)
    identities.put(txn, user_id, found, now_ms)
    if user_id == me.user_id:
        _believe_own_signature(txn, me, found)
        check_ours(txn, me)
    else:
        _check_one(txn, me, user_id)
    return identities.identity(txn.conn, user_id)


def check_ours(txn: Transaction, me: Me) -> None:
    """Look anew for signatures of our user-signing key on everybody's master key."""
    for theirs in identities.all_identities(txn.conn):
        if theirs.user_id != me.user_id:
            _check_one(txn, me, theirs.user_id)
    identities.latch_verified(txn, me.user_id)


def from_answer(me: Me, user_id: UserId, answer: Json) -> Published | None:
    """The person's identity in the answer; None if there is no sound master key. Unsound other keys are left out."""
    master_raw = _of(answer, "master_keys", user_id)
    master = public_key(master_raw, user_id, "master")
    if master is None:
        return None
    raw: Json = {"master": master_raw}
    found: dict[str, str | None] = {"self_signing": None, "user_signing": None}
    for usage in ("self_signing", "user_signing") if user_id == me.user_id else ("self_signing",):
        value = _of(answer, f"{usage}_keys", user_id)
        key = public_key(value, user_id, usage)
        if key is None or key in (master, found["self_signing"]):
            continue
        if not is_signed_by(value, user_id, master, master):
            log.warning("%s: the %s key is not signed by the master key", user_id, usage)
            continue
        found[usage] = key
        raw[usage] = value
    return Published(master, found["self_signing"], found["user_signing"], raw)


def shows_any(user_id: UserId, answer: Json) -> bool:
    """Whether the answer has any key of an identity for this person, sound or not."""
    fields = ("master_keys", "self_signing_keys", "user_signing_keys")
    return any(_of(answer, field, user_id) is not None for field in fields)


def public_key(value: Any, user_id: str, usage: str) -> str | None:
    """The one public key of a cross-signing key object, if it is this person's, for this use and well-formed."""
    if not isinstance(value, dict) or value.get("user_id") != user_id or value.get("usage") != [usage]:
        return None
    keys = value.get("keys")
    if not isinstance(keys, dict) or len(keys) != 1:
        return None
    ((key_id, key),) = keys.items()
    if not is_ed25519(key) or key_id != f"ed25519:{key}":
        return None
    try:
        return key if len(canonical(value)) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        return None


def is_mistakable(device: Device, identity: Identity | None) -> bool:
    """Whether a device goes by a name or key of its owner's identity: a signature of one would pass for the other's."""
    if identity is None:
        return False
    taken = {identity.master, identity.self_signing, identity.user_signing}
    return device.device_id in taken or device.ed25519 in taken


def put_signatures(
    txn: Transaction, identity: Identity | None, checked: list[Device], listed: dict[str, Any]
) -> None:
    """Note which of a person's devices (checked already) their self-signing key signed."""
    if identity is None or identity.self_signing is None:
        return
    key = identity.self_signing
    signed = {
        DeviceId(device.device_id): (device.curve25519, device.ed25519)
        for device in checked
        if is_signed_by(listed[device.device_id], identity.user_id, key, key)
    }
    identities.note_signed(txn, identity.user_id, key, signed)


def put_shown(txn: Transaction, user_id: UserId, keys: Json, now_ms: int) -> None:
    """Remember a device that showed its keys itself (MSC4147), and whether its owner signed them."""
    identity = identities.identity(txn.conn, user_id)
    found = device_from_keys(user_id, str(keys.get("device_id")), keys)
    if found is None or is_mistakable(found[0], identity):
        return
    if devices.put_shown(txn, *found, now_ms):
        put_signatures(txn, identity, [found[0]], {found[0].device_id: keys})


def note_own_signature(txn: Transaction, me: Me, identity: Identity | None, keys: Any) -> None:
    """Keep our self-signing key's signature on this device, to show it along with our keys."""
    own = rows.identity(txn.conn)
    if own is None or identity is None or identity.self_signing is None:
        return
    key = identity.self_signing
    found = device_from_keys(me.user_id, me.device_id, keys)
    if found is None or found[0].ed25519 != own["ed25519"] or not is_signed_by(keys, me.user_id, key, key):
        return
    made = {
        "ed25519": own["ed25519"],
        "key": key,
        "signature": keys["signatures"][me.user_id][f"ed25519:{key}"],
    }
    if sessions.fact(txn.conn, OWN_SIGNATURE) != made:
        sessions.set_fact(txn, OWN_SIGNATURE, made)


def _believe_own_signature(txn: Transaction, me: Me, found: Published) -> None:
    """This device signed that master key once: it is our own."""
    keys = rows.identity(txn.conn)
    if keys is not None and is_signed_by(found.raw["master"], me.user_id, me.device_id, keys["ed25519"]):
        identities.confirm_own(txn, me.user_id, found.master)


def _check_one(txn: Transaction, me: Me, user_id: UserId) -> None:
    own = identities.identity(txn.conn, me.user_id)
    theirs = identities.identity(txn.conn, user_id)
    if own is None or theirs is None or own.user_signing is None or theirs.signed_by == own.user_signing:
        return
    if is_signed_by(theirs.published.get("master"), me.user_id, own.user_signing, own.user_signing):
        identities.note_signed_by_us(txn, user_id, theirs.master, own.user_signing)
        identities.latch_verified(txn, me.user_id)


def _of(answer: Json, field: str, user_id: UserId) -> Any:
    by_user = answer.get(field)
    return by_user.get(user_id) if isinstance(by_user, dict) else None
