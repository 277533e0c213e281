"""Secret storage of the account: set up, unlock, complete, change, delete (spec, "Secret storage").

Secrets are never lost on the way, whatever dies: they are written for the new key beside the old one, read back, the
recovery key is shown, and only then the new key is made the default. What an attempt leaves behind is noted before
it is written, and cleared away by the next one. The recovery key is kept in memory only, while a Recovery lives.
"""

from __future__ import annotations

import logging
import secrets as random
import sqlite3
import string
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from tandem_core.crypto import recovery_key, secret_storage, secrets
from tandem_core.crypto.recovery_state import (
    CROSS_SIGNING,
    DEFAULT_KEY,
    KEY_PREFIX,
    NAMES,
    RecoveryState,
    default_key,
    encrypted_for,
    names_of,
    note_refused,
    note_stored,
    state,
    useless_names,
)
from tandem_core.crypto.secret_storage import CannotOpen, Description
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import BadInput, Expected, ServerRefused
from tandem_core.http import Http, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import account_data
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Json

log = logging.getLogger("tandem.crypto.recovery")

Adopt = Callable[[dict[str, str]], Awaitable[Collection[str]]]
"""Takes secrets by name and keeps those that belong to the account's published keys; returns their names."""
Show = Callable[[str], Awaitable[None]]
"""Shows the new recovery key; it comes into force once this returns, and not at all if it raises."""

_LEFTOVERS = "recovery.leftovers"
"""Keys of attempts that were cut off, and old ones: they are to be cleared away unless they are the default."""
_KEY_ID_LETTERS = 32
_MOST_KEYS = 5
"""How many keys of an account are tried with a passphrase: each costs half a second."""


class NotSetUp(Expected):
    title = "Recovery is not set up for this account"
    advice = "Set it up on a device that is verified."


class AlreadySetUp(Expected):
    title = "Recovery is set up for this account already"
    advice = "Change the recovery key if you want a new one."


class WrongRecoveryKey(Expected):
    title = "This is not the recovery key of this account"
    advice = "It may be an older one, or another account's; the newest one counts."


class WrongPassphrase(Expected):
    title = "The passphrase is wrong"
    advice = "Enter the passphrase for recovery, not your password; or use the recovery key."


class LacksSecrets(Expected):
    title = "This device does not have all secrets of your account"
    advice = "Verify it with another device, or unlock recovery first; or reset your identity."


class NeedsRecoveryKey(Expected):
    title = "The recovery key is needed for this"
    advice = "Unlock recovery with the recovery key or the passphrase."


