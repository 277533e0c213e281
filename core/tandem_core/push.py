"""Push rules, evaluated on the client (Matrix client-server API v1.15, module "Push notifications").

Pure: rules, event and context in; verdict out. Rules come from a server and events from strangers, so whatever
is malformed is skipped and never raises; matching takes time linear in the text for each rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tandem_core.types import Json, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Event:
    """What rules can match, as the author meant it: of an encrypted event the opened type and content."""

    type: str
    content: Json
    sender: UserId
    room_id: RoomId
    state_key: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Whom we judge for, and the room: our name in it, how many joined (0: unknown), ``m.room.power_levels``."""

    me: UserId
    display_name: str | None
    joined_count: int
    power_levels: Json | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event notifies, stands out, and sounds (the name of the sound)."""

    notify: bool = False
    highlight: bool = False
    sound: str | None = None


NOTHING = Verdict()

_LEGACY_MENTIONS = frozenset(
    {".m.rule.contains_display_name", ".m.rule.contains_user_name", ".m.rule.roomnotif"}
)
_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,9})\Z")
_PATH_PART = re.compile(r"(?:[^.\\]|\\.|\\\Z)*", re.DOTALL)
_MOST_PATTERN = 1024


def evaluate(ruleset: Json | None, event: Event, context: Context) -> Verdict:
    """What the first rule that matches says; nothing for our own events and for edits.

    ``ruleset`` is the ``global`` part of ``m.push_rules``; None means the spec's default rules.
    """
    if event.sender == context.me or _is_edit(event.content):
        return NOTHING
    if ruleset is None:
        ruleset = default_rules(context.me)
    root = _root(event)
    for kind in ("override", "content", "room", "sender", "underride"):
        for rule in _enabled(ruleset.get(kind)):
            if "m.mentions" in event.content and str(rule.get("rule_id")) in _LEGACY_MENTIONS:
                # MSC3952: who says whom they mention means nobody else.
                continue
            if _matches(kind, rule, event, root, context):
                return _verdict(rule["actions"])
    return NOTHING


@lru_cache(maxsize=4)
def default_rules(me: UserId) -> Json:
    """The spec's predefined rules for this user, for servers that have not told theirs."""
    sound: Json = {"set_tweak": "sound", "value": "default"}
    stand_out: Json = {"set_tweak": "highlight"}

    def when(rule_id: str, actions: list[Any], *conditions: Json, enabled: bool = True) -> Json:
        return {
            "rule_id": f".m.rule.{rule_id}",
            "default": True,
            "enabled": enabled,
            "conditions": list(conditions),
            "actions": actions,
        }

    def matches(key: str, pattern: str) -> Json:
        return {"kind": "event_match", "key": key, "pattern": pattern}

    two = {"kind": "room_member_count", "is": "2"}
    may_notify_room = {"kind": "sender_notification_permission", "key": "room"}
    return {
        "override": [
            when("master", [], enabled=False),
            when("suppress_notices", [], matches("content.msgtype", "m.notice")),
            when(
                "invite_for_me",
                ["notify", sound],
                matches("type", "m.room.member"),
                matches("content.membership", "invite"),
                matches("state_key", me),
            ),
            when("member_event", [], matches("type", "m.room.member")),
            when(
                "is_user_mention",
                ["notify", sound, stand_out],
                {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": me},
            ),
            when("contains_display_name", ["notify", sound, stand_out], {"kind": "contains_display_name"}),
            when(
                "is_room_mention",
                ["notify", stand_out],
                {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
                may_notify_room,
            ),
            when("roomnotif", ["notify", stand_out], matches("content.body", "@room"), may_notify_room),
            when(
                "tombstone",
                ["notify", stand_out],
                matches("type", "m.room.tombstone"),
                matches("state_key", ""),
            ),
            when("reaction", [], matches("type", "m.reaction")),
            when("room.server_acl", [], matches("type", "m.room.server_acl"), matches("state_key", "")),
            when(
                "suppress_edits",
                [],
                {"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"},
            ),
        ],
        "content": [
            {
                "rule_id": ".m.rule.contains_user_name",
                "default": True,
                "enabled": True,
                "pattern": me[1:].partition(":")[0],
                "actions": ["notify", sound, stand_out],
            }
        ],
        "room": [],
        "sender": [],
        "underride": [
            when(
                "call", ["notify", {"set_tweak": "sound", "value": "ring"}], matches("type", "m.call.invite")
            ),
            when("encrypted_room_one_to_one", ["notify", sound], two, matches("type", "m.room.encrypted")),
            when("room_one_to_one", ["notify", sound], two, matches("type", "m.room.message")),
            when("message", ["notify"], matches("type", "m.room.message")),
            when("encrypted", ["notify"], matches("type", "m.room.encrypted")),
        ],
    }


def _is_edit(content: Json) -> bool:
    relates = content.get("m.relates_to")
    return isinstance(relates, dict) and relates.get("rel_type") == "m.replace"


def _enabled(rules: object) -> Iterator[Json]:
    for rule in rules if isinstance(rules, list) else ():
        if (
            isinstance(rule, dict)
            and rule.get("enabled", True) is True
            and isinstance(rule.get("actions"), list)
        ):
            yield rule


def _matches(kind: str, rule: Json, event: Event, root: Json, context: Context) -> bool:
    match kind:
        case "content":
            body = event.content.get("body")
            pattern = rule.get("pattern")
            return isinstance(body, str) and isinstance(pattern, str) and _has_word(pattern, body)
        case "room":
            return rule.get("rule_id") == event.room_id
        case "sender":
            return rule.get("rule_id") == event.sender
    conditions = rule.get("conditions")
    # A rule without conditions always matches.
    return isinstance(conditions, list) and all(_holds(each, root, context) for each in conditions)


def _holds(condition: object, root: Json, context: Context) -> bool:
    match condition:
        case {"kind": "event_match", "key": str(key), "pattern": str(pattern)}:
            value = _property(root, key)
            if not isinstance(value, str):
                return False
            return _has_word(pattern, value) if key == "content.body" else _is_like(pattern, value)
        case {"kind": "event_property_is", "key": str(key), "value": wanted}:
            return _same(_property(root, key), wanted)
        case {"kind": "event_property_contains", "key": str(key), "value": wanted}:
            values = _property(root, key)
            return isinstance(values, list) and any(_same(value, wanted) for value in values)
        case {"kind": "contains_display_name"}:
            body = _property(root, "content.body")
            name = context.display_name
            return name is not None and isinstance(body, str) and _has_literal(name, body)
        case {"kind": "room_member_count", "is": str(wanted)}:
            return _counts(wanted, context.joined_count)
        case {"kind": "sender_notification_permission", "key": str(key)}:
            return _may_notify(root["sender"], key, context.power_levels)
    return False  # a condition we do not know never holds


def _root(event: Event) -> Json:
    root: Json = {
        "type": event.type,
        "content": event.content,
        "sender": event.sender,
        "room_id": event.room_id,
    }
    if event.state_key is not None:
        root["state_key"] = event.state_key
    return root


_MISSING = object()


def _property(root: Json, key: str) -> object:
    value: Any = root
    for part in _path(key):
        if not isinstance(value, dict) or part not in value:
            return _MISSING
        value = value[part]
    return value


@lru_cache(maxsize=256)
def _path(key: str) -> tuple[str, ...]:
    r"""The parts of a dotted path; ``\.`` is a dot inside a part and ``\\`` a backslash."""
    parts, start = [], 0
    while True:
        found = _PATH_PART.match(key, start)
        assert found is not None
        parts.append(re.sub(r"\\([.\\])", r"\1", found.group()))
        if found.end() >= len(key):
            return tuple(parts)
        start = found.end() + 1


def _same(value: object, wanted: object) -> bool:
    """Exactly the same string, integer, boolean or null; true is not 1."""
    return (
        (wanted is None or isinstance(wanted, str | int | bool))
        and type(value) is type(wanted)
        and value == wanted
    )


def _counts(wanted: str, count: int) -> bool:
    found = _COUNT.match(wanted)
    if found is None or count <= 0:
        return False
    number = int(found[2])
    match found[1]:
        case "<":
            return count < number
        case ">":
            return count > number
        case "<=":
            return count <= number
        case ">=":
            return count >= number
    return count == number


def _may_notify(sender: str, key: str, power_levels: Json | None) -> bool:
    if power_levels is None:
        return False
    users, needed = power_levels.get("users"), power_levels.get("notifications")
    own = users.get(sender) if isinstance(users, dict) else None
    level = _level(own, _level(power_levels.get("users_default"), 0))
    return level >= _level(needed.get(key) if isinstance(needed, dict) else None, 50)


def _level(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _verdict(actions: list[Any]) -> Verdict:
    highlight, sound = False, None
    for action in actions:
        match action:
            case {"set_tweak": "highlight"}:
                highlight = action.get("value", True) is True
            case {"set_tweak": "sound", "value": str(value)}:
                sound = value
    # "dont_notify" and "coalesce" are gone from the spec and do nothing.
    return Verdict(True, highlight, sound) if "notify" in actions else NOTHING


def _has_word(pattern: str, text: str) -> bool:
    """Whether the glob matches somewhere in ``text``, bounded by non-word characters or its ends."""
    return bool(pattern) and len(pattern) <= _MOST_PATTERN and _found(_pieces(pattern, True), text)


def _is_like(pattern: str, text: str) -> bool:
    """Whether the glob matches all of ``text``."""
    return len(pattern) <= _MOST_PATTERN and _found(_pieces(pattern, False), text)


def _has_literal(name: str, text: str) -> bool:
    return 0 < len(name) <= _MOST_PATTERN and _literal(name).search(text) is not None


@lru_cache(maxsize=64)
def _literal(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", re.IGNORECASE)


@lru_cache(maxsize=256)
def _pieces(pattern: str, is_word: bool) -> tuple[re.Pattern[str], ...]:
    """The glob cut at its stars, the outer pieces bound to a word's edges or the text's ends."""
    before, after = (r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])") if is_word else (r"\A", r"\Z")
    pieces = ["".join("." if char == "?" else re.escape(char) for char in cut) for cut in pattern.split("*")]
    pieces[0] = before + pieces[0]
    pieces[-1] += after
    return tuple(re.compile(piece, re.IGNORECASE | re.DOTALL) for piece in pieces)


def _found(pieces: tuple[re.Pattern[str], ...], text: str) -> bool:
    """Whether all pieces occur in their order; taking each at its first place is enough, and never goes back."""
    place = 0
    for piece in pieces:
        found = piece.search(text, place)
        if found is None:
            return False
        place = found.end()
    return True
