"""The key backup of the account: which version the server has, whether to trust it, and who has its key.

A version is used when one of ours has signed it, or when we hold its private key. A private key is kept as the
secret ``BACKUP`` only while its public half is the current version's; one that is about to be published lies sealed
in the store before the server hears of it, so that no crash leaves a backup whose key nobody has.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass

from tandem_core.clock import Clock
from tandem_core.codec import canonical
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import secrets, trust
from tandem_core.crypto.own_identity import own_key
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import Expected, ServerRefused
from tandem_core.http import Http, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.store import backup as rows
from tandem_core.store import crypto as crypto_rows
from tandem_core.store import devices, identities
from tandem_core.store.backup import BackupRow, Restore, Standing
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Json

log = logging.getLogger("tandem.crypto.backup")

LOCK = "backup"
NEXT = "tandem.backup.next"
"""The private key of a version that we are about to make, or have made without hearing so."""
OFFERED = "tandem.backup.offered"
"""A private key that fits no version we have seen; the next look may show one."""
_MOST_DESCRIPTION = 65_536
_MOST_VERSION = 255


class BackupExists(Expected):
    title = "The server has a key backup that this device cannot use"
    advice = "Unlock it with your recovery key, or replace it."


class NoBackup(Expected):
    title = "There is no key backup"
    advice = "Create one first."


class NoBackupKey(Expected):
    title = "This device does not have the key of the backup"
    advice = "Enter your recovery key, or verify this device with another one of yours."


@dataclass(frozen=True, slots=True)
class Status:
    """What a person may be told of the backup."""

    version: str | None
    standing: Standing | None
    """None while nobody has looked."""
    has_key: bool
    """Whether this device can restore from it."""
    waiting: int
    """Sessions that are not in it yet."""
    on_server: int
    restore: Restore | None


def status(conn: sqlite3.Connection) -> Status:
    """The state of the backup; costs no network."""
    row = rows.current(conn)
    if row is None:
        return Status(None, None, False, 0, 0, None)
    waiting = rows.waiting_count(conn) if row.standing is Standing.TRUSTED else 0
    has_key = row.version is not None and secrets.has(conn, secrets.BACKUP)
    return Status(row.version, row.standing, has_key, waiting, row.keys, rows.restore(conn))


def adopt_key(txn: Transaction, state: CryptoState, secret: str, now_ms: int) -> bool:
    """Take the private key that recovery or another device gave; returns whether it is the current version's.

    Then everything in the backup is restored, in the background. One that fits no version known so far waits for
    the next look, which is due at once.
    """
    try:
        public = form.public_key(secret)
    except ValueError:
        return False
    secret = form.encoded(form.decoded(secret))  # others may have written it with padding
    row = rows.current(txn.conn)
    if row is None or row.version is None or row.public_key != public or row.algorithm != form.ALGORITHM:
        secrets.keep(txn, state, OFFERED, secret, now_ms)
        txn.execute("UPDATE backup SET looked_at = 0")
        return False
    if secrets.read(txn.conn, state, secrets.BACKUP) != secret:
        secrets.keep(txn, state, secrets.BACKUP, secret, now_ms)
        rows.begin_restore(txn, row.version, row.keys, now_ms)
    judge_again(txn, state)
    return True


def note_version(txn: Transaction, state: CryptoState, answer: Json | None, now_ms: int) -> BackupRow:
    """Keep what ``GET /room_keys/version`` said (None: there is none), with our verdict and the key that fits."""
    version, algorithm, description, keys = _read(answer)
    fits = _settle_keys(txn, state, description.get("public_key") if version else None, now_ms)
    standing = Standing.NONE
    if version is not None:
        standing = _standing(txn.conn, state, algorithm, description, has_key=fits is not None)
    rows.put_found(txn, version, algorithm, description, standing, keys, now_ms)
    if version is not None and fits == OFFERED and standing is Standing.TRUSTED:
        rows.begin_restore(txn, version, keys, now_ms)
    row = rows.current(txn.conn)
    assert row is not None
    return row


def is_out_of_date(conn: sqlite3.Connection, state: CryptoState) -> bool:
    """Whether our verdict on the version would be another one by now: an identity or a key has changed."""
    row = rows.current(conn)
    return row is not None and row.version is not None and _standing_now(conn, state, row) is not row.standing


def judge_again(txn: Transaction, state: CryptoState) -> None:
    """Bring the verdict up to date; no network."""
    row = rows.current(txn.conn)
    if row is not None and row.version is not None:
        standing = _standing_now(txn.conn, state, row)
        rows.put_found(txn, row.version, row.algorithm, row.auth_data, standing, row.keys, row.looked_at)


def private_key(conn: sqlite3.Connection, state: CryptoState) -> str | None:
    """The private key of the current version, where we have it and the version can be used."""
    row = rows.current(conn)
    if row is None or row.standing is not Standing.TRUSTED:
        return None
    secret = secrets.read(conn, state, secrets.BACKUP)
    return secret if secret is not None and form.public_key(secret) == row.public_key else None


async def look(db: Database, http: Http, state: CryptoState, clock: Clock) -> BackupRow:
    """Ask the server for its current version and keep it. The caller holds the lock."""
    answer: Json | None
    try:
        answer = await http.request("GET", path("room_keys", "version"))
    except ServerRefused as refused:
        if refused.status != 404 and refused.errcode != "M_UNRECOGNIZED":
            raise
        answer = None
    return await db.write(note_version, state, answer, clock.now_ms())


class Backup:
    """What a person can do with the key backup."""

    def __init__(
        self, paths: ProfilePaths, db: Database, http: Http, state: CryptoState, *, clock: Clock
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._state = state
        self._clock = clock

    async def create(self, *, replace: bool = False) -> str:
        """Make a version, unless there is one that we can use; returns its name.

        Every key is uploaded to it from then on. Raises BackupExists for one that we cannot use, unless it is to
        be replaced: the server then keeps the old one, and no client uses it any more.
        """
        async with netlock(self._paths, LOCK):
            row = await self._look()
            can_use = await self._db.read(private_key, self._state) is not None
            if row.version is not None and can_use and not replace:
                return row.version
            if row.version is not None and not replace:
                raise BackupExists
            body = await self._db.write(_prepare, self._state, self._clock.now_ms())
            await self._http.request("POST", path("room_keys", "version"), body)
            row = await self._look()
            if row.version is None or await self._db.read(private_key, self._state) is None:
                raise BackupExists  # somebody else has made one at the same time
            await self._db.write(
                secrets.forget, OFFERED
            )  # an older version is not to be taken for ours again
            return row.version

    async def look(self) -> Status:
        """Ask the server now."""
        async with netlock(self._paths, LOCK):
            await self._look()
        return await self._db.read(status)

    async def adopt(self, secret: str) -> bool:
        """Take the private key that recovery or another device gave; returns whether it is the current version's.

        Then everything is restored, in the background. The server is asked if the version known so far does not fit.
        """
        if await self._db.write(adopt_key, self._state, secret, self._clock.now_ms()):
            return True
        async with netlock(self._paths, LOCK):
            await self._look()
        held = await self._db.read(private_key, self._state)
        await self._db.write(secrets.forget, OFFERED)
        return held is not None and held == secret.rstrip("=")

    async def restore(self) -> None:
        """Have every session of the backup restored: the programs' workers do it, and ``status`` tells how far.

        Raises NoBackup, NoBackupKey.
        """
        async with netlock(self._paths, LOCK):
            row = await self._look()
        if row.version is None:
            raise NoBackup
        if await self._db.read(private_key, self._state) is None:
            raise NoBackupKey
        await self._db.write(rows.begin_restore, row.version, row.keys, self._clock.now_ms())

    async def cancel_restore(self) -> None:
        """Stop it; what is restored stays, and a later one goes on from there."""
        await self._db.write(rows.end_restore, "cancelled")

    async def delete(self) -> None:
        """Delete the current version with all that is in it, on the server, and its key here. Raises NoBackup."""
        async with netlock(self._paths, LOCK):
            row = await self._look()
            if row.version is None:
                await self._db.write(secrets.forget, NEXT, OFFERED)
                raise NoBackup
            try:
                await self._http.request("DELETE", path("room_keys", "version", row.version))
            except ServerRefused as refused:
                if refused.status != 404:
                    raise
            await self._look()
            await self._db.write(secrets.forget, NEXT, OFFERED)

    async def _look(self) -> BackupRow:
        return await look(self._db, self._http, self._state, self._clock)


def _prepare(txn: Transaction, state: CryptoState, now_ms: int) -> Json:
    """The request for a new version; its private key lies in the store before anybody hears of it."""
    secret = secrets.read(txn.conn, state, NEXT)
    if secret is None:
        secret = form.new_secret()
        secrets.keep(txn, state, NEXT, secret, now_ms)
    txn.execute("UPDATE backup SET looked_at = 0")  # whatever becomes of us, somebody looks what became of it
    made = form.auth_data(form.public_key(secret), lambda value: state.sign(txn, value))
    master = own_key(txn.conn, state, "master")
    if master is not None:
        made = master.sign(made, state.me.user_id)
    return {"algorithm": form.ALGORITHM, "auth_data": made}


def _settle_keys(txn: Transaction, state: CryptoState, public: object, now_ms: int) -> str | None:
    """Have the secret that fits this public key under its name, and no other there; returns where it was found."""
    for name in (secrets.BACKUP, NEXT, OFFERED):
        secret = secrets.read(txn.conn, state, name)
        if secret is not None and form.public_key(secret) == public:
            if name != secrets.BACKUP:
                _put_aside(txn, state, now_ms)
                secrets.keep(txn, state, secrets.BACKUP, secret, now_ms)
                secrets.forget(txn, name)
            return name
    _put_aside(txn, state, now_ms)
    return None


def _put_aside(txn: Transaction, state: CryptoState, now_ms: int) -> None:
    """The version of the key that we have is not there now; a server that hid it may show it again."""
    secret = secrets.read(txn.conn, state, secrets.BACKUP)
    if secret is not None:
        if not secrets.has(txn.conn, OFFERED):
            secrets.keep(txn, state, OFFERED, secret, now_ms)
        secrets.forget(txn, secrets.BACKUP)


def _standing_now(conn: sqlite3.Connection, state: CryptoState, row: BackupRow) -> Standing:
    secret = secrets.read(conn, state, secrets.BACKUP)
    has_key = secret is not None and form.public_key(secret) == row.public_key
    return _standing(conn, state, row.algorithm, row.auth_data, has_key=has_key)


def _standing(
    conn: sqlite3.Connection, state: CryptoState, algorithm: str | None, description: Json, *, has_key: bool
) -> Standing:
    if algorithm != form.ALGORITHM or not _can_seal(description):
        return Standing.UNTRUSTED
    if has_key or form.is_signed(description, state.me.user_id, _signers(conn, state)):
        return Standing.TRUSTED
    return Standing.UNTRUSTED


def _can_seal(description: Json) -> bool:
    public = description.get("public_key")
    try:
        form.sealer(public if isinstance(public, str) else "")
    except ValueError:
        return False
    return True


def _signers(conn: sqlite3.Connection, state: CryptoState) -> list[form.Signer]:
    """Whose signature of a version counts: this device's, our confirmed identity's, our verified devices'."""
    me = state.me
    signers = []
    own = crypto_rows.identity(conn)
    if own is not None:
        signers.append(form.Signer(me.device_id, str(own["ed25519"])))
    identity = identities.identity(conn, me.user_id)
    if identity is not None and trust.of_person(identity, identity) is trust.PersonTrust.VERIFIED:
        signers.append(form.Signer(identity.master, identity.master))
        trusted = trust.devices(conn, me, [me.user_id])
        signers += [
            form.Signer(device.device_id, device.ed25519)
            for device in devices.devices_of(conn, [me.user_id])
            if trusted.get((me.user_id, device.device_id)) is trust.DeviceTrust.VERIFIED
        ]
    return signers


def _read(answer: Json | None) -> tuple[str | None, str | None, Json, int]:
    """(version, algorithm, auth_data, count); no version where there is none, or none with a usable name."""
    if answer is None:
        return None, None, {}, 0
    version, algorithm = answer.get("version"), answer.get("algorithm")
    if not isinstance(version, str) or not 0 < len(version) <= _MOST_VERSION:
        log.warning("the server's key backup has no usable version")
        return None, None, {}, 0
    description, keys = answer.get("auth_data"), answer.get("count")
    if not isinstance(description, dict) or len(canonical(description)) > _MOST_DESCRIPTION:
        description = {}
    return (
        version,
        algorithm[:_MOST_VERSION] if isinstance(algorithm, str) else None,
        description,
        keys if type(keys) is int and 0 <= keys <= 2**53 else 0,
    )
