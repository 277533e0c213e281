"""People's cross-signing identities: what they published, whom we pinned, whom we verified (spec, "Cross-signing").

What is kept here was checked: the other keys are signed by the master key. Whether a person or a device may be
trusted is computed from these rows in ``tandem_core.trust``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tandem_core.store import portions
from tandem_core.store.codec import dumps, loads
from tandem_core.store.database import Transaction
from tandem_core.types import DeviceId, Json, Topic, UserId


@dataclass(frozen=True, slots=True)
class Published:
    """The public keys of an identity (unpadded base64), with the signed objects they came in."""

    master: str
    self_signing: str | None
    user_signing: str | None
    """Of ourselves only: a server shows it to nobody else."""
    raw: Json
    """{"master": ..., "self_signing": ..., "user_signing": ...}, each as published."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's identity as we know it."""

    user_id: UserId
    master: str
    self_signing: str | None
    user_signing: str | None
    pinned: str
    """The master key that was seen first, or that the person at this machine has accepted since."""
    verified_master: str | None
    """The master key that was last verified: of another, with our signature; our own, confirmed on this device."""
    signed_by: str | None
    """The user-signing key of ours that signed ``master``."""
    published_json: str
    is_hidden: bool
    """The server's last answer left the identity out; what we knew still holds."""
    changed_at: int | None
    """When a master key that is not the pinned one was first seen (ms)."""

    @property
    def published(self) -> Json:
        """The key objects as published, by usage."""
        return dict(loads(self.published_json))


