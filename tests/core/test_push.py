"""Push rules: the spec's default rules as a table, each condition, and that nothing foreign ever raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import push
from tandem_core.push import NOTHING, Context, Event, Verdict, evaluate
from tandem_core.types import Json, RoomId, UserId

ME = UserId("@alice:example.org")
BOB = UserId("@bob:example.org")
ROOM = RoomId("!room:example.org")

QUIET = Verdict(True, False, None)
SOUND = Verdict(True, False, "default")
MENTION = Verdict(True, True, "default")
LOUD = Verdict(True, True, None)


def text(body: str, **more: Any) -> Json:
    return {"msgtype": "m.text", "body": body, **more}


def judged(
    content: Json,
    type: str = "m.room.message",
    *,
    sender: UserId = BOB,
    state_key: str | None = None,
    people: int = 5,
    name: str | None = "Alice L.",
    power_levels: Json | None = None,
    rules: Json | None = None,
) -> Verdict:
    event = Event(type, content, sender, ROOM, state_key)
    return evaluate(rules, event, Context(ME, name, people, power_levels))


MODERATED = {"users": {BOB: 50}}
CASES: list[tuple[str, Verdict, dict[str, Any]]] = [
    ("a message in a group", QUIET, {"content": text("hello")}),
    ("a message between two", SOUND, {"content": text("hello"), "people": 2}),
    ("a sealed message in a group", QUIET, {"content": {}, "type": "m.room.encrypted"}),
    ("a sealed message between two", SOUND, {"content": {}, "type": "m.room.encrypted", "people": 2}),
    ("a bot's notice", NOTHING, {"content": text("hello alice", msgtype="m.notice"), "people": 2}),
    (
        "an invitation for me",
        SOUND,
        {"content": {"membership": "invite"}, "type": "m.room.member", "state_key": ME},
    ),
    (
        "an invitation for another",
        NOTHING,
        {"content": {"membership": "invite"}, "type": "m.room.member", "state_key": "@carol:example.org"},
    ),
    ("a new name", NOTHING, {"content": {"membership": "join"}, "type": "m.room.member", "state_key": BOB}),
    ("a mention of me", MENTION, {"content": text("look", **{"m.mentions": {"user_ids": [BOB, ME]}})}),
    ("a mention of another", QUIET, {"content": text("look, alice", **{"m.mentions": {"user_ids": [BOB]}})}),
    ("a mention of nobody", QUIET, {"content": text("Alice L. @room", **{"m.mentions": {}})}),
    ("my display name", MENTION, {"content": text("where is ALICE L.?")}),
    ("my user name", MENTION, {"content": text("ask alice!")}),
    ("my user name inside a word", QUIET, {"content": text("malice and alice_b")}),
    (
        "a mention of the room by a moderator",
        LOUD,
        {"content": text("all", **{"m.mentions": {"room": True}}), "power_levels": MODERATED},
    ),
    (
        "a mention of the room by anybody",
        QUIET,
        {"content": text("all", **{"m.mentions": {"room": True}}), "power_levels": {}},
    ),
    ("the word @room by a moderator", LOUD, {"content": text("hi @room!"), "power_levels": MODERATED}),
    ("the word @room by anybody", QUIET, {"content": text("hi @room!"), "power_levels": {"users": {}}}),
    ("the word @room where nobody knows the levels", QUIET, {"content": text("hi @room!")}),
    ("the end of a room", LOUD, {"content": {}, "type": "m.room.tombstone", "state_key": ""}),
    ("a reaction", NOTHING, {"content": {}, "type": "m.reaction", "people": 2}),
    ("a server rule", NOTHING, {"content": {}, "type": "m.room.server_acl", "state_key": ""}),
    ("an edit", NOTHING, {"content": text("* hello", **{"m.relates_to": {"rel_type": "m.replace"}})}),
    ("a call", Verdict(True, False, "ring"), {"content": {}, "type": "m.call.invite"}),
    ("a type of the future", NOTHING, {"content": text("alicia"), "type": "org.example.thing"}),
    ("my own message", NOTHING, {"content": text("alice"), "sender": ME, "people": 2}),
]


@pytest.mark.parametrize(("what", "wanted", "event"), CASES, ids=[case[0] for case in CASES])
def test_the_default_rules_judge(what: str, wanted: Verdict, event: dict[str, Any]) -> None:
    assert judged(**event) == wanted


def rule(actions: list[Any] | None = None, *conditions: Json, **more: Any) -> Json:
    return {
        "rule_id": "r",
        "enabled": True,
        "default": False,
        "conditions": list(conditions),
        "actions": ["notify"] if actions is None else actions,
        **more,
    }


def holds(condition: Json, content: Json | None = None, **more: Any) -> bool:
    return judged(content or text("hello"), rules={"override": [rule(None, condition)]}, **more).notify


def matched(pattern: str, body: str, key: str = "content.body") -> bool:
    field = key.rpartition(".")[2]
    return holds({"kind": "event_match", "key": key, "pattern": pattern}, {field: body})


@pytest.mark.parametrize(
    ("pattern", "body", "wanted"),
    [
        ("cake", "I like cake", True),
        ("cake", "I like cakes", False),
        ("cake*", "I like cakes", True),
        ("c?ke", "COKE!", True),
        ("c?ke", "cke", False),
        ("*ake", "pancake", True),
        ("a*b*c", "a 1 b 2 c", True),
        ("a*b*c", "a 1 c 2 b", False),
        ("a.c", "abc", False),
        ("(", "a ( b", True),
        ("café", "CAFÉ au lait", True),
        ("@room", "now @room", True),
        ("@room", "me@room", False),
        ("two\nlines", "the two\nlines", True),
        ("", "anything", False),
    ],
)
def test_a_pattern_finds_words_in_the_body(pattern: str, body: str, wanted: bool) -> None:
    assert matched(pattern, body) is wanted


@pytest.mark.parametrize(
    ("pattern", "value", "wanted"),
    [
        ("m.notice", "m.notice", True),
        ("m.notice", "M.NOTICE", True),
        ("m.notice", "m.notices", False),
        ("m.*", "m.text", True),
        ("m.*", "x m.text", False),
        ("*", "", True),
        ("", "", True),
        ("a*a", "a", False),
        ("*ab", "abab", True),
    ],
)
def test_a_pattern_covers_every_other_property_as_a_whole(pattern: str, value: str, wanted: bool) -> None:
    assert matched(pattern, value, "content.thing") is wanted


def test_a_pattern_never_takes_long_whatever_the_text() -> None:
    hostile = "a" * 200_000
    assert not matched("a*" * 100 + "b", hostile)
    assert not matched("*a" * 100 + "!", hostile, "content.thing")


def test_dots_in_property_names_are_escaped() -> None:
    content = {"m.dotted": {"a\\b": "yes"}, "m": {"dotted": "no"}}
    assert holds({"kind": "event_property_is", "key": r"content.m\.dotted.a\\b", "value": "yes"}, content)
    assert holds({"kind": "event_property_is", "key": "content.m.dotted", "value": "no"}, content)
    assert not holds({"kind": "event_property_is", "key": "content.m.dotted.", "value": "no"}, content)


@pytest.mark.parametrize(
    ("value", "wanted", "same"),
    [
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (None, None, True),
        ("1", 1, False),
        ("a", "A", False),
        ([1], [1], False),
    ],
)
def test_a_property_is_exactly_the_value(value: Any, wanted: Any, same: bool) -> None:
    assert holds({"kind": "event_property_is", "key": "content.x", "value": wanted}, {"x": value}) is same
    contains = {"kind": "event_property_contains", "key": "content.x", "value": wanted}
    assert holds(contains, {"x": ["other", value]}) is same


def test_a_missing_property_is_not_null() -> None:
    assert not holds({"kind": "event_property_is", "key": "content.x", "value": None}, {"y": 1})


@pytest.mark.parametrize(
    ("wanted", "people", "result"),
    [
        ("2", 2, True),
        ("==2", 3, False),
        ("<3", 2, True),
        (">3", 3, False),
        (">=3", 3, True),
        ("<=3", 4, False),
        ("<3", 0, False),
        ("two", 2, False),
        ("9" * 30, 2, False),
    ],
)
def test_members_are_counted(wanted: str, people: int, result: bool) -> None:
    assert holds({"kind": "room_member_count", "is": wanted}, people=people) is result


def test_nobody_without_a_name_is_mentioned() -> None:
    assert not holds({"kind": "contains_display_name"}, text("hello "), name=None)
    assert not holds({"kind": "contains_display_name"}, text("hello "), name="")


@pytest.mark.parametrize(
    ("levels", "may"),
    [
        ({"users": {BOB: 49}}, False),
        ({"users": {BOB: 49}, "notifications": {"room": 49}}, True),
        ({"users_default": 50}, True),
        ({"users": {BOB: 0}, "users_default": 50}, False),
        ({"users": {BOB: True}, "notifications": {"room": "0"}}, False),
        ({"users": [], "notifications": 3}, False),
    ],
)
def test_only_the_powerful_may_notify_a_room(levels: Json, may: bool) -> None:
    assert holds({"kind": "sender_notification_permission", "key": "room"}, power_levels=levels) is may


def test_kinds_of_rules_have_their_order() -> None:
    loud, quiet = ["notify", {"set_tweak": "highlight"}], ["notify"]
    rules: Json = {
        "underride": [rule(loud)],
        "sender": [rule([], rule_id=BOB)],
        "room": [rule(quiet, rule_id=ROOM)],
        "content": [rule(loud, pattern="hello")],
        "override": [rule([], {"kind": "event_match", "key": "content.body", "pattern": "stop"})],
    }
    assert judged(text("stop hello"), rules=rules) == NOTHING
    assert judged(text("hello"), rules=rules) == LOUD
    assert judged(text("other"), rules=rules) == QUIET
    del rules["room"]
    assert judged(text("other"), rules=rules) == NOTHING
    del rules["sender"]
    assert judged(text("other"), rules=rules) == LOUD


def test_the_first_rule_that_matches_decides() -> None:
    assert judged(text("hi"), rules={"override": [rule([]), rule(["notify"])]}) == NOTHING


@pytest.mark.parametrize(
    ("actions", "wanted"),
    [
        (["notify", {"set_tweak": "highlight", "value": False}], QUIET),
        (["notify", {"set_tweak": "sound", "value": "bells"}], Verdict(True, False, "bells")),
        (["notify", {"set_tweak": "sound"}, {"set_tweak": "other", "value": 1}, 5, None], QUIET),
        ([{"set_tweak": "highlight"}], NOTHING),
        (["dont_notify"], NOTHING),
        (["coalesce"], NOTHING),
        ([], NOTHING),
    ],
)
def test_actions_make_the_verdict(actions: list[Any], wanted: Verdict) -> None:
    assert judged(text("hi"), rules={"override": [rule(actions)]}) == wanted


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "rule",
        {},
        rule(enabled=False),
        rule(enabled="yes"),
        rule(conditions="all"),
        {"rule_id": "r", "enabled": True, "conditions": []},
        {"rule_id": "r", "enabled": True, "conditions": [], "actions": "notify"},
        rule(None, {"kind": "event_match", "key": "type"}),
        rule(None, {"kind": "org.example.new"}),
        rule(None, {"kind": "event_match", "key": 3, "pattern": "*"}),
    ],
)
def test_a_malformed_or_disabled_rule_is_passed_over(broken: Any) -> None:
    assert judged(text("hi"), rules={"override": [broken, rule(["notify"])]}) == QUIET
    assert judged(text("hi"), rules={"override": [broken]}) == NOTHING


def test_an_empty_set_of_rules_is_silent() -> None:
    assert judged(text("alice"), rules={}) == NOTHING


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
keys = (
    st.sampled_from(["content.body", r"content.m\.mentions.user_ids", "type", "\\", ".", "state_key"])
    | st.text()
)
conditions = (
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["event_match", "event_property_is", "event_property_contains"])},
        optional={
            "key": keys | values,
            "pattern": st.text(alphabet="a*?\\([.", max_size=8) | values,
            "value": values,
        },
    )
    | st.fixed_dictionaries(
        {"kind": st.just("room_member_count")}, optional={"is": values | st.text("<>=0123456789")}
    )
    | st.fixed_dictionaries({"kind": st.just("sender_notification_permission")}, optional={"key": values})
    | st.just({"kind": "contains_display_name"})
    | values
)
actions = st.lists(values | st.just("notify") | st.fixed_dictionaries({"set_tweak": values, "value": values}))
rules = st.fixed_dictionaries(
    {},
    optional={
        "rule_id": values | st.sampled_from([ROOM, BOB]),
        "enabled": st.booleans() | values,
        "conditions": st.lists(conditions, max_size=3) | values,
        "actions": actions | values,
        "pattern": values,
    },
)
rulesets = st.none() | st.dictionaries(
    st.sampled_from(["override", "content", "room", "sender", "underride", "else"]),
    st.lists(rules | values) | values,
)
contents = st.dictionaries(
    st.sampled_from(["body", "msgtype", "m.mentions", "m.relates_to", "x"]), values | st.text(), max_size=5
)


@given(
    ruleset=rulesets,
    content=contents,
    name=st.none() | st.text(),
    levels=st.none() | st.dictionaries(st.sampled_from(["users", "notifications", "users_default"]), values),
)
def test_nothing_foreign_ever_raises(
    ruleset: Json | None, content: Json, name: str | None, levels: Json | None
) -> None:
    verdict = judged(content, rules=ruleset, name=name, power_levels=levels, people=3)
    assert isinstance(verdict, Verdict)
    assert verdict.notify or verdict == NOTHING


@given(
    before=st.text(alphabet="ab _-"), word=st.text(alphabet="ab", min_size=1), after=st.text(alphabet="ab _-")
)
def test_a_plain_word_is_found_exactly_where_it_stands_alone(before: str, word: str, after: str) -> None:
    body = before + word + after
    stands_alone = any(
        body[at : at + len(word)] == word
        and (at == 0 or body[at - 1] in " -")
        and (at + len(word) == len(body) or body[at + len(word)] in " -")
        for at in range(len(body))
    )
    assert matched(word, body) is stands_alone


def test_default_rules_have_the_names_of_the_spec() -> None:
    found = {each["rule_id"] for kind in push.default_rules(ME).values() for each in kind}
    assert {".m.rule.master", ".m.rule.suppress_edits", ".m.rule.is_room_mention"} <= found
    assert len(found) == 18
