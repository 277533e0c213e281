"""Ids and frozen records that cross layers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType

UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)

Json = dict[str, Any]


def server_of(user_id: UserId) -> str:
    """The name of the server that a person's account is on."""
    return user_id.partition(":")[2]


class Role(StrEnum):
    """Which of the two programs this is; its value is also the sliding-sync ``conn_id``."""

    APP = "app"
    NOTIFIER = "notifier"

    @property
    def other(self) -> Role:
        """The program on the other side of the device."""
        return Role.NOTIFIER if self is Role.APP else Role.APP


class Topic(StrEnum):
    """What kind of rows a transaction changed; the doorbell rings with these."""

    SESSION = "session"
    INBOX = "inbox"
    ROOMS = "rooms"
    TIMELINE = "timeline"
    TYPING = "typing"
    READS = "reads"
    DELIVERY = "delivery"
    OWED = "owed"
    OUTBOX = "outbox"
    KEYS = "keys"
    DEVICES = "devices"
    SETTINGS = "settings"
    NOTIFICATIONS = "notifications"
    VERIFICATION = "verification"
    ACCOUNT_DATA = "account_data"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of this topic changed, in one room or (``None``) somewhere."""

    topic: Topic
    room_id: RoomId | None = None


@dataclass(frozen=True, slots=True)
class Me:
    """Who this device is."""

    user_id: UserId
    device_id: DeviceId


class Seal(StrEnum):
    """Whether an event is readable: never sealed, sealed and waiting, opened, or refused for good."""

    PLAIN = "plain"
    SEALED = "sealed"
    OPENED = "opened"
    REFUSED = "refused"


class Origin(StrEnum):
    """How an event got into a timeline; only live and gap-filled events may be receipted."""

    LIVE = "live"
    GAP = "gap"
    BACK = "back"
