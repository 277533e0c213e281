"""A worker as the process that writes receipts: main passes on what it is asked, and says so when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tandem_demo.deployment import WORKER
from tandem_demo.raw import CLIENT
from tests.homeserver.listening import of_type, to_server
from tests.homeserver.test_delivery_receipts import UNSTABLE
from tests.homeserver.with_workers import Place, Polls, running

pytestmark = pytest.mark.synapse


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(tmp_path_factory.mktemp("workers"), receipts_at=WORKER) as place:
        yield place


def test_what_main_is_asked_the_worker_writes_and_without_the_worker_the_answer_is_definite(
    place: Place,
) -> None:
    pair = place.pair()
    polls = Polls(pair.alice, pair.room)
    assert pair.bob.receipt(pair.room, UNSTABLE, pair.event) == (200, {})
    assert [set(found) for found in polls.bring()] == [{pair.event}, {pair.event}]
    place.worker.stop()
    status, refusal = pair.bob.receipt(pair.room, UNSTABLE, pair.alice.say(pair.room, "nobody keeps it now"))
    assert (status, refusal["error"]) == (502, f"Failed to talk to {WORKER} process")
    place.worker.start()
    place.worker.wait_ready()


def test_main_passes_a_batch_on_and_gets_back_what_is_to_wait_in_the_author_s_inbox(place: Place) -> None:
    """To-device messages come to and from the process that writes them: here main, and receipts are the worker's."""
    pair = place.pair()
    settings = f"{CLIENT}/user/{quote(pair.alice.user_id)}/account_data/im.tandem.delivery_settings"
    pair.alice.ok("PUT", settings, {"durable": True})
    polls = Polls(pair.alice, pair.room)
    address = f"@:{place.main.server_name}"
    batch = {"share": "device", "rooms": {pair.room: [pair.event, "$unknown"]}}
    assert to_server(pair.bob, address, "im.tandem.delivery.batch", {"*": batch}, "batch") == (200, {})
    assert [set(found) for found in polls.bring()] == [{pair.event}, {pair.event}]
    (event,) = of_type(pair.alice, "im.tandem.delivery")
    assert event["sender"] == address
    (receipt,) = event["content"]["rooms"][pair.room][pair.event][UNSTABLE].values()
    assert list(receipt["im.tandem.devices"]) == [pair.bob.device_id]
