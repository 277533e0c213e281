"""What a person sees of us when they write: gate and schedule are asked about a message of theirs, room by room."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tandem_core import settings
from tandem_core.receipts import facts, gate, planning, schedule
from tandem_core.receipts.gate import Facts, Owe, Reason, RoomFacts, Share
from tandem_core.receipts.schedule import Profile, Wait
from tandem_core.store import receipt_log
from tandem_core.types import Me, Origin, Role, RoomId, Seal, UserId

MOST_ROOMS = 6
_BECAUSE = {
    Reason.NOT_ACCEPTED: "you have not written there yet",
    Reason.IGNORED: "you ignore this person",
    Reason.PERSON_NEVER: "you never confirm to this person",
    Reason.ROOM_NEVER: "you never confirm in this room",
    Reason.SWITCHED_OFF: "confirmations are off",
    Reason.PAUSED: "you have paused confirmations",
    Reason.KIND_OFF: "confirmations are off for this kind of room",
    Reason.TOO_MANY_PEOPLE: "there are too many people",
    Reason.NOT_ASKED: "so many people are there that messages would have to ask for it",
    Reason.PUBLIC_ROOM: "anyone may join this room",
    Reason.BEFORE_JOIN: "it is not known when you joined",
    Reason.NOT_JOINED: "one of you is not in the room any more",
    Reason.SETTINGS_UNSOUND: "your settings cannot be understood",
    Reason.UNKNOWN_ROOM: "it is not certain what kind of room this is",
}


_HELD = {
    Wait.HOUR: "they have been told enough in the last hour",
    Wait.DAY: "they have been told enough in the last day",
    Wait.IN_ALL: "enough was confirmed in the last day, to all people together",
    Wait.COME_BACK: "you came back a short while ago, and that is not to be told at once",
    Wait.AWAY: "your homeserver has not answered for a while",
    Wait.UNANSWERED: "they were told several times while you did not show up",
    Wait.CLOCK: "the clock was set back",
}
_MOST_MERGED_S = 20
"""A server that merges the receipts of several devices holds them for about 10 s itself, after ours."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the person learns in one room; ``share`` is None where they learn nothing, and ``words`` say why."""

    room_id: RoomId
    share: Share | None
    words: str


def preview(conn: sqlite3.Connection, me: Me, link: Role, person: UserId, now_ms: int) -> list[Seen]:
    """What would become of a message that this person writes now, in each room that we share; direct chats first."""
    return [
        in_room(conn, me, room_id, person, now_ms)
        for room_id in receipt_log.rooms_with(conn, link, person, MOST_ROOMS)
    ]


def in_room(conn: sqlite3.Connection, me: Me, room_id: RoomId, person: UserId, now_ms: int) -> Seen:
    """The same for one room."""
    room = facts.room_facts(conn, me, room_id)
    decision = gate.decide(
        _message(person, room, now_ms),
        room,
        facts.sender_facts(conn, me, room_id, person),
        facts.receipt_settings(conn, room_id, person),
        now_ms,
    )
    if not isinstance(decision, Owe):
        return Seen(room_id, None, f"Nothing: {because(conn, decision.reason)}.")
    when = _when(conn, me, room_id, person, decision.share, now_ms)
    if decision.share is Share.DEVICE:
        what = "“Delivered”, to the minute, and which of your devices has it"
    else:
        what = "“Delivered”, to the minute, and nothing of your devices"
    if room.is_large:
        what = f"If their message asks for it: {what}"
    return Seen(room_id, decision.share, f"{what}; {when}.")


def _when(
    conn: sqlite3.Connection, me: Me, room_id: RoomId, person: UserId, share: Share, now_ms: int
) -> str:
    """When the person would be told, at the latest: the schedule with the longest times it can draw."""
    profile = planning.profile(conn, me, room_id, person, share, now_ms)
    plan = schedule.draw(profile, now_ms, _Longest())
    turn = schedule.turn(plan, planning.standing(conn, person, now_ms), now_ms)
    if turn.at is None:
        until = "once you write, or read in public" if turn.why is Wait.UNANSWERED else "later"
        return f"{until}, since {_HELD[turn.why]}"
    if turn.at > plan.flush_at and turn.why in _HELD:
        return f"in {_minutes(turn.at - now_ms)} at the latest, since {_HELD[turn.why]}"
    pace = schedule.PACES[profile]
    if profile is Profile.MERGED:
        return f"within {_MOST_MERGED_S} seconds"
    if pace.hold_s[0] >= 60:
        return f"after {round(pace.hold_s[0] / 60)} to {round((plan.flush_at - now_ms) / 60_000)} minutes"
    return f"within {-((now_ms - plan.flush_at) // 1000)} seconds"


class _Longest:
    """Draws the end of each range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def _minutes(ms: int) -> str:
    minutes = -(-ms // 60_000)
    return f"{minutes} minutes" if minutes < 120 else f"{-(-minutes // 60)} hours"


def because(conn: sqlite3.Connection, reason: Reason) -> str:
    """Why nothing is told, for the person whose settings these are."""
    if reason is Reason.SWITCHED_OFF and settings.get(conn, "receipts.answered") is not True:
        return "you have not chosen yet whether to confirm"
    return _BECAUSE.get(reason, "in doubt nothing is confirmed")


def _message(person: UserId, room: RoomFacts, now_ms: int) -> Facts:
    """A simple message as it would come in now; where it is encrypted, it may ask for its confirmation."""
    return Facts(
        sender=person,
        type="m.room.message",
        content={"msgtype": "m.text", "body": "hello"},
        is_state=False,
        row_kind="text",
        seal=Seal.OPENED if room.encrypted else Seal.PLAIN,
        origin=Origin.LIVE,
        sent_at=now_ms,
        received_at=now_ms,
        opened_at=now_ms,
        redacted=False,
        is_asking=room.encrypted,
    )
