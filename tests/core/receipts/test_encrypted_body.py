"""The words of the encrypted way: padded to a class, never longer, and read with suspicion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.codec import canonical
from tandem_core.receipts import encrypted_body as bodies
from tandem_core.receipts import marker, proof
from tandem_core.receipts.encrypted_body import Confirmed, Passed
from tandem_core.types import EventId, RoomId, UserId

NOW = 1_800_000_012_345
PROOF = "p" * 22

ids = st.text(min_size=1, max_size=254)
confirmed = st.builds(
    lambda room, event: Confirmed(RoomId("!" + room), EventId("$" + event), PROOF), ids, ids
)


def said_in(contents: list[dict[str, Any]], part: str) -> list[Confirmed]:
    found: list[Confirmed] = []
    for content in contents:
        body = bodies.parse(content)
        assert body is not None, "what we build we can read"
        found += getattr(body, part)
    return found


@given(st.lists(confirmed, max_size=150), st.lists(confirmed, max_size=60), st.booleans())
def test_all_that_is_confirmed_is_said_once_in_messages_of_four_lengths(
    ok: list[Confirmed], again: list[Confirmed], shares: bool
) -> None:
    contents = bodies.build(ok, shares_device=shares, now_ms=NOW, again=again)
    assert all(len(canonical(content)) in bodies.SIZES for content in contents)
    assert sorted(said_in(contents, "ok"), key=repr) == sorted(ok, key=repr)
    repeated = said_in(contents, "again")
    assert sorted(repeated, key=repr) == sorted(again[: len(repeated)], key=repr)


@pytest.mark.parametrize(("count", "size"), [(1, 1024), (4, 1024), (20, 2048), (40, 4096), (60, 8192)])
def test_usual_ids_fill_the_classes(count: int, size: int) -> None:
    ok = [Confirmed(RoomId("!r:example.org"), EventId(f"${n:043}"), PROOF) for n in range(count)]
    [content] = bodies.build(ok, shares_device=False, now_ms=NOW)
    assert len(canonical(content)) == size


def test_a_usual_flush_with_everything_that_is_repeated_is_one_message() -> None:
    ok = [Confirmed(RoomId("!r:example.org"), EventId(f"${n:043}"), PROOF) for n in range(64)]
    again = [Confirmed(RoomId("!r:example.org"), EventId(f"$a{n:042}"), PROOF) for n in range(40)]
    contents = bodies.build(ok, shares_device=False, now_ms=NOW, again=again)
    assert len(contents) == 1
    assert len(said_in(contents, "again")) == bodies.MOST_AGAIN


def test_the_time_is_a_whole_minute_and_each_batch_has_its_own_name() -> None:
    one = Confirmed(RoomId("!r:x"), EventId("$e"), PROOF)
    first, second = (bodies.build([one], shares_device=False, now_ms=NOW)[0] for _ in range(2))
    assert first["ts"] % 60_000 == 0
    assert 0 <= NOW - first["ts"] < 60_000
    assert first["batch"] != second["batch"]


@given(
    st.lists(
        st.builds(
            lambda room, event, user, device: Passed(
                RoomId("!" + room), EventId("$" + event), UserId("@" + user), device, NOW, PROOF
            ),
            ids,
            ids,
            ids,
            st.text(max_size=255),
        ),
        min_size=1,
        max_size=80,
    )
)
def test_all_that_is_passed_on_is_said_once(passed: list[Passed]) -> None:
    contents = bodies.build_sync(passed)
    assert all(len(canonical(content)) in bodies.SIZES for content in contents)
    assert [one for content in contents for one in bodies.parse_sync(content) or ()] == passed


@given(st.lists(ids.map(lambda text: EventId("$" + text)), min_size=1, max_size=200))
def test_all_that_another_device_confirmed_is_said_once(event_ids: list[EventId]) -> None:
    contents = bodies.build_lease(event_ids)
    assert all(len(canonical(content)) in bodies.SIZES for content in contents)
    assert [one for content in contents for one in bodies.parse_lease(content) or ()] == event_ids


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    "v",
                    "batch",
                    "scope",
                    "ts",
                    "rooms",
                    "!r:x",
                    "ok",
                    "again",
                    "failed",
                    "heard",
                    "ids",
                    "pad",
                    "tok",
                ]
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=25,
)


@given(json_values)
def test_no_content_whatsoever_breaks_the_reading(content: Any) -> None:
    for read in (bodies.parse, bodies.parse_sync, bodies.parse_lease, marker.read):
        read(content)
        read({"v": 1, "batch": "b", marker.KEY: content, **(content if isinstance(content, dict) else {})})


GOOD = bodies.build([Confirmed(RoomId("!r:x"), EventId("$e"), PROOF)], shares_device=False, now_ms=NOW)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"v": True},
        {"v": "1"},
        {"batch": ""},
        {"batch": "b" * 65},
        {"batch": 7},
        {"scope": "everybody"},
        {"ts": -1},
        {"ts": 1.5},
        {"ts": 2**53},
        {"ts": True},
        {"rooms": []},
        {"rooms": {"r": {"ok": []}}},
        {"rooms": {"!r:x": []}},
        {"rooms": {"!r:x": {"ok": {}}}},
        {"rooms": {"!r:x": {"ok": [["$e"]]}}},
        {"rooms": {"!r:x": {"ok": [["e", PROOF]]}}},
        {"rooms": {"!r:x": {"ok": [["$e", "short"]]}}},
        {"rooms": {"!r:x": {"ok": [["$e", PROOF]] * 65}}},
        {"rooms": {"!r:x": {"ok": [["$e", PROOF]] * 40}, "!s:x": {"ok": [["$e", PROOF]] * 40}}},
        {"rooms": {"!r:x": {"again": [["$e", PROOF]] * 33}}},
        {"failed": {}},
        {"failed": [7]},
        {"failed": [{}] * 9},
        {"pad": "0" * 9000},
    ],
)
def test_what_is_not_as_it_must_be_is_not_read_at_all(wrong: dict[str, Any]) -> None:
    assert bodies.parse(GOOD) is not None
    assert bodies.parse({**GOOD, **wrong}) is None


ASKED = {"v": 1, "want": ["delivered"], "to": ["DEV"], "tok": proof.encode(bytes(16))}


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"want": []},
        {"want": "delivered"},
        {"to": []},
        {"to": ["A", "B", "C", "D", "E"]},
        {"to": [""]},
        {"to": [7]},
        {"to": ["D" * 256]},
        {"tok": ""},
        {"tok": "short"},
        {"tok": "A" * 23},
        {"tok": proof.encode(bytes(17))},
        {"tok": "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ"},
        {"tok": "+" * 22},
        {"tok": 7},
    ],
)
def test_a_request_that_makes_no_sense_asks_for_nothing(wrong: dict[str, Any]) -> None:
    assert marker.read({marker.KEY: ASKED}) is not None
    assert marker.read({marker.KEY: {**ASKED, **wrong}}) is None


@given(st.binary(min_size=16, max_size=16), ids, ids, st.text(max_size=20))
def test_a_proof_holds_for_its_event_its_person_and_its_device_alone(
    token: bytes, event: str, user: str, device: str
) -> None:
    said = proof.prove(token, event, user, device)
    assert len(said) == 22
    assert proof.holds(said, token, event, user, device)
    assert not proof.holds(said, token, event + "x", user, device)
    assert not proof.holds(said, token, event, user + "x", device)
    assert not proof.holds(said, token, event, user, device + "x")
    assert not proof.holds(said, bytes(byte ^ 1 for byte in token), event, user, device)
    assert not proof.holds(None, token, event, user, device)


def test_a_proof_is_as_the_format_says() -> None:
    import base64
    import hashlib
    import hmac

    code = hmac.new(bytes(16), b"dlv1|$e|@u:x|DEV", hashlib.sha256).digest()[:16]
    assert proof.prove(bytes(16), "$e", "@u:x", "DEV") == base64.urlsafe_b64encode(code).decode().rstrip("=")
