"""The response codec: what it understands, and that nothing a server sends can make it fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_core.sync.response import NotAResponse, Response, read
from tests.core.sync_world import ROOM, message, olm, state

_keys = st.sampled_from(
    [
        "pos",
        "lists",
        "all",
        "count",
        "ops",
        "rooms",
        "extensions",
        "to_device",
        "e2ee",
        "account_data",
        "receipts",
        "typing",
        "events",
        "next_batch",
        "global",
        "device_lists",
        "changed",
        "left",
        "device_one_time_keys_count",
        "signed_curve25519",
        "device_unused_fallback_key_types",
        "initial",
        "name",
        "avatar",
        "heroes",
        "is_dm",
        "joined_count",
        "invited_count",
        "bump_stamp",
        "required_state",
        "timeline",
        "limited",
        "prev_batch",
        "num_live",
        "invite_state",
        "type",
        "sender",
        "content",
        "state_key",
        "event_id",
        "user_ids",
        "!room:x",
        "user_id",
        "displayname",
        "unstable_expanded_timeline",
    ]
) | st.text(max_size=4)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=40,
)


@settings(max_examples=100)
@given(st.dictionaries(_keys, _json, max_size=8))
def test_no_answer_makes_the_codec_fail(answer: dict[str, Any]) -> None:
    try:
        said = read(answer)
    except NotAResponse:
        assert not isinstance(answer.get("pos"), str) or not answer["pos"]
    else:
        assert isinstance(said, Response)


@settings(max_examples=60)
@given(_json, _json, _json)
def test_no_room_and_no_extension_makes_the_codec_fail(room: Any, to_device: Any, e2ee: Any) -> None:
    answer = {
        "pos": "1",
        "rooms": {"!room:x": room, "!other:x": {"timeline": room, "required_state": room, "heroes": room}},
        "extensions": {"to_device": to_device, "e2ee": e2ee, "receipts": {"rooms": {"!room:x": room}}},
    }
    assert read(answer).pos == "1"


def test_an_answer_without_pos_is_no_response() -> None:
    with pytest.raises(NotAResponse):
        read({"rooms": {}})


def test_a_room_is_read_with_all_that_synapse_says_of_it() -> None:
    said = read(
        {
            "pos": "3/s4",
            "lists": {"all": {"count": 7, "ops": []}},
            "rooms": {
                ROOM: {
                    "initial": True,
                    "name": "Kitchen",
                    "avatar": "mxc://x/y",
                    "heroes": [{"user_id": "@bob:x", "displayname": "Bob"}, {"user_id": 5}],
                    "is_dm": True,
                    "joined_count": 2,
                    "invited_count": 0,
                    "bump_stamp": 9,
                    "required_state": [state("m.room.name", {"name": "Kitchen"})],
                    "timeline": [message("hi"), {"type": "m.room.message"}],
                    "limited": True,
                    "prev_batch": "t1",
                    "num_live": 1,
                    "unstable_expanded_timeline": True,
                    "notification_count": 0,
                }
            },
        }
    )
    room = said.rooms[0]
    assert said.count == 7
    assert (room.name, room.is_dm, room.limited, room.prev_batch, room.num_live) == (
        "Kitchen",
        True,
        True,
        "t1",
        1,
    )
    assert room.expanded
    assert room.initial
    assert [hero.name for hero in room.heroes or ()] == ["Bob"]
    assert [event["event_id"] for event in room.timeline] == ["$hi"]
    assert said.skipped == 2, "the broken hero and the broken event"


def test_what_is_not_said_is_none_and_not_empty() -> None:
    room = read({"pos": "1", "rooms": {ROOM: {"timeline": []}}}).rooms[0]
    assert (room.name, room.heroes, room.is_dm, room.joined_count, room.stripped_state) == (None,) * 5


def test_an_empty_to_device_block_is_present_and_an_absent_one_is_not() -> None:
    present = read({"pos": "1", "extensions": {"to_device": {"events": [], "next_batch": "5"}}})
    absent = read({"pos": "1", "extensions": {}})
    assert present.to_device is not None
    assert present.to_device.next_batch == "5"
    assert absent.to_device is None


@pytest.mark.parametrize(
    "block", [{"events": []}, {"next_batch": 5, "events": []}, {"next_batch": "5", "events": "x"}, []]
)
def test_a_to_device_block_that_cannot_be_read_moves_no_token(block: Any) -> None:
    assert read({"pos": "1", "extensions": {"to_device": block}}).to_device is None


def test_a_broken_to_device_event_does_not_hold_up_the_others() -> None:
    block = {"next_batch": "5", "events": [olm("a"), {"type": 1}, "x", olm("b")]}
    said = read({"pos": "1", "extensions": {"to_device": block}})
    assert said.to_device is not None
    assert len(said.to_device.events) == 2
    assert said.skipped == 2


def test_an_absent_key_count_is_absent_and_a_zero_is_zero() -> None:
    e2ee = {
        "device_one_time_keys_count": {"signed_curve25519": 0, "odd": "many"},
        "device_lists": {"left": ["@a:x", 3]},
    }
    said = read({"pos": "1", "extensions": {"e2ee": e2ee}}).e2ee
    assert said is not None
    assert said.one_time == {"signed_curve25519": 0}
    assert said.left == ("@a:x",)


def test_an_invite_has_stripped_state() -> None:
    room = read({"pos": "1", "rooms": {ROOM: {"invite_state": []}}}).rooms[0]
    assert room.stripped_state == ()
