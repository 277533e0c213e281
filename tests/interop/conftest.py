"""The foreign client's process and Alice with Tandem, each once a module; and what only ``make interop`` runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tandem_demo.synapse import SynapseServer
from tests.interop import killer
from tests.interop.peer import Peer, Person, running_peer
from tests.interop.tandem import Tandem, tandem

COMPLETE = "TANDEM_INTEROP"
"""Environment variable: ``complete`` runs what is left out of ``make test``, too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(COMPLETE) == "complete":
        return
    left_out = [item for item in items if item.get_closest_marker("complete")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get(killer.KILLS) is not None:
        terminalreporter.write_line(f"{len(killer.kills)} kills at random points")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """A process for people with matrix-js-sdk."""
    with running_peer(tmp_path_factory.mktemp("peer")) as made:
        yield made


@pytest.fixture(scope="module")
def alice(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tandem]:
    """A person with Tandem; which of her programs run is each test's to say."""
    with tandem(synapse, tmp_path_factory.mktemp("alice") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def bob(synapse: SynapseServer, peer: Peer) -> Person:
    """A person with matrix-js-sdk, cross-signed."""
    return peer.sign_up(synapse)
