"""The transactions of our own cross-signing identity: make it, take it over, sign with it (spec, "Cross-signing").

New seeds lie under names of their own until the server has taken the public halves: a reset that is called off
leaves the old ones where they were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from tandem_core.crypto import published, recovery_state, secrets
from tandem_core.crypto.signed import is_signed_by
from tandem_core.crypto.signing import SigningKey
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import Expected
from tandem_core.store import crypto as rows
from tandem_core.store import identities
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.identities import New, Published
from tandem_core.types import DeviceId, Json, Me, UserId

USAGES = {
    "master": secrets.MASTER,
    "self_signing": secrets.SELF_SIGNING,
    "user_signing": secrets.USER_SIGNING,
}
_NEW = "im.tandem.new."
_ASKED_FACT = "crypto.identity_asked"


class NoIdentity(Expected):
    title = "This account has no identity yet"
    advice = "Run tandemctl identity set-up."


class NotConfirmed(Expected):
    title = "This device does not hold the keys of your identity"
    advice = "Verify it with another of your devices, or use your recovery key."


class IdentityChanged(Expected):
    title = "The identity is not the one that was compared"
    advice = "Verify again."


def make(txn: Transaction, state: CryptoState, kind: str, now_ms: int) -> New:
    """The new identity on its way; the one that waits already, or a fresh one with its seeds sealed."""
    waiting = identities.new(txn.conn)
    if waiting is not None:
        made = New(kind, waiting.body, now_ms)
    else:
        me = state.me.user_id
        keys = {usage: SigningKey.generate() for usage in USAGES}
        for usage, name in USAGES.items():
            secrets.keep(txn, state, _NEW + name, keys[usage].secret, now_ms)
        body: Json = {"master_key": state.sign(txn, _key_object(me, "master", keys["master"]))}
        for usage in ("self_signing", "user_signing"):
            body[f"{usage}_key"] = keys["master"].sign(_key_object(me, usage, keys[usage]), me)
        made = New(kind, body, now_ms)
    identities.put_new(txn, made)
    return made


def drop(txn: Transaction) -> None:
    """Give up the identity on its way: the server has another one, or the person called it off."""
    identities.drop_new(txn)
    secrets.forget(txn, *(_NEW + name for name in USAGES.values()))


def take_over(txn: Transaction, state: CryptoState, made: New, now_ms: int) -> None:
    """The server has the new identity: it is ours from now on, and vouches for this device."""
    waiting = identities.new(txn.conn)
    if waiting is None or waiting.body != made.body:
        return
    for name in USAGES.values():
        seed = secrets.read(txn.conn, state, _NEW + name)
        if seed is not None:
            secrets.keep(txn, state, name, seed, now_ms)
    drop(txn)
    recovery_state.note_new_identity(txn)
    sessions.set_fact(txn, _ASKED_FACT, None)
    me = state.me
    keys = {usage: key_of(made.body[f"{usage}_key"]) for usage in USAGES}
    raw = {usage: made.body[f"{usage}_key"] for usage in USAGES}
    found = Published(keys["master"], keys["self_signing"], keys["user_signing"], raw)
    identities.put(txn, me.user_id, found, now_ms)
    identities.confirm_own(txn, me.user_id, found.master)
    published.check_ours(txn, me)
    identities.forget_signatures(txn)
    sign_own_device(txn, state, now_ms)


def sign_own_device(txn: Transaction, state: CryptoState, now_ms: int) -> bool:
    """Sign this device with the self-signing key, and the master key with this device, as far as that may be done.

    Returns whether this device is signed; not while the identity is unconfirmed or its key is not here.
    """
    me = state.me
    own = identities.identity(txn.conn, me.user_id)
    if own is None or own.verified_master != own.master:
        return False
    body: Json = {}
    master = own.published["master"]
    keys = state.device_keys(txn)
    ed25519 = keys["keys"][f"ed25519:{me.device_id}"]
    if not is_signed_by(master, me.user_id, me.device_id, ed25519):
        body[own.master] = state.sign(txn, master)
    key = own_key(txn.conn, state, "self_signing")
    if key is not None:
        body[me.device_id] = key.sign(keys, me.user_id)
        curve25519 = keys["keys"][f"curve25519:{me.device_id}"]
        identities.note_signed(txn, me.user_id, key.public, {me.device_id: (curve25519, ed25519)})
        published.note_own_signature(txn, me, own, body[me.device_id])
    if body:
        identities.put_signatures(txn, {me.user_id: body}, now_ms)
    return key is not None


def adopt(txn: Transaction, state: CryptoState, found: Mapping[str, str], now_ms: int) -> set[str]:
    """Keep those secrets whose public halves are the published ones; returns their names.

    With the master key's secret the identity is confirmed; a confirmed one signs this device.
    """
    me = state.me
    own = identities.identity(txn.conn, me.user_id)
    if own is None:
        return set()
    kept: set[str] = set()
    for usage, name in USAGES.items():
        public = getattr(own, usage)
        if name in found and public is not None and _public_of(found[name]) == public:
            secrets.keep(txn, state, name, found[name], now_ms)
            kept.add(name)
    if secrets.MASTER in kept:
        identities.confirm_own(txn, me.user_id, own.master)
        forget_outdated(txn, state)
    if kept:
        sign_own_device(txn, state, now_ms)
    return kept


def confirm_person(txn: Transaction, state: CryptoState, user_id: UserId, master: str, now_ms: int) -> None:
    """Sign a person's master key, which was compared with them. Raises IdentityChanged, NotConfirmed."""
    theirs = identities.identity(txn.conn, user_id)
    if theirs is None or theirs.master != master:
        raise IdentityChanged
    own = identities.identity(txn.conn, state.me.user_id)
    key = own_key(txn.conn, state, "user_signing")
    if own is None or own.verified_master != own.master or key is None:
        raise NotConfirmed
    signed = key.sign(theirs.published["master"], state.me.user_id)
    identities.put_signatures(txn, {user_id: {master: signed}}, now_ms)
    identities.note_signed_by_us(txn, user_id, master, key.public)
    identities.latch_verified(txn, state.me.user_id)