class NotStored(Expected):
    title = "Your homeserver does not give back what was stored on it"
    advice = "Nothing was changed; what was there before is still in force. Try again."


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What the storage gave: secrets that this device holds now, others that were refused (why), and what was added."""

    found: tuple[str, ...]
    refused: dict[str, str]
    stored: tuple[str, ...]


class Recovery:
    """Recovery of the signed-in account. Raises what ``Http.request`` raises; everything may be repeated."""

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        crypto: CryptoState,
        adopt: Adopt,
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._crypto = crypto
        self._adopt = adopt
        self._key: tuple[str, bytes] | None = None

    async def state(self) -> RecoveryState:
        """How recovery stands, as far as sync has told."""
        return await self._db.read(state)

    async def refresh(self) -> RecoveryState:
        """Ask the server how recovery stands."""
        async with netlock(self._paths, "recovery"):
            key_id = await self._default_key()
            if key_id is not None:
                await self._get(KEY_PREFIX + key_id)
            for name in NAMES:
                await self._get(name)
        return await self.state()

    async def set_up(self, passphrase: str | None = None, *, show: Show | None = None) -> str:
        """Make a recovery key (from a passphrase, if given) and store all secrets of this device with it.

        Returns the recovery key as text, which is kept nowhere. Raises AlreadySetUp, LacksSecrets, NotStored.
        """
        _check_words(passphrase)
        async with netlock(self._paths, "recovery"):
            await self._tidy()
            await self._refuse_second()
            return await self._new_key(await self._held(), passphrase, show, old=None)

    async def may_set_up(self) -> None:
        """Raise what ``set_up`` would raise, before anything else is begun."""
        async with netlock(self._paths, "recovery"):
            await self._refuse_second()
            await self._held()

    async def replace(self, passphrase: str | None = None, *, show: Show | None = None) -> str:
        """Make a recovery key whether there was one or not; what only an old one opens is given up.

        For a new identity. Raises LacksSecrets, NotStored.
        """
        _check_words(passphrase)
        async with netlock(self._paths, "recovery"):
            await self._tidy()
            old = await self._default_key()
            return await self._new_key(await self._held(), passphrase, show, old=old)

    async def change(self, passphrase: str | None = None, *, show: Show | None = None) -> str:
        """Make a new recovery key and store all secrets with it; the old one opens nothing any more.

        What other applications stored is encrypted anew if recovery was unlocked here; otherwise it is left as it is,
        with the old key's description. Raises NotSetUp, LacksSecrets, NotStored.
        """
        _check_words(passphrase)
        async with netlock(self._paths, "recovery"):
            await self._tidy()
            old = await self._default_key()
            if old is None:
                raise NotSetUp
            values = await self._held()
            await self._refuse_loss(old, values)
            values |= await self._others(old)
            return await self._new_key(values, passphrase, show, old=old)

    async def unlock(self, text: str) -> Unlocked:
        """Open the storage with a recovery key or a passphrase, whichever this is, and take over its secrets.

        What this device has and the storage lacks, or has of an older identity, is added to it. Raises NotSetUp,
        WrongRecoveryKey, WrongPassphrase, BadRecoveryKey, CannotOpen.
        """
        async with netlock(self._paths, "recovery"):
            default = await self._default_key()
            contents = {name: await self._get(name) or {} for name in NAMES}
            key_id, key = await self._find_key(text, default, contents)
            opened, refused = _open_all(contents, key_id, key)
            adopted = set(await self._adopt(opened)) if opened else set()
            for name in opened.keys() - adopted:
                refused[name] = "it does not belong to the keys that your account shows now"
            sealed = {name: secret_storage.sealed_for(contents[name], key_id) for name in NAMES}
            useless = {name: sealed[name] for name in refused if isinstance(sealed[name], dict)}
            await self._db.write(note_refused, key_id, useless)
            await self._db.write(note_stored, key_id, {name: sealed[name] for name in adopted})
            added: list[str] = []
            if key_id == default:
                self._key = (key_id, key)
                held = await self._held(all_of_them=False)
                doubtful = {name: held[name] for name in held if name in opened.keys() - adopted}
                # One that opens gives way only to one that fits now: this device's may be the older one.
                fitting = set(await self._adopt(doubtful)) if doubtful else set()
                added = [name for name in held if name not in opened or name in fitting]
                await self._store({name: held[name] for name in added}, key_id, key)
                refused = {name: why for name, why in refused.items() if name not in added}
        for name, why in refused.items():
            log.warning("%s in the secret storage was not taken: %s", name, why)
        return Unlocked(tuple(name for name in NAMES if name in adopted), refused, tuple(added))

    async def store(self, names: Collection[str]) -> tuple[str, ...]:
        """Write these secrets of this device into the storage, over what is there; returns which it had.

        Raises NeedsRecoveryKey unless recovery was set up or unlocked with this object before.
        """
        async with netlock(self._paths, "recovery"):
            default = await self._default_key()
            if self._key is None or self._key[0] != default:
                raise NeedsRecoveryKey
            held = await self._held(all_of_them=False)
            chosen = {name: held[name] for name in NAMES if name in names and name in held}
            await self._store(chosen, *self._key)
            return tuple(chosen)

    async def delete(self, *, even_if_lost: bool = False) -> None:
        """Remove recovery from the account: no key opens anything any more.

        Raises NotSetUp, and LacksSecrets where a secret would be lost with it, unless ``even_if_lost``.
        """
        async with netlock(self._paths, "recovery"):
            key_id = await self._default_key()
            left = await self._db.read(sessions.fact, _LEFTOVERS)
            if key_id is None and not left:
                raise NotSetUp
            if key_id is not None:
                if not even_if_lost:
                    await self._refuse_loss(key_id, await self._held(all_of_them=False))
                await self._db.write(_note_leftover, key_id)
                await self._put(DEFAULT_KEY, {})
            self._key = None
            await self._tidy()

    async def _refuse_second(self) -> None:
        key_id = await self._default_key()
        if key_id is not None and await self._get(KEY_PREFIX + key_id):
            raise AlreadySetUp

    async def _refuse_loss(self, key_id: str, held: Collection[str]) -> None:
        """Raise LacksSecrets if the storage alone has a secret, and it may be of use."""
        there = [
            name for name in NAMES if secret_storage.sealed_for(await self._get(name), key_id) is not None
        ]
        useless = await self._db.read(useless_names, key_id)
        lacking = [name for name in there if name not in held and name not in useless]
        if lacking:
            raise LacksSecrets(names_of(lacking))

    async def _new_key(
        self, values: dict[str, str], passphrase: str | None, show: Show | None, *, old: str | None
    ) -> str:
        how = None if passphrase is None else secret_storage.new_passphrase()
        if passphrase is None or how is None:
            key = random.token_bytes(secret_storage.KEY_BYTES)
        else:
            key = await secret_storage.key_from_passphrase(passphrase, how)
        key_id = _new_key_id()
        await self._db.write(_note_leftover, key_id)
        await self._put(KEY_PREFIX + key_id, secret_storage.describe(key, passphrase=how))
        await self._store(values, key_id, key)
        text = recovery_key.encode(key)
        if show is not None:
            await show(text)
        if old is not None:
            await self._db.write(_note_leftover, old)
        await self._put(DEFAULT_KEY, {"key": key_id})
        if await self._default_key() != key_id:
            raise NotStored
        self._key = (key_id, key)
        await self._tidy()
        return text

    async def _store(self, values: dict[str, str], key_id: str, key: bytes) -> None:
        """Write secrets for a key, beside what is there for others; look whether the server gives them back."""
        if not values:
            return
        written: dict[str, Json] = {}
        for name, value in values.items():
            content = await self._get(name) or {}
            present = content.get("encrypted")
            written[name] = secret_storage.encrypt(key, name, value)
            others = present if isinstance(present, dict) else {}
            await self._put(name, {**content, "encrypted": {**others, key_id: written[name]}})
        description = await self._get(KEY_PREFIX + key_id)
        try:
            fits = secret_storage.is_key(secret_storage.read_description(key_id, description), key)
            for name, value in values.items():
                sealed = secret_storage.sealed_for(await self._get(name), key_id)
                fits = fits and secret_storage.decrypt(key, name, sealed) == value
        except CannotOpen:
            fits = False
        if not fits:
            raise NotStored
        await self._db.write(note_stored, key_id, {name: written[name] for name in written if name in NAMES})

    async def _tidy(self) -> None:
        """Clear away keys that were given up, and what is encrypted for them; never the default one's.

        What another application stored, and only such a key opens, stays, and so does the key's description.
        """
        left = await self._db.read(sessions.fact, _LEFTOVERS)
        if not left:
            return
        default = await self._default_key()
        gone = {key_id for key_id in left if key_id != default}
        needed: set[str] = set()
        for kind in await self._db.read(_kinds_of, gone):
            content = await self._get(kind) or {}
            ids = secret_storage.key_ids(content)
            if kind not in NAMES and default not in ids:
                needed |= gone.intersection(ids)
            elif gone.intersection(ids):
                rest = {key_id: value for key_id, value in content["encrypted"].items() if key_id not in gone}
                await self._put(kind, {**content, "encrypted": rest} if rest else {})
        for key_id in sorted(gone - needed):
            await self._put(KEY_PREFIX + key_id, {})
        await self._db.write(sessions.set_fact, _LEFTOVERS, [])

    async def _find_key(self, text: str, default: str | None, contents: dict[str, Json]) -> tuple[str, bytes]:
        """Which key of the account the text is, the default one first."""
        if default is None:
            raise NotSetUp
        others = {key_id for content in contents.values() for key_id in secret_storage.key_ids(content)}
        descriptions: list[Description] = []
        trouble: CannotOpen | None = None
        for key_id in [default, *sorted(others - {default})][:_MOST_KEYS]:
            content = await self._get(KEY_PREFIX + key_id)
            try:
                descriptions.append(secret_storage.read_description(key_id, content))
            except CannotOpen as error:
                trouble = trouble or error
        if not descriptions:
            raise trouble or NotSetUp()
        typed: bytes | None = None
        slip: recovery_key.BadRecoveryKey | None = None
        try:
            typed = recovery_key.decode(text)
        except recovery_key.BadRecoveryKey as error:
            slip = error
        for description in descriptions:
            key = typed
            if key is None and description.passphrase is not None:
                key = await secret_storage.key_from_passphrase(text, description.passphrase)
            if key is not None and _fits(description, key, contents):
                return description.key_id, key
        if slip is None:
            raise WrongRecoveryKey
        has_passphrase = any(description.passphrase is not None for description in descriptions)
        raise WrongPassphrase if has_passphrase and not recovery_key.looks_like_one(text) else slip

    async def _held(self, *, all_of_them: bool = True) -> dict[str, str]:
        """The secrets that this device holds; raises LacksSecrets unless the three of cross-signing are there."""
        held = await self._db.read(lambda conn: _read_secrets(conn, self._crypto))
        lacking = [name for name in CROSS_SIGNING if name not in held]
        if all_of_them and lacking:
            raise LacksSecrets(names_of(lacking))
        return held

    async def _others(self, old: str) -> dict[str, str]:
        """What other applications stored with the old key, opened, if that key is in hand."""
        if self._key is None or self._key[0] != old:
            return {}
        found: dict[str, str] = {}
        for kind in await self._db.read(encrypted_for, old):
            if kind not in NAMES:
                try:
                    sealed = secret_storage.sealed_for(await self._get(kind), old)
                    found[kind] = secret_storage.decrypt(self._key[1], kind, sealed)
                except CannotOpen:
                    log.warning("%s in the secret storage cannot be opened and is left as it is", kind)
        return found

    async def _default_key(self) -> str | None:
        return default_key(await self._get(DEFAULT_KEY))

    async def _get(self, kind: str) -> Json | None:
        """One piece of the account data as the server has it; None where it has none, or an emptied one."""
        where = path("user", self._crypto.me.user_id, "account_data", kind)
        try:
            content = await self._http.request("GET", where)
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            content = {}
        if (await self._db.read(account_data.get, kind) or {}) != content:
            await self._db.write(account_data.put, kind, content)
        return content or None

    async def _put(self, kind: str, content: Json) -> None:
        where = path("user", self._crypto.me.user_id, "account_data", kind)
        await self._http.request("PUT", where, content)
        await self._db.write(account_data.put, kind, content)


def _fits(description: Description, key: bytes, contents: dict[str, Json]) -> bool:
    """Whether this is the described key; where the description cannot tell, a secret that opens does."""
    if description.can_tell:
        return secret_storage.is_key(description, key)
    return bool(_open_all(contents, description.key_id, key)[0])


def _open_all(contents: dict[str, Json], key_id: str, key: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The secrets that open with this key, and why others do not."""
    opened: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, content in contents.items():
        sealed = secret_storage.sealed_for(content, key_id)
        if sealed is not None:
            try:
                opened[name] = secret_storage.decrypt(key, name, sealed)
            except CannotOpen as error:
                refused[name] = error.detail
    return opened, refused


def _read_secrets(conn: sqlite3.Connection, crypto: CryptoState) -> dict[str, str]:
    found = {name: secrets.read(conn, crypto, name) for name in NAMES}
    return {name: value for name, value in found.items() if value is not None}


def _kinds_of(conn: sqlite3.Connection, key_ids: Collection[str]) -> list[str]:
    """Where something may be encrypted for these keys: our secrets, and what sync has told of others."""
    return sorted({*NAMES, *(kind for key_id in key_ids for kind in encrypted_for(conn, key_id))})


def _note_leftover(txn: Transaction, key_id: str) -> None:
    left = sessions.fact(txn.conn, _LEFTOVERS) or []
    sessions.set_fact(txn, _LEFTOVERS, [*left, key_id])


def _check_words(passphrase: str | None) -> None:
    if passphrase is not None and not passphrase.strip():
        raise BadInput(
            "the passphrase is empty", advice="Choose a long one, or none: then only the key counts."
        )


def _new_key_id() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(random.choice(letters) for _ in range(_KEY_ID_LETTERS))
