"""When an author is told: a flush drawn at random and planned once, and what may hold it back. Pure.

Nothing that a program does moves a flush: not its start, its focus, its sleep. What does is what the author could
see anyway (the owner wrote, or read in public), and how much the author was told lately. Times are milliseconds
since 1970, budgets count flushes, not receipts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tandem_core.clock import Chance, elapsed_ms
from tandem_core.store.receipt_plans import Attendance, ComeBack, Flush, Plan

SPACING_MS = 10_000
"""Between two flushes to one author."""
BRISK_SPACING_MS = 2_000
"""The same where speed is wanted, or where the server holds receipts itself."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MOST_AN_HOUR, MOST_A_DAY = 6, 30
"""Flushes to one author while the owner does not show up."""
MOST_UNANSWERED = 5
"""After so many of them there are no more until the owner does."""
MOST_ATTENDED_AN_HOUR = 60
MOST_IN_ALL = 240
"""Flushes to everybody in a day."""
MOST_AUTHORS = 20
"""Authors who are told anything within ``SPACING_MS``."""
ATTENDED_MS = 10 * 60_000
"""For so long after they showed up the owner is taken to be there."""
ACTIVE_MS = 120_000
"""For so long after they showed up in a room they are visibly active there; a longer pause ends that presence."""
MOST_ACTIVE = 30
"""Flushes to one author in one presence that go out fast."""
AWAY_MS = 5 * 60_000
"""Without an answer of the server for so long, an account comes back."""
COME_BACK_S = (60.0, 1200.0)
CLOCK_SLACK_MS = 60_000
"""A time that lies further ahead was written by a clock that has gone back since."""


class Profile(StrEnum):
    """How fast an author is told."""

    CONTACT = "contact"
    OTHERS = "others"
    ACTIVE = "active"
    """The owner is visibly active in the room."""
    MERGED = "merged"
    """The server holds the receipts of all of the account's devices and tells the author at a time of its own."""
    SLOWER = "slower"
    QUICK = "quick"


@dataclass(frozen=True, slots=True)
class Pace:
    """What a profile draws from: the hold, and the longest slot in which the flush then falls.

    ``slacks``: how many times the slack comes on top of a wait whose end the author may know.
    """

    hold_s: tuple[float, float]
    slot_s: tuple[float, float]
    spacing_ms: int = SPACING_MS
    slacks: int = 1


PACES = {
    Profile.CONTACT: Pace((0.0, 14.0), (2.0, 5.0), slacks=3),
    Profile.OTHERS: Pace((2.0, 20.0), (10.0, 20.0), slacks=2),
    Profile.ACTIVE: Pace((1.0, 5.0), (1.0, 3.0), BRISK_SPACING_MS),
    # In all at most 7 s: the module lets go 8 s after the event at the earliest, when every device has spoken.
    Profile.MERGED: Pace((1.0, 3.5), (1.0, 3.5), BRISK_SPACING_MS),
    Profile.SLOWER: Pace((60.0, 300.0), (60.0, 300.0)),
    Profile.QUICK: Pace((1.0, 4.0), (1.0, 2.0), BRISK_SPACING_MS),
}


class Wait(StrEnum):
    """What decides when the next flush to an author is."""

    PLANNED = "planned"
    SPACING = "spacing"
    HOUR = "hour"
    DAY = "day"
    IN_ALL = "in_all"
    AUTHORS = "authors"
    PAUSED = "paused"
    COME_BACK = "come_back"
    AWAY = "away"
    UNANSWERED = "unanswered"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a flush depends on besides its plan. All times in order, the oldest first."""

    flushes: Sequence[Flush] = ()
    """To this author: at least those of the last day, and the last ``MOST_UNANSWERED``."""
    in_all: Sequence[int] = ()
    """To anybody in the last day."""
    other_authors: Sequence[int] = ()
    """The newest one to each other author within ``SPACING_MS``."""
    attended: Attendance | None = None
    """When the owner last showed up in a room with the author."""
    come_back: ComeBack | None = None
    answered_at: int | None = None
    """The server's last answer to a sync; None where there is no sync."""
    paused_until: int = 0
    is_quick: bool = False
    """The owner prefers speed: budgets are as if they were there."""


@dataclass(frozen=True, slots=True)
class Turn:
    """When the flush is to be made, and what decided that; ``at`` None: something has to happen first."""

    at: int | None
    why: Wait


def draw(profile: Profile, from_ms: int, chance: Chance) -> Plan:
    """Plan a flush for what was decided at ``from_ms`` and later."""
    pace = PACES[profile]
    hold_ms = _drawn_ms(*pace.hold_s, chance)
    slack_ms = _drawn_ms(0.0, chance.uniform(*pace.slot_s), chance)
    return Plan(from_ms + hold_ms + slack_ms, hold_ms, slack_ms, from_ms, profile)