def confirm_own_device(
    txn: Transaction, state: CryptoState, device_id: DeviceId, keys: Json, now_ms: int
) -> None:
    """Sign another device of ours, whose keys (checked by the caller) were compared. Raises NotConfirmed."""
    me = state.me.user_id
    own = identities.identity(txn.conn, me)
    key = own_key(txn.conn, state, "self_signing")
    if own is None or own.verified_master != own.master or key is None:
        raise NotConfirmed
    identities.put_signatures(txn, {me: {device_id: key.sign(keys, me)}}, now_ms)
    by_name = keys["keys"]
    identities.note_signed(
        txn,
        me,
        key.public,
        {device_id: (by_name[f"curve25519:{device_id}"], by_name[f"ed25519:{device_id}"])},
    )


def confirm_own_identity(txn: Transaction, state: CryptoState, master: str, now_ms: int) -> None:
    """Our master key was compared with a device that knows it. Raises IdentityChanged."""
    if not identities.confirm_own(txn, state.me.user_id, master):
        raise IdentityChanged
    forget_outdated(txn, state)
    sign_own_device(txn, state, now_ms)


def forget_outdated(txn: Transaction, state: CryptoState) -> None:
    """Forget secrets of an identity that another one has replaced, so that the present ones are asked for."""
    own = identities.identity(txn.conn, state.me.user_id)
    for usage, name in USAGES.items():
        public = None if own is None else getattr(own, usage)
        seed = secrets.read(txn.conn, state, name)
        # One that the server leaves out may still be ours.
        if seed is not None and public is not None and _public_of(seed) != public:
            secrets.forget(txn, name)


def own_key(conn: sqlite3.Connection, state: CryptoState, usage: str) -> SigningKey | None:
    """Our key for this use, if its secret is here and it is the published one."""
    own = identities.identity(conn, state.me.user_id)
    seed = secrets.read(conn, state, USAGES[usage])
    if own is None or seed is None:
        return None
    key = SigningKey.from_secret(seed)
    return key if key.public == getattr(own, usage) else None


def key_of(value: Json) -> str:
    """The one public key of a key object of ours."""
    return str(next(iter(value["keys"].values())))


def is_asked(conn: sqlite3.Connection, me: Me) -> bool:
    """Whether the server wants the person's approval before this account has its first identity."""
    asked = sessions.fact(conn, _ASKED_FACT)
    is_first = identities.identity(conn, me.user_id) is None  # another device of ours may have been quicker
    return is_first and asked is not None and asked == me.device_id


def note_asked(txn: Transaction, me: Me) -> None:
    sessions.set_fact(txn, _ASKED_FACT, me.device_id)


def is_own_device(conn: sqlite3.Connection, me: Me, listed: Json) -> bool:
    """Whether these device keys are this device's: the server knows us, so that its answer is not an old one."""
    keys = rows.identity(conn)
    by_name = listed.get("keys")
    return (
        keys is not None
        and isinstance(by_name, dict)
        and by_name.get(f"ed25519:{me.device_id}") == keys["ed25519"]
    )


def _key_object(user_id: UserId, usage: str, key: SigningKey) -> Json:
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{key.public}": key.public}}


def _public_of(secret: str) -> str | None:
    try:
        return SigningKey.from_secret(secret).public
    except ValueError:
        return None
