"""What each role of a timeline row says, from the row and the rows around it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tandem_app.models import attachment_words, words
from tandem_app.models.roles import USER_ROLE

if TYPE_CHECKING:
    from tandem_app.shields import Shield
    from tandem_core.receipts.summary import Summary
    from tandem_core.store.timeline import Row

RUN_MS = 5 * 60 * 1000
"""Messages of one person further apart than this show the name again."""
_FIRST = USER_ROLE + 1


class RowRole(IntEnum):
    """What QML may ask of a row; the names below are those of its required properties."""

    KEY = _FIRST
    KIND = _FIRST + 1
    SENDER = _FIRST + 2
    HUE = _FIRST + 3
    TEXT = _FIRST + 4
    TIME = _FIRST + 5
    OWN = _FIRST + 6
    EDITED = _FIRST + 7
    SEND_STATE = _FIRST + 8
    ERROR = _FIRST + 9
    RUN_START = _FIRST + 10
    RUN_END = _FIRST + 11
    DAY = _FIRST + 12
    UNREAD_LINE = _FIRST + 13
    MARK = _FIRST + 14
    MARK_COUNT = _FIRST + 15
    MARK_WORDS = _FIRST + 16
    SPOKEN = _FIRST + 17
    ATTACHMENT = _FIRST + 18
    SHIELD = _FIRST + 19
    SHIELD_GRAVE = _FIRST + 20


NAMES = {
    RowRole.KEY: b"key",
    RowRole.KIND: b"kind",
    RowRole.SENDER: b"sender",
    RowRole.HUE: b"hue",
    RowRole.TEXT: b"text",
    RowRole.TIME: b"time",
    RowRole.OWN: b"own",
    RowRole.EDITED: b"edited",
    RowRole.SEND_STATE: b"sendState",
    RowRole.ERROR: b"error",
    RowRole.RUN_START: b"runStart",
    RowRole.RUN_END: b"runEnd",
    RowRole.DAY: b"day",
    RowRole.UNREAD_LINE: b"unreadLine",
    RowRole.MARK: b"mark",
    RowRole.MARK_COUNT: b"markCount",
    RowRole.MARK_WORDS: b"markWords",
    RowRole.SPOKEN: b"spoken",
    RowRole.ATTACHMENT: b"attachment",
    RowRole.SHIELD: b"shield",
    RowRole.SHIELD_GRAVE: b"shieldGrave",
}
MARK_ROLES = [int(role) for role in (RowRole.MARK, RowRole.MARK_COUNT, RowRole.MARK_WORDS, RowRole.SPOKEN)]
SHIELD_ROLES = [int(role) for role in (RowRole.SHIELD, RowRole.SHIELD_GRAVE, RowRole.SPOKEN)]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The rows next to a row, where there are any."""

    older: Row | None
    newer: Row | None


def kind(row: Row) -> str:
    """The shape a row takes."""
    if row.redacted or row.kind == "redacted":
        return "redacted"
    return row.kind


def text(row: Row) -> str:
    """StyledText of a row."""
    match kind(row):
        case "redacted":
            return "Message deleted"
        case "sealed":
            return words.sealed(row.seal_reason)
        case "state":
            return words.styled(row.body, None)
    if row.attachment is not None:
        return words.styled(row.attachment.caption, None)
    return words.styled(row.body, row.html)


def same_run(row: Row, older: Row | None) -> bool:
    """Whether a row goes on where the older one ended: the same person, soon after, on the same day."""
    return (
        older is not None
        and older.sender == row.sender
        and older.kind != "state"
        and row.kind != "state"
        and abs(row.sent_at - older.sent_at) <= RUN_MS
        and words.day_number(row.sent_at) == words.day_number(older.sent_at)
    )


def mark_state(row: Row, summary: Summary | None) -> str:
    """The delivery state of our own message; empty for all other rows."""
    if not row.is_own or kind(row) in ("state", "redacted"):
        return ""
    if row.send_state in ("failed", "queued", "sending"):
        return row.send_state
    if summary is None:
        return "sent"
    if str(summary.state) != "trouble" or summary.people_delivered == summary.people_total:
        return str(summary.state)
    # The ticks beside the key say how far it got all the same.
    return "trouble_some" if summary.people_delivered else "trouble_sent"


