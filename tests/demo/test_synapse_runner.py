"""The runner of the demo and of all integration tests is itself tested."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseError, SynapseServer

pytestmark = pytest.mark.synapse


def test_a_fresh_account_talks_over_sliding_sync(make_user: Callable[..., RawClient]) -> None:
    user = make_user("talker")
    room = user.create_encrypted_room()
    status, answer = user.sliding_sync(
        {"lists": {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 1}}}
    )
    assert status == 200
    assert room in answer["rooms"]


def test_rooms_and_tokens_survive_a_kill_of_the_server(tmp_path: Path) -> None:
    server = SynapseServer.create(tmp_path, with_module=False)
    with server.running():
        server.register("alice", "wonderland")
        alice = RawClient(server.base_url).login("alice", "wonderland")
        room = alice.create_room()
        server.kill()
        assert server.pid is None
        server.start()
        server.wait_ready()
        assert alice.say(room, "still here").startswith("$")


def test_a_broken_configuration_is_told_with_the_server_s_own_words(tmp_path: Path) -> None:
    server = SynapseServer.create(tmp_path, with_module=False, extra={"listeners": "none"})
    server.start()
    with pytest.raises(SynapseError, match="did not start"):
        server.wait_ready()
    server.stop()


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = SynapseServer.create(tmp_path, with_module=False)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    task = Path(f"/proc/self/task/{starter.native_id}")
    until(lambda: not task.exists())
    try:
        server.wait_ready()
        assert server.register("alice", "wonderland") == "@alice:localhost"
    finally:
        server.stop()


_KEEPER = """
import sys, time, pathlib
from tandem_demo.synapse import SynapseServer
server = SynapseServer.create(pathlib.Path(sys.argv[1]), with_module=False)
server.start()
server.wait_ready()
print(server.base_url, flush=True)
time.sleep(600)
"""


def test_it_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KEEPER, str(tmp_path / "server")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        url = keeper.stdout.readline().strip()
        observer = RawClient(url)
        assert observer.request("GET", "/_matrix/client/versions")[0] == 200
        keeper.kill()

    def is_gone() -> bool:
        try:
            observer.request("GET", "/_matrix/client/versions", timeout=2)
        except OSError:
            return True
        return False

    until(is_gone)


def until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until something is so; fails when it does not come to be."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
