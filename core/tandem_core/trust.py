"""Whom to trust: people and devices, from the checked rows of the store alone (spec, "Cross-signing").

Both programs ask here, so that both give the same answer. Nothing here asks the network, and nothing is remembered.

A person is verified if our own identity is (this device has confirmed it), and its user-signing key signed the
master key that the person publishes now. A device is verified if its owner is and their self-signing key signed
it. Who was never verified is trusted as first seen: a change is told. Who was verified and shows another master key
since is a violation, and nothing is sent to them until the person at this machine decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tandem_core.store import identities
from tandem_core.store.identities import Identity
from tandem_core.types import DeviceId, Me, UserId


class PersonTrust(Enum):
    """What we know of a person's identity."""

    NO_IDENTITY = "no_identity"
    SEEN = "seen"
    VERIFIED = "verified"
    CHANGED = "changed"
    """Another one than the one first seen or accepted; it was never verified."""
    VIOLATED = "violated"
    """Another one than the one that was verified."""


class DeviceTrust(Enum):
    """What we know of a device."""

    VERIFIED = "verified"
    SIGNED_BY_OWNER = "signed_by_owner"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class Notice:
    """A person whose identity is not the one we knew. ``at``: since when (ms)."""

    user_id: UserId
    trust: PersonTrust
    at: int | None


def of_person(own: Identity | None, theirs: Identity | None) -> PersonTrust:
    """The rule for people; ``own`` is our own identity, and the same record if we ask about ourselves."""
    if theirs is None:
        return PersonTrust.NO_IDENTITY
    if _is_confirmed(own) and own is not None:
        is_signed = theirs.signed_by is not None and theirs.signed_by == own.user_signing
        if theirs.user_id == own.user_id or is_signed:
            return PersonTrust.VERIFIED
    if theirs.verified_master is not None and theirs.verified_master != theirs.master:
        return PersonTrust.VIOLATED
    return PersonTrust.SEEN if theirs.pinned == theirs.master else PersonTrust.CHANGED


def of_device(owner: PersonTrust, theirs: Identity | None, signed_by: str | None) -> DeviceTrust:
    """The rule for devices; ``signed_by`` is the self-signing key whose signature was checked."""
    if theirs is None or signed_by is None or signed_by != theirs.self_signing:
        return DeviceTrust.UNSIGNED
    return DeviceTrust.VERIFIED if owner is PersonTrust.VERIFIED else DeviceTrust.SIGNED_BY_OWNER


def person(conn: sqlite3.Connection, me: Me, user_id: UserId) -> PersonTrust:
    """What we know of this person's identity; of ourselves: VERIFIED once this device has confirmed it."""
    theirs = identities.identity(conn, user_id)
    own = theirs if user_id == me.user_id else identities.identity(conn, me.user_id)
    return of_person(own, theirs)


def device(conn: sqlite3.Connection, me: Me, user_id: UserId, device_id: DeviceId) -> DeviceTrust:
    """What we know of this device; UNSIGNED for one that is not there (any more)."""
    return devices(conn, me, [user_id]).get((user_id, device_id), DeviceTrust.UNSIGNED)


def people(conn: sqlite3.Connection, me: Me, user_ids: Iterable[UserId]) -> dict[UserId, PersonTrust]:
    """What we know of all these people's identities."""
    wanted = set(user_ids)
    known = identities.identities_of(conn, wanted | {me.user_id})
    own = known.get(me.user_id)
    return {user_id: of_person(own, known.get(user_id)) for user_id in wanted}


def devices(
    conn: sqlite3.Connection, me: Me, user_ids: Iterable[UserId]
) -> dict[tuple[UserId, DeviceId], DeviceTrust]:
    """All living devices of these people."""
    wanted = set(user_ids)
    known = identities.identities_of(conn, wanted)
    owners = people(conn, me, wanted)
    return {
        (user_id, device_id): of_device(owners[user_id], known.get(user_id), signed_by)
        for (user_id, device_id), signed_by in identities.signers(conn, sorted(wanted)).items()
    }


def notices(conn: sqlite3.Connection, me: Me) -> list[Notice]:
    """People whose identity changed and who were not dealt with yet, ourselves included."""
    own = identities.identity(conn, me.user_id)
    found = [(theirs, of_person(own, theirs)) for theirs in identities.changed(conn)]
    return [
        Notice(theirs.user_id, trust, theirs.changed_at)
        for theirs, trust in found
        if trust in (PersonTrust.CHANGED, PersonTrust.VIOLATED)
    ]


def _is_confirmed(own: Identity | None) -> bool:
    return own is not None and own.verified_master == own.master
