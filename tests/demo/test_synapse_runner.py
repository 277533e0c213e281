"""The runner of the demo and of all integration tests is itself tested."""

from __future__ import annotations

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
    server.start()
    try:
        server.wait_ready()
        server.register("alice", "wonderland")
        alice = RawClient(server.base_url).login("alice", "wonderland")
        room = alice.create_room()
        server.kill()
        assert server.pid is None
        server.start()
        server.wait_ready()
        assert alice.say(room, "still here").startswith("$")
    finally:
        server.stop()


def test_a_broken_configuration_is_told_with_the_server_s_own_words(tmp_path: Path) -> None:
    server = SynapseServer.create(tmp_path, with_module=False, extra={"listeners": "none"})
    server.start()
    with pytest.raises(SynapseError, match="did not start"):
        server.wait_ready()
    server.stop()
