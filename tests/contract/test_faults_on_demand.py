"""The fake homeserver's faults do what tests of Tandem believe they do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tests.support.fake_homeserver import FakeHomeserver

WHOAMI = f"{CLIENT}/account/whoami"


@pytest.fixture
def server() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as server:
        server.register("alice", "wonderland")
        yield server


@pytest.fixture
def alice(server: FakeHomeserver) -> RawClient:
    return RawClient(server.base_url).login("alice", "wonderland")


def test_an_answer_put_in_its_place_comes_as_often_as_said_and_nothing_is_done(
    server: FakeHomeserver, alice: RawClient
) -> None:
    server.answer("/createRoom", 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 5}, times=2)
    for _ in range(2):
        status, answer = alice.request("POST", f"{CLIENT}/createRoom", {})
        assert (status, answer["retry_after_ms"]) == (429, 5)
    assert alice.ok("GET", f"{CLIENT}/joined_rooms")["joined_rooms"] == []
    room = alice.create_room()
    assert alice.ok("GET", f"{CLIENT}/joined_rooms")["joined_rooms"] == [room]


def test_a_dropped_request_was_done_and_its_retry_makes_no_second_event(
    server: FakeHomeserver, alice: RawClient
) -> None:
    room = alice.create_room()
    server.drop_after_processing("/send/")
    content = {"msgtype": "m.text", "body": "once"}
    with pytest.raises((http.client.HTTPException, OSError)):
        alice.send(room, content, txn_id="t")
    event_id = alice.send(room, content, txn_id="t")
    page = alice.ok("GET", f"{CLIENT}/rooms/{room}/messages?dir=b&limit=50")["chunk"]
    assert [event["event_id"] for event in page if event["type"] == "m.room.message"] == [event_id]
    assert [one.status for one in server.seen("/send/")] == [0, 200]


def test_a_held_answer_waits_until_its_gate_opens(server: FakeHomeserver, alice: RawClient) -> None:
    gate = server.hold("/whoami")
    answers: list[int] = []
    asked = threading.Thread(target=lambda: answers.append(alice.request("GET", WHOAMI)[0]))
    asked.start()
    assert gate.reached.wait(20)
    assert answers == []
    gate.open()
    asked.join(20)
    assert answers == [200]


@pytest.mark.parametrize("soft", [True, False])
def test_an_expired_token_says_how_it_ended(server: FakeHomeserver, alice: RawClient, soft: bool) -> None:
    server.expire(alice.user_id, soft=soft)
    status, answer = alice.request("GET", WHOAMI)
    assert (status, answer["errcode"], answer["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", soft)
    again = RawClient(server.base_url).login("alice", "wonderland", alice.device_id)
    assert again.ok("GET", WHOAMI)["device_id"] == alice.device_id


def test_an_edited_answer_and_then_the_right_one(server: FakeHomeserver, alice: RawClient) -> None:
    server.edit("/whoami", lambda answer: answer | {"user_id": "@mallory:elsewhere"})
    assert alice.ok("GET", WHOAMI)["user_id"] == "@mallory:elsewhere"
    assert alice.ok("GET", WHOAMI)["user_id"] == alice.user_id


def test_healing_ends_every_fault(server: FakeHomeserver, alice: RawClient) -> None:
    server.answer(".", 500, {}, times=1000)
    assert alice.request("GET", WHOAMI)[0] == 500
    server.heal()
    assert alice.request("GET", WHOAMI)[0] == 200
