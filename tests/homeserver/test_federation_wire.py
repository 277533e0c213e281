"""The form in which receipts travel between homeservers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_synapse import federation_wire as wire
from tandem_synapse.federation_wire import SentReceipt

times = st.integers(min_value=0, max_value=2**53 - 1)
names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)
receipts = st.builds(
    SentReceipt,
    room_id=names.map(lambda name: f"!{name}"),
    event_id=names.map(lambda name: f"${name}"),
    user_id=names.map(lambda name: f"@{name.replace(':', '')}:x"),
    ts=times,
    devices=st.dictionaries(names, times, max_size=wire.MOST_DEVICES),
)
by_key = st.lists(receipts, max_size=250, unique_by=lambda each: (each.room_id, each.event_id, each.user_id))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(by_key)
def test_what_is_written_is_read_again_and_every_edu_is_within_the_limits(sent: list[SentReceipt]) -> None:
    read: list[SentReceipt] = []
    for content in wire.contents(sent):
        again = json.loads(json.dumps(content))
        assert len(json.dumps(again, separators=(",", ":"))) <= wire.MOST_BYTES
        found = wire.receipts(again, "x")
        assert 0 < len(found) <= wire.MOST_RECEIPTS
        read += found
    assert sorted(read, key=str) == sorted(sent, key=str)


def test_many_receipts_go_in_few_edus() -> None:
    sent = [SentReceipt("!room:x", f"${n:044}", f"@user{n}:x", 60_000) for n in range(1_000)]
    contents = list(wire.contents(sent))
    assert len(contents) == 10
    assert len(json.dumps(contents)) < 150 * len(sent)


@given(json_values, json_values, json_values)
def test_nothing_that_another_server_sends_raises(first: Any, second: Any, third: Any) -> None:
    for content in (
        first,
        {"version": first, "rooms": second},
        {"version": 1, "rooms": first},
        {"version": 1, "rooms": {"!r": {"$e": second}}},
        {"version": 1, "rooms": {"!r": {"$e": {"@u:x": first}}}},
        {"version": 1, "rooms": {"!r": {"$e": {"@u:x": {"ts": third, "devices": first}}}}},
    ):
        for receipt in wire.receipts(content, "x"):
            assert receipt.user_id == "@u:x"
    assert wire.is_announced({"versions": first}) in (True, False)


def edu(**receipt: Any) -> dict[str, Any]:
    return {"version": 1, "rooms": {"!r": {"$e": {"@u:x": {"ts": 1, **receipt}}}}}


def test_a_good_one_is_read() -> None:
    assert wire.receipts(edu(devices={"PHONE": 5}), "x") == [SentReceipt("!r", "$e", "@u:x", 1, {"PHONE": 5})]


@pytest.mark.parametrize(
    "content",
    [
        edu() | {"version": 2},
        edu() | {"version": True},
        edu(ts=-1),
        edu(ts=1.5),
        edu(ts=True),
        edu(ts=2**53),
        edu(ts="1"),
        edu() | {"padding": "x" * wire.MOST_BYTES},
        {"version": 1, "rooms": {"r": {"$e": {"@u:x": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"e": {"@u:x": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e\x00": {"@u:x": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e\ud800": {"@u:x": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$" + "e" * 255: {"@u:x": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e": {"@u:other": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e": {"@u:x:other": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e": {"@u": {"ts": 1}}}}},
        {"version": 1, "rooms": {"!r": {"$e": {f"@{n}:x": {"ts": 1} for n in range(101)}}}},
    ],
)
def test_what_breaks_the_rules_or_speaks_for_others_says_nothing(content: dict[str, Any]) -> None:
    assert wire.receipts(content, "x") == []


def test_a_bad_device_takes_nothing_from_the_person_s_receipt() -> None:
    devices = {"": 1, "PHONE": 1, "A\n": 1, "TABLET": "now"} | {f"D{n}": 1 for n in range(100)}
    (receipt,) = wire.receipts(edu(devices=devices), "x")
    assert "PHONE" in receipt.devices
    assert len(receipt.devices) == wire.MOST_DEVICES
    assert not {"", "A\n", "TABLET"} & set(receipt.devices)


@pytest.mark.parametrize(
    ("answer", "is_yes"),
    [
        (wire.ANNOUNCEMENT, True),
        ({"versions": [7, 1]}, True),
        ({"versions": [2]}, False),
        ({"versions": [True]}, False),
        ({"versions": 1}, False),
        ({}, False),
    ],
)
def test_a_server_announces_the_versions_it_takes(answer: dict[str, Any], is_yes: bool) -> None:
    assert wire.is_announced(answer) is is_yes
