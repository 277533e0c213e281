"""MSC4089 on a real Synapse, over plain HTTP: who may confirm what, and who gets to see it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.conftest import new_user

pytestmark = pytest.mark.synapse

UNSTABLE = "org.matrix.msc4089.delivery"
MakeUser = Callable[..., RawClient]


@dataclass
class Pair:
    """Alice wrote; Bob is in the room, too."""

    alice: RawClient
    bob: RawClient
    room: str
    event: str


@pytest.fixture
def pair(make_user: MakeUser) -> Pair:
    alice, bob = make_user("alice"), make_user("bob")
    room = alice.create_room(invite=[bob.user_id], preset="private_chat")
    bob.join(room)
    return Pair(alice, bob, room, alice.say(room, "hello"))


def sliding(
    client: RawClient,
    pos: str | None = None,
    *,
    conn: str = "t",
    first: int = 0,
    last: int = 19,
    timeout_ms: int = 0,
) -> dict[str, Any]:
    status, answer = client.sliding_sync(
        {
            "conn_id": conn,
            "lists": {"all": {"ranges": [[first, last]], "required_state": [], "timeline_limit": 10}},
            "extensions": {"receipts": {"enabled": True}},
        },
        pos=pos,
        timeout_ms=timeout_ms,
    )
    assert status == 200, answer
    return answer


def receipts_in(answer: dict[str, Any], room: str) -> dict[str, Any]:
    """Event id to {user: receipt}, of delivery receipts in a sliding sync response."""
    content = answer["extensions"].get("receipts", {}).get("rooms", {}).get(room, {}).get("content", {})
    return {event: types[UNSTABLE] for event, types in content.items() if UNSTABLE in types}


def receipts_in_v2(answer: dict[str, Any], room: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for event in answer.get("rooms", {}).get("join", {}).get(room, {}).get("ephemeral", {}).get("events", []):
        if event["type"] == "m.receipt":
            found |= {key: types[UNSTABLE] for key, types in event["content"].items() if UNSTABLE in types}
    return found


def test_support_is_announced(synapse: SynapseServer) -> None:
    _, answer = RawClient(synapse.base_url).request("GET", "/_matrix/client/versions")
    assert answer["unstable_features"]["org.matrix.msc4089"] is True
    assert answer["unstable_features"]["im.tandem.delivery.v1"] is True


def test_a_stock_server_announces_nothing_and_refuses(stock_synapse: SynapseServer) -> None:
    _, answer = RawClient(stock_synapse.base_url).request("GET", "/_matrix/client/versions")
    assert not answer["unstable_features"].get("org.matrix.msc4089")
    name, password = new_user(stock_synapse)
    user = RawClient(stock_synapse.base_url).login(name, password)
    room = user.create_room()
    status, refusal = user.receipt(room, "m.delivery", user.say(room, "x"))
    assert (status, refusal["errcode"]) == (400, "M_UNKNOWN")


@pytest.mark.parametrize("kind", ["m.delivery", UNSTABLE])
def test_the_author_sees_a_receipt_in_both_kinds_of_sync(pair: Pair, kind: str) -> None:
    before_v2 = pair.alice.sync_v2()["next_batch"]
    before = sliding(pair.alice)
    assert pair.bob.receipt(pair.room, kind, pair.event) == (200, {})
    seen = receipts_in(sliding(pair.alice, before["pos"]), pair.room)
    assert set(seen[pair.event]) == {pair.bob.user_id}
    receipt = seen[pair.event][pair.bob.user_id]
    assert receipt["ts"] % 60_000 == 0
    assert set(receipt) == {"ts"}
    assert receipts_in_v2(pair.alice.sync_v2(before_v2), pair.room) == seen


def test_the_device_is_shown_only_when_its_owner_says_so_and_comes_from_the_token(
    pair: Pair, make_user: MakeUser
) -> None:
    body = {"im.tandem.share": "device", "device_id": "FORGED"}
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event, body)[0] == 200
    receipt = receipts_in(sliding(pair.alice), pair.room)[pair.event][pair.bob.user_id]
    assert list(receipt["im.tandem.devices"]) == [pair.bob.device_id]


def test_a_second_device_adds_itself_to_the_receipt(synapse: SynapseServer, make_user: MakeUser) -> None:
    alice = make_user("alice")
    name, password = new_user(synapse, "bob")
    phone = RawClient(synapse.base_url).login(name, password, "PHONE")
    laptop = RawClient(synapse.base_url).login(name, password, "LAPTOP")
    room = alice.create_room(invite=[phone.user_id], preset="private_chat")
    phone.join(room)
    event = alice.say(room, "two devices")
    for device in (phone, laptop):
        pos = sliding(alice)["pos"]
        assert device.receipt(room, UNSTABLE, event, {"im.tandem.share": "device"})[0] == 200
        seen = receipts_in(sliding(alice, pos), room)[event][phone.user_id]["im.tandem.devices"]
        assert device.device_id in seen
    assert set(seen) == {"PHONE", "LAPTOP"}


def test_nobody_but_the_author_ever_sees_it(pair: Pair, make_user: MakeUser) -> None:
    carol = make_user("carol")
    pair.alice.invite(pair.room, carol.user_id)
    carol.join(pair.room)
    positions = {client.user_id: sliding(client)["pos"] for client in (pair.bob, carol)}
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    for client in (pair.bob, carol):
        assert receipts_in(sliding(client, positions[client.user_id]), pair.room) == {}
        assert receipts_in(sliding(client, conn="fresh"), pair.room) == {}
        assert receipts_in_v2(client.sync_v2(), pair.room) == {}


def test_the_long_polls_of_all_the_author_s_devices_wake(synapse: SynapseServer, make_user: MakeUser) -> None:
    name, password = new_user(synapse, "alice")
    devices = [RawClient(synapse.base_url).login(name, password) for _ in range(2)]
    bob = make_user("bob")
    room = devices[0].create_room(invite=[bob.user_id], preset="private_chat")
    bob.join(room)
    event = devices[0].say(room, "wake up")
    answers: list[dict[str, Any]] = []
    polls = []
    for device in devices:
        pos = sliding(device)["pos"]
        poll = threading.Thread(
            target=lambda device=device, pos=pos: answers.append(sliding(device, pos, timeout_ms=20_000))
        )
        poll.start()
        polls.append(poll)
    assert bob.receipt(room, UNSTABLE, event)[0] == 200
    for poll in polls:
        poll.join(25)
    assert [set(receipts_in(answer, room)) for answer in answers] == [{event}, {event}]


def test_a_duplicate_is_accepted_and_changes_nothing(pair: Pair) -> None:
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    pos = sliding(pair.alice)["pos"]
    assert pair.bob.receipt(pair.room, "m.delivery", pair.event)[0] == 200
    assert receipts_in(sliding(pair.alice, pos), pair.room) == {}


def test_a_receipt_for_an_older_event_counts_after_a_newer_one(pair: Pair) -> None:
    newer = pair.alice.say(pair.room, "newer")
    pos = sliding(pair.alice)["pos"]
    for event in (newer, pair.event):
        assert pair.bob.receipt(pair.room, UNSTABLE, event)[0] == 200
    assert set(receipts_in(sliding(pair.alice, pos), pair.room)) == {newer, pair.event}


def test_a_room_that_comes_back_into_the_window_brings_its_receipts(pair: Pair) -> None:
    other = pair.alice.create_room()
    pair.alice.say(pair.room, "top of the list")
    first = sliding(pair.alice, last=0)
    pair.alice.say(other, "now this one is on top")
    second = sliding(pair.alice, first["pos"], last=0)
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    third = sliding(pair.alice, second["pos"], last=0)
    assert receipts_in(third, pair.room) == {}
    fourth = sliding(pair.alice, third["pos"], last=9)
    assert set(receipts_in(fourth, pair.room)) == {pair.event}


@pytest.fixture
def outsider(make_user: MakeUser) -> RawClient:
    return make_user("outsider")


def test_somebody_outside_the_room_is_refused_whether_or_not_the_event_exists(
    pair: Pair, outsider: RawClient
) -> None:
    answers = [outsider.receipt(pair.room, UNSTABLE, event) for event in (pair.event, "$unknown")]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["errcode"]) == (403, "M_FORBIDDEN")


def test_an_unknown_event_and_one_of_another_room_are_not_found(pair: Pair) -> None:
    elsewhere = pair.bob.create_room()
    for event in ("$unknown", pair.bob.say(elsewhere, "not here")):
        status, refusal = pair.bob.receipt(pair.room, UNSTABLE, event)
        assert (status, refusal["errcode"]) == (404, "M_NOT_FOUND")


def test_an_own_event_is_refused(pair: Pair) -> None:
    status, refusal = pair.alice.receipt(pair.room, UNSTABLE, pair.event)
    assert (status, refusal["errcode"]) == (400, "M_INVALID_PARAM")


def test_an_event_from_before_the_join_is_refused(pair: Pair, make_user: MakeUser) -> None:
    late = make_user("late")
    pair.alice.invite(pair.room, late.user_id)
    while_invited = pair.alice.say(pair.room, "you are invited, not joined")
    late.join(pair.room)
    for event in (pair.event, while_invited):
        status, refusal = late.receipt(pair.room, UNSTABLE, event)
        assert (status, refusal["errcode"]) == (403, "M_FORBIDDEN")
    assert late.receipt(pair.room, UNSTABLE, pair.alice.say(pair.room, "welcome"))[0] == 200


@pytest.mark.parametrize("body", [b"{", b"[]", {"im.tandem.share": "everybody"}, {"im.tandem.share": 1}])
def test_a_bad_body_is_a_clear_error(pair: Pair, body: Any) -> None:
    status, refusal = pair.bob.receipt(pair.room, UNSTABLE, pair.event, body)
    assert status == 400
    assert refusal["errcode"] in ("M_NOT_JSON", "M_BAD_JSON", "M_INVALID_PARAM")


def test_an_empty_body_is_the_user_level_receipt(pair: Pair) -> None:
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event, b"")[0] == 200
    assert (
        "im.tandem.devices" not in receipts_in(sliding(pair.alice), pair.room)[pair.event][pair.bob.user_id]
    )


def test_other_receipts_work_as_before(pair: Pair) -> None:
    pos = sliding(pair.alice)["pos"]
    assert pair.bob.receipt(pair.room, "m.read", pair.event)[0] == 200
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    content = sliding(pair.alice, pos)["extensions"]["receipts"]["rooms"][pair.room]["content"]
    assert set(content[pair.event]) == {"m.read", UNSTABLE}
    status, refusal = pair.bob.receipt(pair.room, "im.tandem.nonsense", pair.event)
    assert (status, refusal["errcode"]) == (400, "M_UNKNOWN")


def test_presence_is_not_touched(pair: Pair) -> None:
    path = f"{CLIENT}/presence/{pair.bob.user_id}/status"
    pair.bob.ok("PUT", path, {"presence": "unavailable"})
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    assert pair.bob.ok("GET", path)["presence"] == "unavailable"
    # The stock endpoint does bump it: so the line above is our doing, not the server's sloth.
    pair.bob.receipt(pair.room, "m.read.private", pair.event)
    assert pair.bob.ok("GET", path)["presence"] == "online"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[SynapseServer]:
    server = SynapseServer.create(
        tmp_path,
        extra={
            "modules": modules(per_second=1, burst_count=4),
            "enable_registration": True,
            "enable_registration_without_verification": True,
        },
    )
    server.start()
    server.wait_ready()
    yield server
    server.stop()


def test_tokens_and_receipts_survive_a_kill_of_the_server_and_floods_and_guests_are_refused(
    own_server: SynapseServer,
) -> None:
    people = {}
    for name in ("alice", "bob"):
        own_server.register(name, "correct horse")
        people[name] = RawClient(own_server.base_url).login(name, "correct horse")
    alice, bob = people["alice"], people["bob"]
    room = alice.create_room(invite=[bob.user_id], preset="private_chat")
    bob.join(room)
    event = alice.say(room, "persistent")
    pos = sliding(alice)["pos"]
    assert bob.receipt(room, UNSTABLE, event)[0] == 200
    own_server.kill()
    own_server.start()
    own_server.wait_ready()
    assert set(receipts_in(sliding(alice, pos), room)) == {event}
    _, answer = RawClient(own_server.base_url).request("POST", f"{CLIENT}/register?kind=guest", {})
    guest = RawClient(own_server.base_url, answer["access_token"])
    status, refusal = guest.receipt(room, UNSTABLE, event)
    assert (status, refusal["errcode"]) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    statuses = {bob.receipt(room, UNSTABLE, event)[0] for _ in range(8)}
    assert statuses == {200, 429}
