"""The pure parts of messages to the server: whom a message is for, what a batch says, what fits into an event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synapse.module_api.errors import SynapseError

from tandem_synapse import batch, config, content, durable, to_server
from tandem_synapse.store import DeliveryRow


def test_all_devices_of_a_server_are_its_only_one() -> None:
    messages = {"@:x": {"*": 1}, "@:y": {"*": 1, "": 2, "D": 3}, "@u:x": {"*": 4}, "@:z": "odd"}
    before = json.dumps(messages)
    assert to_server.for_servers(messages) == {
        "@:x": {"": 1},
        "@:y": {"": 2, "D": 3},
        "@u:x": {"*": 4},
        "@:z": "odd",
    }
    assert json.dumps(messages) == before


def test_a_batch_names_each_event_once_and_its_order_is_kept() -> None:
    rooms = {"!b": ["$2", "$1", "$2"], "!a": ["$3"]}
    assert batch.parse({"share": "device", "rooms": rooms}) == (
        "device",
        [("!b", "$2"), ("!b", "$1"), ("!a", "$3")],
    )
    assert batch.parse({"rooms": {}}) == ("user", [])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"rooms": []},
        {"rooms": {"!r": "$e"}},
        {"rooms": {"!r": [1]}},
        {"rooms": {"!r": [["$e"]]}},
        {"rooms": {"!r": []}, "share": "everybody"},
        {"rooms": {"!r": []}, "share": ["user"]},
        {"rooms": {"!r": [f"${number}" for number in range(batch.MAX_EVENTS + 1)]}},
    ],
)
def test_a_batch_of_another_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SynapseError) as refusal:
        batch.parse(wrong)
    assert (refusal.value.code, refusal.value.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (None, False),
        ({}, False),
        ({"durable": 1}, False),
        ({"durable": "true"}, False),
        ({"durable": True}, True),
    ],
)
def test_durable_receipts_are_for_who_asks_for_them(settings: dict[str, Any] | None, answer: bool) -> None:
    assert durable.asks(settings) is answer


names = st.text(min_size=1, max_size=255)
rows = st.builds(
    DeliveryRow,
    room_id=names,
    event_id=names,
    user_id=names,
    author=st.just("@a:x"),
    ts=st.integers(0, 2**45),
    devices=st.dictionaries(st.text(min_size=1, max_size=20), st.integers(0, 2**45), max_size=30),
    stream_id=st.integers(1, 2**40),
    instance_name=st.just("master"),
)


@given(st.lists(rows, max_size=60))
def test_every_receipt_is_in_an_event_that_synapse_takes(given_rows: list[DeliveryRow]) -> None:
    parts = list(durable.portions(given_rows))
    assert [row for part in parts for row in part] == given_rows
    for part in parts:
        event = {"rooms": content.by_room(part, config.UNSTABLE_TYPE)}
        assert len(json.dumps(event, ensure_ascii=False).encode()) <= to_server.MAX_CONTENT_BYTES


def test_a_receipt_with_more_devices_than_an_event_takes_goes_without_them() -> None:
    many = {f"DEVICE{number}": number for number in range(5000)}
    row = DeliveryRow("!r", "$e", "@u:x", 0, many, 1, "master", "@a:x")
    ((sent,),) = durable.portions([row])
    assert (sent.event_id, sent.devices) == ("$e", {})
