"""The module's pure parts, and its refusal of a Synapse it does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_demo.synapse import SynapseError, SynapseServer
from tandem_synapse import content, rules
from tandem_synapse.store import DeliveryRow

FAIR = rules.Confirmation("@bob:x", True, "!r", "!r", "@alice:x", True, True)


def test_a_fair_confirmation_is_kept() -> None:
    assert rules.judge(FAIR) is None


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"is_joined": False}, rules.Refusal.NOT_JOINED),
        ({"event_room_id": None}, rules.Refusal.UNKNOWN_EVENT),
        ({"event_room_id": "!other"}, rules.Refusal.UNKNOWN_EVENT),
        ({"was_joined_at_event": False}, rules.Refusal.BEFORE_JOIN),
        ({"author": "@bob:x"}, rules.Refusal.OWN_EVENT),
        ({"author_is_local": False}, rules.Refusal.REMOTE_AUTHOR),
    ],
)
def test_each_unfair_one_is_refused_for_its_reason(change: dict[str, object], refusal: rules.Refusal) -> None:
    assert rules.judge(replace(FAIR, **change)) is refusal  # type: ignore[arg-type]


ids = st.sampled_from(["a", "b", "c"])
contents = st.dictionaries(
    ids, st.dictionaries(ids, st.dictionaries(ids, st.just({"ts": 1}), min_size=1), min_size=1)
)


def flat(value: dict[str, dict[str, dict[str, object]]]) -> set[tuple[str, str, str]]:
    return {
        (event, kind, user)
        for event, kinds in value.items()
        for kind, users in kinds.items()
        for user in users
    }


@given(contents, contents)
def test_merging_loses_nothing_and_leaves_its_arguments_alone(first: dict, second: dict) -> None:  # type: ignore[type-arg]
    before = (flat(first), flat(second))
    assert flat(content.merged(first, second)) == before[0] | before[1]
    assert (flat(first), flat(second)) == before


def test_delivery_receipts_of_other_servers_are_left_out() -> None:
    edu = {
        "!r": {
            "m.read": {"@u:y": {}},
            "m.delivery": {"@u:y": {}},
            "org.matrix.msc4089.delivery": {"@u:y": {}},
        }
    }
    assert content.without_delivery(edu) == {"!r": {"m.read": {"@u:y": {}}}}


def test_devices_appear_only_where_they_were_shared() -> None:
    rows = [
        DeliveryRow("!r", "$e", "@u:x", 60_000, {"PHONE": 60_000}),
        DeliveryRow("!r", "$e", "@v:x", 0, {}),
    ]
    users = content.by_room(rows, "m.delivery")["!r"]["$e"]["m.delivery"]
    assert users == {
        "@u:x": {"ts": 60_000, "im.tandem.devices": {"PHONE": {"ts": 60_000}}},
        "@v:x": {"ts": 0},
    }


@pytest.mark.synapse
@pytest.mark.parametrize(
    ("settings", "words"),
    [({"nonsense": 1}, "nonsense"), ({"keep_days": -1}, "keep_days"), ({"emit_type": "m.read"}, "emit_type")],
)
def test_a_wrong_setting_stops_synapse_with_its_name(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    modules = [{"module": "tandem_synapse.TandemModule", "config": settings}]
    server = SynapseServer.create(tmp_path, extra={"modules": modules})
    server.start()
    with pytest.raises(SynapseError, match=words):
        server.wait_ready()
    server.stop()


@pytest.mark.synapse
def test_a_synapse_whose_inside_has_changed_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import synapse.rest.client.receipts as r\n"
        "async def on_POST(self, request, room_id, receipt_type, event_id, thread_id): ...\n"
        "r.ReceiptRestServlet.on_POST = on_POST\n",
        "utf-8",
    )
    server = SynapseServer.create(tmp_path / "synapse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        server.start()
    with pytest.raises(SynapseError, match="on_POST takes .* expected"):
        server.wait_ready()
    server.stop()
