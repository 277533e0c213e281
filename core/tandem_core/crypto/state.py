"""Crypto state inside a transaction: loaded from the store, worked on, written back, all or nothing (law 3).

A step that fails is rolled back by the database, and every ratchet in memory goes with it: memory would be
ahead of the file. Sessions are read per transaction (18 microseconds each); only the account, which costs 1.5 ms
to unpickle, is kept between transactions, for as long as its generation has not moved.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import vodozemac
from vodozemac import Account, Curve25519PublicKey, Session

from tandem_core.errors import StoreCorrupt
from tandem_core.store import crypto as rows
from tandem_core.store import session as sessions
from tandem_core.store.codec import canonical
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Json, Me

_IDENTITY = "crypto.identity"
"""The public keys that this device has once and for all, apart from the account itself."""
OWN_SIGNATURE = "crypto.own_signature"
"""Our self-signing key's signature on this device {ed25519, key, signature}."""
OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"


class CryptoState:
    """The account of this device and the key that seals pickles; used in the writer thread only."""

    def __init__(self, db: Database, me: Me, pickle_key: bytes) -> None:
        self.me = me
        self.pickle_key = pickle_key
        self._account: Account | None = None
        self._generation = 0
        self._is_dirty = False
        self._is_noted = False
        self._read_in: Transaction | None = None
        db.on_rollback(self.forget)

    def forget(self) -> None:
        """Throw away what is in memory."""
        self._account = None
        self._generation = 0
        self._is_noted = False
        self._read_in = None
        self._is_dirty = False

    def account(self, txn: Transaction) -> Account:
        """The account as the store has it; made at the first call of a new device, and never a second time."""
        if self._account is not None and (self._is_dirty or self._read_in is txn):
            return self._account  # nobody else writes while this transaction does
        row = rows.account(txn.conn)
        if row is None:
            said = sessions.fact(txn.conn, _IDENTITY)
            if said is not None and said["device_id"] == self.me.device_id:
                # Another identity under the same device id would be taken for somebody who listens in.
                raise StoreCorrupt("the encryption account is missing")
            self._account = Account()
            self.changed_account(txn)
        elif self._account is None or row.generation != self._generation:
            try:
                self._account = Account.from_pickle(row.pickle, self.pickle_key)
            except (vodozemac.PickleException, ValueError) as error:
                advice = "The key in the keyring or in pickle.key does not belong to this store."
                raise StoreCorrupt("the encryption account cannot be opened", advice=advice) from error
            self._generation = row.generation
        self._read_in = txn
        return self._account

    def changed_account(self, txn: Transaction) -> None:
        """The account moved on in memory: write it right before the commit."""
        if not self._is_dirty:
            self._is_dirty = True
            txn.at_commit.append(lambda: self._flush(txn))

    @contextlib.contextmanager
    def piece(self, txn: Transaction) -> Iterator[None]:
        """A part of the transaction that may fail alone: its rows and its ratchet steps go, what was before stays."""
        self._flush(txn)  # memory is thrown away with the piece, so what came before it must be in the file
        txn.execute("SAVEPOINT piece")
        try:
            yield
        except BaseException:
            self.forget()
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled everything back itself
                txn.execute("ROLLBACK TO piece")
                txn.execute("RELEASE piece")
            raise
        txn.execute("RELEASE piece")

    def _flush(self, txn: Transaction) -> None:
        if self._account is None or not self._is_dirty:
            return
        identity = {
            "curve25519": self._account.curve25519_key.to_base64(),
            "ed25519": self._account.ed25519_key.to_base64(),
        }
        self._generation = rows.put_account(txn, self._account.pickle(self.pickle_key), identity)
        if not self._is_noted:
            sessions.set_fact(txn, _IDENTITY, {"device_id": self.me.device_id, **identity})
            self._is_noted = True
        self._is_dirty = False

    def load_session(self, pickle: str) -> Session:
        return Session.from_pickle(pickle, self.pickle_key)

    def save_session(self, txn: Transaction, sender_key: str, session: Session, now_ms: int) -> None:
        rows.put_olm_session(txn, session.session_id, sender_key, session.pickle(self.pickle_key), now_ms)

    def new_session(self, txn: Transaction, curve25519: str, one_time_key: str, now_ms: int) -> Session:
        """A session towards a device, from a key it published. Raises ValueError for a bad key."""
        session = self.account(txn).create_outbound_session(
            Curve25519PublicKey.from_base64(curve25519), Curve25519PublicKey.from_base64(one_time_key)
        )
        self.save_session(txn, curve25519, session, now_ms)
        return session

    def device_keys(self, txn: Transaction) -> Json:
        """Our device keys, signed (spec, "Device keys")."""
        account, me = self.account(txn), self.me
        return self.sign(
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

    def shown_keys(self, txn: Transaction) -> Json:
        """Our device keys with our owner's signature, where we know one: for those who do not have our list."""
        keys = self.device_keys(txn)
        made = sessions.fact(txn.conn, OWN_SIGNATURE)
        if made is not None and made["ed25519"] == keys["keys"][f"ed25519:{self.me.device_id}"]:
            keys["signatures"][self.me.user_id][f"ed25519:{made['key']}"] = made["signature"]
        return keys

    def sign(self, txn: Transaction, value: Json) -> Json:
        """The object with this device's signature (spec, appendices, "Signing JSON")."""
        bare = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
        signature = self.account(txn).sign(canonical(bare)).to_base64()
        return {**value, "signatures": {self.me.user_id: {f"ed25519:{self.me.device_id}": signature}}}