def _drawn_ms(least_s: float, most_s: float, chance: Chance) -> int:
    """The mean of two draws: what began sharply would show, by the shortest of many, how fast the machine is."""
    return round((chance.uniform(least_s, most_s) + chance.uniform(least_s, most_s)) / 2 * 1000)


def draw_come_back(answered_at: int | None, now_ms: int, chance: Chance) -> ComeBack | None:
    """The hold of an account whose sync is answered now and was before at ``answered_at``; None: it was not away."""
    if not is_away(answered_at, now_ms):
        return None
    return ComeBack(now_ms, now_ms + round(chance.uniform(*COME_BACK_S) * 1000))


def is_away(answered_at: int | None, now_ms: int) -> bool:
    """Whether the server has not answered for a while, or the clock has jumped so that nobody can tell."""
    return answered_at is not None and elapsed_ms(answered_at, now_ms) >= AWAY_MS


def is_attended(attended: Attendance | None, now_ms: int) -> bool:
    """Whether the owner showed up a short while ago; a time in the future says nothing."""
    return attended is not None and 0 <= now_ms - attended.at < ATTENDED_MS


def turn(plan: Plan, standing: Standing, now_ms: int) -> Turn:
    """When this author is told next, as far as can be said now; the answer may change with what happens until then.

    What holds a flush back beyond its plan is over at a time that the author may know. So the plan's own slack is
    added to it, as many times as its profile says, lest the rest tells how fast this machine wakes up.
    """
    if _clock_went_back(plan, standing, now_ms):
        return Turn(None, Wait.CLOCK)
    if is_away(standing.answered_at, now_ms):
        return Turn(None, Wait.AWAY)
    there = standing.is_quick or is_attended(standing.attended, now_ms)
    unanswered = _unanswered(standing)
    if not there and len(unanswered) >= MOST_UNANSWERED:
        return Turn(None, Wait.UNANSWERED)
    blocks = list(_blocks(plan, standing, there))
    end, why = max(blocks, default=(0, Wait.PLANNED))
    late_ms = plan.slack_ms * PACES[Profile(plan.profile)].slacks
    if blocks and end + late_ms > plan.flush_at:
        return Turn(end + late_ms, why)
    return Turn(plan.flush_at, Wait.PLANNED)


def room_again(times: Sequence[int], most: int, window_ms: int) -> int:
    """From when on fewer than ``most`` of the times lie within the window before; 0: always."""
    return times[-most] + window_ms if len(times) >= most else 0


def _blocks(plan: Plan, standing: Standing, there: bool) -> list[tuple[int, Wait]]:
    """The ends of all that holds a flush back."""
    times = [flush.at for flush in standing.flushes]
    unattended = [flush.at for flush in standing.flushes if not flush.attended]
    found = [
        (room_again(times, 1, PACES[Profile(plan.profile)].spacing_ms), Wait.SPACING),
        (room_again(times, MOST_ATTENDED_AN_HOUR, HOUR_MS), Wait.HOUR),
        (room_again(standing.in_all, MOST_IN_ALL, DAY_MS), Wait.IN_ALL),
        (room_again(standing.other_authors, MOST_AUTHORS, SPACING_MS), Wait.AUTHORS),
        (standing.paused_until, Wait.PAUSED),
    ]
    if not there:
        found.append((room_again(unattended, MOST_AN_HOUR, HOUR_MS), Wait.HOUR))
        found.append((room_again(unattended, MOST_A_DAY, DAY_MS), Wait.DAY))
    hold, attended = standing.come_back, standing.attended
    if hold is not None and (attended is None or attended.at <= hold.drawn_at):
        found.append((hold.until, Wait.COME_BACK))
    if attended is not None and attended.since > plan.flush_at:
        found.append((attended.since, Wait.PLANNED))  # it was held back, and their showing up has let it go
    return [(end, why) for end, why in found if end]


def _unanswered(standing: Standing) -> list[Flush]:
    """The flushes since the owner was last seen that nobody was there for."""
    since = -1 if standing.attended is None else standing.attended.at
    return [flush for flush in standing.flushes if not flush.attended and flush.at > since]


def _clock_went_back(plan: Plan, standing: Standing, now_ms: int) -> bool:
    hold = standing.come_back
    written: list[int] = [
        plan.drawn_at,
        *(flush.at for flush in standing.flushes[-1:]),
        *standing.in_all[-1:],
        *((hold.drawn_at,) if hold is not None else ()),
    ]
    return max(written) > now_ms + CLOCK_SLACK_MS
