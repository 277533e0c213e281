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
from tests.homeserver.two_servers import QUICK, soon

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
            "federation": QUICK,
        }
        _configure(here, settings)
        with here.running():
            both = _meet(here, there)
            here.stop()
            _make_an_outlier(here, both.outlier[1])
            _configure(here, {"modules": modules(coalesce_seconds=0)})
            here.start()
            here.wait_ready()
            yield both


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


def test_a_receipt_for_an_author_whose_server_announces_nothing_is_refused_as_unroutable(both: Both) -> None:
    event = _written_there(both)
    _announce(both, None)
    status, refusal = both.bob.receipt(both.room, KINDS[1], event)
    assert (status, refusal["errcode"]) == (400, "IM_TANDEM_UNROUTABLE")


def test_deliveries_are_never_sent_to_other_servers(both: Both) -> None:
    event = both.alice.say(both.room, "confirmed by Bob")
    assert both.bob.receipt(both.room, KINDS[1], event)[0] == 200
    assert KINDS[1] in receipts(both.alice, both.room)[event]
    # A read receipt after it: when that has come, what was to be sent before it has been sent.
    assert both.bob.receipt(both.room, "m.read", event)[0] == 200
    heard = both.there.hear(lambda each: "m.read" in json.dumps(each.get("edus", [])))
    assert not any(json.dumps(kind) in json.dumps(heard) for kind in KINDS)


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


@pytest.fixture
def announcing(both: Both) -> Iterator[Both]:
    """The other server says that it takes delivery receipts."""
    _announce(both, {"versions": [1]})
    yield both
    _announce(both, None)


def test_a_server_that_announces_support_is_sent_them_in_an_edu_of_our_own(announcing: Both) -> None:
    event = _written_there(announcing)
    room, bob = announcing.room, announcing.bob
    assert bob.receipt(room, KINDS[1], event, {"im.tandem.share": "device"}) == (200, {})
    heard = announcing.there.hear(lambda each: bool(_deliveries(each, event)))
    (edu,) = [edu for each in heard for edu in _deliveries(each, event)]
    ts = edu["content"]["rooms"][room][event][bob.user_id]["ts"]
    assert abs(ts - time.time() * 1000) < 10 * 60_000
    assert ts % 60_000 == 0
    assert edu["content"] == {
        "version": 1,
        "rooms": {room: {event: {bob.user_id: {"ts": ts, "devices": {bob.device_id: ts}}}}},
    }
    assert not any(json.dumps(kind) in json.dumps(heard) for kind in KINDS)


def test_a_transaction_that_is_not_answered_200_is_sent_again_until_it_is(announcing: Both) -> None:
    event = _written_there(announcing)
    there = announcing.there
    there.refuses = lambda each: bool(_deliveries(each, event))
    try:
        assert announcing.bob.receipt(announcing.room, KINDS[1], event)[0] == 200
        there.hear(lambda each: bool(_deliveries(each, event)))
        assert _sent(announcing.here, event) == [(None,)]
    finally:
        there.refuses = lambda _each: False
    soon(lambda: _sent(announcing.here, event) != [(None,)])
    heard = there.hear(lambda _each: True)
    assert sum(len(_deliveries(each, event)) for each in heard) >= 2


def test_of_what_another_server_sends_only_what_it_may_say_reaches_the_author(both: Both) -> None:
    alice, bob, there, room = both.alice, both.bob, both.there, both.room
    events = [alice.say(room, text) for text in ("good", "forged", "elsewhere", "last")]
    good, forged, elsewhere, last = events
    other = alice.create_room(preset="public_chat")
    bob.join(other)
    foreign = alice.say(other, "in a room that the other server is not in")
    mine = {there.user_id: {"ts": 60_000}}

    def edu(rooms: Json, version: int = 1) -> Json:
        return {"version": version, "rooms": rooms}

    for content in (
        edu({room: {good: mine}}),
        edu({room: {forged: {bob.user_id: {"ts": 60_000}}}}),
        edu({room: {forged: {f"@nobody:{there.name}": {"ts": 60_000}}}}),
        edu({room: {forged: mine}}, version=2),
        edu({other: {foreign: mine}}),
        edu({room: {foreign: mine}, other: {elsewhere: mine}}),
        edu({room: {_written_there(both): mine}}),
        "nonsense",
        edu({room: {last: mine}}),
    ):
        there.send_edus(both.here, [{"edu_type": "im.tandem.delivery", "content": content}])
    soon(lambda: last in receipts(alice, room))
    shown = receipts(alice, room)
    assert {event: shown[event] for event in events if event in shown} == {
        good: {KINDS[1]},
        last: {KINDS[1]},
    }
    assert foreign not in receipts(alice, other)
    assert not set(events) & set(receipts(bob, room))


def _announce(both: Both, announcement: Json | None) -> None:
    """The other server changes its mind, and ours forgets what it said before."""
    both.there.announcement = announcement
    with closing(sqlite3.connect(both.here.folder / "homeserver.db", timeout=20)) as conn:
        conn.execute("DELETE FROM im_tandem_server")
        conn.commit()


def _written_there(both: Both) -> str:
    state = {each["type"]: each["event_id"] for each in _state(both)}
    event = both.there.say(both.here, both.room, state, depth=1000)
    _wait_for(both.bob, both.room, event)
    return event


def _deliveries(transaction: Json, event: str) -> list[Json]:
    """The ephemeral units in a transaction that tell of this event's delivery."""
    return [
        edu
        for edu in transaction.get("edus", [])
        if edu["edu_type"] == "im.tandem.delivery" and event in json.dumps(edu["content"])
    ]


def _sent(server: SynapseServer, event: str) -> list[tuple[int | None]]:
    with closing(sqlite3.connect(server.folder / "homeserver.db", timeout=20)) as conn:
        return conn.execute(
            "SELECT sent_ms FROM im_tandem_delivery_out WHERE event_id = ?", (event,)
        ).fetchall()


def _wait_for(client: RawClient, room: str, event: str) -> None:
    """Synapse answers another server first, and takes its events in afterwards."""
    end = time.monotonic() + 20
    while client.request("GET", f"{CLIENT}/rooms/{quote(room)}/event/{quote(event)}")[0] != 200:
        assert time.monotonic() < end, "the event from the other server never came"
        time.sleep(0.05)


def _state(both: Both) -> list[Json]:
    listed = both.alice.ok("GET", f"{CLIENT}/rooms/{quote(both.room)}/state")
    return list(listed[""])
