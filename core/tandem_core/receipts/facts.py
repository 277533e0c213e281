"""Gather from the store what the gate asks; where the two connections disagree, the answer is no (law 13)."""

from __future__ import annotations

import sqlite3

from tandem_core import settings, trust
from tandem_core.receipts.gate import ReceiptSettings, RoomFacts, SenderFacts
from tandem_core.store import receipts as store
from tandem_core.store import rooms
from tandem_core.types import Me, RoomId, UserId


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
        joined=_all_join([m for m, _ in store.memberships(conn, room_id, sender)]),
        verified=trust.person(conn, me, sender) is trust.PersonTrust.VERIFIED,
    )


def receipt_settings(conn: sqlite3.Connection, room_id: RoomId, sender: UserId) -> ReceiptSettings:
    """The settings for this room and person; unsound as a whole if any stored value is."""

    def held(key: str) -> settings.Effective:
        return settings.effective(conn, key, room_id, sender)

    direct, groups, plain = held("receipts.direct"), held("receipts.groups"), held("receipts.plain")
    groups_max, detail = held("receipts.groups_max"), held("receipts.device_detail")
    room, person = held("receipts.room"), held("receipts.person")
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
        is_sound=enabled is not None
        and all(e.is_sound for e in (direct, groups, plain, groups_max, detail, room, person)),
    )


def _all_join(said: list[str]) -> bool:
    return bool(said) and all(membership == "join" for membership in said)
