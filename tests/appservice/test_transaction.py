"""A transaction is read in either spelling, whatever else is in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_appservice.transaction import NotATransaction, read
from tests.appservice.world import for_device, of_room
from tests.core.sync_world import BOB, ME, ROOM, member, message, olm

_USERS = {ME.user_id: {ME.device_id: {"signed_curve25519": 7}}}
_UNUSED = {ME.user_id: {ME.device_id: []}}


@pytest.mark.parametrize("names", [("to_device",), ("de.sorunome.msc2409.to_device",), ("to_device",) * 2])
def test_to_device_events_are_read_once_under_either_name_or_both(names: tuple[str, ...]) -> None:
    events = [for_device(olm("a")), for_device(olm("b"))]
    both = {"to_device": events, "de.sorunome.msc2409.to_device": events}
    body = both if len(names) == 2 else {names[0]: events}
    said = read("1", {"events": [], **body})
    assert [item.event["content"] for item in said.to_device] == [olm(n)["content"] for n in "ab"]
    assert {(item.user_id, item.device_id) for item in said.to_device} == {(ME.user_id, ME.device_id)}


def test_to_device_events_under_one_name_only_are_not_lost_beside_those_under_the_other() -> None:
    body = {
        "to_device": [],
        "de.sorunome.msc2409.to_device": [for_device(olm("a"))],
        "ephemeral": [{"type": "m.receipt", "room_id": ROOM, "content": {"$a": {}}}],
        "de.sorunome.msc2409.ephemeral": [],
    }
    said = read("1", body)
    assert len(said.to_device) == 1
    assert said.receipts == ((ROOM, {"$a": {}}),)


@pytest.mark.parametrize(
    "counts",
    [
        "device_one_time_keys_count",
        "org.matrix.msc3202.device_one_time_keys_count",
        "org.matrix.msc3202.device_one_time_key_counts",
    ],
)
@pytest.mark.parametrize("prefix", ["", "org.matrix.msc3202."])
def test_key_counts_and_device_lists_are_read_in_every_spelling(counts: str, prefix: str) -> None:
    body = {
        counts: _USERS,
        f"{prefix}device_unused_fallback_key_types": _UNUSED,
        f"{prefix}device_lists": {"changed": [BOB], "left": ["@carol:example.org"]},
    }
    said = read("1", body)
    block = {
        "device_one_time_keys_count": {"signed_curve25519": 7},
        "device_unused_fallback_key_types": [],
    }
    assert said.keys == ((ME.user_id, ME.device_id, block),)
    assert (said.changed, said.left) == ((BOB,), ("@carol:example.org",))


def test_a_fallback_key_of_which_nothing_is_said_is_not_used_up() -> None:
    ((_, _, block),) = read("1", {"device_one_time_keys_count": _USERS}).keys
    assert block["device_unused_fallback_key_types"] == ["signed_curve25519"]


def test_account_data_is_read_global_and_per_room() -> None:
    event = {"type": "m.direct", "content": {}}
    said = read(
        "1",
        {
            "org.matrix.msc3682.account_data": {ME.user_id: {"events": [event, {"type": 7}]}},
            "im.tandem.room_account_data": {ME.user_id: {ROOM: {"events": [event]}}},
        },
    )
    assert said.account_data == ((ME.user_id, (event,)),)
    assert said.room_account_data == ((ME.user_id, ROOM, (event,)),)
    assert (said.tells_account_data, said.malformed) == (True, 1)


def test_pieces_that_make_no_sense_are_left_out_and_counted() -> None:
    said = read(
        "1",
        {
            "events": [
                of_room(message("good")),
                message("no room"),
                7,
                of_room(member(BOB)) | {"state_key": 1},
            ],
            "ephemeral": [{"type": "m.receipt", "content": {}}, {"type": "m.typing", "content": {}}],
            "to_device": [olm("for nobody")],
        },
    )
    assert [event["event_id"] for event in said.events] == ["$good"]
    assert said.malformed == 5


@pytest.mark.parametrize("body", [7, [], None, "x", {"events": {}}, {"events": None}])
def test_what_is_no_transaction_is_refused(body: Any) -> None:
    with pytest.raises(NotATransaction):
        read("1", body)


def test_a_server_says_itself_that_it_loses_nothing() -> None:
    assert read("1", {"im.tandem.lossless_to_device": True}).is_lossless
    assert not read("1", {"im.tandem.lossless_to_device": 1}).is_lossless
    assert not read("1", {"events": []}).is_lossless


_KEYS = st.sampled_from(
    [
        "events",
        "ephemeral",
        "to_device",
        "de.sorunome.msc2409.to_device",
        "account_data",
        "im.tandem.room_account_data",
        "device_lists",
        "device_one_time_keys_count",
        "device_unused_fallback_key_types",
        "type",
        "content",
        "room_id",
        ME.user_id,
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | _KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _JSON, max_size=8))
def test_no_object_breaks_the_reader(body: dict[str, Any]) -> None:
    try:
        said = read("1", body)
    except NotATransaction:
        assert not isinstance(body.get("events", []), list)
    else:
        assert said.malformed >= 0
