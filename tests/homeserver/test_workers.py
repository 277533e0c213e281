"""The module in a Synapse of several processes, with PostgreSQL and Redis: nothing is lost, nobody else is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from synapse.replication.tcp.client import FederationSenderHandler
from synapse.replication.tcp.streams import ReceiptsStream
from synapse.server import HomeServer

from tandem_demo.raw import RawClient
from tandem_synapse import replication_hooks
from tests.conftest import new_user
from tests.homeserver.remote_server import ROOM_VERSION
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, receipts_in_v2, sliding
from tests.homeserver.two_servers import soon
from tests.homeserver.with_workers import Pair, Place, Polls, at, running, shown

pytestmark = pytest.mark.synapse

SHARED = {"im.tandem.share": "device"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(tmp_path_factory.mktemp("workers"), receipts_at="main") as place:
        yield place


@pytest.fixture
def pair(place: Place) -> Pair:
    return place.pair()


def test_a_receipt_that_main_writes_wakes_its_author_on_the_worker_and_nobody_else_is_told(
    place: Place, pair: Pair
) -> None:
    polls = Polls(at(place.worker, pair.alice), pair.room)
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event) == (200, {})
    for found in polls.bring():
        assert set(found) == {pair.event}
        assert set(found[pair.event]) == {pair.bob.user_id}
    for process in (place.main, place.worker):
        bob = at(process, pair.bob)
        assert receipts_in(sliding(bob, conn="other"), pair.room) == {}
        assert receipts_in_v2(bob.sync_v2(), pair.room) == {}


def test_the_worker_announces_support_and_passes_receipts_on_and_refusals_back(
    place: Place, pair: Pair
) -> None:
    bob, alice = (at(place.worker, each) for each in (pair.bob, pair.alice))
    features = bob.ok("GET", "/_matrix/client/versions")["unstable_features"]
    assert features["org.matrix.msc4089"] is True
    polls = Polls(pair.alice, pair.room)
    assert bob.receipt(pair.room, UNSTABLE, pair.event, SHARED) == (200, {})
    for found in polls.bring():
        assert list(found[pair.event][bob.user_id]["im.tandem.devices"]) == [bob.device_id]
    elsewhere = pair.alice.create_room()
    refused = [
        (pair.bob, bob, (pair.room, UNSTABLE, "$unknown")),
        (pair.bob, bob, (elsewhere, UNSTABLE, pair.event)),
        (pair.alice, alice, (pair.room, UNSTABLE, pair.event)),
    ]
    answers = [(at_main.receipt(*asked), at_worker.receipt(*asked)) for at_main, at_worker, asked in refused]
    assert [at_worker for _, at_worker in answers] == [at_main for at_main, _ in answers]
    assert [status for _, (status, _) in answers] == [404, 403, 400]


def test_devices_that_confirm_at_the_same_time_are_all_kept(place: Place, pair: Pair) -> None:
    """PostgreSQL lets both transactions run at once, and one of them must be repeated."""
    localpart, password = new_user(place.main, "bob")
    servers = (place.main, place.worker, place.main, place.worker)
    devices = [at(each, RawClient(place.main.base_url).login(localpart, password)) for each in servers]
    pair.alice.invite(pair.room, devices[0].user_id)
    devices[0].join(pair.room)
    event = pair.alice.say(pair.room, "to many devices")
    soon(lambda: event in shown(sliding(devices[1]), pair.room))
    start = threading.Barrier(len(devices))

    def confirm(device: RawClient) -> int:
        start.wait()
        return device.receipt(pair.room, UNSTABLE, event, SHARED)[0]

    with ThreadPoolExecutor(len(devices)) as pool:
        assert set(pool.map(confirm, devices)) == {200}
    wanted = {device.device_id for device in devices}

    def seen() -> bool:
        found = receipts_in(sliding(at(place.worker, pair.alice), conn="all"), pair.room)
        return set(found.get(event, {}).get(devices[0].user_id, {}).get("im.tandem.devices", {})) == wanted

    soon(seen)


def test_a_worker_that_sends_federation_never_sends_a_receipt(place: Place) -> None:
    alice, bob = place.person("alice"), place.person("bob")
    room = alice.create_room(preset="public_chat", room_version=ROOM_VERSION)
    bob.join(room)
    place.remote.join(place.main, room)
    event = alice.say(room, "to both servers")
    polls = Polls(at(place.worker, alice), room)
    assert bob.receipt(room, UNSTABLE, event)[0] == 200
    # The worker has had the row; and what it sends in between is sent before the read receipt that follows.
    assert all(set(found) == {event} for found in polls.bring())
    assert bob.receipt(room, "m.read", event)[0] == 200
    heard = json.dumps(place.remote.hear(lambda each: "m.read" in json.dumps(each.get("edus", []))))
    assert "delivery" not in heard


def test_a_receipt_survives_the_kill_of_the_process_that_took_it(place: Place, pair: Pair) -> None:
    alice = at(place.worker, pair.alice)
    polls = Polls(alice, pair.room)
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event)[0] == 200
    place.main.kill()
    place.main.start()
    place.main.wait_ready()
    assert [set(found) for found in polls.bring()] == [{pair.event}, {pair.event}]
    # And positions go on: a later one wakes the worker, which has seen nothing of the kill but a pause.
    second = pair.alice.say(pair.room, "after the crash")
    polls = Polls(alice, pair.room)
    assert pair.bob.receipt(pair.room, UNSTABLE, second)[0] == 200
    assert [set(found) for found in polls.bring()] == [{second}, {second}]


def test_a_row_that_tells_workers_of_a_receipt_means_nothing_to_stock_synapse() -> None:
    """Should a worker run without the module: what it does with a row, above all not telling other servers."""
    told: list[Any] = []

    class Sender:
        async def send_read_receipt(self, receipt: Any) -> None:
            told.append(receipt)

    handler: Any = object.__new__(FederationSenderHandler)
    handler.federation_sender = Sender()
    handler._is_mine_id = partial(HomeServer.is_mine_id, SimpleNamespace(hostname="here"))
    room, kind, _, event, thread, data = ours = replication_hooks.wake_row("@alice:here")
    with pytest.raises(StopIteration):
        handler._on_new_receipts([ReceiptsStream.parse_row(ours)]).send(None)
    assert told == []
    # Of somebody of this server it would be told: so the line above means something.
    theirs = ReceiptsStream.parse_row((room, kind, "@alice:here", event, thread, data))
    with pytest.raises(StopIteration):
        handler._on_new_receipts([theirs]).send(None)
    assert len(told) == 1
