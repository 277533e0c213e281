"""Two programs at servers that delete to-device events by other rules than Synapse's: who reads, and who takes over."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tandem_core.sync.readers import Rule
from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.synapse import SynapseServer
from tests.support.proxy import actions
from tests.support.proxy.dialects import OtherServer
from tests.support.proxy.scene import LINKS, Scene
from tests.support.proxy.wire import SYNC

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]


def _readers(scene: Scene, since_number: int) -> list[str]:
    """Which connections asked for to-device events since this line of the log, in the order of asking."""
    return [line.conn_id or "" for line in scene.proxy.seen(SYNC, since_number=since_number) if line.reads]


def _says(scene: Scene) -> str:
    found = scene.alice.ctl("doctor")["findings"]
    return str(next(finding["detail"] for finding in found if finding["what"] == "to-device events"))


def test_where_the_place_acknowledges_one_reads_and_the_other_takes_over(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    server = OtherServer(Rule.POS)
    with Scene.playing(synapse, tmp_path, other=server) as scene:
        for _ in range(4):
            scene.exchange()
        assert "goes by its place" in _says(scene)
        for _ in range(2):
            begun = len(scene.proxy.log)
            scene.exchange()
            (reader,) = set(_readers(scene, begun))
            scene.alice.stop(PROCESSES[reader], signal.SIGKILL)
            (heir,) = set(LINKS) - {reader}
            # What comes while nobody reads must be there for the heir.
            begun = len(scene.proxy.log)
            scene.write("bob")
            wait_for("the heir", lambda begun=begun, heir=heir: heir in _readers(scene, begun))
            scene.start()
            scene.settle()
            begun = len(scene.proxy.log)
            scene.exchange()
            assert set(_readers(scene, begun)) == {heir}
        assert server.deleted_unread == []
        assert {number for numbers in server.given.values() for number in numbers} == set(
            range(1, server.accepted + 1)
        )


def test_where_a_missing_token_means_the_place_both_read_in_turns(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    server = OtherServer(Rule.SINCE_OR_POS)
    with Scene.playing(synapse, tmp_path, other=server) as scene:
        for _ in range(4):
            scene.exchange()
        assert _says(scene).startswith("both programs read, in turns")
        for link in LINKS:
            scene.alice.stop(PROCESSES[link], signal.SIGKILL)
            scene.write("bob")
            scene.start()
            scene.settle()
        assert server.deleted_unread == []


def test_at_synapse_both_read_in_turns_and_fetch_nothing_twice(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    with Scene.playing(synapse, tmp_path) as scene:
        for _ in range(4):
            scene.exchange()
        assert "MSC4538" in _says(scene)
        fetched = actions.Fetched()
        scene.proxy.add("count", fetched, times=None)
        scene.exchange()
        fetched.times.clear()
        begun = len(scene.proxy.log)
        # A turn ends with the first answer after its time; then the other one reads.
        end = time.monotonic() + 90
        while set(_readers(scene, begun)) != set(LINKS):
            assert time.monotonic() < end
            scene.exchange()
        scene.exchange()
        assert len(fetched.times) > 2
        assert set(fetched.times.values()) == {1}
        scene.assert_tokens_tell_the_truth()
