"""A whole world a module: Synapse, Alice with a window and a notifier, Bob with two devices."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tandem_demo.tell import Teller
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tandem_demo.world import World, running_world
from tests.e2e.scene import start_all


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Real programs on a Synapse of their own; all ended with the module."""
    with running_world(tmp_path_factory.mktemp("world"), Teller(io.StringIO()), headless=True) as made:
        made.laptop.start_notifier()
        yield made


@pytest.fixture
def awake(world: World) -> World:
    """The same world with all three notifiers running, whatever the test before has killed."""
    start_all(world)
    return world


@pytest.fixture
def window(awake: World) -> Iterator[WindowDriver]:
    """Alice's window, open and syncing; closed with the test."""
    driver = WindowDriver(awake.alice)
    driver.open()
    yield driver
    awake.alice.stop("window")


@pytest.fixture
def pens(awake: World) -> Iterator[dict[str, Pen]]:
    """A pen for each device, by the device's name."""
    with ExitStack() as stack:
        yield {device.name: Pen(device, stack) for device in awake.devices}
