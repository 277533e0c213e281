"""One Synapse, one Alice with her two programs and one Bob for all scenarios; after each, all is whole again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tandem_demo.synapse import SynapseServer
from tests.scenarios.stage import Stage


class Keeper:
    """Keeps the stage from test to test; one that a test left unsound is given up, and the next is new."""

    def __init__(self, server: SynapseServer, folders: pytest.TempPathFactory) -> None:
        self._server = server
        self._folders = folders
        self._held = ExitStack()
        self._stage: Stage | None = None

    def stage(self) -> Stage:
        if self._stage is None:
            self._stage = self._held.enter_context(Stage.playing(self._server, self._folders.mktemp("stage")))
        return self._stage

    def give_up(self) -> None:
        self._stage = None
        self._held.close()


@pytest.fixture(scope="session")
def keeper(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    made = Keeper(synapse, tmp_path_factory)
    yield made
    made.give_up()


@pytest.fixture(scope="module")
def sound(keeper: Keeper) -> Iterator[Keeper]:
    """The same; after the module everything must be as if there had been no faults."""
    yield keeper
    try:
        made = keeper.stage()
        made.start()
        made.exchange()
        made.assert_tokens_never_led()
        made.assert_signed_in_and_running()
    except BaseException:
        keeper.give_up()
        raise


@pytest.fixture
def stage(sound: Keeper) -> Iterator[Stage]:
    """The stage with everything running and no faults; whatever could not be used was meant so."""
    made = sound.stage()
    made.start()
    yield made
    made.proxy.heal()
    assert made.unusable() == []
