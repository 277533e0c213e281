"""A worker as the process that writes receipts: main passes on what it is asked, and says so when it cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tandem_demo.deployment import WORKER
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