def identity(conn: sqlite3.Connection, user_id: UserId) -> Identity | None:
    """The person's identity; None if they never showed one."""
    row = conn.execute(f"{_SELECT} WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else _record(row)


def identities_of(conn: sqlite3.Connection, user_ids: Iterable[UserId]) -> dict[UserId, Identity]:
    """The identities of those of these people who have one."""
    rows = portions.rows(conn, _SELECT + " WHERE user_id IN ({0})", sorted(set(user_ids)))
    return {UserId(row[0]): _record(row) for row in rows}


def changed(conn: sqlite3.Connection) -> list[Identity]:
    """Those that are not the pinned or verified one, in order of their owners."""
    rows = conn.execute(f"{_SELECT} WHERE pinned != master OR verified_master != master ORDER BY user_id")
    return [_record(row) for row in rows]


def all_identities(conn: sqlite3.Connection) -> list[Identity]:
    """Everybody's, in order of their ids."""
    return [_record(row) for row in conn.execute(f"{_SELECT} ORDER BY user_id")]


def put(txn: Transaction, user_id: UserId, published: Published, now_ms: int) -> None:
    """Keep what a person publishes now. The first master key is pinned; a later one replaces no pin.

    Keys that are left out under the same master key stay known: a server that hides them takes nothing away.
    """
    known = identity(txn.conn, user_id)
    if known is None:
        txn.execute(
            "INSERT INTO identity (user_id, master, self_signing, user_signing, published, pinned, first_seen)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?2, ?6)",
            (
                user_id,
                published.master,
                published.self_signing,
                published.user_signing,
                dumps(published.raw),
                now_ms,
            ),
        )
        txn.changed(Topic.DEVICES)
        return
    is_same = known.master == published.master
    raw = {**known.published, **published.raw} if is_same else published.raw
    self_signing = published.self_signing or (known.self_signing if is_same else None)
    user_signing = published.user_signing or (known.user_signing if is_same else None)
    if is_same and (self_signing, user_signing, raw, False) == (
        known.self_signing,
        known.user_signing,
        known.published,
        known.is_hidden,
    ):
        return
    txn.execute(
        "UPDATE identity SET master = ?, self_signing = ?, user_signing = ?, published = ?, hidden = 0,"
        " signed_by = ?, changed_at = ? WHERE user_id = ?",
        (
            published.master,
            self_signing,
            user_signing,
            dumps(raw),
            known.signed_by if is_same else None,
            known.changed_at if is_same else now_ms,
            user_id,
        ),
    )
    txn.changed(Topic.DEVICES)


def note_hidden(txn: Transaction, user_id: UserId) -> bool:
    """The server's answer has no sound identity for this person; returns whether that is news: they had one."""
    is_news = txn.execute(
        "UPDATE identity SET hidden = 1 WHERE user_id = ? AND hidden = 0", (user_id,)
    ).rowcount
    if is_news:
        txn.changed(Topic.DEVICES)
    return bool(is_news)


def note_signed(
    txn: Transaction, user_id: UserId, self_signing: str, devices: Mapping[DeviceId, tuple[str, str]]
) -> None:
    """The owner's self-signing key signed these devices with just these keys (curve25519, ed25519)."""
    txn.executemany(
        "UPDATE device SET signed_by = ? WHERE user_id = ? AND device_id = ? AND curve25519 = ? AND ed25519 = ?",
        [(self_signing, user_id, device_id, *keys) for device_id, keys in devices.items()],
    )
    txn.changed(Topic.DEVICES)


def note_signed_by_us(txn: Transaction, user_id: UserId, master: str, user_signing: str) -> None:
    """Our user-signing key signed this person's master key; nothing if they publish another one by now."""
    txn.execute(
        "UPDATE identity SET signed_by = ? WHERE user_id = ? AND master = ?", (user_signing, user_id, master)
    )
    txn.changed(Topic.DEVICES)


def confirm_own(txn: Transaction, me: UserId, master: str) -> bool:
    """This device knows that the identity is its owner's; False if another one is published by now."""
    done = txn.execute(
        "UPDATE identity SET verified_master = master, pinned = master, changed_at = NULL"
        " WHERE user_id = ? AND master = ?",
        (me, master),
    ).rowcount
    if done:
        latch_verified(txn, me)
        txn.changed(Topic.DEVICES)
    return bool(done)


def latch_verified(txn: Transaction, me: UserId) -> None:
    """Remember whom we have verified as of now, so that a later change of theirs is seen as one.

    Only signatures of an identity of our own count that this device has confirmed.
    """
    txn.execute(
        "UPDATE identity SET verified_master = master, pinned = master, changed_at = NULL WHERE user_id != ?1"
        " AND signed_by = (SELECT user_signing FROM identity WHERE user_id = ?1 AND verified_master = master)"
        " AND (verified_master IS NOT master OR pinned IS NOT master)",
        (me,),
    )


def accept(txn: Transaction, user_id: UserId) -> bool:
    """Go on with the identity that the person has now, as if it were the first; False if they have none.

    A verification of an earlier one is given up.
    """
    done = txn.execute(
        "UPDATE identity SET pinned = master, changed_at = NULL,"
        " verified_master = CASE WHEN verified_master = master THEN master END WHERE user_id = ?",
        (user_id,),
    ).rowcount
    txn.changed(Topic.DEVICES)
    return bool(done)


@dataclass(frozen=True, slots=True)
class New:
    """An identity of ours on its way to the server: ``kind`` is ``set_up`` or ``reset``, ``body`` the upload."""

    kind: str
    body: Json
    made_at: int


def new(conn: sqlite3.Connection) -> New | None:
    """The identity that was made and that the server has not yet confirmed."""
    row = conn.execute("SELECT kind, body, made_at FROM identity_new").fetchone()
    return None if row is None else New(row["kind"], loads(row["body"]), row["made_at"])


def put_new(txn: Transaction, made: New) -> None:
    txn.execute(
        "INSERT OR REPLACE INTO identity_new (id, kind, body, made_at) VALUES (1, ?, ?, ?)",
        (made.kind, dumps(made.body), made.made_at),
    )


def drop_new(txn: Transaction) -> None:
    txn.execute("DELETE FROM identity_new")


def put_signatures(txn: Transaction, body: Json, now_ms: int) -> None:
    """Signatures that the server is to have: {person: {device or master key: signed object}}."""
    txn.execute("INSERT INTO signature_upload (body, made_at) VALUES (?, ?)", (dumps(body), now_ms))
    txn.changed(Topic.DEVICES)


def waiting_signatures(conn: sqlite3.Connection) -> tuple[int, Json] | None:
    """The oldest signatures that the server has not got (id, body)."""
    row = conn.execute("SELECT id, body FROM signature_upload ORDER BY id LIMIT 1").fetchone()
    return None if row is None else (row["id"], dict(loads(row["body"])))


def signatures_done(txn: Transaction, upload_id: int) -> None:
    """The server has them, or will not have them."""
    txn.execute("DELETE FROM signature_upload WHERE id = ?", (upload_id,))


def forget_signatures(txn: Transaction) -> None:
    """What an identity signed that is replaced need not be told any more."""
    txn.execute("DELETE FROM signature_upload")


def signers(conn: sqlite3.Connection, user_ids: list[UserId]) -> dict[tuple[UserId, DeviceId], str | None]:
    """By which self-signing key each living device of these people is signed."""
    rows = portions.rows(
        conn,
        "SELECT user_id, device_id, signed_by FROM device WHERE deleted = 0 AND user_id IN ({0})",
        user_ids,
    )
    return {(UserId(row[0]), DeviceId(row[1])): row[2] for row in rows}


_SELECT = (
    "SELECT user_id, master, self_signing, user_signing, pinned, verified_master, signed_by, published, hidden,"
    " changed_at FROM identity"
)


def _record(row: sqlite3.Row) -> Identity:
    return Identity(
        UserId(row[0]), row[1], row[2], row[3], row[4], row[5], row[6], row[7], bool(row[8]), row[9]
    )
