"""What is kept of what others say in verifications: in order, once, and nothing that is forged, too much or too old."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core import judge
from tandem_core.store import account_data, timeline
from tandem_core.store import verification as rows
from tandem_core.types import DeviceId, Json, Origin, Role, UserId
from tests.core.crypto.world import NOW, ROOM, Device, user
from tests.core.verification.acts import Make

ALICE = user("alice")


@pytest.fixture
def device(make_device: Make) -> Device:
    return make_device("alice", is_new=True)


def hear(
    device: Device, kind: str, sender: UserId = ALICE, by: str | None = None, **content: Any
) -> str | None:
    """A to-device event; returns why it is not kept."""
    content = {"transaction_id": "txn", **content}
    writer = None if by is None else DeviceId(by)
    return device.write(  # type: ignore[no-any-return]
        rows.keep_to_device, device.me, sender, f"m.key.verification.{kind}", content, writer, NOW
    )


def request(**changes: Any) -> Json:
    return {"from_device": "PHONE", "methods": ["m.sas.v1"], "timestamp": NOW} | changes


def test_what_is_said_is_kept_in_order_and_once(device: Device) -> None:
    assert hear(device, "request", **request()) is None
    for _ in range(2):
        assert hear(device, "key", key="one") is None
        assert hear(device, "mac", mac={"a": "b"}, keys="k") is None
        assert hear(device, "key", key="two") is None
    kept = device.read(rows.waiting)
    assert [(said.kind, said.content.get("key")) for said in kept] == [
        ("m.key.verification.key", "one"),
        ("m.key.verification.mac", None),
        ("m.key.verification.key", "two"),
    ]
    device.write(rows.mark_done, kept[0].seq)
    hear(device, "key", key="one")
    assert len(device.read(rows.waiting)) == 2
    assert device.one("SELECT content FROM verification_event ORDER BY seq LIMIT 1") is None


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        ("request", request(timestamp=NOW - 600_001), "of another time"),
        ("request", request(timestamp=NOW + 300_001), "of another time"),
        ("request", request(timestamp=str(NOW)), "malformed"),
        ("request", request(timestamp=True), "malformed"),
        ("request", request(methods="m.sas.v1"), "malformed"),
        ("request", request(methods=["x"] * 33), "malformed"),
        ("request", request(from_device=["PHONE"]), "malformed"),
        ("request", request(from_device="ONE"), "with ourselves"),
        ("request", request(from_device=""), "with ourselves"),
        ("request", request(transaction_id=""), "malformed"),
        ("request", request(transaction_id=7), "malformed"),
        ("request", request(transaction_id="x" * 513), "malformed"),
        ("request", request(filler="x" * 16_384), "malformed"),
        ("key", {"key": "x" * 16_384}, "malformed"),
        ("song", {}, "unknown kind"),
    ],
)
def test_what_is_not_sound_is_not_kept(device: Device, kind: str, content: Json, why: str) -> None:
    assert why in (hear(device, kind, **content) or "")
    assert device.read(rows.all_standing) == device.read(rows.waiting) == []


def test_people_are_verified_in_rooms_only(device: Device) -> None:
    assert (
        hear(device, "request", user("mallory"), **request())
        == "a verification of somebody else outside a room"
    )


def test_what_olm_says_of_the_writer_counts(device: Device) -> None:
    assert hear(device, "request", by="PHONE", **request(from_device="TABLET")) is not None
    assert hear(device, "request", by="PHONE", **request()) is None


def test_a_flood_is_cut_off(device: Device) -> None:
    for number in range(rows.MOST_OPEN):
        assert hear(device, "request", **request(transaction_id=f"t{number}")) is None
    assert hear(device, "request", **request(transaction_id="one more")) == "too many verification requests"
    for number in range(rows.MOST_WAITING):
        assert hear(device, "key", key=f"k{number}") is None
    assert hear(device, "key", key="one more") == "too many verification events"


def test_a_request_is_forgotten_after_a_day(device: Device) -> None:
    hear(device, "request", **request())
    hear(device, "key", key="k")
    device.write(rows.forget_old, NOW + 86_400_001)
    assert device.read(rows.all_standing) == device.read(rows.waiting) == []


# ── Rooms ───────────────────────────────────────────────────────────────────────────────────────


def sees(device: Device, raw: Json, *, back: bool = False) -> None:
    """A clear event comes by sync and is judged, twice."""
    raw = {"event_id": "$1", "sender": user("bob"), "origin_server_ts": NOW, **raw}
    [event] = device.write(
        timeline.append_live, device.role, ROOM, [raw], limited=False, prev_batch=None, now_ms=NOW
    )
    if back:
        device.write(lambda txn: txn.execute("UPDATE timeline SET origin = ?", (Origin.BACK,)))
        from tandem_core.store import events

        event = device.read(events.get, raw["event_id"])
    for _ in range(2):
        device.write(judge.judge, device.me, Role.APP, event, now_ms=NOW, chance=device.chance)


def asks(**changes: Any) -> Json:
    content = {
        "msgtype": "m.key.verification.request",
        "body": "…",
        "to": ALICE,
        "from_device": "BOBDEV",
        "methods": ["m.sas.v1"],
    }
    return {"type": "m.room.message", "content": content | changes}


def test_a_request_in_a_room_waits_and_its_event_is_its_name(device: Device) -> None:
    sees(device, asks())
    [row] = device.read(rows.untold, NOW)
    assert (row.room_id, row.flow, row.peer, row.device_id) == (ROOM, "$1", user("bob"), "BOBDEV")
    assert device.rows("SELECT * FROM notification") == []


@pytest.mark.parametrize(
    "raw",
    [
        asks(to="@carol:example.org"),
        asks(from_device=None),
        asks() | {"sender": ALICE},
        asks() | {"origin_server_ts": NOW - 600_001},
        asks() | {"state_key": ""},
        {"type": "m.room.message", "content": {"msgtype": ["m.key.verification.request"], "body": "x"}},
    ],
)
def test_a_request_to_others_or_of_another_time_does_not_wait(device: Device, raw: Json) -> None:
    sees(device, raw)
    assert device.read(rows.all_standing) == []


@pytest.mark.parametrize(("ago_ms", "waiting"), [(600_001, 0), (600_000, 1)])
def test_what_a_room_comes_with_asks_as_long_as_it_may_be_answered(
    device: Device, ago_ms: int, waiting: int
) -> None:
    sees(device, asks() | {"origin_server_ts": NOW - ago_ms}, back=True)
    assert len(device.read(rows.all_standing)) == waiting


def test_nobody_is_asked_by_whom_they_ignore(device: Device) -> None:
    content = {"ignored_users": {user("bob"): {}}}
    device.write(account_data.put, "m.ignored_user_list", content)
    sees(device, asks())
    assert device.read(rows.all_standing) == []


@pytest.mark.parametrize(
    ("sender", "phase"), [("bob", "cancelled"), ("carol", "asked"), ("alice", "cancelled")]
)
def test_only_those_who_take_part_can_take_it_back(device: Device, sender: str, phase: str) -> None:
    sees(device, asks())
    relation = {"rel_type": "m.reference", "event_id": "$1"}
    cancel = {"code": "m.user", "reason": "", "m.relates_to": relation}
    sees(
        device,
        {"event_id": "$2", "sender": user(sender), "type": "m.key.verification.cancel", "content": cancel},
    )
    [row] = device.read(rows.all_standing)
    assert row.phase == phase


def test_what_belongs_to_no_verification_is_left_out(device: Device) -> None:
    sees(device, {"type": "m.key.verification.key", "content": {"key": "k"}})
    own = {"rel_type": "m.reference", "event_id": "$1"}
    sees(
        device,
        {
            "event_id": "$3",
            "sender": ALICE,
            "type": "m.key.verification.key",
            "content": {"key": "k", "m.relates_to": own},
            "unsigned": {"transaction_id": "ours"},
        },
    )
    assert device.read(rows.waiting) == []
