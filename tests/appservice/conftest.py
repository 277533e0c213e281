"""A hosted account's store, and the queue of the service that hosts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_appservice.queue import Queue
from tests.appservice.world import Service
from tests.core.sync_world import Account, open_account


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[Account]:
    """Alice is hosted; nothing else is known."""
    yield from open_account(tmp_path)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue."""
    made = Queue.open(tmp_path / "service.db")
    yield made
    made.close()


@pytest.fixture
def service(alice: Account, queue: Queue) -> Service:
    """Alice and the queue that she takes from; all of her rooms are known (there are none)."""
    made = Service(alice, queue)
    made.host()
    return made
