"""Foreign words of a verification: read as the specification has them, or refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.types import DeviceId
from tandem_core.verification import messages
from tandem_core.verification.messages import Kind, Malformed, Place, flow_of, read
from tests.core.verification.sides import ROOM

_PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab=!", max_size=3)
JSON = _PLAIN | st.lists(_PLAIN, max_size=2) | st.dictionaries(st.sampled_from("ab"), _PLAIN, max_size=2)
_NAMES = st.sampled_from(
    [
        "from_device",
        "methods",
        "method",
        "secret",
        "key",
        "keys",
        "mac",
        "code",
        "reason",
        "commitment",
        "hash",
        "hashes",
        "key_agreement_protocol",
        "short_authentication_string",
        "m.relates_to",
        "transaction_id",
    ]
)


@given(st.sampled_from(Kind), st.dictionaries(_NAMES, JSON, max_size=6))
def test_whatever_comes_is_read_or_malformed(kind: Kind, content: dict[str, Any]) -> None:
    assert read(kind, content) is not None
    found = flow_of(content)
    assert found is None or 0 < len(found) <= 512


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Kind.REQUEST, {"from_device": "D"}),
        (Kind.REQUEST, {"from_device": "D", "methods": "m.sas.v1"}),
        (Kind.REQUEST, {"from_device": 7, "methods": []}),
        (Kind.REQUEST, {"from_device": "D", "methods": ["x"] * 33}),
        (Kind.READY, {"from_device": "", "methods": []}),
        (Kind.START, {"from_device": "D" * 513, "method": "m.sas.v1"}),
        (Kind.START, {"from_device": "D", "method": "m.reciprocate.v1", "secret": "!"}),
        (Kind.KEY, {"key": None}),
        (Kind.MAC, {"mac": {}, "keys": "x"}),
        (Kind.MAC, {"mac": {str(i): "x" for i in range(33)}, "keys": "x"}),
        (Kind.MAC, {"mac": {"a": 1}, "keys": "x"}),
        (Kind.CANCEL, {}),
    ],
)
def test_what_lacks_a_part_or_is_too_large_is_malformed(kind: Kind, content: dict[str, Any]) -> None:
    assert read(kind, content) == Malformed()


def test_entries_of_a_newer_kind_are_left_out() -> None:
    said = read(Kind.READY, {"from_device": "D", "methods": ["m.sas.v1", {"new": 1}]})
    assert said == messages.Ready(DeviceId("D"), ("m.sas.v1",))


def test_what_we_write_is_what_we_read_and_belongs_to_its_verification() -> None:
    for place in (Place("txn"), Place("$event", ROOM)):
        start = place.wrap(messages.starts_sas(DeviceId("D")))
        said = read(Kind.START, start)
        assert isinstance(said, messages.StartSas)
        assert said.content == start
        assert flow_of(start) == place.flow
        secret = read(Kind.START, place.wrap(messages.starts_reciprocate(DeviceId("D"), b"12345678")))
        assert secret == messages.StartReciprocate(DeviceId("D"), b"12345678")
        assert read(Kind.DONE, place.wrap({})) == messages.Done()
        for code in messages.Code:
            assert read(Kind.CANCEL, place.wrap(messages.cancels(code))) == messages.Cancel(
                code, messages.REASONS[code]
            )


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"transaction_id": 1},
        {"transaction_id": ""},
        {"m.relates_to": {"rel_type": "m.reference"}},
        {"m.relates_to": {"rel_type": "m.thread", "event_id": "$e"}},
        {"transaction_id": "x" * 513},
    ],
)
def test_what_belongs_to_no_verification_is_told_apart(content: dict[str, Any]) -> None:
    assert flow_of(content) is None
