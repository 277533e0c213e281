"""A world under fire that the tests of this folder share: it takes a quarter of a minute to make."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tandem_demo.tell import Teller
from tandem_demo.world import running_world
from tests.torture.scene import Scene


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("torture")
    with ExitStack() as stack:
        world = stack.enter_context(running_world(folder / "world", Teller(io.StringIO()), headless=True))
        world.laptop.start_notifier()
        world.alice.stop("notifier")
        yield Scene(world, folder / "scene", 3885, stack)
