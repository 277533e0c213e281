"""Who may confirm which event: the checks of MSC4089, on plain values.

Pure, so that every refusal can be read, and tested, without a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

UNROUTABLE = "IM_TANDEM_UNROUTABLE"
"""errcode: the author's homeserver cannot be reached with delivery receipts; take the encrypted way."""


class Refusal(Enum):
    """A definite answer: HTTP status, Matrix errcode, words."""

    NOT_JOINED = (HTTPStatus.FORBIDDEN, "M_FORBIDDEN", "You are not joined to this room")
    UNKNOWN_EVENT = (HTTPStatus.NOT_FOUND, "M_NOT_FOUND", "There is no such event in this room")
    OWN_EVENT = (
        HTTPStatus.BAD_REQUEST,
        "M_INVALID_PARAM",
        "You cannot confirm the delivery of your own event",
    )
    BEFORE_JOIN = (HTTPStatus.FORBIDDEN, "M_FORBIDDEN", "This event was sent before you joined the room")
    REMOTE_AUTHOR = (
        HTTPStatus.BAD_REQUEST,
        UNROUTABLE,
        "The author's homeserver does not take delivery receipts from this one",
    )

    @property
    def status(self) -> HTTPStatus:
        return self.value[0]

    @property
    def errcode(self) -> str:
        return self.value[1]

    @property
    def words(self) -> str:
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is known when somebody confirms an event."""

    requester: str
    is_joined: bool
    room_id: str
    event_room_id: str | None
    """The room that the event is really in; None when there is no such event."""
    author: str
    is_routable: bool
    """Whether the author is of this server, or of one that takes delivery receipts."""
    was_joined_at_event: bool


def judge(asked: Confirmation) -> Refusal | None:
    """None when the receipt may be kept; otherwise why not.

    Membership comes first, so that somebody outside a room learns nothing about its events.
    """
    if not asked.is_joined:
        return Refusal.NOT_JOINED
    if asked.event_room_id != asked.room_id:
        return Refusal.UNKNOWN_EVENT
    if not asked.was_joined_at_event:
        return Refusal.BEFORE_JOIN
    if asked.author == asked.requester:
        return Refusal.OWN_EVENT
    if not asked.is_routable:
        return Refusal.REMOTE_AUTHOR
    return None


def share_of(body: Mapping[str, Any]) -> str | None:
    """``user`` (the default) or ``device`` as the body's ``im.tandem.share`` says; None for anything else."""
    share = body.get("im.tandem.share", "user")
    return share if share in ("user", "device") else None


def is_sensible_thread(body: Mapping[str, Any]) -> bool:
    """A ``thread_id`` changes nothing, since receipts are per event; but it must be what the specification allows."""
    return isinstance(body.get("thread_id", ""), str)