def mark_words(summary: Summary | None) -> str:
    """What the mark says: its state, and who has the message where they are few enough to be named."""
    if summary is None:
        return ""
    return f"{summary.text}: {summary.names}" if summary.names else summary.text


def edge(row: Row, around: Neighbours, role: int, now_ms: int, marks: dict[str, Summary]) -> Any:
    """The roles that depend on the rows around."""
    match role:
        case RowRole.RUN_START:
            return not same_run(row, around.older)
        case RowRole.RUN_END:
            return around.newer is None or not same_run(around.newer, row)
        case RowRole.DAY:
            older = around.older
            if older is not None and words.day_number(older.sent_at) == words.day_number(row.sent_at):
                return ""
            return words.day_words(row.sent_at, now_ms)
    return _shown_mark(row, around.newer, marks)


def value(row: Row, role: int, summary: Summary | None, shield: Shield | None = None) -> Any:
    """The roles that depend on the row alone."""
    match role:
        case RowRole.KEY:
            return row.key
        case RowRole.KIND:
            return kind(row)
        case RowRole.SENDER:
            return row.sender_name
        case RowRole.HUE:
            return words.hue(row.sender)
        case RowRole.TEXT:
            return text(row)
        case RowRole.TIME:
            return words.clock_time(row.sent_at)
        case RowRole.OWN:
            return row.is_own
        case RowRole.EDITED:
            return row.edited
        case RowRole.SEND_STATE:
            return row.send_state
        case RowRole.ERROR:
            return row.error or ""
        case RowRole.MARK_COUNT:
            return summary.number if summary is not None else ""
        case RowRole.MARK_WORDS:
            return mark_words(summary)
        case RowRole.SPOKEN:
            return spoken(row, summary, shield)
        case RowRole.ATTACHMENT:
            return attachment_words.facts(row)
        case RowRole.SHIELD:
            return shield.words if shield is not None else ""
        case RowRole.SHIELD_GRAVE:
            return shield is not None and shield.is_grave
    return None


def spoken(row: Row, summary: Summary | None, shield: Shield | None = None) -> str:
    """The whole row for a screen reader."""
    match kind(row):
        case "state":
            return row.body
        case "redacted":
            said = "Message deleted"
        case "sealed":
            said = words.sealed(row.seal_reason)
        case _:
            said = row.body if row.attachment is None else attachment_words.spoken(row.attachment)
    who = "You" if row.is_own else row.sender_name
    parts = [f"{who}: {said}", words.clock_time(row.sent_at)]
    if row.edited:
        parts.append("edited")
    if row.is_own:
        if row.send_state == "failed":
            parts.append("Not sent")
        elif summary is not None:
            parts.append(summary.accessible)
    if shield is not None:
        parts.append(shield.words)
    return ", ".join(parts)


def missing(role: int) -> Any:
    """What a row says that the store no longer has, until the list follows."""
    match role:
        case RowRole.HUE:
            return 0
        case RowRole.ATTACHMENT:
            return {}
        case (
            RowRole.OWN
            | RowRole.SHIELD_GRAVE
            | RowRole.EDITED
            | RowRole.RUN_START
            | RowRole.RUN_END
            | RowRole.UNREAD_LINE
        ):
            return False
    return "" if role in NAMES else None


def news(before: Summary | None, after: Summary | None) -> str:
    """What there is to tell aloud of a message whose mark has changed; empty where its state is the same.

    That a message waits or is on its way is no news: its author has just written it.
    """
    if before is None or after is None or before.state == after.state:
        return ""
    match str(after.state):
        case "queued" | "sending":
            return ""
        case "untracked":
            return "Sent"
    return mark_words(after)


def is_grave(summary: Summary) -> bool:
    """Whether its author has to do something about a message."""
    return str(summary.state) in ("failed", "nobody", "trouble")


def _shown_mark(row: Row, newer: Row | None, marks: dict[str, Summary]) -> str:
    """Only the last message of a run shows its mark, unless an earlier one is further behind or not yet sent."""
    state = mark_state(row, marks.get(row.key))
    if state in ("", "failed", "queued", "sending") or newer is None or not same_run(newer, row):
        return state
    if not mark_state(newer, marks.get(newer.key)):
        return state
    own, following = marks.get(row.key), marks.get(newer.key)
    if own is None or following is None:
        return "" if own is None else state
    return state if own.progress < following.progress else ""
