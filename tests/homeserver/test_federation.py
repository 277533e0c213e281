"""Deliveries and other servers, with a second server that really signs, sends and listens (DESIGN law 10)."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.homeserver.remote_server import ROOM_VERSION, RemoteServer

pytestmark = pytest.mark.synapse

KINDS = ("m.delivery", "org.matrix.msc4089.delivery")


@dataclass
class Both:
    """Alice and Bob are here, a third person is on the other server, all in one room.

    ``seen_by_bob_before`` is what Bob, who wrote nothing, was shown while our module was not yet installed;
    ``outlier`` a room and an event in it that the server keeps for the sake of others, outside the room's history.
    """

    here: SynapseServer
    there: RemoteServer
    alice: RawClient
    bob: RawClient
    room: str
    event: str
    seen_by_bob_before: dict[str, set[str]]
    outlier: tuple[str, str]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("federating")
    with RemoteServer(folder) as there:
        here = SynapseServer.create(folder / "synapse", with_module=False)
        settings = {
            "federation_domain_whitelist": [there.name],
            "federation_verify_certificates": False,
            "ip_range_blacklist": [],
            "federation_rr_transactions_per_room_per_second": 1000,
        }
        _configure(here, settings)
        here.start()
        try:
            here.wait_ready()
            both = _meet(here, there)
            here.stop()
            _make_an_outlier(here, both.outlier[1])
            _configure(here, {"modules": modules(coalesce_seconds=0)})
            here.start()
            here.wait_ready()
            yield both
        finally:
            here.stop()


def _configure(server: SynapseServer, settings: Json) -> None:
    path = server.folder / "homeserver.yaml"
    config = json.loads(path.read_text("utf-8")) | settings
    config["listeners"][0]["resources"][0]["names"] = ["client", "federation"]
    path.write_text(json.dumps(config), "utf-8")


def _meet(here: SynapseServer, there: RemoteServer) -> Both:
    alice, bob = (_person(here, name) for name in ("alice", "bob"))
    room = alice.create_room(preset="public_chat", room_version=ROOM_VERSION)
    bob.join(room)
    there.join(here, room)
    event = alice.say(room, "to both servers")
    there.send_receipts(here, {room: {KINDS[0]: _receipt(there, event)}})
    other = alice.create_room(preset="public_chat")
    bob.join(other)
    outlier = (other, alice.say(other, "soon to be an outlier"))
    return Both(here, there, alice, bob, room, event, receipts(bob, room), outlier)


def _make_an_outlier(server: SynapseServer, event_id: str) -> None:
    with closing(sqlite3.connect(server.folder / "homeserver.db")) as conn:
        where = "WHERE event_id = ?"
        (text,) = conn.execute(f"SELECT internal_metadata FROM event_json {where}", (event_id,)).fetchone()
        changed = json.dumps(json.loads(text) | {"outlier": True})
        conn.execute(f"UPDATE event_json SET internal_metadata = ? {where}", (changed, event_id))
        conn.execute(f"UPDATE events SET outlier = 1 {where}", (event_id,))
        conn.execute(f"DELETE FROM event_to_state_groups {where}", (event_id,))
        conn.commit()


def _person(server: SynapseServer, name: str) -> RawClient:
    server.register(name, "a long password")
    return RawClient(server.base_url).login(name, "a long password")


def _receipt(there: RemoteServer, event: str) -> Json:
    return {there.user_id: {"event_ids": [event], "data": {"ts": 1}}}


def receipts(client: RawClient, room: str) -> dict[str, set[str]]:
    """What a new device is shown of the room's receipts in both kinds of sync: event to types."""
    v2 = client.sync_v2(filter=json.dumps({"room": {"timeline": {"limit": secrets.randbelow(90) + 10}}}))
    status, sliding = client.sliding_sync(
        {
            "conn_id": secrets.token_hex(4),
            "lists": {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 50}},
            "extensions": {"receipts": {"enabled": True}},
        }
    )
    assert status == 200
    events = [
        *v2["rooms"]["join"][room]["ephemeral"]["events"],
        sliding["extensions"]["receipts"].get("rooms", {}).get(room, {"type": "m.receipt", "content": {}}),
    ]
    found: dict[str, set[str]] = {}
    for event in events:
        if event["type"] == "m.receipt":
            for event_id, types in event["content"].items():
                found.setdefault(event_id, set()).update(types)
    return found


def test_a_receipt_for_an_author_elsewhere_is_refused_as_unroutable(both: Both) -> None:
    state = {each["type"]: each["event_id"] for each in _state(both)}
    event = both.there.say(both.here, both.room, state, depth=1000)
    _wait_for(both.bob, both.room, event)
    status, refusal = both.bob.receipt(both.room, KINDS[1], event)
    assert (status, refusal["errcode"]) == (400, "IM_TANDEM_UNROUTABLE")


def test_deliveries_are_never_sent_to_other_servers(both: Both) -> None:
    event = both.alice.say(both.room, "confirmed by Bob")
    assert both.bob.receipt(both.room, KINDS[1], event)[0] == 200
    assert KINDS[1] in receipts(both.alice, both.room)[event]
    # A read receipt after it: when that has come, what was to be sent before it has been sent.
    assert both.bob.receipt(both.room, "m.read", event)[0] == 200
    heard = both.there.hear(lambda each: "m.read" in json.dumps(each.get("edus", [])))
    assert not any(kind in json.dumps(heard) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_deliveries_from_other_servers_are_dropped_and_read_receipts_are_not(both: Both, kind: str) -> None:
    event = both.alice.say(both.room, "confirmed from elsewhere")
    content = {kind: _receipt(both.there, event), "m.read": _receipt(both.there, event)}
    both.there.send_receipts(both.here, {both.room: content})
    for person in (both.alice, both.bob):
        assert receipts(person, both.room)[event] == {"m.read"}
    with closing(sqlite3.connect(both.here.folder / "homeserver.db", timeout=20)) as conn:
        rows = conn.execute("SELECT receipt_type FROM receipts_linearized WHERE event_id = ?", (event,))
        assert rows.fetchall() == [("m.read",)]


def test_what_a_server_without_the_module_kept_for_everybody_is_hidden(both: Both) -> None:
    # Without the module the room was shown it; this is the leak that law 10 is about.
    assert both.seen_by_bob_before[both.event] == {KINDS[0]}
    for person in (both.alice, both.bob):
        assert both.event not in receipts(person, both.room)


def test_an_event_known_by_name_only_is_not_found(both: Both) -> None:
    status, refusal = both.bob.receipt(both.outlier[0], KINDS[1], both.outlier[1])
    assert (status, refusal["errcode"]) == (404, "M_NOT_FOUND")


def _wait_for(client: RawClient, room: str, event: str) -> None:
    """Synapse answers another server first, and takes its events in afterwards."""
    end = time.monotonic() + 20
    while client.request("GET", f"{CLIENT}/rooms/{quote(room)}/event/{quote(event)}")[0] != 200:
        assert time.monotonic() < end, "the event from the other server never came"
        time.sleep(0.05)


def _state(both: Both) -> list[Json]:
    listed = both.alice.ok("GET", f"{CLIENT}/rooms/{quote(both.room)}/state")
    return list(listed[""])
