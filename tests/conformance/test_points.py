"""The suite itself: points notice servers that break their clause, records are whole, the document is current."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance import document, report
from tests.conformance.bench import Bench
from tests.conformance.matrix import Homeserver
from tests.conformance.points import Outcome, Result
from tests.conformance.suite import chosen, run
from tests.support.fake import sliding
from tests.support.fake.state import DELIVERY, Device, Json, Refused, Room, State
from tests.support.fake_homeserver import FakeHomeserver

NAMES = ("ann", "ben", "cat", "dan")
EXPECTATIONS = {
    name: report.Expectation.read(document.EXPECTATIONS / f"{name}.json") for name in document.COLUMNS
}


@pytest.fixture
def fake() -> Iterator[FakeHomeserver]:
    with FakeHomeserver(with_module=True) as server:
        for name in NAMES:
            server.register(name, "correct horse")
        yield server


def tried(fake: FakeHomeserver, *ids: str, patience_s: float = 2.0) -> dict[str, Outcome]:
    async def go() -> dict[str, Outcome]:
        async with aiohttp.ClientSession() as session:
            accounts = [(name, "correct horse") for name in NAMES]
            bench = Bench(Homeserver(fake.base_url, session, accounts=accounts), patience_s=patience_s)
            return {one.point.id: one for one in await run(bench, chosen(ids))}

    return asyncio.run(go())


def _never(*_: Any) -> None:
    """Nothing is acknowledged."""


def _with_the_request(original: Callable[..., Json]) -> Callable[..., Json]:
    def to_device(state: State, device: Device, wanted: Json) -> Json:
        answer = original(state, device, wanted)
        device.queue = []
        return answer

    return to_device


def _unlimited(original: Callable[..., Json]) -> Callable[..., Json]:
    return lambda state, device, wanted: original(state, device, {**wanted, "limit": -1})


def _without_next_batch(original: Callable[..., Json]) -> Callable[..., Json]:
    return lambda state, device, wanted: {"events": original(state, device, wanted)["events"]}


def _newest_first(original: Callable[..., Json]) -> Callable[..., Json]:
    def to_device(state: State, device: Device, wanted: Json) -> Json:
        answer = original(state, device, wanted)
        return {**answer, "events": answer["events"][::-1]}

    return to_device


def _with_more_fields(original: Callable[..., Json]) -> Callable[..., Json]:
    def to_device(state: State, device: Device, wanted: Json) -> Json:
        answer = original(state, device, wanted)
        return {**answer, "events": [{**event, "sender": "@somebody:else"} for event in answer["events"]]}

    return to_device


def _for_the_account(original: Callable[..., Json]) -> Callable[..., Json]:
    def to_device(state: State, device: Device, wanted: Json) -> Json:
        everything = [item for one in state.devices_of(device.user_id) for item in one.queue]
        device.queue = sorted(everything, key=lambda item: item[0])
        return original(state, device, wanted)

    return to_device


def _with_read_as_delivery(original: Callable[..., Json | None]) -> Callable[..., Json | None]:
    def receipts(*asked: Any) -> Json | None:
        event = original(*asked)
        for types in (event or {"content": {}})["content"].values():
            types.setdefault(DELIVERY, types.get("m.read", {}))
        return event

    return receipts


def _up_to(original: Callable[..., Json | None]) -> Callable[..., Json | None]:
    def receipts(room: Room, *asked: Any) -> Json | None:
        event = original(room, *asked)
        if event is not None:
            confirmed = [types[DELIVERY] for types in event["content"].values() if DELIVERY in types]
            older = [one for one in room.events if one.raw["type"] == "m.room.message"]
            for one in older if confirmed else []:
                event["content"].setdefault(one.raw["event_id"], {DELIVERY: confirmed[0]})
        return event

    return receipts


def _lenient(original: Callable[..., int | None]) -> Callable[..., int | None]:
    def since(wanted: Json) -> int | None:
        try:
            return original(wanted)
        except Refused:
            return None

    return since


BROKEN = [
    ("msc3885.section", "_to_device", _without_next_batch),
    ("msc3885.next-batch-always", "_to_device", _without_next_batch),
    ("msc4538.event-format", "_to_device", _with_more_fields),
    ("msc4538.order", "_to_device", _newest_first),
    ("msc4538.limit", "_to_device", _unlimited),
    ("msc4538.acknowledged", "_acknowledge", lambda _: _never),
    ("msc4538.one-queue-for-all-connections", "_acknowledge", lambda _: _never),
    ("msc4538.old-since", "_acknowledge", lambda _: _never),
    ("msc4538.retry", "_to_device", _with_the_request),
    ("msc4538.pos-acknowledges-nothing", "_to_device", _with_the_request),
    ("msc4538.malformed-since", "_since", _lenient),
    ("msc4538.own-queue", "_to_device", _for_the_account),
    ("msc4089.author-only-sliding-sync", "_is_own", lambda _: lambda *_: True),
    ("msc4089.author-only", "_is_own", lambda _: lambda *_: True),
    ("msc4089.unstable-type", "_receipts", lambda _: lambda *_: None),
    ("msc4089.read-is-not-delivery", "_receipts", _with_read_as_delivery),
    ("msc4089.singular", "_receipts", _up_to),
]


@pytest.mark.parametrize(
    ("id_", "name", "breaking"), BROKEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_server_that_breaks_a_clause_is_noticed(
    fake: FakeHomeserver, monkeypatch: pytest.MonkeyPatch, id_: str, name: str, breaking: Any
) -> None:
    before = tried(fake, id_)[id_]
    assert before.result is Result.HOLDS, before.detail
    monkeypatch.setattr(sliding, name, breaking(getattr(sliding, name)))
    assert tried(fake, id_)[id_].result is Result.DOES_NOT


def test_a_server_without_the_feature_is_not_called_broken() -> None:
    with FakeHomeserver(with_module=False) as stock:
        for name in NAMES:
            stock.register(name, "correct horse")
        outcomes = tried(stock, "msc4089")
    told = {one.result for id_, one in outcomes.items() if "appservice" not in id_ and "federated" not in id_}
    assert told == {Result.NOT_SUPPORTED}


def test_what_is_missing_makes_its_points_untried(fake: FakeHomeserver) -> None:
    outcomes = tried(fake, "msc3682", "msc4203", "msc4089.federated-*", "msc4246.federated*")
    assert {one.result for one in outcomes.values()} == {Result.NOT_TRIED}
    assert outcomes["msc3682.sent"].detail == "no registration of an application service is given"
    assert outcomes["msc4089.federated-out"].detail == "no second server is given"


def test_a_point_that_cannot_be_prepared_is_untried_and_the_next_one_is_tried(fake: FakeHomeserver) -> None:
    fake.answer("/login", 500, {"errcode": "M_UNKNOWN"})
    outcomes = tried(fake, "msc4538.event-format", "msc4538.order")
    assert [one.result for one in outcomes.values()] == [Result.NOT_TRIED, Result.HOLDS]


def test_a_difference_from_what_is_expected_is_told_and_recording_keeps_only_reasons_that_are_needed() -> (
    None
):
    point, other = chosen()[:2]
    reasons = {point.id: {"whose": "We", "reason": "So."}, other.id: {"whose": "We", "reason": "So."}}
    expected = report.Expectation("S", "", {point.id: "does not", other.id: "does not"}, reasons)
    came = [Outcome(point, Result.HOLDS, ""), Outcome(other, Result.DOES_NOT, "why")]
    assert expected.differences(came) == [f"{point.id}: expected 'does not', came 'holds'"]
    renewed = expected.renewed(came)
    assert renewed.differences(came) == []
    assert list(renewed.reasons) == [other.id]


def test_each_point_has_an_id_of_its_own() -> None:
    ids = [point.id for point in chosen()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", document.COLUMNS)
def test_what_is_recorded_is_whole_and_every_deviation_has_a_reason(name: str) -> None:
    recorded = EXPECTATIONS[name]
    known = {point.id for point in chosen(("msc4089.federated-*",) if name == "module-with-stock" else ())}
    assert set(recorded.results) == known
    assert set(recorded.results.values()) <= {result.value for result in Result}
    broken = {id_ for id_, result in recorded.results.items() if result == Result.DOES_NOT.value}
    assert set(recorded.reasons) == broken
    assert not set(recorded.remarks) & broken
    for reason in (*recorded.reasons.values(), *recorded.remarks.values()):
        assert reason["whose"]
        assert reason["reason"]


def test_the_document_is_what_its_command_makes() -> None:
    assert document.DOCUMENT.read_text("utf-8") == document.document(EXPECTATIONS)


def test_the_suite_needs_the_standard_library_and_aiohttp_only() -> None:
    foreign = set()
    for path in Path(document.__file__).parent.glob("*.py"):
        if path.name.startswith("test_") or path.name == "echo_module.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                foreign |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                foreign.add((node.module or "").partition(".")[0])
    assert foreign - sys.stdlib_module_names == {"aiohttp", "yarl"}
