"""Whom to trust: people and devices, from the checked rows of the store alone (spec, "Cross-signing").

Both programs ask here, so that both give the same answer. Nothing here asks the network, and nothing is remembered.

A person is verified if our own identity is (this device has confirmed it), and its user-signing key signed the
master key that the person publishes now. A device is verified if its owner is and their self-signing key signed
it. Who was never verified is trusted as first seen: a change is told. Who was verified and shows another master key
since is a violation, and nothing is sent to them until the person at this machine decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from tandem_core.store import identities, portions, room_facts
from tandem_core.store.identities import Identity
from tandem_core.types import DeviceId, EventId, Me, RoomId, UserId


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


class EventTrust(Enum):
    """What speaks against an event's sender being who it says; GOOD if nothing does."""

    GOOD = "good"
    SEALED = "sealed"
    """It is not open, or not a message: nothing is said of it."""
    NOT_ENCRYPTED = "not_encrypted"
    UNSIGNED_DEVICE = "unsigned_device"
    UNLISTED_DEVICE = "unlisted_device"
    UNKNOWN_DEVICE = "unknown_device"
    UNSAFE_SOURCE = "unsafe_source"
    CHANGED_IDENTITY = "changed_identity"

    @property
    def words(self) -> str:
        """A sentence for people; empty where there is nothing to say."""
        return _EVENT_WORDS.get(self, "")


_EVENT_WORDS = {
    EventTrust.NOT_ENCRYPTED: "Sent without encryption, in a room that has it.",
    EventTrust.UNSIGNED_DEVICE: "Sent from a device that its owner has not confirmed.",
    EventTrust.UNLISTED_DEVICE: "Sent from a device that is not in its owner's list, or is there no more.",
    EventTrust.UNKNOWN_DEVICE: "Sent from a device that nobody knows.",
    EventTrust.UNSAFE_SOURCE: "The key to this came from a file, a backup or another device, which proves no sender.",
    EventTrust.CHANGED_IDENTITY: "The sender's identity is not the one that you verified.",
}
_SAFE_SOURCES = ("olm", "own")
_EVENTS = (
    "SELECT event_id, room_id, sender, seal, session_id, state_key, kind FROM event WHERE event_id IN ({0})"
)


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


def is_verified(conn: sqlite3.Connection, me: Me, device_id: DeviceId) -> bool:
    """Whether this device of ours is verified."""
    return device(conn, me, me.user_id, device_id) is DeviceTrust.VERIFIED


def verified_others(conn: sqlite3.Connection, me: Me) -> list[DeviceId]:
    """Our other devices that are verified; none before our own identity is confirmed here."""
    if person(conn, me, me.user_id) is not PersonTrust.VERIFIED:
        return []
    return sorted(
        device_id
        for (_, device_id), verdict in devices(conn, me, [me.user_id]).items()
        if verdict is DeviceTrust.VERIFIED and device_id != me.device_id
    )


def notices(conn: sqlite3.Connection, me: Me) -> list[Notice]:
    """People whose identity changed and who were not dealt with yet, ourselves included."""
    own = identities.identity(conn, me.user_id)
    found = [(theirs, of_person(own, theirs)) for theirs in identities.changed(conn)]
    return [
        Notice(theirs.user_id, trust, theirs.changed_at)
        for theirs, trust in found
        if trust in (PersonTrust.CHANGED, PersonTrust.VIOLATED)
    ]


def of_event(conn: sqlite3.Connection, me: Me, event_id: EventId) -> EventTrust:
    """What is to be said of an event's sender now; it changes with the lists of devices and with identities."""
    return of_events(conn, me, [event_id]).get(event_id, EventTrust.SEALED)


def of_events(conn: sqlite3.Connection, me: Me, event_ids: Sequence[EventId]) -> dict[EventId, EventTrust]:
    """The same of many events; what the store does not have is left out.

    People write many messages with one session, so each session is looked at once.
    """
    of_session: dict[tuple[RoomId, UserId, str | None], EventTrust] = {}
    found = {}
    for event in portions.rows(conn, _EVENTS, event_ids):
        if event["seal"] in ("sealed", "refused"):
            verdict = EventTrust.SEALED
        elif event["seal"] == "plain":
            verdict = _of_plain(conn, event)
        else:
            key = (event["room_id"], event["sender"], event["session_id"])
            if key not in of_session:
                of_session[key] = _of_session(conn, me, *key)
            verdict = of_session[key]
        found[event["event_id"]] = verdict
    return found


def _of_plain(conn: sqlite3.Connection, event: sqlite3.Row) -> EventTrust:
    is_message = event["state_key"] is None and event["kind"] not in ("none", "redacted", "state")
    is_odd = is_message and room_facts.encryption(conn, event["room_id"]) is not None
    return EventTrust.NOT_ENCRYPTED if is_odd else EventTrust.GOOD


def _of_session(
    conn: sqlite3.Connection, me: Me, room_id: RoomId, sender: UserId, session_id: str | None
) -> EventTrust:
    """What is to be said of a sender whose message was opened with this Megolm session."""
    session = conn.execute(
        "SELECT sender_key, claimed_ed25519, source FROM megolm_inbound WHERE room_id = ? AND session_id = ?",
        (room_id, session_id),
    ).fetchone()
    if session is None or session["source"] == "own":
        return EventTrust.GOOD if session is not None else EventTrust.UNSAFE_SOURCE
    if person(conn, me, sender) is PersonTrust.VIOLATED:
        return EventTrust.CHANGED_IDENTITY
    if session["source"] not in _SAFE_SOURCES:
        return EventTrust.UNSAFE_SOURCE
    sent_by = conn.execute(
        "SELECT signed_by, deleted, ed25519 FROM device WHERE user_id = ? AND curve25519 = ? ORDER BY deleted",
        (sender, session["sender_key"]),
    ).fetchone()
    if sent_by is None or sent_by["ed25519"] != session["claimed_ed25519"]:
        return EventTrust.UNKNOWN_DEVICE
    theirs = identities.identity(conn, sender)
    if of_device(PersonTrust.SEEN, theirs, sent_by["signed_by"]) is DeviceTrust.SIGNED_BY_OWNER:
        return EventTrust.GOOD
    return EventTrust.UNLISTED_DEVICE if sent_by["deleted"] else EventTrust.UNSIGNED_DEVICE


def _is_confirmed(own: Identity | None) -> bool:
    return own is not None and own.verified_master == own.master
