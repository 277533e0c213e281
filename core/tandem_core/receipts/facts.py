"""Gather from the store what the gate asks; where the two connections disagree, the answer is no (law 13)."""

from __future__ import annotations

import sqlite3

from tandem_core import settings, trust
from tandem_core.receipts import marker
from tandem_core.receipts.gate import Facts, ReceiptSettings, RoomFacts, SenderFacts
from tandem_core.store import crypto, failed, rooms
from tandem_core.store import receipts as store
from tandem_core.store.timeline import StoredEvent
from tandem_core.types import Me, RoomId, Seal, UserId


def event_facts(conn: sqlite3.Connection, event: StoredEvent) -> Facts:
    """The event as its reader sees it.

    Where its author sent the key again, told that this device lacks it, it has arrived only with that key.
    """
    key_came_at = failed.mended_at(conn, event.room_id, event.session_id, event.sender)
    return Facts(
        sender=event.sender,
        type=event.clear_type,
        content=event.clear_content,
        is_state=event.state_key is not None,
        row_kind=event.kind,
        seal=event.seal,
        origin=event.origin,
        sent_at=event.sent_at,
        received_at=max(event.received_at, key_came_at or 0),
        opened_at=event.opened_at,
        redacted=event.redacted_by is not None or event.kind == "redacted",
        is_proven=event.seal is not Seal.OPENED or _is_proven(conn, event),
        is_asking=marker.read(event.clear_content) is not None,
    )


def room_facts(conn: sqlite3.Connection, me: Me, room_id: RoomId) -> RoomFacts:
    """The room at our best, cautious knowledge."""
    standing = store.room_standing(conn, room_id)
    counts = [count for _, count, _ in standing]
    others = None if not counts or None in counts else max(c for c in counts if c is not None) - 1
    own = store.memberships(conn, room_id, me.user_id)
    # 0 is "not known"; the later of two times refuses more.
    joined_at = max((at for _, at in own), default=0) or None
    return RoomFacts(
        kind=rooms.kind(conn, room_id),
        encrypted=rooms.encryption(conn, room_id) is not None,
        joined=_all_join([m for m, _, _ in standing]) and _all_join([m for m, _ in own]),
        joined_at=joined_at,
        accepted=store.was_accepted(conn, room_id),
        others=others,
    )


def sender_facts(conn: sqlite3.Connection, me: Me, room_id: RoomId, sender: UserId) -> SenderFacts:
    """The author, as far as it matters."""
    return SenderFacts(
        is_me=sender == me.user_id,
        ignored=store.is_ignored(conn, sender),
        joined=is_joined(conn, room_id, sender),
        verified=trust.person(conn, me, sender) is trust.PersonTrust.VERIFIED,
    )


def is_joined(conn: sqlite3.Connection, room_id: RoomId, user_id: UserId) -> bool:
    """Whether this person is in the room, as all say that know the room."""
    return _all_join([membership for membership, _ in store.memberships(conn, room_id, user_id)])


def receipt_settings(conn: sqlite3.Connection, room_id: RoomId, sender: UserId) -> ReceiptSettings:
    """The settings for this room and person; unsound as a whole if any stored value is."""

    def held(key: str) -> settings.Effective:
        return settings.effective(conn, key, room_id, sender)

    direct, groups, plain = held("receipts.direct"), held("receipts.groups"), held("receipts.plain")
    groups_max, detail = held("receipts.groups_max"), held("receipts.device_detail")
    room, person = held("receipts.room"), held("receipts.person")
    timing, paused_until = held("receipts.timing"), held("receipts.paused_until")
    enabled = settings.confirms(conn)
    return ReceiptSettings(
        direct=direct.value == "on",
        groups=groups.value == "on",
        groups_max=int(groups_max.value),
        plain=plain.value == "on",
        device_detail=str(detail.value),
        room=str(room.value),
        person=str(person.value),
        enabled=enabled is True,
        paused_until=int(paused_until.value),
        is_sound=enabled is not None
        and all(
            one.is_sound
            for one in (direct, groups, plain, groups_max, detail, room, person, timing, paused_until)
        ),
    )


def _all_join(said: list[str]) -> bool:
    return bool(said) and all(membership == "join" for membership in said)


def _is_proven(conn: sqlite3.Connection, event: StoredEvent) -> bool:
    """Whether the key came from the sender's own device, not from a backup, a file or another device of ours."""
    if event.session_id is None:
        return False
    key = crypto.inbound(conn, event.room_id, event.session_id)
    return key is not None and key.source == "olm" and key.sender == event.sender
