"""Filters of the author's own syncs, and all the other ways in which a server hands out what it has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.readings import SEARCH, messages, readings
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in_v2

pytestmark = pytest.mark.synapse

MakeUser = Callable[..., RawClient]


@dataclass
class Told:
    """Alice wrote ``event`` in ``room``, and Bob confirmed it; Carol is there, too. ``before``: Alice's v2 token."""

    alice: RawClient
    bob: RawClient
    carol: RawClient
    room: str
    event: str
    before: str


@pytest.fixture
def told(make_user: MakeUser) -> Told:
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    room = alice.create_room(preset="public_chat")
    bob.join(room)
    carol.join(room)
    event = alice.say(room, "a word to be found")
    before = alice.sync_v2()["next_batch"]
    assert bob.receipt(room, UNSTABLE, event)[0] == 200
    return Told(alice, bob, carol, room, event, before)


@pytest.mark.parametrize(
    ("ephemeral", "shown"),
    [
        ({}, True),
        ({"types": ["m.receipt"]}, True),
        ({"types": ["m.typing"]}, False),
        ({"not_types": ["m.receipt"]}, False),
        ({"not_types": ["m.*"]}, False),
        ({"not_rooms": "the room"}, False),
        ({"rooms": "the room"}, True),
        ({"rooms": ["!elsewhere:localhost"]}, False),
    ],
)
def test_filters_of_sync_hold_for_delivery_receipts(told: Told, ephemeral: Json, shown: bool) -> None:
    wanted = {key: [told.room] if value == "the room" else value for key, value in ephemeral.items()}
    chosen = json.dumps({"room": {"ephemeral": wanted}})
    for since in (told.before, None):
        answer = told.alice.sync_v2(since, filter=chosen)
        assert (told.event in receipts_in_v2(answer, told.room)) is shown


def test_a_room_that_is_filtered_out_brings_no_receipts(told: Told) -> None:
    chosen = json.dumps({"room": {"not_rooms": [told.room]}})
    assert told.event not in json.dumps(told.alice.sync_v2(told.before, filter=chosen))


@pytest.mark.parametrize(
    ("extension", "shown"),
    [
        ({}, True),
        ({"lists": ["*"], "rooms": []}, True),
        ({"lists": ["all"], "rooms": []}, True),
        ({"lists": ["other"], "rooms": []}, False),
        ({"lists": [], "rooms": []}, False),
        ({"lists": [], "rooms": ["*"]}, True),
        ({"enabled": False}, False),
    ],
)
def test_sliding_sync_gives_them_for_the_lists_and_rooms_that_were_asked_for(
    told: Told, extension: Json, shown: bool
) -> None:
    status, answer = told.alice.sliding_sync(
        {
            "conn_id": "filters",
            "lists": {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 5}},
            "room_subscriptions": {told.room: {"required_state": [], "timeline_limit": 5}},
            "extensions": {"receipts": {"enabled": True, **extension}},
        }
    )
    assert status == 200
    assert (UNSTABLE in json.dumps(answer)) is shown


@pytest.mark.parametrize("thread_id", ["main", "$thread", "", "whatever"])
def test_a_thread_id_makes_no_difference(told: Told, thread_id: str) -> None:
    event = told.alice.say(told.room, "in a thread, perhaps")
    for client in (told.bob, told.carol):
        assert client.receipt(told.room, UNSTABLE, event, {"thread_id": thread_id}) == (200, {})
    receipts = receipts_in_v2(told.alice.sync_v2(told.before), told.room)[event]
    assert set(receipts) == {told.bob.user_id, told.carol.user_id}
    assert set(receipts[told.bob.user_id]) == {"ts"}


@pytest.mark.parametrize("thread_id", [1, None, ["main"], {}, True])
def test_a_thread_id_that_is_no_string_is_refused(told: Told, thread_id: Any) -> None:
    event = told.alice.say(told.room, "in no thread")
    status, refusal = told.bob.receipt(told.room, UNSTABLE, event, {"thread_id": thread_id})
    assert (status, refusal["errcode"]) == (400, "M_INVALID_PARAM")


def test_no_reading_of_a_room_shows_them_to_anybody(told: Told, synapse: SynapseServer) -> None:
    for client in (told.alice, told.bob, told.carol):
        for method, path, body in readings(told.room, told.event):
            answer = client.ok(method, path, body)
            assert "delivery" not in json.dumps(answer), path
    # The searches and readings do find the event: their silence is not that of an empty answer.
    assert told.event in json.dumps(told.carol.ok("POST", f"{CLIENT}/search", SEARCH))
    assert told.event in json.dumps(told.carol.ok("GET", messages(told.room)))


def test_administrators_readings_show_none(told: Told, synapse: SynapseServer) -> None:
    admin = RawClient(synapse.base_url).login(*new_user(synapse, "admin", admin=True))
    room, event = quote(told.room), quote(told.event)
    user = quote(told.alice.user_id)
    for path in (
        f"v1/rooms/{room}",
        f"v1/rooms/{room}/state",
        f"v1/rooms/{room}/messages?{urlencode({'dir': 'b', 'limit': 50})}",
        f"v1/rooms/{room}/context/{event}",
        f"v1/fetch_event/{event}",
        f"v1/users/{user}/accountdata",
        f"v1/whois/{user}",
    ):
        assert "delivery" not in json.dumps(admin.ok("GET", f"/_synapse/admin/{path}")), path


def test_an_export_of_somebody_s_data_has_none(told: Told, synapse: SynapseServer, tmp_path: Path) -> None:
    for person in (told.alice, told.bob):
        folder = tmp_path / person.user_id.partition(":")[0][1:]
        config = str(synapse.folder / "homeserver.yaml")
        command = [sys.executable, "-m", "synapse.app.admin_cmd", "-c", config]
        subprocess.run(
            [*command, "export-data", person.user_id, "--output-directory", str(folder)],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=60,
        )
        written = [path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()]
        assert any("a word to be found" in text for text in written)
        assert not any("m.delivery" in text or UNSTABLE in text for text in written)
